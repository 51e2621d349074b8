"""What other stores must learn is emitted until they know it, and doubtful until then.

given batches that are verified and undone in Postgres
  ├── after any of it, at any moment: newest values are what Postgres says
  ├── whichever step the exporter was killed between: a new one ends with the same cache
  ├── with the cache stopped, flushed, hanging or from another life: Postgres answers
  ├── with a cache that comes back with an older state: it is not trusted, and written anew
  └── two exporters: one works, the other cannot spoil what it wrote
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.valkey import LossyValkeyServer, command

from corechain.devnet.servers import ValkeyServer
from corechain.service.errors import WriterLockHeld
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store import breaker, hashes, latest
from corechain_indexer.store.cached_values import GENERATION
from corechain_indexer.store.latest import LatestWriter
from indexer.shelves import DEVICES, Fuse, Shelf, filled, shelf_on


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


async def test_newest_values_come_from_the_cache_and_are_those_of_postgres(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.is_honest()
        await shelf.export()
        await shelf.is_settled()
        await shelf.latest.of(DEVICES[0])
        assert shelf.reasons == []


async def test_an_older_batch_that_is_verified_later_changes_nothing(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await shelf.verify(2, [(0, 1, 100)])
        await shelf.export()
        async with shelf.exporter() as exporter:
            await exporter.step()
            await shelf.verify(1, [(0, 1, 100), (0, 1, 90)])
            await exporter.step()
            assert [value.batch_id for value in await shelf.latest.of(DEVICES[0])] == [2]
            await shelf.is_settled()


async def test_a_rollback_while_the_cache_is_stopped_is_not_forgotten(
    database: str, own_valkey: ValkeyServer
) -> None:
    async with shelf_on(database, own_valkey.url) as shelf:
        await filled(shelf)
        await shelf.export()
        own_valkey.kill()
        await shelf.undo(1)
        await shelf.is_honest()
        with pytest.raises(CacheUnavailable):
            await shelf.export()
        own_valkey.start()
        shelf.latest.breaker.away_until = 0.0
        shelf.reasons.clear()
        await shelf.is_honest()  # the cache is back, and says what is not true any more
        assert "stale" in shelf.reasons or "another life" in shelf.reasons
        await shelf.export()
        await shelf.is_settled()


async def test_a_cache_that_comes_back_with_an_older_state_is_written_anew(
    database: str, tmp_path: Path
) -> None:
    """As from its last snapshot, or a replica that had not everything when it took over."""
    with LossyValkeyServer(tmp_path / "lossy") as server:
        async with shelf_on(database, server.url) as shelf, shelf.exporter() as exporter:

            async def told() -> None:
                while await exporter.step():
                    pass

            await shelf.verify(1, [(0, 1, 100)])
            await told()
            assert command(server.port, "SAVE") == b"+OK\r\n"
            await shelf.verify(2, [(0, 1, 200)])
            await told()
            await shelf.is_settled()
            server.kill()
            assert not await exporter.step(), "who has nothing to tell does not need it"
            server.start()
            shelf.latest.breaker.away_until = 0.0
            await shelf.is_honest()
            assert shelf.reasons[-1] == "another life", "whether the mirror has looked or not"
            await told()
            await shelf.is_honest()
            await shelf.is_settled()


async def test_a_cache_that_another_server_has_taken_over_is_asked_there_soon(
    database: str, bus_url: str, own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a name, when the one before goes on as its replica and ends no connection."""
    monkeypatch.setattr(hashes, "ANEW_S", 0.0)
    async with shelf_on(database, own_valkey.url) as shelf:
        await filled(shelf)
        place = shelf.redis.connection_pool.connection_kwargs
        place["port"] = urlsplit(bus_url).port
        await shelf.is_honest()
        place["port"] = own_valkey.port
        await shelf.export()
        await shelf.is_honest()
        assert shelf.reasons[-1] == "another life"
        await shelf.is_settled()


async def test_a_cache_that_hangs_delays_a_query_once(
    database: str, own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "READ_LIMIT_S", 0.2)
    monkeypatch.setattr(breaker, "AWAY_S", 3600.0)
    async with shelf_on(database, own_valkey.url) as shelf:
        await filled(shelf)
        await shelf.export()
        assert command(own_valkey.port, "CLIENT", "PAUSE", "120000", "ALL") == b"+OK\r\n"
        await shelf.is_honest()
        # Whoever waited for the cache has put this off; nobody asked it again.
        known_away_until = shelf.latest.breaker.away_until
        for _ in range(20):
            await shelf.is_honest()
        assert shelf.latest.breaker.away_until == known_away_until > 0
        assert set(shelf.reasons) == {"away"}
        shelf.latest.breaker.away_until = 0.0
        await shelf.is_honest()
        assert shelf.latest.breaker.away_until > known_away_until, (
            "it is asked again, and still hangs"
        )


