"""Buses and frames for the tests of the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.supervision import stop_all
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.connection import connect
from corechain_relayer.bus.consumer import ValkeyConsumer
from corechain_relayer.bus.frame import PackedFrame, frame_of, unpack_frame
from corechain_relayer.bus.guard import Guard
from corechain_relayer.bus.room import Limits
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.metrics import Metrics

LIMITS = Limits(1000)
DEVICE = DeviceId(b"\x07" * 20)


def report(sequence: int, device: DeviceId = DEVICE) -> SignedReport:
    return SignedReport(Report.of(device, sequence, [Observation(1, 0, 1000, 5)]), bytes(64))


def frame(*sequences: int) -> PackedFrame:
    return frame_of(0, [report(sequence) for sequence in sequences])


@asynccontextmanager
async def bus_at(
    url: str,
    stream: str = "test",
    vouched: bool = False,
    lanes: int = 1,
    limits: Limits = LIMITS,
) -> AsyncIterator[ValkeyBus]:
    guard = Guard(vouched)
    bus = ValkeyBus(connect(url, guard), guard, stream, lanes, limits, Metrics())
    writing = asyncio.create_task(bus.write_forever())
    try:
        yield bus
    finally:
        await stop_all([writing])
        await bus.close()


def consumer_of(bus: ValkeyBus, lane: int = 0) -> ValkeyConsumer:
    return ValkeyConsumer(bus.redis, bus.guard, bus.keys(lane))


def sequences(deliveries: list[Delivery]) -> list[int]:
    return [
        signed.report.sequence
        for delivery in deliveries
        for signed in unpack_frame(delivery.payload).reports
    ]
