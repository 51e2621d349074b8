"""Notices a bus that went back behind what was acknowledged.

A server that was restarted without its append-only file, restored from a copy, or replaced by a
replica that lagged, has lost frames whose devices were told that they are safe. Nobody can bring
them back but the devices: they must not be told that those reports were delivered.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.base import Bus, Position, frames_lost
from corechain_relayer.errors import BusNotDurable, BusUnavailable, LanesMismatch
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""What is acknowledged for so long is in the journal's memory: a loss of it is noticed even when
every process was stopped with the bus."""
NOTICE = "bus-regressed"


class PositionStore(Protocol):
    """Where positions outlive both the bus and this process. Raises StoreUnavailable."""

    async def positions(self, stream: str) -> Mapping[int, Position]: ...

    async def keep_positions(self, stream: str, positions: Mapping[int, Position]) -> None: ...


@dataclass(slots=True)
class BusWatch:
    """Enters lanes, compares where they are with where they were, and says what is lost."""

    bus: Bus
    lanes: Sequence[int]
    store: PositionStore
    metrics: Metrics
    lost: list[Callable[[int], None]] = field(default_factory=list)
    """Called with the lane, before anything is appended to it again."""
    notices: dict[str, str] = field(default_factory=dict)
    """For `/ready`: what an operator has to know though it works again."""
    _kept: dict[int, Position] = field(default_factory=dict)
    _compared: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def watch_forever(self) -> None:
        while True:
            await self.look_or_log()
            await asyncio.sleep(LOOK_S)

    async def look_or_log(self) -> None:
        try:
            await self.look()
        except (BusUnavailable, BusNotDurable, LanesMismatch, StoreUnavailable) as error:
            log.debug("bus not looked at", error=str(error))  # the probes of /ready say it louder

    async def look(self) -> None:
        """Raises BusUnavailable, BusNotDurable, StoreUnavailable."""
        await self.bus.inspect()
        for lane in self.lanes:
            await self.enter(lane)
        await self._compare_with_store()
        await self._keep()

    async def enter(self, lane: int) -> None:
        """Makes appends to the lane possible. Raises BusUnavailable, BusNotDurable."""
        async with self._lock:  # whoever waits here must find the loss dealt with
            known = self.bus.positions.get(lane)
            now = await self.bus.enter(lane)
            if known is not None:
                self._notice(lane, frames_lost(known, now))

    async def _compare_with_store(self) -> None:
        """Once, as soon as the journal can be read: what was known before this process began."""
        if self._compared:
            return
        stored = await self.store.positions(self.bus.name)
        for lane, known in stored.items():
            if lane not in self.bus.positions:
                continue
            if frames_lost(known, self.bus.positions[lane]):
                # Other processes append, and say so in the journal: a look at the bus that is older
                # than their word proves nothing.
                await self.enter(lane)
            self._notice(lane, frames_lost(known, self.bus.positions[lane]))
        self._compared = True

    async def _keep(self) -> None:
        positions = {lane: self.bus.positions[lane] for lane in self.lanes}
        if positions == self._kept:
            return
        await self.store.keep_positions(self.bus.name, positions)
        self._kept = positions

    def _notice(self, lane: int, frames: int) -> None:
        if frames == 0:
            return
        log.error("bus lost acknowledged frames", lane=lane, frames=frames)
        self.metrics.bus_regressed.inc()
        self.notices[NOTICE] = (
            f"the bus lost {frames} acknowledged frames of lane {lane}; devices may send them again"
        )
        for tell in self.lost:
            tell(lane)
