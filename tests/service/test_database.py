"""What the database cannot do is an outage with a reason; what we asked wrongly stays a mistake."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from support.faults import HANG, PASS, FaultProxy
from support.processes import until

from corechain.devnet.postgres import PostgresServer
from corechain.service import database, lock_keeping
from corechain.service.database import (
    asked,
    connect,
    create_pool,
    migrate,
    outages,
    session,
    writer,
)
from corechain.service.errors import StoreUnavailable, WriterLockHeld, WrongDatabase
from corechain.service.progress import moved

A_MOMENT_S = 0.1
WAITS_FOR_LOCK = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
RAISE = "do $$ begin raise exception 'no' using errcode = '{}'; end $$"
OUTAGES = {
    "the disk is full": "53100",
    "out of memory": "53200",
    "too many connections": "53300",
    "the disk is broken": "58030",
    "an administrator ended the session": "57P01",
    "the query was cancelled": "57014",
    "the server starts up": "57P03",
    "a replica cannot write": "25006",
    "another transaction came first": "40001",
    "a deadlock": "40P01",
    "a lock is taken": "55P03",
    "a table of a newer version": "42P01",
    "a column of a newer version": "42703",
}
MISTAKES = {
    "a wrong query": ("select from where", asyncpg.PostgresSyntaxError),
    "a broken rule": (RAISE.format("23505"), asyncpg.UniqueViolationError),
}


@pytest.mark.parametrize("state", OUTAGES.values(), ids=OUTAGES.keys())
async def test_what_the_server_cannot_do_is_an_outage(postgres: str, state: str) -> None:
    connection = await connect(postgres)
    try:
        with pytest.raises(StoreUnavailable, match="no"):
            await asked(connection.execute(RAISE.format(state)))
    finally:
        connection.terminate()


@pytest.mark.parametrize(("query", "kind"), MISTAKES.values(), ids=MISTAKES.keys())
async def test_what_we_asked_wrongly_stays_a_mistake(
    postgres: str, query: str, kind: type[Exception]
) -> None:
    connection = await connect(postgres)
    try:
        with pytest.raises(kind):
            await asked(connection.execute(query))
    finally:
        await connection.close()


async def test_a_database_that_does_not_exist_is_named(postgres: str) -> None:
    missing = urlunsplit(urlsplit(postgres)._replace(path="/nowhere"))
    for ask in (connect(missing), migrate(missing, [])):
        with pytest.raises(StoreUnavailable, match='database "nowhere" does not exist'):
            await ask
    pool = create_pool(missing)
    await pool
    with pytest.raises(StoreUnavailable, match='database "nowhere" does not exist'):
        await asked(pool.fetchval("select 1"))
    await pool.close()


async def test_a_closed_pool_and_a_busy_connection_are_outages(postgres: str) -> None:
    pool = create_pool(postgres)
    await pool
    await pool.close()
    with pytest.raises(StoreUnavailable):
        await asked(pool.fetchval("select 1"))
    connection = await connect(postgres)
    busy = asyncio.create_task(connection.fetchval("select pg_sleep(600)"))
    await asyncio.sleep(0.1)
    with pytest.raises(StoreUnavailable, match="another operation"), outages():
        await connection.fetchval("select 1")
    connection.terminate()
    await asyncio.gather(busy, return_exceptions=True)


async def test_an_interface_mistake_stays_one(postgres: str) -> None:
    connection = await connect(postgres)
    with pytest.raises(asyncpg.InterfaceError), outages():
        await connection.fetchval("select $1::int", 1, 2)
    await connection.close()


async def test_of_two_writers_one_is_told_that_it_is_the_second(postgres: str) -> None:
    async with writer(postgres, "a lane"):
        with pytest.raises(WriterLockHeld, match="a lane"):
            async with writer(postgres, "a lane"):
                raise AssertionError("two writers")
    async with writer(postgres, "a lane"):
        pass


async def is_free(url: str, name: str) -> bool:
    try:
        async with writer(url, name):
            return True
    except WriterLockHeld:
        return False


async def test_a_writer_that_is_killed_in_a_statement_leaves_its_lock_at_once(
    postgres: str,
) -> None:
    """Postgres does not look at its client while a statement runs, unless it is told to."""
    async with writer(postgres, "a lane") as connection:
        busy = asyncio.create_task(connection.fetchval("select pg_sleep(600)"))
        await asyncio.sleep(A_MOMENT_S)
        connection.terminate()
        await asyncio.gather(busy, return_exceptions=True)

    await until(lambda: is_free(postgres, "a lane"))


async def test_a_writer_that_has_vanished_loses_its_lock_and_writes_nothing_when_it_is_back(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine takes nothing any more, and closes nothing: what the server has sent is never
    acknowledged. Without our limits that is 15 minutes, or two hours where it has sent nothing."""
    short = lock_keeping.GONE_SOON.replace("15000", "1000")
    monkeypatch.setattr(database, "GONE_SOON", short)
    url, onlooker = postgres_server.url, await connect(postgres_server.url)
    await onlooker.execute("create table written (by text)")
    with FaultProxy(postgres_server.port) as way:
        async with writer(way.instead_in(url), "a lane") as gone:
            limits = "select array_agg(setting order by name) from pg_settings where name like $1"
            assert await gone.fetchval(limits, "tcp_%") == ["3", "5", "3", "1000"]
            await onlooker.execute("select pg_advisory_lock(7)")
            long = "select pg_advisory_lock(7), repeat('x', 100000000)"
            answer = asyncio.create_task(gone.fetch(long))
            await until(lambda: onlooker.fetchval(WAITS_FOR_LOCK))
            way.become(HANG)
            await onlooker.execute("select pg_advisory_unlock(7)")
            await until(lambda: is_free(url, "a lane"))
            async with writer(url, "a lane") as other:
                await other.execute("insert into written values ('the other')")
                way.become(PASS)
                with pytest.raises(StoreUnavailable):
                    await asked(answer)
                with pytest.raises(StoreUnavailable):
                    await asked(gone.execute("insert into written values ('the first')"))
    assert await onlooker.fetchval("select array_agg(by) from written") == ["the other"]
    await onlooker.execute("drop table written")
    await onlooker.close()


