"""What every bus promises to gateways and aggregators, on real servers: Valkey and Kafka.

given a lane of the bus
  when a consumer reads
    what it holds is not delivered to it again
    what its predecessors left is delivered to it once, in order
    what was acknowledged is delivered to nobody, in whatever order that happened
  when gateways append
    a limit is a lane's own; a used sequence is found, whoever has used it
  when somebody looks
    depth, bytes and backlog are what is not acknowledged
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.base import Bus, DeadLetter, Delivery
from corechain_relayer.bus.frame import frame_of
from corechain_relayer.bus.room import FRAME_OVERHEAD, Limits
from corechain_relayer.errors import BusFull, BusRestarted, SequenceInUse
from relayer.buses import (
    DEVICE,
    any_bus_at,
    bus_at,
    frame,
    kafka_at,
    read_all,
    report,
    sequences,
    session,
)


@pytest.fixture
async def bus(any_bus_url: str) -> AsyncIterator[Bus]:
    async with any_bus_at(any_bus_url) as bus:
        yield bus


async def fill(bus: Bus, count: int, lane: int = 0) -> None:
    for sequence in range(count):
        await bus.append(lane, frame(sequence))


async def kept(bus: Bus, lane: int = 0, after: str = "0") -> list[Delivery]:
    return [delivery async for page in bus.backlog(lane, after) for delivery in page]


# ------------------------------------------------------------------ reading


async def test_frames_come_in_the_order_in_which_they_were_appended(bus: Bus) -> None:
    async with session(bus) as consumer:
        await fill(bus, 5)
        assert sequences(await read_all(consumer, 5)) == [0, 1, 2, 3, 4]
        assert await consumer.read(10, 0.01) == [], "what it holds does not come again"
        await bus.append(0, frame(5))
        assert sequences(await read_all(consumer, 1)) == [5]


async def test_frames_from_before_the_first_consumer_are_delivered(bus: Bus) -> None:
    await fill(bus, 3)
    async with session(bus) as consumer:
        assert sequences(await read_all(consumer, 3)) == [0, 1, 2]


async def test_the_next_session_gets_what_the_last_one_left_once_and_in_order(bus: Bus) -> None:
    async with session(bus) as first:
        await fill(bus, 7)
        left = await read_all(first, 7)
        await first.ack([left[1].id, left[4].id])
    async with session(bus) as second:
        found = await read_all(second, 5, page=2)
        assert sequences(found) == [0, 2, 3, 5, 6]
        assert await second.read(10, 0.01) == []
        await second.ack([delivery.id for delivery in found])
    async with session(bus) as third:
        assert await third.read(10, 0.01) == []
        assert await third.depth() == 0


async def test_a_session_that_was_killed_leaves_all_that_it_had_read(bus: Bus) -> None:
    killed = bus.consumer(0)
    await killed.open()
    await fill(bus, 3)
    await read_all(killed, 3)
    async with session(bus) as next_one:
        assert sequences(await read_all(next_one, 3)) == [0, 1, 2]
    await killed.aclose()


async def test_a_page_is_no_longer_than_was_asked_for(bus: Bus) -> None:
    await fill(bus, 5)
    async with session(bus) as consumer:
        assert len(await read_all(consumer, 1, page=2)) <= 2
        assert sequences(await read_all(consumer, 3)) == [2, 3, 4]


async def test_what_can_be_in_no_batch_is_set_aside_and_comes_no_more(bus: Bus) -> None:
    async with session(bus) as consumer:
        await fill(bus, 2)
        bad, good = await read_all(consumer, 2)
        await consumer.set_aside(bad, "MalformedFrame")
        await consumer.dead_letter(b"part", "StaleSequence")
        await consumer.ack([good.id])
        assert await bus.depth() == 0
    async with session(bus) as again:
        assert await again.read(10, 0.01) == []


# ------------------------------------------------------------------ writing


async def test_a_lanes_limit_of_frames_is_its_own(any_bus_url: str) -> None:
    async with any_bus_at(any_bus_url, lanes=2, limits=Limits(2)) as bus:
        await fill(bus, 2)
        with pytest.raises(BusFull):
            await bus.append(0, frame(3))
        await bus.append(1, frame(3))
        await bus.append(0, frame(4), limited=False)
        assert await bus.depth() == 4


async def test_acknowledged_frames_make_room(any_bus_url: str) -> None:
    async with any_bus_at(any_bus_url, limits=Limits(2)) as bus, session(bus) as consumer:
        await fill(bus, 2)
        first, _ = await read_all(consumer, 2)
        await consumer.ack([first.id])
        await bus.append(0, frame(2))
        with pytest.raises(BusFull):
            await bus.append(0, frame(3))


async def test_a_lane_has_a_limit_of_bytes(any_bus_url: str) -> None:
    size = len(frame(0).content) + FRAME_OVERHEAD
    async with any_bus_at(any_bus_url, limits=Limits(0, 2 * size)) as bus:
        await fill(bus, 2)
        with pytest.raises(BusFull):
            await bus.append(0, frame(2))
        async with session(bus) as consumer:
            await consumer.ack([delivery.id for delivery in await read_all(consumer, 2)])
        await bus.look()
        await bus.append(0, frame(2))


async def test_a_sequence_that_may_be_in_use_is_not_appended_as_fresh(bus: Bus) -> None:
    highest = 2**64 - 2
    await bus.append(0, frame(5, highest - 1), fresh=True)
    for used in (5, highest - 1):
        with pytest.raises(SequenceInUse):
            await bus.append(0, frame(used), fresh=True)
    await bus.append(0, frame(highest), fresh=True)
    await bus.append(0, frame(5), fresh=False)
    assert await bus.depth() == 3
    assert await bus.newest(DEVICE, 1) == highest
    assert await bus.newest(DeviceId(bytes(20)), 1) is None


async def test_of_several_reports_of_a_device_the_lowest_and_the_highest_count(
    bus: Bus,
) -> None:
    other = DeviceId(bytes(20))
    await bus.append(0, frame_of(0, [report(n) for n in (4, 7, 5)]), fresh=True)
    assert await bus.newest(DEVICE, 1) == 7
    with pytest.raises(SequenceInUse):
        await bus.append(0, frame_of(0, [report(6), report(1, other), report(9)]), fresh=True)
    assert await bus.newest(other, 1) is None, "nothing of it was appended"
    await bus.append(0, frame_of(0, [report(8), report(1, other), report(9)]), fresh=True)
    assert [await bus.newest(device, 1) for device in (DEVICE, other)] == [9, 1]


async def test_what_another_gateway_has_appended_is_known(any_bus_url: str) -> None:
    async with any_bus_at(any_bus_url) as ours, any_bus_at(any_bus_url) as theirs:
        await ours.append(0, frame(1), fresh=True)
        await theirs.append(0, frame(7), fresh=True)
        with pytest.raises(SequenceInUse):
            await ours.append(0, frame(6), fresh=True)
        await ours.append(0, frame(8), fresh=True)
        assert await theirs.newest(DEVICE, 1) == 8
        assert sequences(await kept(theirs)) == [1, 7, 8]


async def test_a_frame_of_very_many_devices_is_appended_in_one_step(bus: Bus) -> None:
    many = [report(7, DeviceId(number.to_bytes(20, "big"))) for number in range(2500)]
    await bus.append(0, frame_of(0, many), fresh=True)
    higher = [report(8, signed.report.device) for signed in many[:-1]] + [many[-1]]
    with pytest.raises(SequenceInUse):
        await bus.append(0, frame_of(0, higher), fresh=True)
    assert await bus.newest(many[0].report.device, 1) == 7, "nothing of it was appended"


async def test_appends_of_many_requests_are_all_there_in_order(bus: Bus) -> None:
    await asyncio.gather(*(bus.append(0, frame(sequence)) for sequence in range(300)))
    assert sequences(await kept(bus)) == list(range(300))


async def test_a_lane_that_was_not_entered_takes_nothing(any_bus_url: str) -> None:
    at = kafka_at if any_bus_url.startswith("kafka") else bus_at
    async with at(any_bus_url) as bus:
        with pytest.raises(BusRestarted):
            await bus.append(0, frame(1))
        await bus.enter(0)
        await bus.append(0, frame(1))
        assert await bus.depth() == 1


# ------------------------------------------------------------------ looking


async def test_the_backlog_is_what_is_not_acknowledged(bus: Bus) -> None:
    await fill(bus, 120)
    async with session(bus) as consumer:
        held = await read_all(consumer, 120)
        await consumer.ack([delivery.id for delivery in held[:10]])
    assert sequences(await kept(bus)) == list(range(10, 120))
    assert sequences(await kept(bus, after=held[99].id)) == list(range(100, 120))
    assert await kept(bus, after=held[-1].id) == []
    assert await bus.depth() == 110


async def test_a_look_shows_frames_and_bytes_of_a_lane(any_bus_url: str) -> None:
    size = len(frame(0).content) + FRAME_OVERHEAD
    async with any_bus_at(any_bus_url, lanes=2) as bus, session(bus, 1) as consumer:
        await fill(bus, 4, lane=1)
        await bus.look()
        assert [room.bytes_kept for room in bus.rooms.lanes] == [0, 4 * size]
        held = await read_all(consumer, 4)
        await consumer.ack([delivery.id for delivery in held[:3]])
        await bus.look()
        assert [room.bytes_kept for room in bus.rooms.lanes] == [0, size]


async def test_a_full_lane_is_known_before_anything_is_sent(any_bus_url: str) -> None:
    async with any_bus_at(any_bus_url, limits=Limits(2)) as bus:
        await fill(bus, 2)
        await bus.look()
        refusal = bus.rooms.refusal()
        assert refusal is not None
        assert refusal.reason == "frames"


async def test_positions_count_what_was_ever_appended(any_bus_url: str) -> None:
    async with any_bus_at(any_bus_url) as bus, session(bus) as consumer:
        await fill(bus, 3)
        await consumer.ack([delivery.id for delivery in await read_all(consumer, 3)])
        assert bus.positions[0].appended == 3
    async with any_bus_at(any_bus_url) as later:
        assert later.positions[0] == bus.positions[0]


async def test_refused_reports_do_not_fill_the_bus(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("valkey", "kafka.bus"):
        monkeypatch.setattr(f"corechain_relayer.bus.{module}.DEAD_LETTERS_MAX", 2)
    for _ in range(4):
        await bus.dead_letter(0, b"letter", "ConflictingSequence")
    await bus.keep_dead_letter(0, b"letter", "StaleSequence")
    assert len(await letters(bus)) == 3


# ------------------------------------------------------------------ dead letters


async def letters(bus: Bus) -> list[DeadLetter]:
    return [letter async for page in bus.dead_letters(0) for letter in page]


async def test_dead_letters_are_kept_with_their_reasons_until_they_are_forgotten(bus: Bus) -> None:
    for number in range(60):
        await bus.keep_dead_letter(0, b"letter %d" % number, "Even" if number % 2 == 0 else "Odd")
    found = await letters(bus)
    assert [letter.payload for letter in found] == [b"letter %d" % number for number in range(60)]
    even = {letter.id for letter in found if letter.reason == "Even"}
    await bus.forget_dead_letters(0, even)
    assert [letter.payload for letter in await letters(bus)] == [
        b"letter %d" % number for number in range(1, 60, 2)
    ]
    await bus.forget_dead_letters(0, {letter.id for letter in await letters(bus)})
    assert await letters(bus) == []
