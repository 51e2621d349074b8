"""What other stores must learn is emitted until they know it, and doubtful until then.

given batches that are verified and undone in Postgres
  ├── after any of it, at any moment: newest values are what Postgres says
  ├── whichever step the exporter was killed between: a new one ends with the same cache
  ├── with the cache stopped, flushed, hanging or from another life: Postgres answers
  └── two exporters: one works, the other cannot spoil what it wrote
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.asyncio import Redis
from support.valkey import command

from corechain.devnet.servers import ValkeyServer
from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import create_pool, migrate, writer
from corechain.service.errors import WriterLockHeld
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.export import CacheSink, Exporter, split_leaves
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.store import MIGRATIONS, breaker, latest
from corechain_indexer.store.latest import (
    GENERATION,
    Latest,
    LatestWriter,
    connect_cache,
    newest_in,
)
from corechain_indexer.store.points import Leaves, Span
from corechain_indexer.store.segments import Segments

DEVICES = [bytes([n]) * 20 for n in (1, 2, 3)]
CELL = 0x872A1072BFFFFFF
LOCK = "corechain indexer cache"
Items = Sequence[tuple[int, int, int]]
"""(device, metric, observed_at) of readings."""


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Ends the process at its n-th step into another world; never, if that is never reached."""

    left: int = 1 << 30
    burnt: bool = False

    def step(self) -> None:
        if self.left == 0:
            self.burnt = True
            raise Killed
        self.left -= 1


@dataclass
class Mortal:
    """Passes everything on to what it stands for, and may die before or after each call."""

    behind: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.behind, name)
        if name == "pipeline":
            return lambda **options: Mortal(found(**options), self.fuse)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "publish"):
            return found

        async def call(*arguments: Any) -> Any:
            self.fuse.step()
            answer = await found(*arguments)
            self.fuse.step()
            return answer

        return call


@dataclass
class Shelf:
    """Batches in Postgres as mirror and verifier leave them; the cache; and who reads both."""

    url: str
    pool: Any
    redis: Redis
    latest: Latest
    reasons: list[str] = field(default_factory=list)

    async def verify(self, batch_id: int, items: Items, salt: int = 0) -> None:
        """A batch that was committed and verified; `salt` tells two of one id apart."""
        leaves = sorted(
            Reading(metric, CELL, DeviceId(DEVICES[device]), at, 10 * batch_id + salt).pack()
            for device, metric, at in dict.fromkeys(items)
        )
        commitment = batch_id.to_bytes(25, "big") + bytes([salt])
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into batch (block_number, log_index, batch_id, commitment, block_hash, "
                "transaction) values ($1, 0, $1, $2, $3, $3)", batch_id, commitment, bytes(32),
            )  # fmt: skip
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, window_start, "
                "window_end) values ($1, 'verified', $2, $3, $4, $5)", batch_id, b"".join(leaves),
                len(leaves), min(at for _, _, at in items), max(at for _, _, at in items),
            )  # fmt: skip
            await Segments.of(batch_id, b"".join(leaves)).copy_to(connection)

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)

    @asynccontextmanager
    async def exporter(self, fuse: Fuse | None = None) -> AsyncIterator[Exporter]:
        """A session of the exporter that holds the lock."""
        async with writer(self.url, LOCK) as connection:
            fuse = fuse or Fuse()
            sink = CacheSink(Mortal(self.redis, fuse))  # type: ignore[arg-type]
            yield Exporter(Mortal(connection, fuse), sink)  # type: ignore[arg-type]

    async def export(self, fuse: Fuse | None = None) -> None:
        """One session until nothing is left, or until it is killed."""
        try:
            async with self.exporter(fuse) as exporter:
                while await exporter.step():
                    pass
        except Killed:
            return

    async def truth(self, device: bytes) -> Any:
        return (await newest_in(self.pool, [device]))[device]

    async def is_honest(self) -> None:
        """Whatever the cache holds, queries get what Postgres says."""
        for device in DEVICES:
            assert await self.latest.of(device) == await self.truth(device)

    async def is_settled(self) -> None:
        """The cache itself says what Postgres says: nobody has to be asked twice."""
        for device in DEVICES:
            self.reasons.clear()
            expected = await self.truth(device)
            assert await self.latest.of(device) == expected
            assert self.reasons in ([], ["missing"])
            held = await self.redis.hgetall(f"corechain:latest:0:{device.hex()}")
            assert not held or len(held) == 1 + len(expected)


@asynccontextmanager
async def shelf_on(database: str, redis_url: str) -> AsyncIterator[Shelf]:
    await migrate(database, MIGRATIONS)
    pool = create_pool(database)
    await pool
    redis = connect_cache(redis_url)
    reasons: list[str] = []
    try:
        yield Shelf(database, pool, redis, Latest(redis, pool, reasons.append), reasons)
    finally:
        await redis.aclose()
        await pool.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


BATCHES: list[Items] = [
    [(0, 1, 100), (0, 4, 100), (1, 1, 100)],
    [(0, 1, 200), (2, 1, 50)],
    [(0, 1, 150), (1, 1, 300), (1, 1, 300)],
]


async def filled(shelf: Shelf) -> None:
    for number, items in enumerate(BATCHES, start=1):
        await shelf.verify(number, items)


# ---------------------------------------------------------------------- the cache


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
    max_examples=40,
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


# ---------------------------------------------------------------------- other sinks


