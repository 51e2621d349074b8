"""Brings reports to the lane that they belong to, where they lie on another one.

That is so after the number of lanes was changed, and after an upgrade from a version that had one
stream for all. Each step may be repeated: what is appended twice is counted once by its own lane.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from corechain.protocol.frame import Columns
from corechain_relayer.aggregator.checks import by_lane
from corechain_relayer.bus.base import Bus, Leftover
from corechain_relayer.bus.frame import (
    NO_KEYS,
    FrameKeys,
    MalformedFrame,
    OpenedFrame,
    Place,
    frame_of_columns,
    open_frame,
)
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.errors import BusRestarted
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

DRAIN_S = 5.0
"""How often abandoned streams are looked at: a gateway of the old configuration may still write."""


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Appends to other lanes, durably, before the caller lets go of what it read."""

    bus: Bus
    watch: BusWatch
    metrics: Metrics
    keys: FrameKeys
    place: Place

    async def forward(self, opened: OpenedFrame, others: Mapping[int, Columns]) -> None:
        """Lane → reports of a frame: vouched for as the frame is. Raises BusUnavailable,
        BusNotDurable."""
        keys = self.keys if opened.vouched else NO_KEYS
        for lane, columns in others.items():
            place = replace(self.place, lane=lane)
            frame = frame_of_columns(opened.received_at_ms, columns, keys, place)
            # No limit: it is on the bus already, and the lane it is on may be what is in the way.
            if lane not in self.bus.positions:
                await self.watch.enter(lane)
            try:
                await self.bus.append(lane, frame, limited=False)
            except BusRestarted:
                await self.watch.enter(lane)
                await self.bus.append(lane, frame, limited=False)
            self.metrics.reports_forwarded.inc(len(columns))


@dataclass(frozen=True, slots=True)
class Drain:
    """Empties what no aggregator reads any more. The first lane's does it, alone."""

    forwarder: Forwarder
    lanes: int
    leftovers: Sequence[Leftover]

    async def run_forever(self) -> None:
        while True:
            for leftover in self.leftovers:
                await self.drain(leftover)
            await asyncio.sleep(DRAIN_S)

    async def drain(self, leftover: Leftover) -> None:
        """Forwards what is there now, then deletes it there."""
        async for page in leftover.pages():
            for delivery in page:
                await self._forward(delivery.payload)
            if page:
                await leftover.remove([delivery.id for delivery in page])
                log.info("frames divided anew", stream=leftover.name, frames=len(page))

    async def _forward(self, payload: bytes) -> None:
        try:
            # The lane that it was sealed for is no more: its signatures are checked again.
            opened = open_frame(payload)
        except MalformedFrame as error:
            await self.forwarder.bus.keep_dead_letter(0, payload, error.name)
            self.forwarder.metrics.dead_letters.labels(error.name).inc()
            return
        await self.forwarder.forward(opened, by_lane(opened.columns, self.lanes))
