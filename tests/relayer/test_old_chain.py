"""What final blocks have told is read once: a start reads on from there, however old the chain is.

given a view of a contract that is ten million blocks old
  when it was read before
    a start asks a handful of requests, and as many on a chain of any age
  when its reader is stopped at any request
    the next one reads on where it was, and nothing is missing or twice
  when the node's chain is another one, or has left the kept one
    what is kept of it counts only up to the newest block that stands
  when a reorg above the kept block comes
    it is followed as ever, and nothing of it was kept
  when several services read at once
    one reads, the others take what it keeps
  when fewer nodes than must agree have said it
    nothing of it is kept, and nothing that is kept is given up for it
  when only the logs of a window are wanted, which moves on with the head
    older ones are forgotten, and a start asks a handful all the same
  when what a log is about has ended, as a channel that is closed
    its logs are dropped, and a start has those of open channels alone
  when logs of one kind are wanted among many others
    only those are read and kept, and what a node had left out of some blocks is found there
  when what is kept is lost, or makes no sense
    it is read anew
"""

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support.databases import Databases
from support.fake_chain import encoded, fake_chain
from support.long_chain import LongBlocks, hash_of
from support.processes import PATIENCE_S
from support.provider import Habits

from corechain.deployment import DeployedContract, Deployment, load_deployment
from corechain.protocol.events import (
    DeviceRegistered,
    StateChannelClosed,
    StateChannelOpened,
    StateChannelToppedUp,
)
from corechain.protocol.logs import topic_of
from corechain.service.errors import NodeBehind, NodeUnavailable, WrongNode
from corechain.service.nodes import in_time, node_at
from corechain.service.rpc import Rpc
from corechain_relayer.following import Follower
from corechain_relayer.journal.sql import migrations
from corechain_relayer.kept_views import kept_window
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.rewards.kept import KeptReading
from corechain_relayer.service import Relayer
from corechain_relayer.watchtower.channels import ChannelsView
from relayer.conftest import Start
from relayer.old_chain import DEPTH, HANDFUL, OLD, RANGE, old_chain
from relayer.support import WATCHTOWER_KEY, Chain, eventually
from relayer.test_crash import settings_of
from relayer.test_relayer_following import REGISTRY, registered, transferred


@pytest.fixture(scope="module")
def journal(databases: Databases) -> Iterator[str]:
    """One database for all of them: `old_chain` empties it of what was kept."""
    url = databases.migrated("relayer", migrations())
    yield url
    databases.drop(url)


async def test_a_second_start_asks_a_handful_at_any_age(journal: str) -> None:
    async with old_chain(journal) as world:
        first, many, _ = await world.started()
        second, few, _ = await world.started()
        assert world.is_whole(first)
        assert second == first
        assert many > OLD // RANGE > HANDFUL >= few
        world.blocks.height += OLD + 7  # with two more devices
        for at, device in ((2 * OLD, 6), (world.blocks.height, 7)):
            world.blocks.happened[at] = [registered(device)]
        third, _, _ = await world.started()
        fourth, still, _ = await world.started()
        assert third == fourth
        assert world.is_whole(third)
        assert still <= few
        world.blocks.height += 1
        assert world.is_whole((await world.started())[0])


async def test_who_is_stopped_at_any_request_reads_on_there(journal: str) -> None:
    """Stopped is what a kill leaves: nothing is done on the way out."""
    async with old_chain(journal) as world:
        kept = [0]
        for answered in random.Random(1).sample(range(6, 16), 6):
            world.chain._asked[""] = 0
            world.chain.habits = Habits(busy_every=answered)
            before = len(world.chain.asked("eth_getLogs"))
            follower = world.follower()
            with pytest.raises(NodeUnavailable):
                await follower.refresh_since(0.0)
            assert f"being read, block {world.at(follower)} of {OLD}" in follower.warnings()[0]
            queries = [query for (query,) in world.chain.asked("eth_getLogs")[before:]]
            kept.append(await world.kept() or 0)
            assert int(queries[0]["fromBlock"], 16) == kept[-2] + 1
        assert kept == sorted(kept)
        assert kept[-1] > 200, "starts get on, though each is stopped"
        world.chain.habits = Habits()
        view, _, firsts = await world.started()
        assert firsts[0] == kept[-1] + 1
        assert world.is_whole(view)
        assert world.is_whole((await world.started())[0])


