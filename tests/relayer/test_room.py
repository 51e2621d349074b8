"""Back-pressure: what a full lane cannot take is refused before anything is checked.

given looks at a lane
  when a limit is met, it refuses, with a time to come again; when there is room, it does not
given a bus that nobody reads
  when its bytes are at the limit, no gateway passes it, and all know
  when it is read again, there is room again
given a gateway without an aggregator
  when the lane is full, it says 503 with Retry-After; all is in after retries
"""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.processes import PATIENCE_S

from corechain.protocol.errors import Overloaded
from corechain_relayer.bus.room import (
    FRAME_OVERHEAD,
    LONGEST_PAUSE_S,
    LONGEST_RETRY_S,
    RETRY_S,
    LaneRoom,
    Limits,
    Look,
    Rooms,
)
from corechain_relayer.errors import BusFull
from corechain_relayer.gateway.body import BodyLimits
from relayer.buses import bus_at, consumer_of, frame
from relayer.conftest import Start
from relayer.support import Chain, Sensor, eventually
from relayer.test_crash import committed_reports, key_of
from relayer.test_outage import metric


def room_at(limits: Limits, *looks: Look) -> LaneRoom:
    room = LaneRoom(limits)
    for look in looks:
        room.looked(look)
    return room


def look(at: float, appended: int, read: int, frames: int = 1, removed: int = 0) -> Look:
    return Look(at, frames, appended, removed, read)


def test_nothing_is_refused_before_the_first_look() -> None:
    room = LaneRoom(Limits(1, 1, 1.0))
    room.added(10)
    assert room.refusal is None


def test_each_limit_is_refused_by_name() -> None:
    full = {
        "frames": room_at(Limits(5), look(0, 100, 0, frames=5)),
        "bytes": room_at(Limits(99, 100), look(0, 150, 0, removed=50)),
        "drain": room_at(Limits(99, 10**6, 10.0), look(0, 5000, 0), look(10, 5000, 1000)),
    }
    for name, room in full.items():
        assert room.refusal is not None, name
        assert room.refusal.reason == name
        assert 1 <= room.refusal.retry_after_s <= LONGEST_RETRY_S


def test_below_its_limits_a_lane_takes_more() -> None:
    assert room_at(Limits(5), look(0, 100, 0, frames=4)).refusal is None
    assert room_at(Limits(99, 100), look(0, 149, 0, removed=50)).refusal is None
    drained = room_at(Limits(99, 10**6, 10.0), look(0, 5000, 0), look(10, 5000, 4000))
    assert (drained.rate, drained.drain_s, drained.refusal) == (400.0, 2.5, None)


def test_what_we_append_ourselves_counts_before_the_next_look() -> None:
    room = room_at(Limits(99, 100), look(0, 80, 0))
    room.added(100)
    assert room.refusal is not None
    room.looked(look(1, 100, 0, removed=50))
    assert room.refusal is None


def test_an_aggregator_that_stands_still_has_no_rate_and_is_bounded_by_bytes() -> None:
    still = [look(at, 1000 + at, 0) for at in range(0, 600, 10)]
    room = room_at(Limits(99, 10**6, 1.0), *still)
    assert (room.rate, room.refusal) == (None, None)
    full = room_at(Limits(99, 1000, 1.0), *still)
    assert full.refusal is not None
    assert full.refusal.retry_after_s == RETRY_S


def test_a_pause_between_two_readings_belongs_to_the_rate_and_an_outage_does_not() -> None:
    paused = room_at(Limits(99), look(0, 9000, 0), look(5, 9000, 0), look(10, 9000, 1000))
    assert paused.rate == 100.0
    late = LONGEST_PAUSE_S + 1
    away = room_at(
        Limits(99), look(0, 9000, 0), look(10, 9000, 1000), look(late, 9000, 1000),
        look(2 * late, 9000, 2000), look(2 * late + 10, 9000, 3000),
    )  # fmt: skip
    assert away.rate == pytest.approx(100.0)


@given(st.integers(1, 1000), st.lists(st.floats(0.1, 5.0), min_size=3, max_size=30))
def test_a_steady_rate_is_measured_as_it_is(rate: int, steps: list[float]) -> None:
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    room = LaneRoom(Limits(1))
    for at in times:
        room.looked(look(at, 10**9, int(rate * at * 1000)))
    if room.rate is not None:
        slack = 1 + 2000 / min(b - a for a, b in pairwise(times))
        assert abs(room.rate - rate * 1000) <= slack


def test_one_lane_with_room_keeps_the_door_open() -> None:
    rooms = Rooms.of(2, Limits(1))
    rooms.looked(0, look(0, 9, 0))
    assert rooms.full.keys() == {0}
    assert rooms.refusal() is None
    rooms.looked(1, look(0, 9, 0))
    assert rooms.refusal() is not None
    rooms.unseen()
    assert (rooms.refusal(), rooms.full) == (None, {})


