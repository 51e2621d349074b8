"""One database on several hosts: writes find the leader, whoever it is at the moment.

given a URL that names a replica first
  ├── a connection is to the primary, also behind a host that hangs, starts up or is not there
  └── when the primary is killed and the replica promoted, the same pool goes on with that one
given a pooler that outlives a demotion
  ├── after a write that it refused, no connection of before is used again
  ├── none is used for reading either, a second later
  └── what the pooler says of its server is not believed
given synchronous replication, and a commit whose client did not wait for it
  └── nobody becomes the writer who could read it, until no failover can take it back
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from asyncpg import connect_utils
from support.processes import PATIENCE_S, until
from support.replica import ReplicaServer

from corechain.devnet.postgres import USER, PostgresServer
from corechain.devnet.process import LOCALHOST, free_port
from corechain.service import database, hosts
from corechain.service.database import asked, connect, create_pool, writer
from corechain.service.errors import StoreUnavailable
from corechain.service.hosts import Hosts, hosts_of
from corechain.service.readers import LIFE_S, Readers

IMPATIENCE_S = 0.05
"""Of one who goes before a host that hangs has answered."""

STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
ROLE = "select pg_is_in_recovery()"
HELD_BACK = "select true from pg_stat_activity where wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("primary")) as server:
        yield server


@pytest.fixture(scope="module")
def replica(
    primary: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReplicaServer]:
    with ReplicaServer(tmp_path_factory.mktemp("replica"), primary) as server:
        yield server


def url_of(*ports: int, words: str = "") -> str:
    places = ",".join(f"{LOCALHOST}:{port}" for port in ports)
    return f"postgresql://{USER}@{places}/postgres{words}"


@asynccontextmanager
async def host(says: bytes | None) -> AsyncIterator[int]:
    """Its port. It answers every client with this error, or nobody at all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is not None:
            await reader.readexactly(8)  # may we speak TLS?
            writer.write(b"N")
            await reader.read(1_024)
            writer.write(b"E" + (len(says) + 4).to_bytes(4, "big") + says)
            await writer.drain()
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(answer, LOCALHOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def role_behind(url: str) -> bool:
    """Whether it is a replica. A slow machine may need a second look."""
    found: list[bool] = []

    async def look() -> bool:
        try:
            connection = await connect(url)
        except StoreUnavailable:
            return False
        found.append(await connection.fetchval(ROLE))
        await connection.close()
        return True

    await until(look)
    return found[0]


def test_a_url_of_several_hosts_is_one_url_for_each() -> None:
    url = "postgresql://u:p%40@a:1,b,[::1]:3/db?sslmode=require"
    assert hosts_of(url) == [
        "postgresql://u:p%40@a:1/db?sslmode=require",
        "postgresql://u:p%40@b/db?sslmode=require",
        "postgresql://u:p%40@[::1]:3/db?sslmode=require",
    ]
    for alone in ("postgres://h/db", "postgresql:///db?host=a,b", "postgresql://u@h?x=1,2"):
        assert hosts_of(alone) == [alone]


async def test_the_host_that_takes_writes_is_found(
    primary: PostgresServer, replica: ReplicaServer
) -> None:
    assert not await role_behind(url_of(replica.port, primary.port))
    assert not await role_behind(url_of(free_port(), replica.port, primary.port))
    asked_for = "?target_session_attrs=standby"
    assert await role_behind(url_of(primary.port, replica.port, words=asked_for))


async def test_who_leaves_a_host_that_hangs_tries_the_next_one_first(
    primary: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one who waits for less than a host may take would never reach the one that leads."""
    monkeypatch.setattr(hosts, "HOST_TIMEOUT_S", PATIENCE_S)
    async with host(None) as hung:
        found = Hosts.of(url_of(hung, primary.port), (OSError,), PATIENCE_S, pooled=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(IMPATIENCE_S):
                await found.connect()
        assert found._last == 1
        await (await found.connect()).close()


async def test_hosts_that_hang_or_start_do_not_hide_the_others(
    primary: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "HOST_TIMEOUT_S", 0.5)
    async with host(None) as hung, host(STARTING) as starting:
        assert not await role_behind(url_of(hung, starting, primary.port))


async def test_with_no_host_that_takes_writes_the_reason_is_a_servers_own(
    replica: ReplicaServer,
) -> None:
    async with host(STARTING) as starting:
        with pytest.raises(StoreUnavailable, match="starting up"):
            await connect(url_of(free_port(), starting))
    with pytest.raises(StoreUnavailable, match="read_write"):
        await connect(url_of(free_port(), replica.port))
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await connect(url_of(free_port(), free_port()))


async def test_a_connection_that_may_not_write_is_not_used_again(primary: PostgresServer) -> None:
    """What PgBouncer's client sees when the Postgres behind it becomes a replica."""
    async with create_pool(primary.url) as pool:
        demoted = await pool.fetchval("select pg_backend_pid()")
        await pool.execute("set default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable, match="read-only"):
            await asked(pool.execute("create table refused ()"))
        await pool.execute("create table taken ()")
        assert await pool.fetchval("select pg_backend_pid()") != demoted


async def test_no_connection_to_a_server_that_has_lost_the_lead_is_used(
    primary: PostgresServer, replica: ReplicaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some sessions say of themselves that they are behind a pooler and on a replica since."""
    monkeypatch.setattr(database, "ROLE_EVERY_S", 0.0)
    monkeypatch.setattr(database, "IS_REPLICA", "select current_setting('my.role', true) = 'old'")
    async with create_pool(url_of(replica.port, primary.port), pooled=True) as pool:
        held = [await pool.acquire() for _ in range(3)]
        before = [await one.fetchval("select pg_backend_pid()") for one in held]
        for one in held:
            await one.execute("set my.role = 'old'")
            await pool.release(one)
        assert await pool.fetchval("select pg_backend_pid()") not in before
        assert not await pool.fetchval(ROLE)
    for broken, error in (("1 / 0", asyncpg.DivisionByZeroError), ("true", StoreUnavailable)):
        monkeypatch.setattr(database, "IS_REPLICA", f"select {broken}")
        async with create_pool(url_of(replica.port, primary.port), pooled=True) as pool:
            for _ in range(database.POOL_SIZE + 1):  # each gives its connection back
                with pytest.raises(error):
                    await asked(pool.fetchval(ROLE))


async def test_readers_behind_poolers_are_made_anew_where_the_lead_is(
    primary: PostgresServer, replica: ReplicaServer
) -> None:
    now, pid = 0.0, "select pg_backend_pid() where not pg_is_in_recovery()"
    readers = Readers(url_of(replica.port, primary.port), pooled=True, size=1, clock=lambda: now)
    first = await readers.fetchval(pid)
    assert first is not None
    assert await readers.fetchval(pid) == first
    now += LIFE_S
    second = await readers.fetchval(pid)
    assert second not in (None, first), "one that lay idle is not used"
    slow = asyncio.create_task(readers.fetchval(f"{pid} and pg_sleep(0.2) is not null"))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(readers.fetchval(pid))
    await asyncio.sleep(0)
    now += LIFE_S
    assert await slow == second
    assert await waiting not in (None, second), "nor handed on to who waits for it"
    await readers.close()
    alone = Readers(url_of(primary.port), pooled=True, size=1, clock=lambda: now)
    first = await alone.fetchval(pid)
    now += LIFE_S
    assert await alone.fetchval(pid) == first, "one host alone keeps its connections"
    await alone.close()


async def test_a_pooler_is_not_believed_what_its_server_is(
    primary: PostgresServer, replica: ReplicaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PgBouncer says `in_hot_standby` as it was when it met its server; here asyncpg is made to
    believe so of every server."""
    monkeypatch.setitem(connect_utils.target_attrs_check, "read-write", _believes)
    url = url_of(replica.port, primary.port)
    assert await role_behind(url), "what would be believed"
    async with create_pool(url, pooled=True) as pool:
        assert not await pool.fetchval(ROLE)
    async with create_pool(url_of(replica.port), pooled=True) as pool:
        assert await pool.fetchval(ROLE), "one host alone is what is wanted, whatever it is"
    said = url_of(free_port(), replica.port, words="?target_session_attrs=primary")
    async with create_pool(said, pooled=True) as pool:
        with pytest.raises(StoreUnavailable, match="is a replica"):
            await asked(pool.fetchval(ROLE))
    monkeypatch.setattr(hosts, "IS_REPLICA", "select 1 / 0")
    async with create_pool(url, pooled=True) as pool:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await pool.fetchval(ROLE)


async def _believes(connection: object) -> bool:
    return True


async def hasty(url: str, statement: str) -> bool:
    """Commit, and go as soon as Postgres holds the commit back for a replica: whether it did.

    No setting tells it: a reload is not at once, and what counts is what the
    checkpointer has put into shared memory since, which only a commit meets.
    """
    client, watcher = await connect(url), await connect(url)
    commit = asyncio.create_task(client.execute(statement))

    async def held() -> bool:
        return commit.done() or bool(await watcher.fetchval(HELD_BACK))

    await until(held)
    went = commit.cancel()
    await asyncio.gather(commit, return_exceptions=True)
    await asyncio.gather(client.close(), watcher.close())
    return went


async def test_who_could_read_what_a_failover_takes_back_is_not_the_writer(
    primary: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await connect(primary.url)
    await settings.execute("create table kept (number int)")
    await settings.execute("create table tried (number int)")
    await settings.execute("alter system set synchronous_standby_names = 'nobody'")
    await settings.execute("select pg_reload_conf()")

    try:
        await until(lambda: hasty(primary.url, "insert into tried values (1)"))
        assert await hasty(primary.url, "insert into kept values (1)")
        assert await settings.fetchval("select count(*) from kept") == 1, "everybody sees it"
        with monkeypatch.context() as patched:
            patched.setattr(database, "COMMAND_TIMEOUT_S", 1.0)
            with pytest.raises(StoreUnavailable, match="does not answer"):
                async with writer(primary.url, "the frames"):
                    pass
    finally:
        await settings.execute("set synchronous_commit = local")
        await settings.execute("alter system reset synchronous_standby_names")
        await settings.execute("select pg_reload_conf()")
        await settings.close()
    async with writer(primary.url, "the frames") as connection:
        assert await connection.fetchval("select number from kept") == 1


async def test_a_pool_follows_the_lead_to_another_host(tmp_path: Path) -> None:
    first = PostgresServer(tmp_path / "first")
    with first, ReplicaServer(tmp_path / "second", first) as second:
        async with create_pool(url_of(first.port, second.port)) as pool:
            await pool.execute("create table kept (number int)")
            await pool.execute("insert into kept values (1)")
            following = await connect(second.url)
            await until(lambda: following.fetchval("select to_regclass('kept') is not null"))
            await until(lambda: following.fetchval("select count(*) = 1 from kept"))
            first.kill()
            with pytest.raises(StoreUnavailable):
                await asked(pool.execute("insert into kept values (2)"))
            await following.execute("select pg_promote()")
            await following.close()

            async def writes() -> bool:
                try:
                    await asked(pool.execute("insert into kept values (3)"))
                except StoreUnavailable:
                    return False
                return True

            await until(writes)
            rows = await pool.fetch("select number from kept order by number")
            assert [row["number"] for row in rows] == [1, 3]
