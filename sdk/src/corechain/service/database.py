"""Connections to Postgres: one error type for outages, migrations, and the writer's lock."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from corechain.service import lock_keeping
from corechain.service.errors import StoreAccessRefused, StoreUnavailable, WriterLockHeld
from corechain.service.hosts import DATABASE_URL, IS_REPLICA, Hosts, refusal_of
from corechain.service.lock_keeping import GONE_SOON, LET_GO, Kept, kept
from corechain.service.migrated import Migrations, check_applied, wrong_database
from corechain.service.reasons import reason_of

if TYPE_CHECKING:
    from asyncpg import Connection, Pool, Record

    Conn = Connection[Record]
    Database = Pool[Record]

COMMAND_TIMEOUT_S = 30.0
MIGRATION_TIMEOUT_S = 86_400.0
"""An index over a billion rows takes hours; cut off after 30 s it would never be there."""
CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
ACQUIRE_TIMEOUT_S = 30.0
"""For a free connection of a pool, and to open it: a server that hangs holds all of them."""
RELEASE_TIMEOUT_S = 1.0
"""For the server to confirm that a query was cancelled. One that hangs never does."""
ROLE_EVERY_S = 1.0
"""Between two questions whether a pooled connection's server still leads."""
POOL_SIZE = 8
QUERIES, IDLE_S = 50_000, 300.0
"""Of a pool's connection before it is replaced, and its time without any: asyncpg's own numbers."""
STATEMENTS = 100
"""Kept prepared on each connection: asyncpg's own number, and more than we have queries."""
START_S = 5.0
"""A process that starts waits so long for its database to tell whose it is."""
MIGRATION_LOCK = "corechain migrations"
MIGRATION_TABLE = """
create table if not exists migration (
    name text primary key, contract boolean not null default false
)
"""
HAS_CONTRACT = """
select exists (select from pg_attribute where attrelid = 'migration'::regclass
               and attname = 'contract' and not attisdropped)
"""
ADD_CONTRACT = "alter table migration add column contract boolean not null default false"
# Tables of before this column as well: a database is judged before anything is changed in it.
APPLIED = """
select name, coalesce((to_jsonb(migration) ->> 'contract')::boolean, false) as contract
from migration order by name
"""
CONTRACT = "-- contract:"
"""Begins a migration that versions before it cannot live with, and says why. All others only add:
older versions run on beside newer ones, and an upgrade can be taken back."""
BARRIER = "select pg_logical_emit_message(true, 'corechain', '')"
"""A commit that changes nothing, for what it waits for. With synchronous replication, a commit
whose client went away while it waited for the replica is seen by everybody, and yet is lost when
the leader dies. Who reads it and acts on it, say lets go of the frames that it came from, would
lose them. A later commit waits for the whole log before it."""
T = TypeVar("T")

_OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    # No space, no memory, no free connection.
    asyncpg.InsufficientResourcesError,
    # The disk under it: SQLSTATE class 58.
    asyncpg.PostgresSystemError,
    # A primary that became a replica, or was set read-only because its disk is full.
    asyncpg.ReadOnlySQLTransactionError,
    # Not there yet, or not for us: what an operator can cure while we wait.
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    StoreAccessRefused,
    # Somebody else's transaction was in the way: the next try finds another order.
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    # What asyncpg says when a dying server answers out of turn.
    asyncpg.InternalClientError,
)
# asyncpg's words for a connection or pool that an outage has ended under our hands.
_ENDED = ("closed", "closing", "not initialized", "released back", "another operation")


@contextmanager
def outages() -> Iterator[None]:
    """Turns an outage of the database into StoreUnavailable; a wrong query stays what it is."""
    try:
        yield
    except StoreAccessRefused:
        raise
    except _OUTAGES as error:
        if why := refusal_of(error):
            raise StoreAccessRefused(DATABASE_URL, why) from error
        raise StoreUnavailable(_why(error)) from error
    except asyncpg.InterfaceError as error:
        if not any(words in str(error) for words in _ENDED):
            raise
        raise StoreUnavailable(f"Postgres: {error}") from error


def _why(error: BaseException) -> str:
    """For whoever asks the API too: it names the store, and never its address."""
    if isinstance(error, TimeoutError):
        return "Postgres does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "Postgres is not there (connection refused)"
    if isinstance(error, OSError):  # the words of the others hold the address
        return f"Postgres cannot be reached ({type(error).__name__})"
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
        # Whose table it is only the caller knows: `corechain tx` is the relayer's.
        todo = "run `corechain relayer migrate`, or for an indexer `corechain indexer migrate`"
        return f"Postgres: {reason_of(error)} ({todo}: it makes the tables of this version)"
    return f"Postgres: {reason_of(error)}"  # pg_hba's names the host that it refuses


