"""The bus on a real server.

given a lane of the bus
  when a consumer reads
    what it holds is not delivered to it again, however old
    what its predecessors left is delivered to it once
  when the server is not one that keeps what it acknowledges
    it is refused by name, at start and at any later time
    unless the operator vouches for it
  when the server comes back behind what it acknowledged
    the loss is noticed, and exactly the loss
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.valkey import LossyValkeyServer, command

from corechain.devnet.servers import ValkeyServer
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.errors import StoreUnavailable
from corechain.service.supervision import stop_all
from corechain_relayer.bus import consumer as consumer_module
from corechain_relayer.bus.base import Delivery, Position
from corechain_relayer.bus.connection import connect
from corechain_relayer.bus.consumer import ValkeyConsumer
from corechain_relayer.bus.frame import PackedFrame, frame_of, unpack_frame
from corechain_relayer.bus.guard import Guard
from corechain_relayer.bus.keys import GROUP, lane_keys
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.bus.watch import NOTICE, BusWatch
from corechain_relayer.errors import (
    BusFull,
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    SequenceInUse,
)
from corechain_relayer.metrics import Metrics

DEVICE = DeviceId(b"\x07" * 20)


def report(sequence: int, device: DeviceId = DEVICE) -> SignedReport:
    return SignedReport(Report.of(device, sequence, [Observation(1, 0, 1000, 5)]), bytes(64))


def frame(*sequences: int) -> PackedFrame:
    return frame_of(0, [report(sequence) for sequence in sequences])


@asynccontextmanager
async def bus_at(
    url: str, stream: str = "test", vouched: bool = False, lanes: int = 1, limit: int = 1000
) -> AsyncIterator[ValkeyBus]:
    guard = Guard(vouched)
    bus = ValkeyBus(connect(url, guard), guard, stream, lanes, limit, Metrics())
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


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[ValkeyBus]:
    async with bus_at(bus_url) as bus:
        await bus.enter(0)
        yield bus


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


async def test_a_lane_has_a_limit_of_its_own(bus_url: str) -> None:
    async with bus_at(bus_url, lanes=2, limit=2) as bus:
        await bus.enter(0)
        await bus.enter(1)
        await bus.append(0, frame(1))
        await bus.append(0, frame(2))
        with pytest.raises(BusFull):
            await bus.append(0, frame(3))
        await bus.append(1, frame(3))
        await bus.append(0, frame(4), limited=False)
        assert await bus.depth() == 4


async def test_a_sequence_that_may_be_in_use_is_not_appended_as_fresh(bus: ValkeyBus) -> None:
    highest = 2**64 - 2  # beyond what Lua's numbers can tell apart
    await bus.append(0, frame(5, highest - 1), fresh=True)
    for used in (5, highest - 1):
        with pytest.raises(SequenceInUse):
            await bus.append(0, frame(used), fresh=True)
    await bus.append(0, frame(highest), fresh=True)
    await bus.append(0, frame(5), fresh=False)
    assert await bus.depth() == 3
    assert await bus.newest(DEVICE, 1) == highest
    assert await bus.newest(DeviceId(bytes(20)), 1) is None


async def test_a_lane_that_was_not_entered_takes_nothing(bus_url: str) -> None:
    async with bus_at(bus_url) as bus:
        with pytest.raises(BusRestarted):
            await bus.append(0, frame(1))
        await bus.enter(0)
        await bus.append(0, frame(1))
        assert await bus.depth() == 1


async def test_a_server_without_our_scripts_gets_them_again(bus: ValkeyBus) -> None:
    await bus.redis.script_flush()
    with pytest.raises(BusRestarted):
        await bus.append(0, frame(1))
    await bus.enter(0)
    await bus.append(0, frame(1))
    await bus.redis.script_flush()
    await bus.dead_letter(0, b"letter", "Reason")
    assert await bus.redis.xlen(bus.keys(0).dead) == 1


async def test_refused_reports_do_not_fill_the_bus(
    bus: ValkeyBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corechain_relayer.bus.valkey.DEAD_LETTERS_MAX", 2)
    for _ in range(4):
        await bus.dead_letter(0, b"letter", "ConflictingSequence")
    assert await bus.redis.xlen(bus.keys(0).dead) == 2
    await bus.keep_dead_letter(0, b"letter", "StaleSequence")
    assert await bus.redis.xlen(bus.keys(0).dead) == 3


@pytest.mark.parametrize("stream", ["corechain:frames", "{mine}:frames"])
def test_a_lanes_keys_share_a_slot_of_a_cluster(stream: str) -> None:
    from redis.crc import key_slot

    keys = lane_keys(stream, 3)
    names = [keys.stream, keys.dead, keys.position, keys.newest]
    assert len({key_slot(name.encode()) for name in names}) == 1
    assert keys.stream != lane_keys(stream, 4).stream


# ------------------------------------------------------------------ which server


WRONG = {
    "appendonly": "no",
    "appendfsync": "everysec",
    "no-appendfsync-on-rewrite": "yes",
    "maxmemory-policy": "allkeys-lru",
}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "own-valkey") as server:
        yield server


@pytest.mark.parametrize("setting", WRONG)
async def test_a_server_that_may_lose_what_it_acknowledges_is_refused_by_name(
    own_server: ValkeyServer, setting: str
) -> None:
    command(own_server.port, "CONFIG", "SET", setting, WRONG[setting])
    async with bus_at(own_server.url) as bus:
        with pytest.raises(BusNotDurable) as refused:
            await bus.enter(0)
        (shortfall,) = refused.value.wrong
        assert (shortfall.name, shortfall.found) == (setting, WRONG[setting])
        assert f"{setting} is {WRONG[setting]!r} and has to be" in str(refused.value)
        with pytest.raises(BusNotDurable):
            await bus.append(0, frame(1))
        with pytest.raises(BusNotDurable):
            await bus.depth()


async def test_a_setting_that_is_changed_at_runtime_stops_appends_until_it_is_right_again(
    own_server: ValkeyServer,
) -> None:
    async with bus_at(own_server.url) as bus:
        await bus.enter(0)
        await bus.append(0, frame(1))
        command(own_server.port, "CONFIG", "SET", "appendfsync", "no")
        with pytest.raises(BusNotDurable):
            await bus.inspect()
        with pytest.raises(BusNotDurable):
            await bus.append(0, frame(2))
        command(own_server.port, "CONFIG", "SET", "appendfsync", "always")
        await bus.inspect()
        await bus.append(0, frame(2))


async def test_a_replica_is_refused(own_server: ValkeyServer) -> None:
    command(own_server.port, "REPLICAOF", "127.0.0.1", "1")
    async with bus_at(own_server.url) as bus:
        with pytest.raises(BusNotDurable, match="role is 'slave'"):
            await bus.enter(0)


async def forbid_config(server: ValkeyServer) -> str:
    """The URL of a user who may do all but ask for settings, as managed services have it."""
    command(server.port, "ACL", "SETUSER", "guest", "on", ">word", "~*", "&*", "+@all", "-config")
    return server.url.replace("redis://", "redis://guest:word@")


async def test_a_server_that_tells_no_settings_has_to_be_vouched_for(
    own_server: ValkeyServer,
) -> None:
    url = await forbid_config(own_server)
    async with bus_at(url) as bus:
        with pytest.raises(BusNotDurable, match="RELAYER_BUS_VOUCHED") as refused:
            await bus.enter(0)
        assert set(refused.value.unknown) == set(WRONG)
    async with bus_at(url, vouched=True) as bus:
        await bus.enter(0)
        await bus.append(0, frame(1))


# ------------------------------------------------------------------ losses


class Memory:
    """A store of positions in memory; away while `is_away`."""

    def __init__(self) -> None:
        self.kept: dict[int, Position] = {}
        self.is_away = False

    async def positions(self, stream: str) -> dict[int, Position]:
        if self.is_away:
            raise StoreUnavailable("away")
        return dict(self.kept)

    async def keep_positions(self, stream: str, positions: dict[int, Position]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.kept |= positions


def watch_of(bus: ValkeyBus, store: Memory) -> tuple[BusWatch, list[int]]:
    told: list[int] = []
    return BusWatch(bus, range(bus.lanes), store, bus.metrics, [told.append]), told


def losses(bus: ValkeyBus) -> float:
    value = bus.metrics.registry.get_sample_value("corechain_bus_regressed_total")
    assert value is not None
    return value


async def test_a_bus_that_was_emptied_is_noticed_once(bus: ValkeyBus) -> None:
    watch, told = watch_of(bus, Memory())
    await watch.look()
    for sequence in range(3):
        await bus.append(0, frame(sequence))
    await watch.look()
    assert (told, losses(bus)) == ([], 0)
    await bus.redis.flushall()
    with pytest.raises(BusRestarted):
        await bus.append(0, frame(3))
    await watch.look()
    await watch.look()
    assert (told, losses(bus)) == ([0], 1)
    assert "3 acknowledged frames of lane 0" in watch.notices[NOTICE]
    await bus.append(0, frame(3))


async def test_a_restart_that_lost_nothing_is_no_loss(own_server: ValkeyServer) -> None:
    async with bus_at(own_server.url) as bus:
        watch, told = watch_of(bus, Memory())
        await watch.look()
        await bus.append(0, frame(1))
        before = bus.positions[0].run
        own_server.kill()
        own_server.start()
        with pytest.raises((BusRestarted, BusUnavailable)):
            await bus.append(0, frame(2))
        await watch.look()
        assert bus.positions[0].run != before
        await bus.append(0, frame(2))
        assert (told, await bus.depth()) == ([], 2)


async def test_what_is_lost_is_noticed_though_others_have_appended_more_since(
    tmp_path: Path,
) -> None:
    """The count alone would have caught up: what counts is how the new run began."""
    with LossyValkeyServer(tmp_path / "lossy") as server:
        async with bus_at(server.url, vouched=True) as bus:
            watch, told = watch_of(bus, Memory())
            await watch.look()
            for sequence in range(3):
                await bus.append(0, frame(sequence))
            server.kill()
            server.start()
            async with bus_at(server.url, vouched=True) as other:
                await other.enter(0)
                for sequence in range(9):
                    await other.append(0, frame(sequence))
            await watch.look()
            assert (told, losses(bus)) == ([0], 1)


async def test_a_loss_while_every_process_was_down_is_noticed_by_the_next(tmp_path: Path) -> None:
    store = Memory()
    with LossyValkeyServer(tmp_path / "lossy") as server:
        async with bus_at(server.url, vouched=True) as bus:
            watch, _ = watch_of(bus, store)
            await watch.look()
            await bus.append(0, frame(1))
            await watch.look()
        server.kill()
        server.start()
        async with bus_at(server.url, vouched=True) as bus:
            watch, told = watch_of(bus, store)
            store.is_away = True
            await watch.look_or_log()
            assert told == []
            store.is_away = False
            await watch.look()
            assert (told, losses(bus)) == ([0], 1)
        async with bus_at(server.url, vouched=True) as bus:
            watch, told = watch_of(bus, store)
            await watch.look()
            assert told == [], "noticed once, not at every start"


async def test_a_consumer_ends_its_session_when_the_server_was_another(
    own_server: ValkeyServer,
) -> None:
    async with bus_at(own_server.url) as bus:
        consumer = consumer_of(bus)
        await consumer.open()
        await consumer.read(1, 0.001)
        own_server.kill()
        own_server.start()
        with pytest.raises((BusRestarted, BusUnavailable)):
            await consumer.read(1, 0.001)


async def test_the_bus_is_unavailable_while_its_server_is_away(own_server: ValkeyServer) -> None:
    async with bus_at(own_server.url) as bus:
        await bus.enter(0)
        own_server.kill()
        for question in (bus.enter(0), bus.inspect(), bus.depth(), bus.append(0, frame(1))):
            with pytest.raises(BusUnavailable):
                await question


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
