"""The gateway promises what the relayer can keep, and says why where it cannot.

given what chain, journal and bus say of a lane
  all is well: the promise is the chain's time, what has passed since, and the time promised
  a signer not named or dismissed, no bond, a lane on its way out, a bond that is not final, a
  submitter behind, a lane without readings, a ring that turns too fast: each by its name
given a node without the state of its final block
  a standing is final when the block in which it was seen first is, and still there
given a look that fails, or none for a while
  what was known counts for a moment, and then nothing is promised
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from corechain.protocol.batch import RING_SIZE
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block
from corechain_relayer.bus.room import LaneRoom, Limits, Look
from corechain_relayer.receipts.keeper import FRESH_S, Keeper, Terms
from corechain_relayer.receipts.progress import UNTURNED, Progress, ring_s_of
from corechain_relayer.receipts.standing import NEVER_ENDS, Standing
from corechain_relayer.settings import MAX_FUTURE_S
from corechain_relayer.submitter.ring import PACED_BATCHES

PROMISE_S, WINDOW_S, ANSWER_S = 3_600, 86_400, 3_600
NEEDED_S = PROMISE_S + WINDOW_S + ANSWER_S
GOOD = Standing(since=500, bonded=True, closing=False, until=NEVER_ENDS)
LIVELY = Progress(waiting_s=0, idle_s=5, ring_s=UNTURNED)


@dataclass
class World:
    """A chain, a journal and a clock, as a keeper asks them."""

    standing: Standing = GOOD
    settled: Standing | None = GOOD
    """As of the final block; None: the node has no state of it."""
    head: int = 100
    final: int = 90
    fork: int = 0
    time: int = 1_000_000
    now: float = 50.0
    is_away: bool = False
    progress: Progress = LIVELY
    room: LaneRoom = field(default_factory=lambda: LaneRoom(Limits(0)))

    @property
    def rpc(self) -> "Node":
        return Node(self)

    def _block(self, number: int) -> Block:
        hash_ = bytes([self.fork]) + number.to_bytes(31, "big")
        return Block(number, hash_, bytes(32), self.time, 0)

    async def head_block(self) -> Block:
        if self.is_away:
            raise NodeUnavailable("away")
        return self._block(self.head)

    async def block(self, number: int) -> Block | None:
        return self._block(number) if number <= self.head else None

    async def windows(self) -> tuple[int, int]:
        return WINDOW_S, ANSWER_S

    async def standings(self, lanes: range, block: int) -> list[Standing]:
        if block == self.head:
            return [self.standing for _ in lanes]
        if self.settled is None:
            raise NodeRefused("eth_call", -32000, "missing trie node")
        return [self.settled for _ in lanes]

    async def final_block(self, head: Block) -> int:
        return self.final

    async def progress_of(self, lane: int) -> Progress:
        return self.progress

    def keeper(self) -> Keeper:
        told: Callable[[int], Awaitable[Progress]] = self.progress_of
        parts: Any = self
        return Keeper(parts, parts, told, [self.room], 40, PROMISE_S, 0.1, clock=lambda: self.now)


@dataclass
class Node:
    """A node of a world."""

    world: World

    async def head(self) -> Block:
        return await self.world.head_block()

    async def block(self, number: int) -> Block | None:
        return await self.world.block(number)


async def told(world: World, keeper: Keeper | None = None) -> Terms | str:
    found = keeper or world.keeper()
    await found.look()
    return found.terms(0)


async def test_a_promise_counts_from_the_chains_time_and_what_has_passed_since() -> None:
    world = World()
    keeper = world.keeper()
    assert await told(world, keeper) == Terms(40, 500, 1_000_000 + PROMISE_S, 500 + MAX_FUTURE_S)
    world.now += 7
    assert await told(world, keeper) == Terms(40, 500, 1_000_007 + PROMISE_S, 500 + MAX_FUTURE_S)
    assert keeper.warnings() == []


@pytest.mark.parametrize(
    ("standing", "name"),
    [
        (replace(GOOD, bonded=False), "LaneNotBonded"),
        (replace(GOOD, closing=True), "LaneClosing"),
        (replace(GOOD, until=0), "SignerNotNamed"),
        (replace(GOOD, until=2_000_000), "SignerNotNamed"),
    ],
)
async def test_what_the_chain_denies_is_said_by_its_name(standing: Standing, name: str) -> None:
    keeper = World(standing=standing, settled=standing).keeper()
    await keeper.look()
    assert keeper.terms(0) == name
    assert keeper.warnings() == [f"lane 40 signs no receipts: {name}"]


@pytest.mark.parametrize(
    ("progress", "name"),
    [
        (replace(LIVELY, waiting_s=PROMISE_S / 2 + 1), "SubmitterBehind"),
        (replace(LIVELY, idle_s=PROMISE_S + 1), "LaneIdle"),
        (replace(LIVELY, ring_s=NEEDED_S - 1), "RingTooFast"),
        (replace(LIVELY, ring_s=None), "RingTooFast"),
        (Progress(), "LaneIdle"),
    ],
)
async def test_a_lane_that_could_not_keep_it_promises_nothing(
    progress: Progress, name: str
) -> None:
    keeper = World(progress=progress).keeper()
    assert await told(World(progress=progress), keeper) == name
    # A lane that nobody uses is no fault; every other reason is.
    warned = [f"lane 40 signs no receipts: {name}"]
    assert keeper.warnings() == ([] if name == "LaneIdle" else warned)


async def test_before_the_first_look_nothing_is_warned_of() -> None:
    keeper = World().keeper()
    assert (keeper.terms(0), keeper.warnings()) == ("StandingUnknown", [])


async def test_a_bus_that_nobody_reads_is_a_submitter_behind() -> None:
    world = World()
    keeper = world.keeper()
    world.room.looked(Look(0.0, 1, 100, 0, 0))
    assert isinstance(await told(world, keeper), Terms)
    world.now += PROMISE_S / 2 + 1
    assert await told(world, keeper) == "SubmitterBehind"
    world.room.looked(Look(1.0, 1, 200, 100, 100))
    assert isinstance(await told(world, keeper), Terms)


async def test_a_new_name_waits_for_its_block_to_be_final() -> None:
    world = World(settled=replace(GOOD, until=0))
    keeper = world.keeper()
    assert await told(world, keeper) == "BondNotFinal"
    world.settled = GOOD
    assert isinstance(await told(world, keeper), Terms)
    world.settled = None  # what was final is so
    assert isinstance(await told(world, keeper), Terms)


async def test_without_old_state_the_first_sighting_has_to_become_final() -> None:
    world = World(settled=None)
    keeper = world.keeper()
    assert await told(world, keeper) == "BondNotFinal"
    world.head, world.final = 150, 99
    assert await told(world, keeper) == "BondNotFinal"
    world.final = 100
    assert isinstance(await told(world, keeper), Terms)


async def test_a_first_sighting_that_a_reorg_took_begins_anew() -> None:
    world = World(settled=None)
    keeper = world.keeper()
    await keeper.look()
    world.fork, world.head, world.final = 1, 150, 120
    assert await told(world, keeper) == "BondNotFinal"
    world.head, world.final = 220, 150
    assert isinstance(await told(world, keeper), Terms)


async def test_a_name_that_changes_is_no_more_final() -> None:
    world = World()
    keeper = world.keeper()
    assert isinstance(await told(world, keeper), Terms)
    other = replace(GOOD, since=900)
    world.standing = other
    assert await told(world, keeper) == "BondNotFinal"
    world.settled = other
    assert await told(world, keeper) == Terms(40, 900, 1_000_000 + PROMISE_S, 900 + MAX_FUTURE_S)


async def test_what_was_known_long_ago_is_no_ground_for_a_promise() -> None:
    world = World()
    keeper = world.keeper()
    assert keeper.terms(0) == "StandingUnknown"
    await keeper.look()
    world.is_away = True
    world.now += FRESH_S
    with pytest.raises(NodeUnavailable):
        await keeper.look()
    assert isinstance(keeper.terms(0), Terms)
    world.now += 1
    assert keeper.terms(0) == "StandingUnknown"
    world.is_away = False
    await keeper.look()
    assert isinstance(keeper.terms(0), Terms)
    slept = keeper.wall() + FRESH_S + 1
    keeper.wall = lambda: slept  # the machine did, and its other clock with it
    assert keeper.terms(0) == "StandingUnknown"


async def test_a_promise_of_half_a_window_is_none() -> None:
    world = World()
    keeper = world.keeper()
    keeper.promise_s = WINDOW_S // 2
    assert await told(world, keeper) == "PromiseTooLong"


async def test_a_report_of_before_has_to_be_in_the_ring_for_as_long() -> None:
    spare_s = 10_000
    found = await told(World(progress=replace(LIVELY, ring_s=NEEDED_S + spare_s)))
    assert isinstance(found, Terms)
    assert found.replays_from == 1_000_000 - spare_s + MAX_FUTURE_S


@pytest.mark.parametrize(
    ("pace_s", "batches", "ring_s"),
    [
        (PACED_BATCHES * 10.0, 5_000, RING_SIZE * 10.0),
        (None, PACED_BATCHES, UNTURNED),
        (None, PACED_BATCHES + 1, None),
    ],
)
def test_a_ring_comes_round_at_the_pace_of_its_batches(
    pace_s: float | None, batches: int, ring_s: float | None
) -> None:
    assert ring_s_of(pace_s, batches) == ring_s