async def asked(answer: Awaitable[T]) -> T:
    """What is awaited. Raises StoreUnavailable for an outage of the database."""
    try:  # every question comes by here: to enter and leave `outages` costs more than this
        return await answer
    except Exception as error:
        with outages():
            raise error


def _hosts(url: str, *, pooled: bool = False) -> Hosts:
    return Hosts.of(url, _OUTAGES, CONNECT_TIMEOUT_S, pooled)


def connector(url: str, statements: int = STATEMENTS) -> "Callable[[], Awaitable[Conn]]":
    """What connects to the host that takes writes, where the URL names several: the one that did
    last is tried first. `statements`: how many a connection keeps prepared. Raises
    StoreUnavailable."""
    hosts = _hosts(url, pooled=statements == 0)

    async def connected() -> "Conn":
        with outages():
            connection = await hosts.connect(
                command_timeout=COMMAND_TIMEOUT_S, statement_cache_size=statements
            )
            if statements:
                await _let_go(connection)
        return connection

    return connected


def outlives_lead(url: str, pooled: bool) -> bool:
    """Whether a connection may go on when the server behind it has lost the lead: behind a pooler
    it does, and would serve old answers, and refuse every write, for ever."""
    return pooled and _hosts(url, pooled=True).writes


async def connect(url: str) -> "Conn":
    """A connection of the caller's own, as of `connector`. Raises StoreUnavailable."""
    return await connector(url)()


async def _let_go(connection: "Conn") -> None:
    """A transaction that nobody goes on with is ended. Not behind a pooler, whose own limit
    (PgBouncer: `idle_transaction_timeout`) is for all of its clients. Whoever leaves meanwhile, or
    is refused, has no connection yet that it could close."""
    try:
        await connection.execute(LET_GO)
    except BaseException:
        connection.terminate()
        raise


async def hang_up(connection: "Conn") -> None:
    """Says goodbye, so that the server frees the lock at once; hangs up where nobody listens."""
    try:
        await connection.close(timeout=CLOSE_TIMEOUT_S)
    except (*_OUTAGES, asyncpg.InterfaceError):
        connection.terminate()


class _Stateless(asyncpg.Connection):
    """A pool's connection. Nothing here leaves settings, session locks, cursors or LISTEN behind on
    one, so nothing has to be reset before the next borrower has it. asyncpg's reset is a query of
    its own after each query: 7 to 31 % of Postgres's time on an API call. An open transaction is
    still rolled back."""

    role_seen_at = float("-inf")
    """When the server behind it was seen to lead."""

    def get_reset_query(self) -> str:
        return ""


_DOUBTED = asyncpg.ReadOnlySQLTransactionError, TimeoutError, asyncio.CancelledError


class _Bounded(asyncpg.Pool):
    """A pool that nobody waits for without end. asyncpg's own waits for a free connection as long
    as it takes, and for a hung server to confirm a cancelled query: so the limit of a caller, who
    was cancelled by it, did not hold."""

    watches_role = False
    """As of `outlives_lead`."""

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109  # asyncpg's
        limit_s = ACQUIRE_TIMEOUT_S if timeout is None else timeout
        for _ in range(POOL_SIZE + 1):
            # The stubs lack what acquire() calls.
            connection = await super()._acquire(limit_s)  # type: ignore[misc]
            if not self.watches_role or await self._leads(connection):
                return connection
            # Each of them may be as old. New ones are made only where writes are taken.
            await self.expire_connections()
            await self.release(connection)
        # The lead went away under each of them.
        raise asyncpg.ReadOnlySQLTransactionError("no server behind the poolers keeps the lead")

    async def _leads(self, connection: Any) -> bool:
        """Asked once in a while: a failover takes longer. A failure gives the connection back."""
        session, now = connection._con, time.monotonic()
        if now - session.role_seen_at < ROLE_EVERY_S:
            return True
        try:
            replica = await connection.fetchval(IS_REPLICA)
        except BaseException:
            await self.release(connection)
            raise
        session.role_seen_at = now
        return not replica

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        # Released by the way out of `async with`, with the error still on its way. A question that
        # was given up may be of a server that moved away, as are its siblings then.
        if isinstance(sys.exception(), _DOUBTED):
            await self.expire_connections()
        # On a timeout asyncpg has already ended the connection: the pool opens another one. Raised
        # here, it would hide the cancellation or the error that the query ended with.
        with suppress(TimeoutError):
            await super().release(
                connection, timeout=RELEASE_TIMEOUT_S if timeout is None else timeout
            )


