"""Which server the bus is on, and what it has lost.

given a server
  when it may lose what it acknowledges
    it is refused by name, at start and at any later time
    unless the operator vouches for it
  when it comes back behind what it acknowledged
    the loss is noticed, and exactly the loss
  when others append, and write so into the journal, while a process starts
    that is no loss
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.valkey import LossyValkeyServer, command

from corechain.devnet.servers import ValkeyServer
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.base import Position
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.bus.watch import NOTICE, BusWatch
from corechain_relayer.errors import BusNotDurable, BusRestarted, BusUnavailable
from relayer.buses import bus_at, consumer_of, frame


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[ValkeyBus]:
    async with bus_at(bus_url) as bus:
        await bus.enter(0)
        yield bus


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


async def test_what_others_append_while_a_process_starts_is_no_loss(
    bus: ValkeyBus, bus_url: str
) -> None:
    """The bus is looked at first: without the journal there are appends, too."""
    async with bus_at(bus_url) as other:
        await other.enter(0)

        class Busy(Memory):
            async def positions(self, stream: str) -> dict[int, Position]:
                await other.append(0, frame(1))
                return {0: other.positions[0]}

        watch, told = watch_of(bus, Busy())
        await watch.look()
    assert (told, losses(bus), bus.positions[0].appended) == ([], 0, 1)


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
