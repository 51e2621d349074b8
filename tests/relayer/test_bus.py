"""What is Valkey's own in appending and reading; what every bus promises: test_bus_contract.py.

given a lane of the bus
  when a consumer reads
    what it holds is not delivered to it again, however old
    what its predecessors left, or take late, is delivered to it once
  when a gateway appends
    marks and frame are one step, whatever scripts the server has
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from support.processes import PATIENCE_S

from corechain.protocol.reading import DeviceId
from corechain.service.supervision import stop_all
from corechain_relayer.bus import consumer as consumer_module
from corechain_relayer.bus.frame import frame_of
from corechain_relayer.bus.keys import GROUP, lane_keys
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.errors import BusRestarted, SequenceInUse
from relayer.buses import bus_at, consumer_of, frame, report, sequences


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[ValkeyBus]:
    async with bus_at(bus_url) as bus:
        await bus.enter(0)
        yield bus


async def test_a_cancellation_that_meets_the_end_of_a_write_ends_the_task(
    bus: ValkeyBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis waits for each write by asyncio.wait_for, which loses it on Python 3.11."""
    drain, met = asyncio.StreamWriter.drain, asyncio.Event()

    async def drained(writer: asyncio.StreamWriter) -> None:
        await drain(writer)
        if not met.is_set():
            met.set()
            asking.cancel()

    async def ask_forever() -> None:
        while True:
            await bus.redis.ping()

    monkeypatch.setattr(asyncio.StreamWriter, "drain", drained)
    asking = asyncio.create_task(ask_forever())
    async with asyncio.timeout(PATIENCE_S):
        await met.wait()
        await stop_all([asking])
    assert asking.cancelled()


# ------------------------------------------------------------------ reading


async def test_what_a_consumer_holds_is_not_delivered_to_it_again(
    bus: ValkeyBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "OTHERS_S", 0.0)
    consumer = consumer_of(bus)
    await consumer.open()
    for sequence in range(5):
        await bus.append(0, frame(sequence))
    held = await consumer.read(10, 0.01)
    assert sequences(held) == [0, 1, 2, 3, 4]
    # As if the window had been open for a day.
    ids = [delivery.id for delivery in held]
    keys = bus.keys(0)
    await bus.redis.execute_command(
        "XCLAIM", keys.stream, GROUP, consumer.name, 0, *ids, "IDLE", 86_400_000
    )
    for _ in range(5):
        assert await consumer.read(10, 0.001) == []
    await bus.append(0, frame(5))
    assert sequences(await consumer.read(10, 0.01)) == [5]
    pending = await bus.redis.xpending_range(keys.stream, GROUP, "-", "+", 10)
    assert {entry["times_delivered"] for entry in pending} <= {1, 2}, "2: our own XCLAIM above"


async def test_the_next_consumer_gets_what_the_last_one_left_once_and_in_order(
    bus: ValkeyBus,
) -> None:
    first, second = consumer_of(bus), consumer_of(bus)
    assert first.name != second.name
    await first.open()
    for sequence in range(7):
        await bus.append(0, frame(sequence))
    left = await first.read(4, 0.01)
    await first.ack([left[1].id])
    await second.open()
    found: list[int] = []
    for _ in range(8):
        found += sequences(await second.read(2, 0.001))
    assert found == [0, 2, 3, 4, 5, 6]


async def test_what_a_late_predecessor_still_took_is_taken_over_while_running(
    bus: ValkeyBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "OTHERS_S", 0.0)
    late, running = consumer_of(bus), consumer_of(bus)
    await late.open()
    await running.open()
    assert await running.read(10, 0.001) == []
    await bus.append(0, frame(1))
    assert sequences(await late.read(10, 0.01)) == [1]
    assert sequences(await running.read(10, 0.01)) == [1]
    assert await running.read(10, 0.001) == []
    # Woken while it takes over what others have left: it takes what is in the other's window.
    assert sequences(await replace(late, _left_from="0-0").read(10, 0.01)) == [1]
    await bus.append(0, frame(2))
    assert sequences(await running.read(10, 0.01)) == [2]


async def test_names_of_earlier_sessions_do_not_pile_up(bus: ValkeyBus) -> None:
    for sequence in range(4):
        consumer = consumer_of(bus)
        await consumer.open()
        await bus.append(0, frame(sequence))
        await consumer.ack([delivery.id for delivery in await consumer.read(10, 0.01)])
    await consumer_of(bus).open()
    assert await bus.redis.xinfo_consumers(bus.keys(0).stream, GROUP) == []


async def test_a_forgotten_consumer_loses_no_frame(bus: ValkeyBus) -> None:
    first, second = consumer_of(bus), consumer_of(bus)
    await first.open()
    await bus.append(0, frame(1))
    assert await first.read(10, 0.01)
    await second.open()
    assert sequences(await second.read(10, 0.01)) == [1]


# ------------------------------------------------------------------ writing


async def test_a_server_without_our_scripts_gets_them_again(bus: ValkeyBus) -> None:
    await bus.redis.script_flush()
    with pytest.raises(BusRestarted):
        await bus.append(0, frame(1))
    await bus.enter(0)
    await bus.append(0, frame(1))
    await bus.redis.script_flush()
    await bus.dead_letter(0, b"letter", "Reason")
    assert await bus.redis.xlen(bus.keys(0).dead) == 1


@pytest.mark.parametrize("stream", ["corechain:frames", "{mine}:frames"])
def test_a_lanes_keys_share_a_slot_of_a_cluster(stream: str) -> None:
    from redis.crc import key_slot

    keys = lane_keys(stream, 3)
    names = [keys.stream, keys.dead, keys.position, keys.newest]
    assert len({key_slot(name.encode()) for name in names}) == 1
    assert keys.stream != lane_keys(stream, 4).stream


async def test_a_frame_of_very_many_devices_is_appended_in_one_step(bus: ValkeyBus) -> None:
    many = [report(7, DeviceId(number.to_bytes(20, "big"))) for number in range(2500)]
    await bus.append(0, frame_of(0, many), fresh=True)
    for number in (0, 999, 1000, 2499):
        assert await bus.newest(DeviceId(number.to_bytes(20, "big")), 1) == 7
    higher = [report(8, signed.report.device) for signed in many[:-1]] + [many[-1]]
    with pytest.raises(SequenceInUse):
        await bus.append(0, frame_of(0, higher), fresh=True)
    assert await bus.newest(many[0].report.device, 1) == 7, "nothing of it was appended"
    await bus.append(0, frame_of(0, higher[:-1]), fresh=True)
    assert await bus.newest(many[0].report.device, 1) == 8