def create_pool(url: str, *, pooled: bool = False) -> "Database":
    """A pool that connects when it is first used: an outage at start is an outage, not a crash.

    `pooled`: the URL is of a pooler in transaction mode (PgBouncer). What was prepared on one of
    its connections is not there on the next, so nothing is kept prepared.
    A URL of several hosts: each connection is to the one that takes writes at that moment.
    """
    pool = _Bounded(
        url,
        connect=_hosts(url, pooled=pooled).connect,
        statement_cache_size=0 if pooled else STATEMENTS,
        connection_class=_Stateless,
        record_class=asyncpg.Record,
        min_size=0,
        max_size=POOL_SIZE,
        max_queries=QUERIES,
        max_inactive_connection_lifetime=IDLE_S,
        init=None if pooled else _let_go,
        loop=None,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
    )
    pool.watches_role = outlives_lead(url, pooled)
    return pool


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Kept]:
    """A connection whose locks last as long as the process goes on. Raises StoreUnavailable."""
    async with _alone(url) as connection, _keeping(connection):
        yield connection


@asynccontextmanager
async def writer(url: str, name: str, still_s: float | None = None) -> AsyncIterator[Kept]:
    """A connection that is the only writer of `name` as long as it lives.

    The lock belongs to the connection that writes: a writer that lost its lock cannot write either.
    It lasts as long as the process goes on, and with `still_s` no longer than its owner does
    (`lock_keeping.kept`); `connection.hold` ends what works beside it when it is lost.
    All that it can read is there for good: no failover takes it back (see BARRIER).
    Raises WriterLockHeld, StoreUnavailable.
    """
    async with _alone(url) as connection:
        free = await asked(
            connection.fetchval("select pg_try_advisory_lock(hashtextextended($1, 0))", name)
        )
        if not free:
            raise WriterLockHeld(name)
        async with _keeping(connection, still_s):
            await asked(connection.execute(BARRIER))
            yield connection


@asynccontextmanager
async def _alone(url: str) -> AsyncIterator[Kept]:
    limits = {"command_timeout": COMMAND_TIMEOUT_S, "statement_cache_size": STATEMENTS}
    with outages():
        connection = await _hosts(url).connect(connection_class=Kept, **limits)
    assert isinstance(connection, Kept), "asyncpg makes what it is told to"
    try:
        yield connection
    finally:
        await hang_up(connection)


@asynccontextmanager
async def _keeping(connection: Kept, still_s: float | None = None) -> AsyncIterator[None]:
    await asked(connection.fetch(GONE_SOON, str(int(lock_keeping.SILENT_S * 1000))))
    async with kept(connection, still_s):
        yield


async def migrate(url: str, migrations: Migrations) -> list[str]:
    """Applies the (name, SQL) pairs that are missing; returns their names. Any number may call.

    Raises StoreUnavailable, WrongDatabase for one that another service has tables in, NewerSchema.
    """
    connection = await connect(url)
    try:
        with outages():
            return await _migrate(connection, migrations)
    finally:
        await hang_up(connection)


async def check_at_start(url: str, migrations: Migrations) -> None:
    """Raises WrongDatabase for another service's database, NewerSchema. One that does not answer
    now is asked again by `migrate`."""
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(START_S):
            connection = await connect(url)
            try:
                if await asked(connection.fetchval("select to_regclass('migration') is not null")):
                    check_applied(await asked(connection.fetch(APPLIED)), migrations)
            finally:
                await hang_up(connection)


async def _migrate(connection: "Conn", migrations: Migrations) -> list[str]:
    lock = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
    async with connection.transaction():
        await connection.execute(lock, MIGRATION_LOCK)
        await list_migrations(connection)
        done = check_applied(await connection.fetch(APPLIED), migrations)
        missing = [item for item in migrations if item[0] not in done]
        for name, text in missing:
            await _apply(connection, text, migrations)
            await note_migration(connection, name, text)
    return [name for name, _ in missing]


async def list_migrations(connection: "Conn") -> None:
    """Makes the list of what a database has had, where there is none."""
    await connection.execute(MIGRATION_TABLE)
    if not await connection.fetchval(HAS_CONTRACT):
        await connection.execute(ADD_CONTRACT)


async def note_migration(connection: "Conn", name: str, text: str) -> None:
    """It was applied, and whether versions that do not know it can live with it."""
    note = "insert into migration (name, contract) values ($1, $2)"
    await connection.execute(note, name, text.startswith(CONTRACT))


async def _apply(connection: "Conn", text: str, migrations: Migrations) -> None:
    """Raises WrongDatabase where tables that no migration has made are in the way."""
    try:
        await connection.execute(text, timeout=MIGRATION_TIMEOUT_S)
    except asyncpg.DuplicateTableError as error:
        raise wrong_database(migrations, f"it has tables of others ({reason_of(error)})") from error
