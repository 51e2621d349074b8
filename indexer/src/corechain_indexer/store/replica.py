"""Reads from a streaming replica of Postgres, while it is near enough to the primary.

A request is answered by one of the two as a whole: what it reads first is never newer than what it
reads then. The primary answers when the replica is away, too far behind, no replica of it, or has
not replayed what the request must see.

How far it is behind is the age of what it has replayed: positions of the primary's log are noted as
they are seen, with their time. So an idle primary makes no lag, a cut connection does, and no clock
but ours counts.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from corechain.service.database import asked
from corechain.service.errors import StoreUnavailable
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

log = structlog.get_logger(__name__)
LOOK_S = 0.5
"""Between two looks at both: a question each."""
LOOK_LIMIT_S = 2.0
HISTORY = 7_200
"""Positions that are remembered: an hour of looks."""
_on_replica: ContextVar[bool] = ContextVar("on_replica", default=False)
"""Whether the request that runs now is the replica's."""

PRIMARY, REPLICA = "primary", "replica"
T = TypeVar("T")


def one_source() -> str:
    """Who answers where there is no replica."""
    return PRIMARY


def position_of(text: str) -> int:
    """A position in the log (pg_lsn, `16/B374D848`) as a number of bytes."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


@dataclass(slots=True)
class Lag:
    """When the primary's log was where. Pure: the caller has the clock."""

    seen: "deque[tuple[float, int]]" = field(default_factory=lambda: deque(maxlen=HISTORY))

    def note(self, now: float, position: int) -> None:
        self.seen.append((now, position))

    def of(self, now: float, replayed: int) -> float:
        """Seconds since the newest moment of which the replica has everything."""
        whole = (at for at, position in reversed(self.seen) if position <= replayed)
        return now - next(whole, float("-inf"))


@dataclass(slots=True)
class ReplicaReads:
    """Asks the replica for requests that begin while it is well. Has the questions of a pool."""

    primary: "Database"
    replica: "Database"
    max_lag_s: float
    bypassed: Callable[[str], None] = lambda reason: None
    clock: Callable[[], float] = time.monotonic
    lag_s: float = float("inf")
    unwell: str = "it was not asked yet"
    """Why the replica answers nobody; empty while it does."""
    _lag: Lag = field(default_factory=Lag)
    _primary_system: int | None = None

    # ------------------------------------------------------------- a request

    async def begin(self, *, fresh: bool = False) -> None:
        """Chooses who answers the request that runs now. `fresh`: it must see what the primary
        holds at this moment. Raises StoreUnavailable."""
        reason = self._reason() or ("block" if fresh and not await self._has_all() else None)
        _on_replica.set(reason is None)
        if reason is not None:
            self.bypassed(reason)

    @staticmethod
    def source_now() -> str:
        """Who answers the request that runs now."""
        return REPLICA if _on_replica.get() else PRIMARY

    def _reason(self) -> str | None:
        if self.unwell:
            return "away"
        return "behind" if self.lag_s > self.max_lag_s else None

    async def _has_all(self) -> bool:
        position = await asked(self.primary.fetchval(SQL["log_position"]))
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                return bool(await asked(self.replica.fetchval(SQL["has_replayed"], position)))
        except (StoreUnavailable, TimeoutError) as error:
            self._is_unwell(f"{type(error).__name__}: {error}")
            return False

    # ------------------------------------------------------------- questions

    async def fetch(self, query: str, *arguments: Any) -> "Sequence[Record]":
        rows: Sequence[Record] = await self._ask("fetch", query, arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> "Record | None":
        row: Record | None = await self._ask("fetchrow", query, arguments)
        return row

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._ask("fetchval", query, arguments)

    async def _ask(self, name: str, query: str, arguments: Sequence[Any]) -> Any:
        return await self.either(
            lambda who: asked(getattr(self.pool_of(who), name)(query, *arguments))
        )

    def pool_of(self, source: str) -> "Database":
        return self.replica if source == REPLICA else self.primary

    async def either(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """The answer of whoever answers the request that runs now. Raises StoreUnavailable."""
        if _on_replica.get():
            try:
                return await ask(REPLICA)
            except StoreUnavailable as error:
                # The primary is never behind what was read already: the request goes on there.
                _on_replica.set(False)
                self._is_unwell(str(error))
                self.bypassed("away")
        return await ask(PRIMARY)

    # ------------------------------------------------------------- how it is

    async def look_forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Asks both where they are. Raises nothing that an outage of either could be."""
        await self._look_at_primary()
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                row = await asked(self.replica.fetchrow(SQL["replica_position"]))
        except (StoreUnavailable, TimeoutError) as error:
            self._is_unwell(f"{type(error).__name__}: {error}")
            return
        assert row is not None, "a select without a table has one row"
        self._judge(row["position"], row["system"])

    async def _look_at_primary(self) -> None:
        asked_at = self.clock()
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                row = await asked(self.primary.fetchrow(SQL["primary_position"]))
        except (StoreUnavailable, TimeoutError):
            return  # its age grows meanwhile; whoever needs the primary says that it is away
        assert row is not None, "a select without a table has one row"
        self._primary_system = row["system"]
        # The time of the question: the position is of that moment, or later.
        self._lag.note(asked_at, position_of(row["position"]))

    def _judge(self, position: str | None, system: int) -> None:
        if self._primary_system is None:
            self._is_unwell("the primary was not seen yet")
        elif position is None or system != self._primary_system:
            self._is_unwell("it is no streaming replica of the primary")
        else:
            self.lag_s = self._lag.of(self.clock(), position_of(position))
            if self.unwell:
                log.info("replica answers", lag_s=round(self.lag_s, 3))
            self.unwell = ""

    def _is_unwell(self, why: str) -> None:
        if not self.unwell:
            log.warning("replica away", why=why)
        self.unwell = why

    def lag(self) -> float:
        """Seconds; infinite where it is not known."""
        return float("inf") if self.unwell else self.lag_s

    def sentences(self) -> Sequence[str]:
        """For `/ready`: the primary answers."""
        if self.unwell:
            return [f"the replica answers nobody: {self.unwell}"]
        if self.lag_s > self.max_lag_s:
            return [f"the replica is {self.lag_s:.1f} s behind, more than {self.max_lag_s:g} s"]
        return []
