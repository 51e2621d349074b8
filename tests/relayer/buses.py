"""Buses and frames for the tests of the bus."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType
from typing import TypeVar

from support.processes import PATIENCE_S

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.supervision import stop_all
from corechain_relayer.bus.base import Bus, Consumer, Delivery
from corechain_relayer.bus.connection import connect
from corechain_relayer.bus.consumer import ValkeyConsumer
from corechain_relayer.bus.frame import PackedFrame, frame_of, unpack_frame
from corechain_relayer.bus.guard import Guard
from corechain_relayer.bus.kafka.address import SCHEME, parse_address
from corechain_relayer.bus.kafka.bus import KafkaBus
from corechain_relayer.bus.kafka.guard import Wanted
from corechain_relayer.bus.kafka.link import Link
from corechain_relayer.bus.room import Limits
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.metrics import Metrics

B = TypeVar("B", bound=Bus)
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
    async with written(
        ValkeyBus(connect(url, guard), guard, stream, lanes, limits, Metrics())
    ) as bus:
        yield bus


ONE_BROKER = Wanted(1, 1 << 20)


@asynccontextmanager
async def kafka_at(
    url: str,
    lanes: int = 1,
    limits: Limits = LIMITS,
    wanted: Wanted = ONE_BROKER,
    vouched: bool = False,
    options: Mapping[str, str] = MappingProxyType({}),
    again: Callable[[], Mapping[str, str]] | None = None,
) -> AsyncIterator[KafkaBus]:
    link = Link(parse_address(url), options, again)
    async with written(KafkaBus(link, lanes, limits, wanted, vouched, Metrics())) as bus:
        yield bus


@asynccontextmanager
async def written(bus: B) -> AsyncIterator[B]:
    """Appends reach the server, and all is closed at the end."""
    writing = asyncio.create_task(bus.write_forever())
    try:
        yield bus
    finally:
        await stop_all([writing])
        await bus.close()


@asynccontextmanager
async def any_bus_at(url: str, lanes: int = 1, limits: Limits = LIMITS) -> AsyncIterator[Bus]:
    """A bus of the kind that its URL says, all lanes entered."""
    at = kafka_at if url.startswith(SCHEME) else bus_at
    async with at(url, lanes=lanes, limits=limits) as bus:
        for lane in range(lanes):
            await bus.enter(lane)
        yield bus


@asynccontextmanager
async def session(bus: Bus, lane: int = 0) -> AsyncIterator[Consumer]:
    """A consumer's, from its opening to its end."""
    async with aclosing(bus.consumer(lane)) as consumer:
        await consumer.open()
        yield consumer


async def read_all(consumer: Consumer, frames: int, page: int = 64) -> list[Delivery]:
    """So many frames, however long the server takes to hand them out."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < frames:
            found += await consumer.read(page, 0.05)
    return found


def consumer_of(bus: ValkeyBus, lane: int = 0) -> ValkeyConsumer:
    return bus.consumer(lane)


def sequences(deliveries: list[Delivery]) -> list[int]:
    return [
        signed.report.sequence
        for delivery in deliveries
        for signed in unpack_frame(delivery.payload).reports
    ]