async def test_a_crowd_of_queries_waits_for_the_cache_and_is_not_refused(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        await asyncio.gather(*(shelf.latest.of(DEVICES[0]) for _ in range(400)))
        assert set(shelf.reasons) <= {"away"}  # a machine too slow is no fault of the pool
        clients = await shelf.redis.info("clients")
        assert clients["connected_clients"] <= 32 + 2


@pytest.mark.parametrize("lost", ["everything", "one device", "one value's device"])
async def test_what_the_cache_has_lost_postgres_answers(
    database: str, bus_url: str, lost: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        async with shelf.exporter() as exporter:
            while await exporter.step():
                pass
            if lost == "everything":
                await shelf.redis.flushall()
            else:
                await shelf.redis.delete(f"corechain:latest:0:{DEVICES[0].hex()}")
            await shelf.is_honest()
            assert await shelf.latest.of(DEVICES[0])
            # A batch with one of its metrics must not pass for all that the device has.
            await shelf.verify(4, [(0, 4, 400)])
            while await exporter.step():
                pass
            await shelf.is_honest()
            await shelf.is_settled()
            assert len(await shelf.redis.hgetall(f"corechain:latest:0:{DEVICES[0].hex()}")) == 3


async def test_an_entry_from_another_life_is_recognised(
    postgres_server: Any, database: str, bus_url: str
) -> None:
    other = postgres_server.create_database("another_life")
    try:
        async with shelf_on(other, bus_url) as before:
            await before.verify(1, [(0, 1, 999), (0, 4, 999)])
            await before.export()
        async with shelf_on(database, bus_url) as shelf:
            await shelf.verify(1, [(0, 1, 100)])
            await shelf.is_honest()
            await shelf.export()
            await shelf.is_settled()
    finally:
        postgres_server.drop_database("another_life")


async def test_a_database_that_was_restored_is_believed(database: str, bus_url: str) -> None:
    """It has the generation of the cache, but not the batches that came after the backup."""
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        async with shelf.pool.acquire() as connection, connection.transaction():
            await connection.execute("set local session_replication_role = replica")  # no trigger
            for table in ("segment", "batch_file", "batch"):
                await connection.execute(f"delete from {table} where batch_id > 1")
        await shelf.is_honest()
        await shelf.export()
        await shelf.is_honest()


async def test_only_one_exporter_emits_to_a_sink(database: str, bus_url: str) -> None:
    async with shelf_on(database, bus_url) as shelf, shelf.exporter():
        with pytest.raises(WriterLockHeld):
            await shelf.export()


async def test_a_writer_of_an_older_generation_cannot_spoil_the_cache(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        async with shelf.exporter() as old:
            await old.step()
            zombie = old.sink.writer
        assert isinstance(zombie, LatestWriter)
        await shelf.export()
        await shelf.undo(1)
        await shelf.export()
        later = {
            DEVICES[0]: [(await shelf.truth(DEVICES[0]))[0].__class__(1, 900, 1, 1, "0", 9, 0)]
        }
        assert await zombie.add(later) == [DEVICES[0]]
        await shelf.is_honest()
        await zombie.replace(later)
        await shelf.is_honest()


async def test_a_killed_exporter_is_finished_by_the_next_whichever_step_it_died_at(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        steps = 0
        while True:
            await shelf.pool.execute("truncate batch, outbox, stale_device cascade")
            await shelf.redis.flushall()
            await filled(shelf)
            await shelf.export()
            await shelf.undo(2)
            await shelf.verify(3, [(1, 1, 250)], salt=1)
            fuse = Fuse(steps)
            await shelf.export(fuse)
            await shelf.is_honest()
            await shelf.export()
            await shelf.is_settled()
            if not fuse.burnt:
                break
            steps += 1
        assert steps > 15  # each call of the exporter, before and after


readings = st.tuples(st.integers(0, 2), st.sampled_from([1, 4]), st.integers(1, 9))
operations = st.one_of(
    st.tuples(st.just("verify"), st.lists(readings, min_size=1, max_size=4)),
    st.tuples(st.just("undo"), st.integers(1, 3)),
    st.tuples(st.just("export"), st.integers(0, 24)),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("lose"), st.integers(0, 2)),
)


async def played(shelf: Shelf, story: Sequence[tuple[str, Any]]) -> None:
    await shelf.pool.execute("truncate batch, outbox, stale_device cascade")
    await shelf.redis.flushall()
    number = 0
    for salt, (what, how) in enumerate(story):
        if what == "verify":
            number += 1
            await shelf.verify(number, how, salt)
        elif what == "undo":
            number = max(0, number - how)
            await shelf.undo(number)
        elif what == "export":
            await shelf.export(Fuse(how))
        elif what == "flush":
            await shelf.redis.flushall()
        else:
            await shelf.redis.delete(f"corechain:latest:0:{DEVICES[how].hex()}")
        await shelf.is_honest()
    await shelf.export()
    await shelf.is_settled()


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(operations, max_size=10))
def test_whatever_happens_in_whatever_order_queries_get_what_postgres_says(
    database: str, valkey: str, story: Sequence[tuple[str, Any]]
) -> None:
    async def run() -> None:
        async with shelf_on(database, valkey) as shelf:
            await played(shelf, story)

    asyncio.run(run())


async def test_indexes_of_two_chains_keep_their_values_apart_in_one_redis(
    database: str, bus_url: str
) -> None:
    """The same device may be on both: neither may take the other's values out all the time."""
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        value = (await shelf.truth(DEVICES[0]))[0]
        other = LatestWriter(shelf.redis, "another index", chain_id=7)
        await other.replace({DEVICES[0]: [replace(value, value=value.value + 1)]})
        await shelf.is_settled()
        shelf.reasons.clear()
        assert await shelf.latest.of(DEVICES[0]) == await shelf.truth(DEVICES[0])
        assert shelf.reasons == []
        await other.replace({DEVICES[0]: []})


async def test_a_generation_is_new_at_each_start(database: str, bus_url: str) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        found = set()
        for _ in range(3):
            await shelf.verify(4 + len(found), [(0, 1, 900 + len(found))])
            await shelf.export()
            found.add(await shelf.redis.hget(f"corechain:latest:0:{DEVICES[0].hex()}", GENERATION))
        assert len(found) == 3
