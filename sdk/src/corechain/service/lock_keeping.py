"""The sessions that locks belong to: they last as long as who holds them goes on, and no longer.

Postgres frees a lock when its session ends. It sees that of a process that dies, and asks for a
host that vanishes. A process that stands still (SIGSTOP, a frozen container) keeps its connection:
its kernel answers for it. So the server is told to end a session that asks nothing for a while, and
each session asks, whatever its owner waits for. Who is woken again has no session, so it writes
nothing more.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, NoReturn, TypeVar

import asyncpg
import structlog

from corechain.service.errors import StoreUnavailable
from corechain.service.progress import HEARD_BY
from corechain.service.supervision import side_by_side, stop_all

log = structlog.get_logger(__name__)
T = TypeVar("T")

ASK_S = 5.0
ASK_LIMIT_S = 30.0
"""As any other question's: a server that hangs so long has ended the session, or will."""
SILENT_S = 60.0
"""Twelve questions: who was put off so long does nothing for anybody. The time of a takeover."""
IN_TRANSACTION_S = 120.0
"""So long a transaction of any connection may wait for the next statement of its owner: what it
has locked keeps others waiting. The longest gap in one of ours is two questions to a shard."""
GONE_SOON = """
select set_config(name, value, false)
from (values ('client_connection_check_interval', '1000'), ('tcp_keepalives_idle', '5'),
             ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
             ('tcp_user_timeout', '15000'), ('idle_session_timeout', $1),
             ('idle_in_transaction_session_timeout', $1)) as wanted (name, value)
where current_setting(name, true) is not null
"""
"""So that the server soon sees that a writer is gone, and frees its lock: one that was killed while
its statement ran would hold the lock until that ends, one whose machine has vanished for two hours,
which is what kernels wait before they ask, and one that stands still for ever. Postgres before 14
does not know `idle_session_timeout`."""
LET_GO = f"set idle_in_transaction_session_timeout = {int(IN_TRANSACTION_S * 1000)}"
PATIENT = "set local idle_in_transaction_session_timeout = 0"
"""For a transaction that only reads, keeps nobody waiting, and works long between two questions."""
QUESTIONS = (
    "execute",
    "executemany",
    "fetch",
    "fetchmany",
    "fetchrow",
    "fetchval",
    "copy_from_query",
    "copy_from_table",
    "copy_records_to_table",
    "copy_to_table",
)
"""Of a connection's owner. A cursor or a prepared statement would get by: writers have none."""


class Kept(asyncpg.Connection):
    """A connection whose session is kept alive. The question that does it takes turns with those of
    the owner, who knows nothing of it."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self._free, self._lost = asyncio.Event(), asyncio.Event()
        self._free.set()
        self._busy, self._why = 0, "the session that has the lock was ended"
        self._asked_at = self._moved_at = time.monotonic()
        self.add_termination_listener(lambda connection: self._lost.set())

    def moved(self) -> None:
        """Its owner goes on with its work."""
        self._moved_at = time.monotonic()

    async def turn(self) -> None:
        """Returns when the owner may ask; `over` says that it has its answer."""
        while not self._free.is_set():
            await self._free.wait()
        self._busy += 1
        self.moved()

    def over(self) -> None:
        """See `turn`."""
        self._busy -= 1
        self._asked_at = time.monotonic()
        self.moved()

    async def keep(self, still_s: float | None) -> None:
        """Asks now and then until the connection is closed; ends it when the server does not
        answer, or its owner has not moved for `still_s`."""
        while not self.is_closed():
            await asyncio.sleep(ASK_S)
            now = time.monotonic()
            if still_s is not None and not self._busy and now - self._moved_at >= still_s:
                self._end(f"what holds the lock has stood still for {still_s:g} s")
            elif not self._busy and now - self._asked_at >= ASK_S:
                await self._ask()

    async def _ask(self) -> None:
        self._free.clear()
        try:
            # Not `self`: that would wait for its own turn.
            await super().execute("select 1", timeout=ASK_LIMIT_S)
            self._asked_at = time.monotonic()
        except asyncpg.InFailedSQLTransactionError:
            self._asked_at = time.monotonic()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._end(f"the session that has the lock is lost ({type(error).__name__})")
        finally:
            self._free.set()

    def _end(self, why: str) -> None:
        log.warning("a lock is given up", why=why)
        self._why = why
        self.terminate()

    async def until_lost(self) -> NoReturn:
        """Raises StoreUnavailable as soon as the session is over, and its locks with it."""
        await self._lost.wait()
        raise StoreUnavailable(f"Postgres: {self._why}")

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of work that must not go on without the lock. Raises StoreUnavailable."""
        tasks = asyncio.create_task(work), asyncio.create_task(self.until_lost())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await stop_all(tasks)
        done, lost = tasks
        return await (lost if done.cancelled() else done)

    async def hold(self, *loops: Coroutine[Any, Any, None]) -> None:
        """Runs loops that never end by themselves, no longer than the session lasts. Raises
        StoreUnavailable, and what ends one of them."""
        await side_by_side(self.until_lost(), *loops)


def _in_turn(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(ask)
    async def asked(connection: Kept, *words: Any, **named: Any) -> Any:
        await connection.turn()
        try:
            return await ask(connection, *words, **named)
        finally:
            connection.over()

    return asked


for _name in QUESTIONS:
    setattr(Kept, _name, _in_turn(getattr(asyncpg.Connection, _name)))


@asynccontextmanager
async def kept(connection: Kept, still_s: float | None = None) -> AsyncIterator[None]:
    """Keeps a session alive until it is left; the server knows what to do with a silent one
    (GONE_SOON). `still_s`: how long its owner may do nothing that counts (no question, no
    `progress.moved`) before the session is ended."""
    keeper = asyncio.create_task(connection.keep(still_s))
    token = HEARD_BY.set((*HEARD_BY.get(), connection.moved))
    try:
        yield
    finally:
        with suppress(ValueError):  # left by another task than it was entered by
            HEARD_BY.reset(token)
        await stop_all([keeper])
