"""What two services do not agree on, or what cannot be, is kept by neither.

given a service that reads a contract's logs, and keeps those of final blocks
  when somebody else has kept another block of that number
    nothing of ours follows on it
  while no block is final that the contract was in
    nothing is kept
  when the database has lost the end of what was kept, as by a failover
    it is read and kept again
  when the node sends a log that our contracts never log
    the view passes over it, and nothing is kept from there on
  when enough nodes agree again after few were believed
    it begins anew from what is kept, once the database is there
  when somebody else has dropped what was kept, and reads it no more
    it is read and kept again beside the view, which stays as new as the chain
  when who reads on is gone with its session
    nobody waits for it
  when the database is away
    the chain is read without it, and kept once it is there: in pieces, and not without a limit
  when the database hangs
    nobody waits for it longer than for one that is away
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import uuid4

import pytest
from support.fake_chain import fake_chain
from support.long_chain import hash_of
from support.processes import PATIENCE_S
from support.provider import Habits

from corechain.protocol.events import DeviceRevoked, Event
from corechain.protocol.logs import topic_of
from corechain.service.database import create_pool
from corechain.service.nodes import in_time, is_by_few, node_at
from corechain.service.reconcile import Ref
from corechain.service.rpc import Rpc
from corechain_relayer import keeping
from corechain_relayer.following import Follower
from corechain_relayer.journal.final_logs import FinalLogs
from corechain_relayer.keeping import PIECES_AT_ONCE
from corechain_relayer.registry.view import RegistryView
from relayer.old_chain import (
    CONTRACT,
    DEPTH,
    HANDFUL,
    REGISTRY,
    OldChain,
    blocks_of,
    old_chain,
)
from relayer.test_relayer_following import registered

HEIGHT = 20_000


async def test_nothing_follows_on_a_block_that_is_not_of_our_chain(database: str) -> None:
    async with old_chain(database, HEIGHT) as world:
        other = blocks_of(HEIGHT)
        other.branches[HEIGHT - 1_000] = 1
        with fake_chain(splits=False) as node:
            node.nodes = [other]  # type: ignore[list-item]
            ours = world.follower(Rpc(node.url))
            assert ours.kept is not None
            ours.kept._next_keep = float("inf")
            await ours.refresh_since(0.0)
            await world.started()  # somebody else, whose node has the other branch
            before = await world.pool.fetchrow("select block, block_hash, logs from final_view")
            ours.kept._next_keep, ours._asked_at = 0.0, -1e9
            other.height += 1
            await ours.refresh_since(0.0)
            assert "somebody else has kept another block" in ours.warnings()[0]
            assert before == await world.pool.fetchrow(
                "select block, block_hash, logs from final_view"
            )
            other.height, ours._asked_at = other.height + 20, -1e9
            other.happened[other.height - 15] = [registered(9)]
            await ours.refresh_since(0.0)
            assert (len(ours.view.devices), ours.kept._young) == (len(other.happened), [])


async def test_nothing_is_kept_of_before_the_contract_came(database: str) -> None:
    """That block shows in its child alone. An anvil that starts anew has another genesis block than
    the one in which its first block is: two services of a network kept one each."""
    async with old_chain(database, DEPTH) as world:
        await world.started()
        assert await world.kept() is None


@dataclass(frozen=True)
class Odd(Event):
    """As the contract's event, but for the word that should be a topic."""

    SIGNATURE = "DeviceRevoked(address,uint40)"
    device: bytes
    revoked_at: int


async def test_a_log_that_cannot_be_is_not_kept(database: str) -> None:
    assert topic_of(Odd) == topic_of(DeviceRevoked)
    async with old_chain(database, HEIGHT) as world:
        whole = dict(world.blocks.happened)
        world.blocks.happened[HEIGHT - 400] = [(REGISTRY, Odd(b"\1" * 20, 7))]
        follower = world.follower()
        await follower.refresh_since(0.0)
        assert "a log that cannot be" in follower.warnings()[0]
        assert follower.kept is not None
        follower.kept._lost_at = -1e9
        await follower.keep_again()  # it says so still
        assert (await world.kept() or 0) < HEIGHT - 400
        assert not follower.kept.is_to_be_read_again
        world.blocks.happened = whole  # asked anew, the node says what is right
        view, _, firsts = await world.started()
        assert min(firsts) <= HEIGHT - 400
        assert world.is_whole(view)


