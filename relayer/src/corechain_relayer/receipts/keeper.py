"""Knows which promises can be kept: from the chain, the journal and the bus, polled."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block
from corechain_relayer.bus.room import LaneRoom
from corechain_relayer.receipts.contract import ReceiptContract
from corechain_relayer.receipts.progress import Progress
from corechain_relayer.receipts.standing import Sighting
from corechain_relayer.settings import MAX_FUTURE_S
from corechain_relayer.submitter.node import Node

log = structlog.get_logger(__name__)

FRESH_S = 30.0
"""What was last known of chain and journal longer ago than this is no ground for a promise."""
LEAST_PAUSE_S = 2.0
"""Between two looks: names change rarely, and each look is some questions to node and journal."""
LANE_IDLE = "LaneIdle"
BEHIND_SHARE = 2
"""With half of the promised time lost already, bus and submitter are too far behind to promise."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a receipt says besides its reports: the lane's number on chain, the second of its bond,
    and the chain's second by which they are in a batch.

    `replays_from`: a report that came before may be in a batch of an earlier bond, or in one that
    leaves the ring before its receipt is forgotten, and then nothing could be shown for it; not one
    with an observation since then.
    """

    lane: int
    since: int
    commit_by: int
    replays_from: int = 0


@dataclass(slots=True)
class _Lane:
    """What is known of one of our lanes."""

    sighting: Sighting | None = None
    progress: Progress = field(default_factory=Progress)
    removed: int = -1
    moved_at: float = 0.0
    """When anything went from the bus last, or nothing was on it: monotonic seconds."""

    def note_bus(self, room: LaneRoom, now: float) -> None:
        if room.removed != self.removed or not room.bytes_kept:
            self.removed, self.moved_at = room.removed, now

    def behind_s(self, room: LaneRoom, now: float) -> float:
        """Seconds that a report of this moment waits at least, as far as anybody can know."""
        return self.progress.waiting_s + max(room.drain_s, now - self.moved_at)


@dataclass(slots=True)
class Keeper:
    """One for all lanes of a gateway. `rooms`: of the bus, by place."""

    contract: ReceiptContract
    node: Node
    progress: Callable[[int], Awaitable[Progress]]
    """Of a lane by its number on chain: `progress_of`."""
    rooms: Sequence[LaneRoom]
    first_lane: int
    promise_s: int
    poll_s: float
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    """Goes on while a machine sleeps, as the other one does not: then nothing is fresh."""
    windows: tuple[int, int] = (0, 0)
    """Of challenges and of answers, seconds; zeros until the contract was asked."""
    _lanes: list[_Lane] = field(init=False)
    _looked_at: float = float("-inf")
    _looked_on: float = float("-inf")
    """The same by the wall clock."""
    _head: Block | None = None
    _head_at: float = 0.0
    """When that head was seen first."""

    def __post_init__(self) -> None:
        self._lanes = [_Lane() for _ in self.rooms]

    # ------------------------------------------------------------------ asking

    def terms(self, place: int) -> Terms | str:
        """For the lane at a place, or the name of the reason why nothing is promised on it."""
        now, lane = self.clock(), self._lanes[place]
        head, sighting = self._head, lane.sighting
        age_s = max(now - self._looked_at, self.wall() - self._looked_on)
        if head is None or sighting is None or age_s > FRESH_S:
            return "StandingUnknown"
        if 2 * self.promise_s >= self.windows[0]:
            return "PromiseTooLong"
        fault = sighting.fault or self._fault_of(lane, self.rooms[place], now)
        return fault or self._terms(lane, head, self.first_lane + place, now)

    def _fault_of(self, lane: _Lane, room: LaneRoom, now: float) -> str:
        if lane.behind_s(room, now) * BEHIND_SHARE > self.promise_s:
            return "SubmitterBehind"
        # A window in which all observations fail is no batch: reports of that kind would wait for a
        # good one of somebody else, on a lane where nobody else is.
        if lane.progress.idle_s > self.promise_s:
            return LANE_IDLE
        ring_s = lane.progress.ring_s
        return "RingTooFast" if ring_s is None or ring_s < self.kept_s else ""

    @property
    def kept_s(self) -> int:
        """How long after its report came a receipt may have to be answered: the contract takes what
        is in the ring alone."""
        return self.promise_s + sum(self.windows)

    def _terms(self, lane: _Lane, head: Block, number: int, now: float) -> Terms:
        assert lane.sighting is not None
        assert lane.progress.ring_s is not None
        # A chain without a transaction may make no block for hours, and the next one has the time
        # of its moment: what has passed since we saw the newest block counts, by no wall clock.
        second = head.timestamp + int(now - self._head_at)
        spare_s = lane.progress.ring_s - self.kept_s
        since = lane.sighting.standing.since
        # A batch of an earlier bond answers for nothing, either.
        oldest = max(since, second - int(min(spare_s, second))) + MAX_FUTURE_S
        return Terms(number, since, second + self.promise_s, oldest)

    def warnings(self) -> list[str]:
        """For `/ready`: which lanes sign nothing, and why. Not of a lane that nobody uses: there is
        nothing to do about it. Before the first look the loop itself says what it waits for."""
        if self._looked_at == float("-inf"):
            return []
        found = {place: self.terms(place) for place in range(len(self._lanes))}
        return [
            f"lane {self.first_lane + place} signs no receipts: {terms}"
            for place, terms in found.items()
            if isinstance(terms, str) and terms != LANE_IDLE
        ]

    # ------------------------------------------------------------------ looking

    async def watch_forever(self) -> None:
        """Raises NodeUnavailable, NodeRefused, StoreUnavailable."""
        while True:
            await self.look()
            await asyncio.sleep(max(self.poll_s, LEAST_PAUSE_S))

    async def look(self) -> None:
        """Brings all that `terms` rests on up to this moment, or raises and leaves it as it was."""
        if not self.windows[0]:
            self.windows = await self.contract.windows()
        began, began_on = self.clock(), self.wall()
        head = await self.contract.rpc.head()
        lanes = range(self.first_lane, self.first_lane + len(self._lanes))
        standings = await self.contract.standings(lanes, head.number)
        sightings = [
            Sighting(standing, head.number, head.hash)
            if lane.sighting is None
            else lane.sighting.seen_again(standing, head.number, head.hash)
            for lane, standing in zip(self._lanes, standings, strict=True)
        ]
        sightings = await self._settle(sightings, head)
        progress = [await self.progress(lane) for lane in lanes]
        for place, lane in enumerate(self._lanes):
            self._note_fault(place, lane.sighting, sightings[place])
            lane.sighting, lane.progress = sightings[place], progress[place]
            lane.note_bus(self.rooms[place], began)
        if self._head is None or self._head.hash != head.hash:
            self._head, self._head_at = head, began
        self._looked_at, self._looked_on = began, began_on

    def _note_fault(self, place: int, before: Sighting | None, now: Sighting) -> None:
        if before is None or before.fault != now.fault:
            log.info("receipts", lane=self.first_lane + place, fault=now.fault or "none")

    async def _settle(self, sightings: list[Sighting], head: Block) -> list[Sighting]:
        """Marks those that are final. A node that still has the state of its final block says so at
        once; of others the block of the first sighting has to become final, and still be there."""
        if all(sighting.final or sighting.standing.fault for sighting in sightings):
            return sightings
        final = await self.node.final_block(head)
        lanes = range(self.first_lane, self.first_lane + len(sightings))
        try:
            settled = await self.contract.standings(lanes, final)
        except NodeRefused:
            return [await self._settled_later(sighting, final, head) for sighting in sightings]
        return [
            sighting.settled() if sighting.standing == standing else sighting
            for sighting, standing in zip(sightings, settled, strict=True)
        ]

    async def _settled_later(self, sighting: Sighting, final: int, head: Block) -> Sighting:
        if sighting.final or sighting.block > final:
            return sighting
        block = await self.contract.rpc.block(sighting.block)
        if block is None:  # not seen by this node: that says nothing
            return sighting
        if block.hash == sighting.hash:
            return sighting.settled()
        # A reorg took the block: whatever it was in stands in another one by now, and waits anew.
        return Sighting(sighting.standing, head.number, head.hash)
