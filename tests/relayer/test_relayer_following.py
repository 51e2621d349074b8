"""A view behind nodes that lag, through reorgs: always the fold of the chain as it is.

given a follower of the registry
  ├── behind nodes that lag, through reorgs of any depth: as a view that is read at once
  ├── a reorg costs no second reading of the history
  ├── when even a final block is gone: it is read anew
  ├── when the node refuses to say what is final: nothing new is, and a reorg is followed
  ├── while the node is behind: the view stays, and who asks for a newer one hears of it
  │     ├── and so does everybody who waits for the same look
  │     └── and who comes after a look that was cut short
  ├── during an outage: strangers cause no look, and are not called unknown
  └── one log in an odd shape is passed over
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_chain import FakeChain, fake_chain
from support.provider import Habits

from corechain.deployment import DeployedContract
from corechain.protocol import events as e
from corechain.protocol.errors import Unavailable
from corechain.protocol.logs import topic_of
from corechain.protocol.reading import DeviceId
from corechain.service.errors import NodeBehind, NodeUnavailable
from corechain.service.rpc import Log, Rpc
from corechain_relayer.following import Follower, events_of
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView

REGISTRY = b"\xc0" * 20
STRANGER = DeviceId(b"\xee" * 20)
CHAIN_ID = 12_345
OWNERS = [bytes([n]) * 20 for n in (1, 2, 3)]


def registered(n: int) -> tuple[bytes, e.Event]:
    return REGISTRY, e.DeviceRegistered(bytes([n]) * 20, OWNERS[0], 1, bytes(32), bytes(32))


def transferred(n: int, owner: int) -> tuple[bytes, e.Event]:
    return REGISTRY, e.DeviceTransferred(bytes([n]) * 20, OWNERS[0], OWNERS[owner % 3])


@dataclass
class Followed:
    chain: FakeChain
    follower: Follower[RegistryView]

    async def look(self) -> None:
        self.follower._asked_at = -1e9  # a test need not wait for the next poll
        await self.follower.refresh_or_log()

    def grow(self, blocks: int, chance: random.Random) -> None:
        for _ in range(blocks):
            known = [x.device[0] for x in self.chain.events() if isinstance(x, e.DeviceRegistered)]
            happened = [registered(max(known, default=0) + 1)]
            happened += [transferred(n, chance.randrange(3)) for n in known[-2:]]
            self.chain.mine(happened if chance.random() < 0.7 else [])

    def whole(self) -> RegistryView:
        view, kinds = RegistryView(), self.follower.topics
        events = self.chain.events()
        view.apply(x for x in events if not kinds or topic_of(type(x)) in kinds)
        return view

    def rebuilt(self) -> float:
        metric = self.follower.metrics.views_rebuilt.labels("DeviceRegistry")
        return float(metric._value.get())


@contextmanager
def followed(nodes: int = 1, **behaviour: object) -> Iterator[Followed]:
    with fake_chain(nodes, **behaviour) as chain:
        contract = DeployedContract("DeviceRegistry", REGISTRY, 1)
        yield Followed(
            chain, Follower(Rpc(chain.url), contract, RegistryView, 1.0, 100, Metrics(), 8)
        )


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
async def test_it_is_a_view_that_is_read_at_once(seed: int, splits: bool, of_kind: bool) -> None:
    """Also of one kind of logs among others."""
    chance = random.Random(seed)
    with followed(3, splits=splits, silent=True, chance=random.Random(seed)) as world:
        chain = world.chain
        if of_kind:
            world.follower.topics = (topic_of(e.DeviceRegistered),)
            world.follower.__post_init__()
        for _ in range(15):
            if chance.random() < 0.3:
                deepest = max(0, chain.highest - 8)
                chain.cut(max(deepest, chain.blocks[-1].number - chance.randrange(1, 9)))
            world.grow(chance.randrange(1, 4), chance)
            if chance.random() < 0.7:
                chain.catch_up(chance.randrange(3))
            await world.look()
        world.grow(chain.highest + 1 - chain.blocks[-1].number, chance)
        chain.catch_up()
        await world.look()
        assert world.follower.view == world.whole()
        assert world.follower.seen is not None
        assert world.follower.seen.hash == chain.blocks[-1].hash
        await world.follower.rpc.close()


async def test_a_reorg_costs_no_second_reading_of_the_history() -> None:
    with followed() as world:
        world.grow(300, random.Random(1))
        world.chain.catch_up()
        await world.look()
        world.chain.cut(295)
        world.grow(7, random.Random(2))
        world.chain.catch_up()
        before = len(world.chain.calls)
        await world.look()
        assert world.follower.view == world.whole()
        assert world.rebuilt() == 1
        assert len(world.chain.calls) - before < 25
        await world.follower.rpc.close()


async def test_it_is_read_anew_when_even_a_final_block_is_gone() -> None:
    with followed() as world:
        world.grow(30, random.Random(1))
        world.chain.catch_up()
        await world.look()
        world.chain.cut(5)
        world.grow(30, random.Random(2))
        world.chain.catch_up()
        await world.look()
        assert world.follower.view == world.whole()
        await world.follower.rpc.close()


@pytest.mark.parametrize("unsaid", [None, {"code": -32005, "message": "limit exceeded"}])
async def test_what_a_node_does_not_call_final_can_be_taken_back(unsaid: object) -> None:
    with followed(final=5) as world:
        world.grow(30, random.Random(1))
        world.chain.catch_up()
        await world.look()
        world.chain.final = unsaid
        world.grow(2, random.Random(2))
        world.chain.catch_up()
        await world.look()
        assert "no final block" in world.follower.warnings()[0]
        world.chain.cut(12)  # deeper than the 8 blocks that count where there is no tag
        world.grow(30, random.Random(3))
        world.chain.catch_up()
        before = len(world.chain.asked("eth_getLogs"))
        await world.look()
        assert world.follower.view == world.whole()
        asked = world.chain.asked("eth_getLogs")[before:]
        firsts = [int(query["fromBlock"], 16) for (query,) in asked if "fromBlock" in query]
        assert min(firsts) == 13  # taken back to the fork, not read anew
        await world.follower.rpc.close()


async def test_while_the_node_is_behind_the_view_stays() -> None:
    with followed() as world:
        world.grow(6, random.Random(1))
        world.chain.catch_up()
        await world.look()
        kept = world.whole()
        world.chain.restore(0)
        await world.look()
        assert world.follower.view == kept
        world.follower._asked_at = -1e9
        with pytest.raises(NodeBehind, match="head is block 2, ours is 6"):
            await world.follower.refresh_since(0.0)
        assert world.follower.warnings() == [
            "the node is behind: the node's head is block 2, ours is 6"
        ]
        assert world.rebuilt() == 0
        world.chain.catch_up()
        await world.look()
        assert world.follower.warnings() == []
        await world.follower.rpc.close()


async def test_all_who_wait_for_a_look_that_fails_hear_of_it() -> None:
    """Else a device, or a channel, that could not be looked up is called unknown for good."""
    with followed() as world:
        world.grow(6, random.Random(1))
        world.chain.catch_up()
        await world.look()
        world.chain.restore(0)
        world.follower._asked_at = -1e9
        looks = (world.follower.refresh_since(0.0) for _ in range(3))
        said = await asyncio.gather(*looks, return_exceptions=True)
        assert [type(one) for one in said] == [NodeBehind] * 3
        world.chain.catch_up()
        await world.look()
        await world.follower.refresh_since(0.0)  # a look that succeeds is shared as ever
        await world.follower.rpc.close()


async def test_a_look_that_was_cut_short_is_no_look() -> None:
    with followed() as world:
        first = asyncio.create_task(world.follower.refresh_since(0.0))
        while world.follower._asked_at < 0.0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(NodeUnavailable, match="cut short"):
            await world.follower.refresh_since(0.0)
        await world.follower.rpc.close()


async def test_strangers_cause_no_look_during_an_outage() -> None:
    with followed() as world:
        contract = world.follower.contract
        registry = RegistryFollower(
            Rpc(world.chain.url), contract, RegistryView, 1.0, 100, Metrics(), 8, chain_id=CHAIN_ID
        )
        registry._is_right = True  # a modelled chain has no id
        world.grow(6, random.Random(1))
        world.chain.catch_up()
        await registry.refresh_for([STRANGER])  # looked up, and unknown
        world.chain.habits = Habits(busy=10**9, retry_after="")
        with pytest.raises(Unavailable, match="node is away"):
            await registry.refresh_for([STRANGER])
        asked = world.chain._asked[""]
        for _ in range(100):
            with pytest.raises(Unavailable):
                await registry.refresh_for([STRANGER])
        await registry.refresh_for([next(iter(registry.view.devices))])
        assert world.chain._asked[""] == asked
        world.chain.habits = Habits()
        await registry.refresh_or_log()  # as `follow_forever` does
        asked = world.chain._asked[""]
        await registry.refresh_for([STRANGER])
        assert world.chain._asked[""] > asked
        await registry.rpc.close()
        await world.follower.rpc.close()


async def test_a_node_that_is_behind_is_asked_again() -> None:
    with followed() as world:
        registry = RegistryFollower(
            Rpc(world.chain.url),
            world.follower.contract,
            RegistryView,
            1.0,
            100,
            Metrics(),
            8,
            chain_id=CHAIN_ID,
        )
        registry._is_right = True
        world.grow(6, random.Random(1))
        world.chain.catch_up()
        await registry.refresh_for([STRANGER])
        world.chain.restore(0)
        with pytest.raises(Unavailable, match="node is away"):
            await registry.refresh_for([STRANGER])
        world.chain.catch_up()
        await registry.refresh_for([STRANGER])
        await registry.rpc.close()
        await world.follower.rpc.close()


async def test_a_node_of_another_chain_knows_nobody() -> None:
    with followed() as world:
        contract = world.follower.contract
        registry = RegistryFollower(
            Rpc(world.chain.url), contract, RegistryView, 1.0, 100, Metrics(), 8, chain_id=CHAIN_ID
        )
        with pytest.raises(Unavailable):
            await registry.refresh_for([STRANGER])
        await registry.rpc.close()
        await world.follower.rpc.close()


def test_one_log_in_an_odd_shape_is_passed_over() -> None:
    good = Log(REGISTRY, (topic_of(e.RootVetoed), bytes(31) + b"\1"), b"", 1, bytes(32), b"", 0)
    odd = Log(REGISTRY, (topic_of(e.RootVetoed),), b"", 1, bytes(32), b"", 1)
    logs: Sequence[Log] = [odd, good]
    assert events_of(logs) == [e.RootVetoed(1)]
