"""Connections that only ask: nobody gets another's answer, and none is lost.

given more who ask than connections
  ├── each waits for its turn and gets its own answer
  ├── whoever leaves, waiting or asking, takes no connection along
  ├── what the server refuses leaves its connection, what is cut off ends it
  ├── who is gone before it has a connection leaves none behind
  └── a server that ends all connections is asked by new ones
"""

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.limits import within
from support.processes import PATIENCE_S, stopped

from corechain.devnet.postgres import PostgresServer
from corechain.service import database
from corechain.service.database import asked, connect
from corechain.service.errors import StoreUnavailable
from corechain.service.hosts import Hosts
from corechain.service.readers import Readers

if TYPE_CHECKING:
    from corechain.service.database import Conn

PID = "select pg_backend_pid() from pg_sleep($1)"

LET_GO = {"leaves": "select pg_sleep(60)", "is refused": "select 1 / 0"}
"""What a new connection is told before anybody has it."""

CUT_OFF_S = 0.2
"""For what never comes: the server stands still."""


async def test_so_many_connections_answer_everybody(postgres: str) -> None:
    readers = Readers(postgres, size=3)
    found = await asyncio.gather(*(readers.fetchval("select $1::integer", n) for n in range(40)))
    assert found == list(range(40))
    pids = await asyncio.gather(*(readers.fetchval(PID, 0.001) for _ in range(40)))
    assert len(set(pids)) == 3
    assert await readers.fetchrow("select 1 where false") is None
    assert await readers.fetchval("select 1 where false") is None
    assert [tuple(row) for row in await readers.fetch("values (1), (2)")] == [(1,), (2,)]
    await readers.close()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "mistake", "leave", "wait"]), st.integers(0, 9)),
        max_size=25,
    )
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=10,
)
async def test_whoever_leaves_or_errs_no_connection_is_lost(
    postgres: str, steps: list[tuple[str, int]]
) -> None:
    readers = Readers(postgres, size=2)
    asking: list[tuple[int, asyncio.Task[object]]] = []
    async with asyncio.timeout(PATIENCE_S):
        for step, number in steps:
            if step == "ask":
                answer = readers.fetchval("select $1::integer from pg_sleep(0.002)", number)
                asking.append((number, asyncio.create_task(answer)))
            elif step == "mistake":
                asking.append((-1, asyncio.create_task(readers.fetchval("select 1 / 0"))))
            elif step == "leave" and asking:
                asking[number % len(asking)][1].cancel()
            await asyncio.sleep(0.001 * (number % 3))
        for number, task in asking:
            try:
                assert await task == number
            except asyncpg.DivisionByZeroError:
                assert number == -1
            except asyncio.CancelledError:
                assert task.cancelled()
        assert await asyncio.gather(*(readers.fetchval("select 7") for _ in range(5))) == [7] * 5
    await readers.close()


async def test_connections_that_the_server_ended_are_replaced(postgres: str) -> None:
    readers = Readers(postgres, size=2)
    before = set(await asyncio.gather(*(readers.fetchval(PID, 0.01) for _ in range(2))))
    other = await connect(postgres)
    end = "select pg_terminate_backend(pid) from unnest($1::integer[]) pid"
    await other.execute(end, list(before))
    await other.close()

    async def answered() -> int:
        while True:
            try:  # the end of a connection may be seen only when it is asked
                return int(await asked(readers.fetchval(PID, 0.01)))
            except StoreUnavailable:
                continue

    async with asyncio.timeout(PATIENCE_S):
        after = await asyncio.gather(answered(), answered())
    assert not before & set(after)
    await readers.close()


async def test_a_question_that_is_cut_off_gives_its_answer_to_nobody_else(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "COMMAND_TIMEOUT_S", 86_400.0)
    readers = Readers(postgres_server.url, size=1)
    await readers.fetchval("select 1")
    with stopped(postgres_server.pid), pytest.raises(StoreUnavailable, match="does not answer"):
        await asked(within(CUT_OFF_S, readers.fetchval("select 1")))
    async with asyncio.timeout(PATIENCE_S):
        assert await asked(readers.fetchval("select 2")) == 2
    await readers.close()