async def test_what_a_failover_has_lost_is_read_and_kept_again(database: str) -> None:
    """Or nothing would be kept until a restart, which had to read all since."""
    async with old_chain(database, HEIGHT) as world:
        follower = world.follower()
        await follower.refresh_since(0.0)
        assert follower.kept is not None

        async def after_losing(blocks: int) -> tuple[list[str], int | None]:
            to = (await world.kept() or 0) - blocks
            back = "update final_view set block = $1, block_hash = $2"
            await world.pool.execute(back, to, hash_of(to, 0))
            for _ in range(3):
                world.blocks.height += 1
                follower._asked_at = -1e9
                await follower.refresh_since(0.0)
            return follower.warnings(), await world.kept()

        assert await after_losing(500) == ([], world.blocks.height - DEPTH)
        told, kept = await after_losing(600)  # so soon again it stays so, and is said
        assert (kept or 0) < world.blocks.height - 600
        assert "goes back further than ours" in told[0]
        assert world.is_whole(follower.view)


async def test_what_somebody_else_has_dropped_is_kept_again(database: str) -> None:
    """A restart had to read all of it, for hours."""
    async with old_chain(database, HEIGHT) as world:
        follower = world.follower()
        await looked(world, follower)
        await world.pool.execute("delete from final_view")
        told = await looked(world, follower)
        assert "is not kept: it was dropped" in told[0]
        assert follower.kept is not None
        follower.kept._lost_at = -1e9  # long ago
        world.chain.habits = Habits(busy=10**9, retry_after="")
        await follower.keep_again()  # the node is away
        world.chain.habits = Habits()
        other = world.follower(reads_on_s=60.0)
        await other.refresh_since(0.0)
        assert other.kept is not None
        await world.pool.execute(
            "update final_view set block = 300, block_hash = $1, logs = 0", hash_of(300, 0)
        )
        await world.pool.execute("delete from final_log")
        await looked(world, follower)
        assert await world.kept() == 300, "while somebody else reads it"
        await world.pool.execute("update final_view set reads_until = now()")
        async with asyncio.timeout(PATIENCE_S):
            while told := await looked(world, follower):
                assert world.is_whole(follower.view)
        await looked(world, follower)
        assert await world.kept() == world.blocks.height - DEPTH
        shown = follower.metrics.view_kept_block.labels("DeviceRegistry")._value.get()
        assert shown == await world.kept()
        view, few, _ = await world.started()
        assert (world.is_whole(view), few <= HANDFUL) == (True, True)


async def looked(world: OldChain, follower: Follower[RegistryView]) -> list[str]:
    """What it warns of after another look, a block later."""
    world.blocks.height += 1
    follower._asked_at = -1e9
    await follower.refresh_or_log()
    return follower.warnings()


async def test_nobody_waits_for_a_reader_that_is_gone(database: str) -> None:
    """Killed in a first reading, it had the next process wait for six seconds."""
    async with old_chain(database) as world:
        store, gone = FinalLogs(world.pool, 1, CONTRACT, "one", 600.0), create_pool(database)
        await gone
        through, further = Ref(5, bytes(32)), Ref(6, bytes(32))
        assert await replace(store, pool=gone, reader=uuid4()).keep(None, through, [])
        standing = await store.standing()
        assert standing is not None
        assert standing.is_being_read
        assert not await store.keep(through, further, [])
        await gone.close()
        async with asyncio.timeout(PATIENCE_S):
            while standing is None or standing.is_being_read:
                standing = await store.standing()
        assert await store.keep(through, further, [])


