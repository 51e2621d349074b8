"""Connections to Postgres for questions that are one statement each.

asyncpg's pool makes a proxy, a timer and a look at the session's state for whoever borrows a
connection, and must: a borrower may leave a transaction open. Who only asks borrows nothing. Beside
the 60 µs of a short question the pool took 40.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from corechain.service.database import (
    ACQUIRE_TIMEOUT_S,
    IDLE_S,
    POOL_SIZE,
    STATEMENTS,
    asked,
    connector,
    hang_up,
    outlives_lead,
)
from corechain.service.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

T = TypeVar("T")
LIFE_S = 5.0
"""Of a connection that may outlive the lead of its server. A new one is made where writes are
taken: 8 in so long cost less than to ask each now and then, and a failover takes longer."""


def _give_up(turn: "asyncio.Future[Conn | None]") -> None:
    if not turn.done():
        turn.set_exception(TimeoutError())


def _has_come(turn: "asyncio.Future[Conn | None]") -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None


async def require_answer(url: str, *, pooled: bool = False) -> None:
    """Asks on a connection of its own: those of a pool may all be held by questions that are only
    slow. Raises StoreUnavailable."""
    connection = await connector(url, 0 if pooled else STATEMENTS)()
    try:
        await asked(connection.fetchval("select 1"))
    finally:
        await hang_up(connection)


@dataclass(slots=True)
class Readers:
    """Has the questions of a pool. Connects when it is first asked, to `size` connections at most;
    who finds all of them taken waits for one, in order. Each raises what asyncpg's pool does, and
    StoreUnavailable where there is no connection to be had.

    `pooled`: the URL is of a pooler in transaction mode: nothing is kept prepared.
    """

    url: str
    pooled: bool = False
    size: int = POOL_SIZE
    clock: Callable[[], float] = time.monotonic
    _idle: "list[tuple[Conn, float]]" = field(default_factory=list)
    """With the time since when. The last one back is the first one out: its caches are warm."""
    _open: int = 0
    """Connections there are, or that are being opened."""
    _waiting: "deque[asyncio.Future[Conn | None]]" = field(default_factory=deque)
    """Each gets a connection, or None: there is room for one more to be opened."""
    _is_closed: bool = False
    _doubted_at: float = -inf
    """When a question was given up: a server that moved away takes all connections with it, without
    a word. Those of before would each keep somebody waiting until it is given up."""
    _life_s: float = field(init=False)
    _born: "dict[Conn, float]" = field(default_factory=dict)
    _connect: "Callable[[], Awaitable[Conn]]" = field(init=False)

    def __post_init__(self) -> None:
        self._connect = connector(self.url, 0 if self.pooled else STATEMENTS)
        self._life_s = LIFE_S if outlives_lead(self.url, self.pooled) else inf

    async def fetch(self, query: str, *arguments: Any) -> "Sequence[Record]":
        connection = self._at_hand() or await self._free()
        try:
            rows = await connection.fetch(query, *arguments)
        except BaseException as error:
            self._failed(connection, error)
            raise
        self._back(connection)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> "Record | None":
        connection = self._at_hand() or await self._free()
        try:
            row = await connection.fetchrow(query, *arguments)
        except BaseException as error:
            self._failed(connection, error)
            raise
        self._back(connection)
        return row

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]

    async def warmed(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Opens all connections, and asks on all of them side by side: what a connection does for
        the first time costs ten times as much as for the second. Raises what `ask` raises."""
        opened: list[Conn] = []
        try:
            for _ in range(self.size - self._open):
                opened.append(await self._free())
        finally:  # those that came before one failed are as good
            for connection in opened:
                self._back(connection)
        await asyncio.gather(*(ask() for _ in range(self.size)))

    async def close(self) -> None:
        """Lets nobody ask any more. Questions that are under way end with their connections."""
        self._is_closed = True
        while self._waiting:
            self._wake(None)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(hang_up(connection) for connection, _ in idle))

    def standing(self) -> "Mapping[str, Callable[[], float]]":
        """How many connections there are, for metrics: asked when somebody looks."""
        return {
            "open": lambda: float(self._open),
            "idle": lambda: float(len(self._idle)),
            "wanted": lambda: float(len(self._waiting)),
        }

    # ------------------------------------------------------------- connections

    def _at_hand(self) -> "Conn | None":
        """The one that was used last, unless it has ended meanwhile, or may have: a firewall
        forgets a connection without a word."""
        while self._idle:
            connection, since = self._idle.pop()
            is_new = self.clock() - since < IDLE_S and since > self._doubted_at
            if is_new and self._is_good(connection):
                return connection
            self._end(connection)
        return None

    async def _free(self) -> "Conn":
        while True:
            if self._is_closed:
                raise StoreUnavailable("Postgres: the connections are closed")
            if self._open < self.size:
                return await self._connected()
            found = await self._turn() or self._at_hand()
            if found is not None:
                return found

    async def _connected(self) -> "Conn":
        self._open += 1
        try:
            connection = await self._connect()
            self._born[connection] = self.clock()
            return connection
        except BaseException:
            self._open -= 1
            # Who waits finds out for itself, one after the other, what is wrong.
            self._wake(None)
            raise

    async def _turn(self) -> "Conn | None":
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Conn | None] = loop.create_future()
        self._waiting.append(turn)
        # A tenth of what `asyncio.timeout` costs, and under load most questions wait.
        limit = loop.call_later(ACQUIRE_TIMEOUT_S, _give_up, turn)
        try:
            return await turn
        except BaseException:
            if _has_come(turn):  # as it left
                found = turn.result()
                if found is None:
                    self._wake(None)
                else:
                    self._back(found)
            raise
        finally:
            limit.cancel()

    def _wake(self, connection: "Conn | None") -> bool:
        """Whether anybody still waited."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _back(self, connection: "Conn") -> None:
        if self._is_closed or not self._is_good(connection):
            self._end(connection)
        elif not self._waiting or not self._wake(connection):
            self._idle.append((connection, self.clock()))

    def _is_good(self, connection: "Conn") -> bool:
        if connection.is_closed():
            return False
        return self._life_s == inf or self.clock() - self._born[connection] < self._life_s

    def _failed(self, connection: "Conn", error: BaseException) -> None:
        """Only what the server itself has said leaves a connection as it was. One whose question
        was cut off would give its answer to the next."""
        if isinstance(error, asyncpg.PostgresError):
            self._back(connection)
        else:
            self._doubted_at = self.clock()
            self._end(connection)

    def _end(self, connection: "Conn") -> None:
        self._open -= 1
        self._born.pop(connection, None)
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        self._wake(None)