async def test_what_is_kept_of_another_chain_is_not_believed(journal: str) -> None:
    async with old_chain(journal) as world:
        await world.started()
        world.blocks.branches[0] = 1  # a chain of the same id begun anew
        world.blocks.happened = {5: [registered(9)]}
        view, many, firsts = await world.started()
        assert world.is_whole(view)
        assert min(firsts) == 1
        assert many > OLD // RANGE
        assert world.is_whole((await world.started())[0])
        with pytest.raises(WrongNode):
            await world.follower(chain_id=1).refresh_since(0.0)
        assert await world.pool.fetchval("select count(*) from final_view") == 1


async def test_what_is_kept_of_another_deployment_is_not_believed(journal: str) -> None:
    async with old_chain(journal, 5_000) as world:
        later = DeployedContract("DeviceRegistry", REGISTRY, 1_000)
        follower = world.follower(contract=later)
        await follower.refresh_since(0.0)
        assert follower.view.devices == {}
        view, _, firsts = await world.started()
        assert min(firsts) == 1
        assert world.is_whole(view)


@pytest.mark.parametrize(("fork", "back"), [(3_000_000, 1_000_000), (OLD - 100, OLD - 300)])
async def test_a_fork_below_the_kept_block_is_read_from_where_it_begins(
    journal: str, fork: int, back: int
) -> None:
    async with old_chain(journal) as world:
        await world.started()
        world.blocks.branches[fork] = 1
        gone = [at for at in world.blocks.happened if at >= fork]
        for at in gone:
            del world.blocks.happened[at]
        world.blocks.happened[fork + 7] = [registered(9)]
        view, _, firsts = await world.started()
        assert min(firsts) == back + 1, "from the newest kept log that stands"
        assert world.is_whole(view)
        again, few, _ = await world.started()
        assert again == view
        assert few <= HANDFUL


async def test_a_reorg_above_the_kept_block_is_followed_as_ever(journal: str) -> None:
    async with old_chain(journal) as world:
        world.blocks.happened[OLD - 2] = [registered(6)]
        follower = world.follower()
        await follower.refresh_since(0.0)
        assert world.is_whole(follower.view)
        kept = await world.kept()
        assert kept is not None
        assert kept <= OLD - DEPTH
        del world.blocks.happened[OLD - 2]
        world.blocks.branches[OLD - 3] = 1
        world.blocks.height += 40
        world.blocks.happened[OLD + 1] = [registered(7)]
        follower._asked_at = -1e9
        await follower.refresh_since(0.0)
        assert world.is_whole(follower.view)
        # And one that is deeper than what is final, but not than what is kept.
        world.blocks.branches[OLD + 2] = 2
        world.blocks.height += 40
        world.blocks.happened[OLD + 50] = [registered(8)]
        behind = "update final_view set block = $1, block_hash = $2, logs = logs - 1"
        await world.pool.execute("delete from final_log where block_number > $1", kept)
        await world.pool.execute(behind, kept, hash_of(kept, 0))
        follower._asked_at = -1e9
        await follower.refresh_since(0.0)
        assert world.is_whole(follower.view)
        assert world.is_whole((await world.started())[0])


async def test_of_several_that_start_at_once_one_reads(journal: str) -> None:
    async with old_chain(journal) as world:
        followers = [world.follower(reads_on_s=60.0) for _ in range(4)]
        await asyncio.gather(*(follower.refresh_since(0.0) for follower in followers))
        assert all(world.is_whole(follower.view) for follower in followers)
        ranges = [q for (q,) in world.chain.asked("eth_getLogs") if "fromBlock" in q]
        # All begin at the same moment, and learn with the first piece that one of them reads on.
        assert len(ranges) < 2 * OLD // RANGE + 4 * HANDFUL
        logs = await world.pool.fetchval("select count(*) from final_log")
        assert logs == len(world.blocks.happened)
        world.blocks.height += 100
        for follower in followers:
            follower._asked_at = -1e9
            await follower.refresh_since(0.0)
            assert follower.warnings() == []
        assert world.is_whole((await world.started())[0])


async def test_what_few_nodes_say_is_neither_kept_nor_a_reason_to_forget(journal: str) -> None:
    async with old_chain(journal) as world:
        few = in_time(node_at([world.chain.url, "http://127.0.0.1:1"], 2, 5.0, 64), 0.001)
        follower = world.follower(few)
        async with asyncio.timeout(PATIENCE_S):
            while follower.seen is None:
                follower._asked_at = -1e9
                await follower.refresh_or_log()
        assert world.is_whole(follower.view)
        assert await world.kept() is None
        await world.started()
        kept = await world.kept()
        world.blocks.branches[0] = 1
        with pytest.raises(NodeUnavailable, match="too few nodes agree to give up"):
            await world.follower(few).refresh_since(0.0)
        assert await world.kept() == kept