async def test_a_holder_that_stands_still_loses_its_lock_and_writes_nothing_more(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by SIGSTOP: its connection is as good as ever, and its kernel answers for it."""
    monkeypatch.setattr(lock_keeping, "SILENT_S", 0.3)
    monkeypatch.setattr(lock_keeping, "ASK_S", 86_400.0)
    async with writer(postgres, "a lane") as still, session(postgres) as claims:
        await claims.execute("select pg_advisory_lock(7)")
        await until(lambda: is_free(postgres, "a lane"))
        await until(claims.is_closed)
        async with writer(postgres, "a lane"):
            with pytest.raises(StoreUnavailable):
                await asked(still.execute("create table written (by text)"))
        with pytest.raises(StoreUnavailable, match="ended"):
            await still.hold(asyncio.sleep(86_400))
        with pytest.raises(StoreUnavailable, match="ended"):
            await still.during(asyncio.sleep(86_400))


async def test_a_holder_that_asks_nothing_keeps_its_lock_and_one_that_does_has_its_turn(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_keeping, "SILENT_S", 0.3)
    monkeypatch.setattr(lock_keeping, "ASK_S", 0.0)
    async with writer(postgres, "a lane") as held:
        await asyncio.sleep(2 * lock_keeping.SILENT_S)
        for number in range(50):
            assert await held.fetchval("select $1::int", number) == number
            async with held.transaction():
                await held.execute("select 1")
                await asyncio.sleep(0)
        await held.execute("begin")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await held.execute("select 1/0")
        await asyncio.sleep(A_MOMENT_S)  # a transaction that has failed takes no question
        await held.execute("rollback")
        assert await held.during(asyncio.sleep(0, 7)) == 7
        assert await held.fetchval("select 1")


async def test_a_holder_whose_work_does_not_go_on_gives_its_lock_up_by_itself(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_keeping, "ASK_S", 0.01)
    searched = []

    async def work() -> None:
        for block in range(40):
            await asyncio.sleep(0.01)
            searched.append(block)
            moved()
        await asyncio.sleep(86_400)

    async with writer(postgres, "a lane", still_s=0.3) as held:
        with pytest.raises(StoreUnavailable, match="has stood still"):
            await held.hold(work())
        assert len(searched) == 40
        assert await is_free(postgres, "a lane")


async def test_a_transaction_that_nobody_goes_on_with_is_ended(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stands still in one would keep others from what it has locked, for ever."""
    monkeypatch.setattr(database, "LET_GO", database.LET_GO.replace("120000", "200"))
    free, lock = "select pg_try_advisory_lock(8)", "select pg_advisory_xact_lock(8)"
    async with create_pool(postgres) as pool:
        for opened in (connect(postgres), pool.acquire()):
            still = await opened
            await still.execute(f"begin; {lock}")
            onlooker = await connect(postgres)
            await until(lambda asking=onlooker: asking.fetchval(free))
            await onlooker.close()
            with pytest.raises(StoreUnavailable), outages():
                await still.execute("select 1")


async def test_a_pool_asks_nothing_but_what_it_is_asked(postgres: str) -> None:
    async with create_pool(postgres) as pool:
        process = await asked(pool.fetchval("select pg_backend_pid() as whose"))
        onlooker = await connect(postgres)
        said = "select query from pg_stat_activity where pid = $1"
        assert await onlooker.fetchval(said, process) == "select pg_backend_pid() as whose"
        await onlooker.close()


async def test_who_leaves_a_transaction_open_leaves_none_to_the_next(postgres: str) -> None:
    async with create_pool(postgres) as pool:
        async with pool.acquire() as first:
            process = await first.fetchval("select pg_backend_pid()")
            await first.execute("begin; create table half_done ()")
        async with pool.acquire() as second:
            assert await second.fetchval("select pg_backend_pid()") == process
            assert await second.fetchval("select to_regclass('half_done')") is None


@pytest.mark.parametrize(
    ("first", "ours", "said"),
    [
        ("0001_journal.sql", "0001_mirror.sql", "not an indexer's: it has the relayer's tables"),
        ("0001_mirror.sql", "0001_journal.sql", "not a relayer's: it has the indexer's tables"),
        ("0001_else.sql", "0001_mirror.sql", "not an indexer's: it has tables of others"),
    ],
)
async def test_another_services_database_is_refused_and_left_as_it_is(
    empty_database: str, first: str, ours: str, said: str
) -> None:
    """Databases of older versions too: nothing but the names of their migrations tells whose."""
    await migrate(empty_database, [(first, "create table batch (n int)")])
    with pytest.raises(WrongDatabase, match=said):
        await migrate(empty_database, [(ours, "create table other (n int)")])
    connection = await connect(empty_database)
    assert await connection.fetchval("select array_agg(name) from migration") == [first]
    assert await connection.fetchval("select to_regclass('other')") is None
    await connection.close()


async def test_a_database_with_tables_of_nobody_we_know_is_refused(empty_database: str) -> None:
    connection = await connect(empty_database)
    await connection.execute("create table batch (n int)")
    with pytest.raises(WrongDatabase, match=r'tables of others .*"batch" already exists'):
        await migrate(empty_database, [("0001_mirror.sql", "create table batch (n int)")])
    assert await connection.fetchval("select to_regclass('migration')") is None
    await connection.close()
