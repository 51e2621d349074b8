"""Lanes divided among however many aggregators there are: more processes, fewer lanes each.

An autoscaler only knows a number of replicas. Each replica counts the others, takes its share of
the lanes and gives up what is over it; a lane moves with everything it holds rebuilt from journal
and bus, as after a crash.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from prometheus_client import Gauge

from corechain.service.supervision import STANDBY_PAUSE_S, Loop, Loops, LoopState, stop_all
from corechain_relayer.journal.claims import LaneClaims, Standing, lane_claims
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings

log = structlog.get_logger(__name__)


def share_of(lanes: int, standing: Standing) -> int:
    """How many lanes a member has; the shares of all members are `lanes` together, and no two
    differ by more than one."""
    each, more = divmod(lanes, standing.members)
    return each + (standing.rank < more)


@dataclass(slots=True)
class LaneShare:
    """The lanes of this process. `loop_of` runs the lane at a place until it is cancelled,
    `given_up` is called when it is another's."""

    claims: LaneClaims
    lanes: int
    loop_of: Callable[[int], Coroutine[Any, Any, None]]
    given_up: Callable[[int], None]
    _running: dict[int, "asyncio.Task[None]"] = field(default_factory=dict, init=False)

    async def run_forever(self) -> None:
        """Raises StoreUnavailable, with no lane running any more."""
        try:
            while True:
                await self.step()
                await asyncio.sleep(STANDBY_PAUSE_S)
        finally:
            await stop_all(list(self._running.values()))
            for place in self._running:
                self.given_up(place)

    async def step(self) -> None:
        standing = await self.claims.standing()
        share = share_of(self.lanes, standing)
        # First give up, then take: nobody ever has more than it should have had a moment ago.
        for place in sorted(self._running)[share:]:
            await self._give_up(place)
        # Each begins elsewhere, so that those who start together seldom try the same lane.
        first = standing.rank * self.lanes // standing.members
        for place in ((first + step) % self.lanes for step in range(self.lanes)):
            if len(self._running) >= share:
                break
            await self._try(place)

    async def _try(self, place: int) -> None:
        if place in self._running or not await self.claims.claim(place):
            return
        log.info("lane taken", place=place)
        self._running[place] = asyncio.create_task(self.loop_of(place))

    async def _give_up(self, place: int) -> None:
        await stop_all([self._running[place]])
        # The claim goes last: the next one would only meet our writer lock.
        await self.claims.release(place)
        del self._running[place]
        self.given_up(place)
        log.info("lane given up", place=place)


@dataclass(frozen=True, slots=True)
class SharedLanes:
    """The role where lanes are shared. `loop` supervises a session under a name, `aggregate` is one
    session of the lane at a place."""

    settings: Settings
    loops: Loops
    loop: Callable[[str, Callable[[], Awaitable[None]]], Loop]
    aggregate: Callable[[int], Awaitable[None]]

    async def session(self) -> None:
        """Raises StoreUnavailable."""
        settings = self.settings
        url = settings.session_url
        async with lane_claims(url, settings.first_lane) as claims:
            share = LaneShare(claims, settings.lanes, self._loop_of, self._given_up)
            await share.run_forever()

    def _loop_of(self, place: int) -> Coroutine[Any, Any, None]:
        return self.loop(self._name(place), partial(self.aggregate, place))()

    def _given_up(self, place: int) -> None:
        self.loops.set(self._name(place), LoopState.STANDBY)

    def _name(self, place: int) -> str:
        return f"aggregator {self.settings.first_lane + place}"


@dataclass(slots=True)
class Part:
    """A lane's part of a gauge that shows the sum over the lanes of this process."""

    gauge: Gauge
    shown: float = 0.0

    def set(self, value: float) -> None:
        self.gauge.inc(value - self.shown)
        self.shown = value


@dataclass(slots=True)
class Depth(Part):
    """The same of a lane's lag, which has a series of its own besides."""

    lane: Gauge = field(kw_only=True)

    def set(self, value: float) -> None:
        # Not super(): a class with slots is made twice, and it would name the first one.
        Part.set(self, value)
        self.lane.set(value)


@dataclass(frozen=True, slots=True)
class LaneGauges:
    """What a lane shows of itself while its session runs."""

    bus_depth: Depth
    waiting_frames: Part
    window_reports: Part
    unfolded_bytes: Part

    def parts(self) -> tuple[Part, ...]:
        return self.bus_depth, self.waiting_frames, self.window_reports, self.unfolded_bytes


@contextmanager
def lane_gauges(metrics: Metrics, lane: int) -> Iterator[LaneGauges]:
    """Afterwards the lane shows nothing: a standby that showed old figures would count twice."""
    gauges = LaneGauges(
        Depth(metrics.bus_depth, lane=metrics.lane_frames.labels(str(lane))),
        Part(metrics.waiting_frames),
        Part(metrics.window_reports),
        Part(metrics.unfolded_bytes),
    )
    try:
        yield gauges
    finally:
        for part in gauges.parts():
            part.set(0.0)
        metrics.lane_frames.remove(str(lane))