def channel(number: int) -> StateChannelOpened:
    parties = bytes([number]) * 20 + b"\xb2" * 20 + b"\xc3" * 20
    amounts = (10).to_bytes(11, "big") + (4).to_bytes(11, "big")
    return StateChannelOpened(parties + bytes(14) + amounts)


async def test_of_channels_only_the_open_ones_stay(journal: str) -> None:
    async with old_chain(journal) as world:
        view = partial(ChannelsView, 31_337, REGISTRY)
        opened = [channel(n) for n in range(1, 7)]
        ids = [one.terms.channel_id(31_337, REGISTRY) for one in opened]
        world.blocks.happened = {
            5: [(REGISTRY, one) for one in opened[:4]],
            3_000_000: [(REGISTRY, StateChannelToppedUp(ids[0], 11 << 168))],
            4_000_000: [(REGISTRY, opened[4]), (REGISTRY, StateChannelClosed(ids[4], 0))],
            6_000_000: [(REGISTRY, StateChannelClosed(ids[1], 0))],
            OLD - 50: [(REGISTRY, StateChannelClosed(ids[2], 0)), (REGISTRY, opened[5])],
            OLD - 2: [(REGISTRY, StateChannelClosed(ids[3], 0))],
        }

        async def started() -> ChannelsView:
            found: Follower[Any] = world.follower()
            assert found.kept is not None
            found.new_view, found.kept.subject_of = view, view().subject_of
            found.__post_init__()
            await found.refresh_since(0.0)
            channels: ChannelsView = found.view
            return channels

        first = await started()
        assert set(first.channels) == {ids[0], ids[5]}
        assert await started() == first
        rows = await world.pool.fetch("select block_number as at from final_log order by 1")
        assert [row["at"] for row in rows] == [5, 5, 3_000_000, OLD - 50]
        # Whatever had ended by a block that is gone is open again: what was dropped is missing.
        world.blocks.branches[5_000_000] = 1
        del world.blocks.happened[6_000_000], world.blocks.happened[OLD - 50]
        assert set((await started()).channels) == {ids[0], ids[1], ids[2]}


async def test_of_a_window_that_moves_on_only_its_own_logs_stay(journal: str) -> None:
    async with old_chain(journal) as world:

        async def started(first: int) -> tuple[Follower[RegistryView], int]:
            contract, before = DeployedContract("DeviceRegistry", REGISTRY, first), world.requests
            follower = world.follower(contract=contract)
            follower.kept = kept_window(
                world.pool, 31_337, contract, "window", world.blocks.height, follower.rpc
            )
            follower.kept.keep_every_s = 0.0
            await follower.refresh_since(0.0)
            return follower, world.requests - before

        follower, many = await started(OLD - 3_000_000)
        assert set(follower.view.devices) == {bytes([n]) * 20 for n in (4, 5)}
        world.blocks.height += 5_000_000
        world.blocks.happened[OLD + 4_999_000] = [registered(6)]
        follower._asked_at = -1e9
        await follower.refresh_since(0.0)
        assert len(follower.view.devices) == 3  # what a view forgets is its own business
        row = await world.pool.fetchrow("select first_block, logs from final_view")
        assert (row["logs"], await world.pool.fetchval("select count(*) from final_log")) == (1, 1)
        assert OLD < row["first_block"] < world.blocks.height - 3_000_000
        assert follower.kept is not None
        await world.pool.execute("update final_view set reads_until = now()")
        follower, few = await started(world.blocks.height - 3_000_000)
        assert list(follower.view.devices) == [bytes([6]) * 20]
        assert few <= HANDFUL < many
        follower, again = await started(1)  # it begins too late for whoever wants older ones
        assert world.is_whole(follower.view)
        assert again > HANDFUL
        assert world.blocks.height - 300 < (await world.kept() or 0)
        world.blocks.height += 40_000_000  # nobody has run for much longer than a window
        await world.pool.execute("update final_view set reads_until = now()")
        follower, late = await started(world.blocks.height - 3_000_000)
        assert (follower.view.devices, late <= many) == ({}, True)


