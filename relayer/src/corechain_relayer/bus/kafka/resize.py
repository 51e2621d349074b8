"""Changes the number of a bus's lanes on Kafka, which adds partitions and never removes them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.errors import CoreChainError
from corechain.service.database import asked, create_pool, migrate, writer
from corechain.service.settings import InvalidSetting
from corechain_relayer.bus.base import Position
from corechain_relayer.bus.kafka.address import SCHEME
from corechain_relayer.errors import BusUnavailable
from corechain_relayer.journal.lanes import hold_lanes
from corechain_relayer.journal.positions import PositionJournal
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics

if TYPE_CHECKING:
    from corechain.service.database import Conn
    from corechain_relayer.bus.kafka.bus import KafkaBus
    from corechain_relayer.settings import Settings

LIMIT_S = 30.0
"""A deleted topic is gone, and a new one known, within so long."""


class BusNotEmpty(CoreChainError):
    """A topic that has to be made anew still has frames that nobody has sealed."""

    def __init__(self, topic: str, frames: int) -> None:
        super().__init__(
            f"topic {topic} has {frames} frames that are not sealed: run the aggregators with the "
            "old RELAYER_LANES until `corechain bus drain` ends, then stop them"
        )
        self.topic, self.frames = topic, frames


@dataclass(frozen=True, slots=True)
class Resized:
    """Partitions of the frames' topic."""

    before: int
    now: int


async def resize_topics(settings: "Settings") -> Resized:
    """Raises BusNotEmpty, LanesInUse, BusUnavailable, StoreUnavailable, InvalidSetting."""
    from corechain_relayer.bus.opening import open_kafka

    if not settings.bus_url.get_secret_value().startswith(SCHEME):
        raise InvalidSetting("RELAYER_BUS_URL: only Kafka's topics have to be resized")
    bus, url = open_kafka(settings, Metrics()), settings.session_url
    await migrate(url, migrations())
    try:
        async with writer(url, "bus resize") as connection:
            await hold_lanes(connection, settings.lanes)  # no aggregator of another number runs
            return await connection.during(_resize(bus, url, connection))
    finally:
        await bus.close()


async def _resize(bus: "KafkaBus", url: str, lock: "Conn") -> Resized:
    topics = bus.address.reports, bus.address.dead
    states = await bus.call(bus.link.describe, topics)
    if bus.address.reports not in states:
        raise BusUnavailable(f"Kafka: there is no topic {bus.address.reports} to resize")
    before = states[bus.address.reports].partitions
    if before > bus.lanes:
        await _shrink(bus, before, url, lock)
    elif before < bus.lanes:
        await _grow(bus, {topic: state.partitions for topic, state in states.items()})
    return Resized(before, bus.lanes)


async def _grow(bus: "KafkaBus", partitions: Mapping[str, int]) -> None:
    for topic, count in partitions.items():
        if count < bus.lanes:
            await bus.call(bus.link.grow, topic, bus.lanes)
    await _until_as_wanted(bus)


async def _require_empty(bus: "KafkaBus", before: int) -> None:
    frames = await bus.call(bus.unsealed, range(before))
    if frames:
        raise BusNotEmpty(bus.address.reports, frames)


async def _shrink(bus: "KafkaBus", before: int, url: str, lock: "Conn") -> None:
    """Dead letters stay: their topic keeps its partitions, and what lies beyond the lanes is moved
    to the first one."""
    await _require_empty(bus, before)
    for lane in range(bus.lanes, before):
        async for page in bus.dead_letters(lane):
            for letter in page:
                await bus.keep_dead_letter(0, letter.payload, letter.reason)
            await bus.call(bus.link.forget, bus.address.dead, lane, int(page[-1].id))
    # Who was stopped meanwhile (Ctrl-Z) has no lock any more, and finds processes at work.
    await asked(lock.fetchval("select 1"))
    await _require_empty(bus, before)
    await bus.call(bus.link.delete, bus.address.reports)
    await _until_as_wanted(bus)
    await _begin_anew(bus, url)


async def _begin_anew(bus: "KafkaBus", url: str) -> None:
    """The new topic is empty on purpose: nobody is to call that a loss."""
    assert bus.run is not None, "it was inspected"
    pool = create_pool(url)
    await pool
    try:
        begun = {lane: Position(bus.run, 0, 0) for lane in range(bus.lanes)}
        await PositionJournal(pool).keep_positions(bus.name, begun)
    finally:
        await pool.close()


async def _until_as_wanted(bus: "KafkaBus") -> None:
    """The topic is there with its partitions; `inspect` makes one that is missing."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            await bus.inspect()
            return
        except CoreChainError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)