async def test_when_enough_nodes_agree_again_a_view_begins_from_what_is_kept(database: str) -> None:
    """What few have said may be wrong; while the database is away, a view goes on with it: to read
    all of an old chain for it would take hours."""
    async with old_chain(database, HEIGHT) as world:
        with fake_chain(splits=False) as second:
            second.nodes = [world.blocks]  # type: ignore[list-item]
            await world.started()
            few = in_time(node_at([world.chain.url, second.url], 2, 5.0, 64), 0.001)
            follower = world.follower(few)
            second.habits = Habits(busy=10**9)
            while follower.seen is None:
                follower._asked_at = -1e9
                await follower.refresh_or_log()
            second.habits = Habits()
            kept = follower.kept
            assert kept is not None
            assert kept._is_doubtful
            kept._next_question = float("inf")  # the database is away
            await agreed(follower)
            assert kept._is_doubtful
            kept._next_question, before = 0.0, len(world.chain.asked("eth_getLogs"))
            await agreed(follower)
            assert not kept._is_doubtful
            assert len(world.chain.asked("eth_getLogs")) - before <= HANDFUL
            assert world.is_whole(follower.view)


async def agreed(follower: Follower[RegistryView]) -> None:
    """A look with which both nodes agree."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            follower._asked_at = -1e9
            await follower.refresh_since(0.0)
            if not is_by_few(follower.rpc):
                return
            await asyncio.sleep(1.0)  # one that was left out comes back after a while


async def test_a_database_that_hangs_holds_a_look_for_a_moment(database: str) -> None:
    class Hanging:
        def __getattr__(self, name: str) -> Any:
            async def hang(*words: Any) -> None:
                await asyncio.Event().wait()

            return hang

    async with old_chain(database, HEIGHT) as world:
        follower = world.follower()
        assert follower.kept is not None
        store, hanging = follower.kept.store, cast("Any", Hanging())
        follower.kept.store, follower.kept.store_s = replace(store, pool=hanging), 0.1
        await follower.refresh_since(0.0)
        assert world.is_whole(follower.view)
        assert "TimeoutError" in follower.kept._away


async def test_a_database_that_is_away_keeps_nobody_from_the_chain(database: str) -> None:
    async with old_chain(database, HEIGHT) as world:
        away = create_pool("postgresql://x@127.0.0.1:1/x")
        await away
        world.blocks.happened = {at: [registered(at)] for at in range(1, 21)}
        follower = world.follower()
        assert follower.kept is not None
        reachable, follower.kept.store = (
            follower.kept.store,
            replace(follower.kept.store, pool=away),
        )
        await follower.refresh_since(0.0)
        assert world.is_whole(follower.view)
        follower.kept.store = reachable  # it is there again
        follower.kept._next_question = -1e9
        world.blocks.height += 20
        steps = [(await looked(world, follower), await world.kept())[1] for _ in range(5)]
        # What has waited is kept in pieces, here of a block, and a look waits for a few of them.
        assert steps[:2] == [PIECES_AT_ONCE, 2 * PIECES_AT_ONCE]
        assert steps[-1] == world.blocks.height - DEPTH
        assert world.is_whole((await world.started())[0])
        await away.close()


async def test_what_waits_for_the_database_has_a_limit(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first reading of years goes on without it; what is left out is read once more."""
    monkeypatch.setattr(keeping, "MOST_YOUNG", 2)
    async with old_chain(database, HEIGHT) as world:
        follower = world.follower()
        assert follower.kept is not None
        follower.kept._next_question = float("inf")
        world.blocks.happened = {at: [registered(at)] for at in range(1, 21)}
        assert "away for too long" in (await looked(world, follower))[-1]
        assert world.is_whole(follower.view)
        follower.kept._lost_at = follower.kept._next_question = -1e9
        monkeypatch.setattr(keeping, "MOST_YOUNG", 10**6)
        async with asyncio.timeout(PATIENCE_S):
            while await looked(world, follower):
                pass
        for _ in range(10):  # a few pieces a look
            await looked(world, follower)
        assert await world.kept() == world.blocks.height - DEPTH