async def test_an_idle_connection_is_not_trusted_for_ever(postgres: str) -> None:
    now = [0.0]
    readers = Readers(postgres, size=1, clock=lambda: now[0])
    first = await readers.fetchval(PID, 0)
    now[0] += database.IDLE_S / 2
    assert await readers.fetchval(PID, 0) == first
    now[0] += database.IDLE_S
    assert await readers.fetchval(PID, 0) != first
    await readers.close()


async def test_who_waits_for_a_server_that_is_not_there_hears_it_too() -> None:
    readers = Readers("postgresql://nobody@127.0.0.1:1/none", size=1)
    asking = (asked(readers.fetchval("select 1")) for _ in range(3))
    async with asyncio.timeout(PATIENCE_S):
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(error) for error in found} == {"Postgres is not there (connection refused)"}


async def test_closed_readers_answer_nobody(postgres: str) -> None:
    readers = Readers(postgres, size=1)
    under_way = asyncio.create_task(readers.fetchval(PID, 0.05))
    waiting = asyncio.create_task(asked(readers.fetchval(PID, 0)))
    await asyncio.sleep(0)
    await readers.close()
    with pytest.raises(StoreUnavailable):
        await waiting
    with pytest.raises(StoreUnavailable):
        await readers.fetchval(PID, 0)
    assert isinstance(await under_way, int)


async def test_warmed_readers_have_asked_on_every_connection(postgres: str) -> None:
    readers, seen = Readers(postgres, size=3), set[int]()

    async def ask() -> None:
        seen.add(await readers.fetchval(PID, 0.02))

    await readers.warmed(ask)
    await readers.warmed(ask)
    assert len(seen) == 3
    await readers.close()


async def test_connections_that_came_before_one_failed_are_not_lost(postgres: str) -> None:
    readers, connect_one = Readers(postgres, size=3), iter(range(9))
    connected = readers._connect

    async def third_fails() -> "Conn":
        if next(connect_one) == 2:
            raise StoreUnavailable("too many connections")
        return await connected()

    readers._connect = third_fails
    with pytest.raises(StoreUnavailable):
        await readers.warmed(lambda: readers.fetchval("select 1"))
    assert (readers._open, len(readers._idle)) == (2, 2)
    await readers.warmed(lambda: readers.fetchval("select 1"))
    await readers.close()


@pytest.mark.parametrize("cause", ["leaves", "is refused"])
async def test_who_gets_no_connection_leaves_none_behind(
    postgres: str, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    made: list[Conn] = []
    connected = Hosts.connect

    async def kept(hosts: Hosts, *_: object, **options: object) -> "Conn":
        made.append(await connected(hosts, **options))
        return made[-1]

    monkeypatch.setattr(Hosts, "connect", kept)
    monkeypatch.setattr(database, "LET_GO", LET_GO[cause])
    with pytest.raises((TimeoutError, asyncpg.DivisionByZeroError)):
        await within(CUT_OFF_S, connect(postgres))
    with pytest.raises((TimeoutError, asyncpg.DivisionByZeroError)):
        await within(CUT_OFF_S, Readers(postgres).fetchval("select 1"))
    assert [connection.is_closed() for connection in made] == [True, True]


async def test_behind_a_pooler_nothing_is_kept_prepared(postgres: str) -> None:
    for pooled, kept in ((False, True), (True, False)):
        readers = Readers(postgres, pooled, size=1)
        await readers.fetchval("select 'kept'")
        names = "select count(*) from pg_prepared_statements where statement = $1"
        assert bool(await readers.fetchval(names, "select 'kept'")) == kept
        await readers.close()
