"""Brings reports to the lane that they belong to, where they lie on another one.

That is so after the number of lanes was changed, and after an upgrade from a version that had one
stream for all. Each step may be repeated: what is appended twice is counted once by its own lane.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import SignedReport
from corechain_relayer.bus.connection import asked, pages
from corechain_relayer.bus.frame import Frame, MalformedFrame, frame_of, unpack_frame
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.errors import BusRestarted
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

DRAIN_S = 5.0
"""How often abandoned streams are looked at: a gateway of the old configuration may still write."""


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Appends to other lanes, durably, before the caller lets go of what it read."""

    bus: ValkeyBus
    watch: BusWatch
    metrics: Metrics

    async def forward(
        self, received_at_ms: int, reports: Mapping[int, Sequence[SignedReport]]
    ) -> None:
        """Lane → reports. Raises BusUnavailable, BusNotDurable."""
        for lane, group in reports.items():
            frame = frame_of(received_at_ms, group)
            # No limit: it is on the bus already, and the lane it is on may be what is in the way.
            if lane not in self.bus.positions:
                await self.watch.enter(lane)
            try:
                await self.bus.append(lane, frame, limited=False)
            except BusRestarted:
                await self.watch.enter(lane)
                await self.bus.append(lane, frame, limited=False)
            self.metrics.reports_forwarded.inc(len(group))


@dataclass(frozen=True, slots=True)
class Drain:
    """Empties streams that no aggregator reads any more. The first lane's does it, alone."""

    forwarder: Forwarder
    lanes: int
    streams: Sequence[str]

    async def run_forever(self) -> None:
        while True:
            for stream in self.streams:
                await self.drain(stream)
            await asyncio.sleep(DRAIN_S)

    async def drain(self, stream: str) -> None:
        """Forwards what is on the stream now, then deletes it there."""
        bus = self.forwarder.bus
        async for page in pages(bus.redis, stream):
            for delivery in page:
                await self._forward(delivery.payload)
            if page:
                await asked(bus.redis.xdel(stream, *(delivery.id for delivery in page)))
                log.info("frames divided anew", stream=stream, frames=len(page))

    async def _forward(self, payload: bytes) -> None:
        try:
            frame = unpack_frame(payload)
        except MalformedFrame as error:
            await self.forwarder.bus.keep_dead_letter(0, payload, error.name)
            self.forwarder.metrics.dead_letters.labels(error.name).inc()
            return
        await self.forwarder.forward(frame.received_at_ms, self._by_lane(frame))

    def _by_lane(self, frame: Frame) -> Mapping[int, Sequence[SignedReport]]:
        by_lane: dict[int, list[SignedReport]] = {}
        for signed in frame.reports:
            lane = lane_of_device(signed.report.device, self.lanes)
            by_lane.setdefault(lane, []).append(signed)
        return by_lane