def test_bodies_in_memory_are_bounded_and_one_alone_may_come() -> None:
    limits = BodyLimits(one=100, all=50, timeout_s=1)
    limits.take(80)
    for refused in (limits.require, limits.take):
        with pytest.raises(Overloaded):
            refused(1)
    assert limits.held == 80
    limits.held -= 80
    limits.take(30)
    limits.take(20)
    with pytest.raises(Overloaded):
        limits.take(1)


# ------------------------------------------------------------------ on a real server


async def test_no_gateway_passes_the_limit_of_bytes_and_all_see_how_full_it_is(
    bus_url: str,
) -> None:
    size = len(frame(0).content) + FRAME_OVERHEAD
    limits = Limits(1000, 3 * size)
    async with bus_at(bus_url, limits=limits) as one, bus_at(bus_url, limits=limits) as other:
        for bus in (one, other):
            await bus.enter(0)
            await bus.look()
            assert bus.rooms.refusal() is None
        await one.append(0, frame(1))
        await other.append(0, frame(2))
        await one.append(0, frame(3))
        for bus in (one, other):
            with pytest.raises(BusFull):
                await bus.append(0, frame(4))
        await other.look()
        assert other.rooms.lanes[0].bytes_kept == 3 * size
        refusal = other.rooms.refusal()
        assert refusal is not None
        assert refusal.reason == "bytes"
        assert await one.depth() == 3

        consumer = consumer_of(one)
        await consumer.open()
        (first, *_) = await consumer.read(10, 0.01)
        await other.look()
        room = other.rooms.lanes[0]
        assert room.bytes_kept == 3 * size, "what is read and in no batch is still there"
        await consumer.ack([first.id])
        # Without a look: the server knows it better than whoever asks.
        await one.append(0, frame(4))
        await other.look()
        assert room.bytes_kept == 3 * size


async def test_what_is_on_its_way_to_another_lane_has_no_limit(bus_url: str) -> None:
    async with bus_at(bus_url, limits=Limits(1000, 1)) as bus:
        await bus.enter(0)
        await bus.append(0, frame(1))
        with pytest.raises(BusFull):
            await bus.append(0, frame(2))
        await bus.append(0, frame(2), limited=False)


async def test_a_frame_from_before_bytes_were_counted_is_in_nobodys_way(bus_url: str) -> None:
    async with bus_at(bus_url, limits=Limits(1000, 400)) as bus:
        await bus.enter(0)
        await bus.redis.xadd(bus.keys(0).stream, {"f": frame(1).content})
        for sequence in range(2, 9):
            await bus.append(0, frame(sequence))
        await bus.look()
        assert bus.rooms.refusal() is None
        assert bus.rooms.lanes[0].bytes_kept == 0


async def test_reading_is_measured(bus_url: str) -> None:
    async with bus_at(bus_url) as bus:
        await bus.enter(0)
        consumer = consumer_of(bus)
        await consumer.open()
        for sequence in range(40):
            await bus.append(0, frame(sequence))
        await bus.look()
        async with asyncio.timeout(PATIENCE_S):
            while bus.rooms.lanes[0].rate is None:
                await consumer.read(1, 0.01)
                await asyncio.sleep(0.3)
                await bus.look()
        assert bus.rooms.lanes[0].drain_s > 0


# ------------------------------------------------------------------ a gateway


def test_a_gateway_whose_bus_nobody_reads_refuses_early_and_all_is_in_after_retries(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    gateway = start("gateway", RELAYER_BUS_MAX_BYTES=str(1 << 16))
    reports = [sensor.report(200) for _ in range(40)]
    waiting = list(reports)

    def send_all() -> bool:
        """all are acknowledged"""
        while waiting:
            answer = gateway.send(waiting[0])
            if answer.status_code == 503:
                assert answer.json()["type"] == "urn:corechain:error:Overloaded"
                assert int(answer.headers["retry-after"]) >= 1
                return False
            # 409: acknowledged by the aggregator's batch when the answer was not a refusal.
            assert answer.status_code == 202, answer.text
            waiting.pop(0)
        return True

    assert not send_all(), "it takes what fits"
    assert 0 < len(reports) - len(waiting) < 20
    eventually(lambda: not send_all() and metric(gateway, "corechain_refused_early_total") > 0)
    assert metric(gateway, "corechain_bus_bytes") < (1 << 16) + 5_000, "one frame above, no more"
    start("aggregator", "submitter", RELAYER_MAX_READINGS="1000")
    eventually(send_all, pause_s=0.2)
    wanted = {key_of(report): 1 for report in reports}
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