async def test_a_verdict_that_goes_while_the_batch_stays_is_told_too(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await shelf.export()
        await shelf.pool.execute("delete from batch_file where batch_id = 3")
        await shelf.is_honest()
        await shelf.pool.execute("update batch_file set state = 'mismatch' where batch_id = 2")
        await shelf.is_honest()
        await shelf.export()
        await shelf.is_settled()
        rows = await shelf.pool.fetch("select kind, batch_id from outbox where sink = 'series'")
        assert [tuple(row) for row in rows][-2:] == [("retract", 3), ("retract", 2)]


async def test_a_rollback_that_meets_the_verdict_halfway_does_not_miss_it(
    database: str, bus_url: str
) -> None:
    """The verifier has not committed yet when the mirror undoes the batch: both must be told."""
    async with shelf_on(database, bus_url) as shelf:
        await shelf.pool.execute(
            "insert into batch values (1, 0, 1, $1, $2, $2)", bytes(26), bytes(32)
        )
        connection = await asyncpg.connect(database)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("insert into batch_file (batch_id, state) values (1, 'verified')")
        leaf = Reading(1, CELL, DeviceId(DEVICES[0]), 100, 1).pack()
        await Segments.of(1, leaf).copy_to(connection)
        undoing = asyncio.create_task(shelf.undo(0))
        await asyncio.sleep(0.1)
        assert not undoing.done()  # it waits for the verifier's transaction
        await transaction.commit()
        await undoing
        await connection.close()
        kinds = await shelf.pool.fetch("select kind from outbox where sink = 'series' order by id")
        assert [row["kind"] for row in kinds] == ["add", "retract"]
        assert await shelf.pool.fetchval("select count(*) from stale_device") == 1


@dataclass
class Notes:
    """A series that writes down what it is told, point by point, and counts the questions."""

    name: str
    points: set[tuple[int, bytes]] = field(default_factory=set)
    asked: int = 0

    async def target(self) -> str:
        return self.name

    def forget_place(self) -> None:
        """It is always the same."""

    async def write(self, leaves: Leaves) -> None:
        self.asked += 1
        self.points |= {(leaves.batch_id, row.tobytes()) for row in leaves.rows}

    async def erase(self, spans: Sequence[Span]) -> None:
        self.asked += 1
        self.points = {
            (batch, leaf)
            for batch, leaf in self.points
            if not any(a <= Reading.unpack(leaf).observed_at <= b for a, b in spans)
        }

    async def clear(self) -> None:
        self.asked += 1
        self.points = set()

    async def close(self) -> None:
        """There is nobody to hang up on."""


async def export_series(shelf: Shelf, notes: Notes | None, fuse: Fuse | None = None) -> None:
    try:
        async with writer(shelf.url, "corechain indexer series") as connection:
            behind: Any = Mortal(connection, fuse or Fuse())
            exporter = Exporter(behind, SeriesSink(notes, Metrics()))
            while await exporter.step():
                pass
    except Killed:
        return


async def points_of(shelf: Shelf) -> set[tuple[int, bytes]]:
    """What stands in Postgres."""
    rows = await shelf.pool.fetch("select batch_id, leaves from batch_file")
    return {(row["batch_id"], leaf) for row in rows for leaf in split_leaves(row["leaves"])}


async def test_a_series_converges_after_a_reorg_and_a_crash_at_any_step(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        steps, burnt = 0, True
        while burnt:
            await shelf.pool.execute("truncate batch, outbox, stale_device cascade")
            notes = Notes(f"influx {steps}")
            await filled(shelf)
            await export_series(shelf, notes)
            await shelf.undo(1)
            # Its readings share a second with one that stands, and with one that is gone.
            await shelf.verify(2, [(0, 1, 100), (1, 1, 300), (0, 1, 500)], salt=1)
            fuse = Fuse(steps)
            await export_series(shelf, notes, fuse)
            await export_series(shelf, notes)
            assert notes.points == await points_of(shelf)
            steps, burnt = steps + 1, fuse.burnt
        assert steps > 5


async def test_a_late_reading_does_not_make_a_retraction_write_a_month_again(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        notes = Notes("influx")
        for number in range(1, 31):
            await shelf.verify(number, [(0, 1, 86_400 * number)])
        await shelf.verify(31, [(1, 1, 86_400), (1, 1, 86_400 * 31)])
        await export_series(shelf, notes)
        notes.asked = 0
        await shelf.undo(30)
        await export_series(shelf, notes)
        assert notes.points == await points_of(shelf)
        written_again = notes.asked - 1
        assert written_again == 1


async def test_a_reorg_copies_no_readings_for_a_series_that_is_not_there(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        kept = "select leaves is not null from outbox where sink = 'series' and kind = 'retract'"
        await export_series(shelf, None)
        await filled(shelf)
        await shelf.undo(2)
        assert await shelf.pool.fetchval(kept) is False
        await export_series(shelf, Notes("influx"))
        await shelf.undo(1)
        assert await shelf.pool.fetchval(kept) is True


async def test_another_series_database_is_filled_from_the_beginning(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        await export_series(shelf, None)
        first = Notes("influx", {(9, bytes(40))})
        await export_series(shelf, first)
        assert first.points == await points_of(shelf), "what another life has left is gone"
        again = Notes("influx")
        await export_series(shelf, again)
        assert again.points == set()
        other = Notes("another influx")
        await export_series(shelf, other)
        assert other.points == await points_of(shelf)


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
