"""`corechain bus …` on real servers: what an operator sees, and that nothing is lost on the way.

given a bus with frames and dead letters
  when it is shown
    each lane has its frames, bytes, age and reasons
  when dead letters are replayed
    their reports are on their lanes again, and the letters are gone
  when it is drained, or moved to a bus of another kind
    what was acknowledged by nobody is all there is left, in order
given Kafka's topics
  when the number of lanes grows
    frames stay where they are
  when it shrinks
    only an empty bus is made anew, and nobody calls that a loss
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.forked import completed
from support.processes import PATIENCE_S

from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import DeviceId
from corechain.service.database import create_pool, writer
from corechain.service.settings import InvalidSetting, load
from corechain_relayer.bus import operate
from corechain_relayer.bus.base import Bus, DeadLetter
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.bus.kafka.resize import BusNotEmpty, resize_topics
from corechain_relayer.errors import LanesInUse, LanesMismatch
from corechain_relayer.journal.lanes import hold_lanes
from corechain_relayer.journal.positions import PositionJournal
from corechain_relayer.settings import PREFIX, Settings
from relayer.buses import any_bus_at, frame, kafka_at, read_all, report, sequences, session
from relayer.test_bus_server import watch_of

LANES = 2
LAST = DeviceId(b"\xff" * 20)
"""A device of the last lane, however many there are."""


@pytest.fixture
async def bus(any_bus_url: str) -> AsyncIterator[Bus]:
    async with any_bus_at(any_bus_url, lanes=LANES) as bus:
        yield bus


async def letters(bus: Bus, lane: int) -> list[DeadLetter]:
    return [letter async for page in bus.dead_letters(lane) for letter in page]


async def kept(bus: Bus, lane: int) -> list[int]:
    return [n async for page in bus.backlog(lane) for n in sequences(page)]


async def test_each_lane_is_shown_with_what_nobody_has_acknowledged(bus: Bus) -> None:
    await bus.append(1, frame(1))
    await bus.keep_dead_letter(1, b"nonsense", "MalformedFrame")
    await bus.keep_dead_letter(1, pack_frame(0, [report(3)]), "StaleSequence")
    empty, full = await operate.show(bus)
    nothing = {"frames": 0, "bytes": 0, "oldest_s": None, "dead_letters": {}}
    assert empty == {"lane": 0, **nothing}
    assert (full["lane"], full["frames"]) == (1, 1)
    assert full["bytes"] > len(frame(1).content)
    assert full["dead_letters"] == {"MalformedFrame": 1, "StaleSequence": 1}


async def test_replayed_reports_are_on_their_lanes_and_their_letters_gone(bus: Bus) -> None:
    assert lane_of_device(LAST, LANES) == 1
    await bus.keep_dead_letter(0, pack_frame(0, [report(4, LAST)]), "UnknownDevice")
    await bus.keep_dead_letter(0, pack_frame(0, [report(5)]), "StaleSequence")
    await bus.keep_dead_letter(0, b"nonsense", "MalformedFrame")
    done = await operate.replay(bus, "UnknownDevice", range(LANES))
    assert (done.reports, done.unreadable) == (1, 0)
    assert done.left == {"MalformedFrame": 1, "StaleSequence": 1}
    assert [await kept(bus, lane) for lane in range(LANES)] == [[], [4]]
    assert [letter.reason for letter in await letters(bus, 0)] == [
        "StaleSequence",
        "MalformedFrame",
    ]
    rest = await operate.replay(bus, None, range(LANES))
    assert (rest.reports, rest.unreadable, rest.left) == (1, 1, {})
    assert [letter.payload for letter in await letters(bus, 0)] == [b"nonsense"]


async def test_a_bus_is_drained_when_all_is_acknowledged(bus: Bus) -> None:
    await bus.append(0, frame(1))
    assert await operate.drain(bus, 0.0) == 1
    async with session(bus) as consumer:
        await consumer.ack([delivery.id for delivery in await read_all(consumer, 1)])
    assert await operate.drain(bus, 0.0) == 0


@pytest.mark.parametrize("back", [False, True], ids=["to kafka", "to valkey"])
async def test_a_bus_is_moved_without_what_was_acknowledged(
    bus_url: str, kafka_url: str, back: bool
) -> None:
    old_url, new_url = (kafka_url, bus_url) if back else (bus_url, kafka_url)
    async with any_bus_at(old_url, lanes=LANES) as old, any_bus_at(new_url, lanes=LANES) as new:
        for sequence in range(70):
            await old.append(sequence % LANES, frame(sequence))
        async with session(old) as consumer:
            first, *_ = await read_all(consumer, 35)
            await consumer.ack([first.id])
        await old.keep_dead_letter(1, b"letter", "StaleSequence")
        assert await operate.move(old, new) == {"frames": 69, "dead_letters": 1}
        assert await kept(new, 0) == list(range(2, 70, 2))
        assert await kept(new, 1) == list(range(1, 70, 2))
        assert [letter.payload for letter in await letters(new, 1)] == [b"letter"]
        assert (await old.depth(), await letters(old, 1)) == (0, [])
        assert await operate.move(old, new) == {"frames": 0, "dead_letters": 0}


# ------------------------------------------------------------------ the number of lanes


def settings_of(url: str, database: str, lanes: int) -> Settings:
    given = {
        "RPC_URL": "http://127.0.0.1:1",
        "DEPLOYMENT": "none.json",
        "DATA_DIR": "none",
        "BUS_URL": url,
        "DATABASE_URL": database,
        "KAFKA_COPIES": "1",
        "LANES": str(lanes),
    }
    return load(Settings, {PREFIX + name: value for name, value in given.items()})


async def refused(bus: Bus) -> None:
    """Returns when a process of the old number has noticed: it asks every few seconds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.inspect()
            except LanesMismatch:
                return
            await asyncio.sleep(0.1)