async def test_years_of_one_kind_of_logs_are_read_once_for_reward_roots(journal: str) -> None:
    async with old_chain(journal) as world:
        for at in (2_000_000, OLD - 1_000):
            world.blocks.happened[at] = [transferred(1, at), registered(at % 7 + 6)]
        contracts = {"CoreToken": DeployedContract("CoreToken", REGISTRY, 1)}
        kinds = {"CoreToken": ("roots", (topic_of(DeviceRegistered),))}
        asked = []
        for _ in range(2):
            rpc, before = Rpc(world.chain.url), world.requests
            world.opened.append(rpc)
            how = (RANGE, DEPTH, Metrics(), world.pool)
            reading = KeptReading(rpc, Deployment(31_337, contracts), *how, kinds)
            logs = await reading.logs("CoreToken", 900, OLD)
            assert [entry.block_number for entry in logs] == sorted(world.blocks.happened)
            assert {entry.topics[0] for entry in logs} == {topic_of(DeviceRegistered)}
            assert len(await reading.logs("CoreToken", 901, 4_000_001)) == 3
            # One that is behind who named the end leaves nothing out without a word.
            with pytest.raises(NodeBehind, match=f"has not seen block {OLD + 1}"):
                await reading.logs("CoreToken", 900, OLD + 1)
            asked.append(world.requests - before)
        assert asked[0] > OLD // RANGE > HANDFUL >= asked[1]
        # One that a node had left out when it was read for good is asked for where it must be.
        lacking = """with gone as (delete from final_log where block_number = $1)
                     update final_view set logs = logs - 1"""
        await world.pool.execute(lacking, 4_000_001)
        for lacks in (1, 0):  # found once, it is kept
            asked_before = len(world.chain.asked("eth_getLogs"))
            reading = KeptReading(rpc, Deployment(31_337, contracts), *how, kinds)
            assert len(await reading.logs("CoreToken", 900, OLD)) == len(logs) - lacks
            assert await reading.reread("CoreToken", 3_900_000, 4_100_000) == lacks
            assert await reading.logs("CoreToken", 900, OLD) == logs
            assert len(world.chain.asked("eth_getLogs")) - asked_before <= HANDFUL


async def test_what_is_lost_or_makes_no_sense_is_read_anew(journal: str) -> None:
    async with old_chain(journal, 20_000) as world:
        follower = world.follower()
        await follower.refresh_since(0.0)
        await world.pool.execute("delete from final_view")
        world.blocks.height += 1_000
        follower._asked_at = -1e9
        await follower.refresh_since(0.0)  # goes on without
        assert world.is_whole(follower.view)
        assert "is not kept" in follower.warnings()[0]
        topics, data = encoded(transferred(77, 1)[1])  # of a device that nobody has registered
        for damage in ("delete from final_log", "update final_log set topics = $1, data = $2"):
            assert min((await world.started())[2]) == 1
            await world.pool.execute(damage, *([b"".join(topics), data] if "$1" in damage else []))
        view, _, firsts = await world.started()
        assert min(firsts) == 1
        assert world.is_whole(view)


VIEW_BLOCK = 'corechain_view_block{contract="DeviceRegistry"}'


def test_a_gateway_that_was_killed_is_ready_at_once_on_an_old_chain(
    start: Start, chain: Chain
) -> None:
    """The process itself. Devices are unknown to a node of a model, whose logs it has read."""
    place = chain.deployment.contracts["DeviceRegistry"]
    blocks = LongBlocks(
        OLD, {place.block + at: [(place.address, registered(at)[1])] for at in (1, 2)}
    )
    with fake_chain(splits=False, final=OLD - 64) as node:
        node.nodes = [blocks]  # type: ignore[list-item]
        settings = {"RELAYER_RPC_URL": node.url, "RELAYER_LOG_RANGE_BLOCKS": str(RANGE)}
        gateway = start("gateway", **settings)
        assert len(node.asked("eth_getLogs")) > OLD // RANGE
        eventually(lambda: f"{VIEW_BLOCK} 1e+07" in gateway.get("/metrics").text)

        def asked_again() -> int:
            before = len(node.asked("eth_getLogs"))
            gateway.kill()
            gateway.start()
            return len(node.asked("eth_getLogs")) - before

        eventually(lambda: asked_again() <= 2)  # on a loaded machine it is kept a moment later
        assert f"{VIEW_BLOCK} 1e+07" in gateway.get("/metrics").text


async def test_all_who_follow_a_contract_from_its_first_block_on_keep_what_they_read(
    environment: dict[str, str],
) -> None:
    """Guard and challenger, who begin with their windows: with the tests of those."""
    settings = settings_of(environment | {"RELAYER_WATCHTOWER_KEY": WATCHTOWER_KEY})
    deployment = load_deployment(settings.deployment)
    relayer = Relayer(settings, deployment)
    await relayer.pool
    relayer.watchtower()
    assert relayer.tower is not None
    followers: list[Follower[Any]] = [relayer.registry, relayer.tower.follower]
    kept = [follower.kept.store.name for follower in followers if follower.kept is not None]
    assert kept == ["DeviceRegistry", "StateChannels"]
    await relayer.close()