async def test_more_lanes_leave_the_frames_where_they_are(kafka_url: str, database: str) -> None:
    async with kafka_at(kafka_url) as bus:
        await bus.enter(0)
        await bus.append(0, frame(1))
        done = await resize_topics(settings_of(kafka_url, database, 3))
        assert (done.before, done.now) == (1, 3)
        await refused(bus)
    async with kafka_at(kafka_url, lanes=3) as bus:
        for lane in range(3):
            await bus.enter(lane)
        assert [await kept(bus, lane) for lane in range(3)] == [[1], [], []]
        await bus.append(2, frame(2))
        await bus.keep_dead_letter(2, b"letter", "StaleSequence")


async def test_fewer_lanes_want_an_empty_bus_and_are_no_loss(kafka_url: str, database: str) -> None:
    pool = create_pool(database)
    await pool
    async with kafka_at(kafka_url, lanes=3) as bus:
        await resize_topics_to_make_tables(kafka_url, database, bus)
        store = PositionJournal(pool)
        watch, told = watch_of(bus, store)
        await bus.append(2, frame(2))
        await bus.keep_dead_letter(2, b"letter", "StaleSequence")
        await watch.look()
        with pytest.raises(BusNotEmpty, match="has 1 frames that are not sealed"):
            await resize_topics(settings_of(kafka_url, database, 1))
        async with session(bus, 2) as consumer:
            await consumer.ack([delivery.id for delivery in await read_all(consumer, 1)])
        done = await resize_topics(settings_of(kafka_url, database, 1))
        assert (done.before, done.now) == (3, 1)
    async with kafka_at(kafka_url, lanes=1) as bus:
        watch, told = watch_of(bus, store)
        await watch.look()
        assert told == []
        assert [letter.payload for letter in await letters(bus, 0)] == [b"letter"]
        await bus.append(0, frame(1))
    await pool.close()


async def resize_topics_to_make_tables(url: str, database: str, bus: Bus) -> None:
    """Nothing is to be changed; the journal's tables are there afterwards."""
    for lane in range(bus.lanes):
        await bus.enter(lane)
    done = await resize_topics(settings_of(url, database, bus.lanes))
    assert (done.before, done.now) == (bus.lanes, bus.lanes)


async def test_lanes_are_not_changed_under_an_aggregator_that_divides_by_others(
    kafka_url: str, database: str
) -> None:
    async with kafka_at(kafka_url, lanes=2) as bus:
        await resize_topics_to_make_tables(kafka_url, database, bus)
    async with writer(database, "an aggregator") as connection:
        await hold_lanes(connection, 2)
        with pytest.raises(LanesInUse):
            await resize_topics(settings_of(kafka_url, database, 4))


async def test_only_kafkas_topics_have_to_be_resized(bus_url: str, database: str) -> None:
    with pytest.raises(InvalidSetting, match="only Kafka's topics"):
        await resize_topics(settings_of(bus_url, database, 2))


def test_the_command_shows_the_bus_as_json(environment: dict[str, str], tmp_path: Path) -> None:
    done = completed("corechain.cli", ["bus", "show"], environment)
    assert done.returncode == 0, done.stderr
    (lane,) = json.loads(done.stdout)
    assert lane["frames"] == 0
