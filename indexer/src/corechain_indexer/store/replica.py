"""Reads from streaming replicas of Postgres, while they are near enough to the primary.

A request is answered by one server as a whole: what it reads first is never newer than what it
reads then. The primary answers when no replica is well: away, too far behind, no replica of it, or
without what the request must see. While the primary is away, as in a failover, a replica that was
well when it was last seen goes on answering for a while. A request that meets an outage begins
anew, once, with whoever is well then (`Api`).

How far a replica is behind is the age of what it has replayed: positions of the primary's log are
noted as they are seen, with their time. So an idle primary makes no lag, a cut connection does, and
no clock but ours counts.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from corechain.service.database import asked
from corechain.service.errors import StoreUnavailable
from corechain_indexer.errors import ShardUnavailable
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

log = structlog.get_logger(__name__)
LOOK_S = 0.5
"""Between two looks at all: a question each."""
LOOK_LIMIT_S = 2.0
LOOKS = 5
"""So many pauses of looks a request that met an outage waits: one look may take its whole limit."""
HISTORY = 7_200
"""Positions that are remembered: an hour of looks."""
PRIMARY, REPLICA = "primary", "replica"
LEADS = "it leads"
"""Where all members of a cluster are named, one of them does; nothing is wrong with that."""
_source: ContextVar[str] = ContextVar("source", default=PRIMARY)
"""Who answers the request that runs now."""
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
class Replica:
    """One of the servers that may be a replica: after a failover it is another one."""

    name: str
    pool: "Database"
    lag_s: float = float("inf")
    unwell: str = "it was not asked yet"
    """Why it answers nobody; empty while it does."""

    def is_unwell(self, why: str) -> None:
        if not self.unwell:
            log.warning("replica away", replica=self.name, why=why)
        self.unwell = why

    def is_well(self, lag_s: float) -> None:
        self.lag_s = lag_s
        if self.unwell:
            log.info("replica answers", replica=self.name, lag_s=round(lag_s, 3))
        self.unwell = ""


class Questions(ABC):
    """The questions of a pool, however they are put."""

    __slots__ = ()

    @abstractmethod
    async def _ask(self, name: str, query: str, arguments: Sequence[Any]) -> Any:
        """What the pool's method of that name gives. Raises StoreUnavailable."""

    async def fetch(self, query: str, *arguments: Any) -> "Sequence[Record]":
        rows: Sequence[Record] = await self._ask("fetch", query, arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> "Record | None":
        row: Record | None = await self._ask("fetchrow", query, arguments)
        return row

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._ask("fetchval", query, arguments)


@dataclass(slots=True)
class ReplicaReads(Questions):
    """Asks a replica for requests that begin while one is well. Has the questions of a pool.

    The first of `replicas` that is well answers all of them: answers of several would go back and
    forth in time. Who has several processes gives each another order.
    """

    primary: "Database"
    replicas: Sequence[Replica]
    max_lag_s: float
    bypassed: Callable[[str], None] = lambda reason: None
    alone_s: float = 0.0
    """So long a replica goes on without the primary."""
    clock: Callable[[], float] = time.monotonic
    _lag: Lag = field(default_factory=Lag)
    _system: int | None = None
    _line: int = 0
    """Of the primary that was seen last."""
    _seen_at: float = float("-inf")
    _primary_away: bool = False
    _watched: bool = False

    # ------------------------------------------------------------- a request

    async def begin(self, *, fresh: bool = False) -> None:
        """Chooses who answers the request that runs now. `fresh`: it must see what the primary
        holds at this moment. Raises StoreUnavailable."""
        chosen = self._chosen()
        reason = "" if chosen else self._reason()
        if chosen is not None and fresh and not await self._has_all(chosen):
            chosen, reason = None, "block"
        _source.set(PRIMARY if chosen is None else chosen.name)
        if reason:
            self.bypassed(reason)

    @staticmethod
    def source_now() -> str:
        """Who answers the request that runs now."""
        return _source.get()

    @property
    def sources(self) -> Sequence[str]:
        return [PRIMARY, *(replica.name for replica in self.replicas)]

    def _chosen(self) -> Replica | None:
        return next((one for one in self.replicas if self._is_near(one)), None)

    def _is_near(self, replica: Replica) -> bool:
        return not replica.unwell and replica.lag_s - self._excused_s() <= self.max_lag_s

    def _excused_s(self) -> float:
        """What of a lag is only that nobody says where the primary is."""
        away_s = self.clock() - self._seen_at if self._primary_away else 0.0
        return away_s if away_s <= self.alone_s else 0.0

    def _reason(self) -> str:
        return "away" if all(one.unwell for one in self.replicas) else "behind"

    async def _has_all(self, replica: Replica) -> bool:
        position = await asked(self.primary.fetchval(SQL["log_position"]))
        if position is None:
            raise StoreUnavailable("Postgres: the primary has lost the lead")
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                return bool(await asked(replica.pool.fetchval(SQL["has_replayed"], position)))
        except (StoreUnavailable, TimeoutError) as error:
            replica.is_unwell(f"{type(error).__name__}: {error}")
            return False

    # ------------------------------------------------------------- questions

    async def _ask(self, name: str, query: str, arguments: Sequence[Any]) -> Any:
        return await self.either(
            lambda who: asked(getattr(self.pool_of(who), name)(query, *arguments))
        )

    def _named(self, source: str) -> Replica | None:
        return next((one for one in self.replicas if one.name == source), None)

    def pool_of(self, source: str) -> "Database":
        replica = self._named(source)
        return cast("Database", Primary(self)) if replica is None else replica.pool

    async def either(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """The answer of whoever answers the request that runs now. Raises StoreUnavailable."""
        replica = self._named(_source.get())
        if replica is not None:
            try:
                return await ask(replica.name)
            except ShardUnavailable:  # the replica has answered, as the primary would
                raise
            except StoreUnavailable as error:
                # The primary is never behind what was read already: the request goes on there.
                _source.set(PRIMARY)
                replica.is_unwell(str(error))
                self.bypassed("away")
                if self.primary_is_replaced:
                    raise  # at once: begun anew, another replica answers it as a whole
        return await ask(PRIMARY)

    # ------------------------------------------------------------- how they are

    async def ping(self) -> None:
        """Whether plain requests are answered: by the primary or, where that is away or stands
        still, by a replica. Raises StoreUnavailable."""
        try:
            await Primary(self).fetchval(SQL["ping"])
        except StoreUnavailable:
            # A failover of Postgres must not take every process of the API from its balancer.
            if not self.goes_on:
                raise

    async def look_forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Asks all where they are. Raises nothing that an outage of any could be."""
        self._watched = True
        await self._look_at_primary()
        await asyncio.gather(*map(self._look_at, self.replicas))

    async def _look_at(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                row = await asked(replica.pool.fetchrow(SQL["replica_position"]))
        except (StoreUnavailable, TimeoutError) as error:
            replica.is_unwell(f"{type(error).__name__}: {error}")
            return
        assert row is not None, "a select without a table has one row"
        self._judge(replica, row)

    async def _look_at_primary(self) -> None:
        asked_at = self.clock()
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                row = await asked(self.primary.fetchrow(SQL["primary_position"]))
        except (StoreUnavailable, TimeoutError):
            row = None
        self._primary_away = row is None
        if row is None:
            return  # ages grow meanwhile; whoever needs the primary says that it is away
        self._system, self._line, self._seen_at = row["system"], row["line"], asked_at
        # The time of the question: the position is of that moment, or later.
        self._lag.note(asked_at, position_of(row["position"]))

    def _judge(self, replica: Replica, row: "Record") -> None:
        if self._system is None:
            replica.is_unwell("the primary was not seen yet")
        elif row["position"] is None and row["system"] == self._system and len(self.replicas) > 1:
            replica.is_unwell(LEADS)
        elif row["position"] is None or row["system"] != self._system:
            replica.is_unwell("it is no streaming replica of the primary")
        elif row["line"] < self._line:
            # It may hold what the old primary had and the new one has not, at a higher position.
            replica.is_unwell("it has not followed the last failover yet")
        else:
            replica.is_well(self._lag.of(self.clock(), position_of(row["position"])))

    @property
    def goes_on(self) -> bool:
        """Whether plain requests are answered although the primary may be away."""
        return self._chosen() is not None

    @property
    def primary_is_replaced(self) -> bool:
        """Whether the primary is away, and a replica answers plain requests meanwhile."""
        return self._primary_away and self.goes_on

    async def has_another(self, *, fresh: bool) -> bool:
        """Whether a request that met an outage may find who answers it when it begins anew. Waits
        for looks that may say so. `fresh` as for `begin`."""
        for _ in range(LOOKS):
            if not self._primary_away or (self.goes_on and not fresh):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def lag(self) -> float:
        """Seconds, of who answers, or would answer first; infinite where it is not known."""
        well = [one.lag_s for one in self.replicas if not one.unwell]
        return well[0] if well else float("inf")

    def sentences(self) -> Sequence[str]:
        """For `/ready`. Nothing in a process that never looks: a mirror, a workers' supervisor."""
        if not self._watched:
            return ()
        found = [sentence for one in self.replicas if (sentence := self._sentence(one))]
        if self._primary_away and self.goes_on:
            found.append("the primary is away: a replica answers, as of what it has")
        return found

    def _sentence(self, replica: Replica) -> str:
        if replica.unwell == LEADS:
            return ""
        if replica.unwell:
            return f"the {replica.name} answers nobody: {replica.unwell}"
        if not self._is_near(replica):
            behind = f"{replica.lag_s:.1f} s behind, more than {self.max_lag_s:g} s"
            return f"the {replica.name} is {behind}"
        return ""


@dataclass(slots=True)
class Primary(Questions):
    """Asks the primary until that is known to be away and a replica goes on: a server that stands
    still says nothing for half a minute, and whoever shares its question would wait as long."""

    reads: ReplicaReads

    async def _ask(self, name: str, query: str, arguments: Sequence[Any]) -> Any:
        asking = asyncio.ensure_future(asked(getattr(self.reads.primary, name)(query, *arguments)))
        asking.add_done_callback(_seen)
        try:
            while not (await asyncio.wait({asking}, timeout=LOOK_S))[0]:
                if self.reads.primary_is_replaced:
                    raise StoreUnavailable("Postgres does not answer")
            return asking.result()
        finally:
            asking.cancel()


def _seen(asking: "asyncio.Future[Any]") -> None:
    """What it raises after nobody waits for it is no news."""
    if not asking.cancelled():
        asking.exception()


@dataclass(slots=True)
class PrimaryFirst(Questions):
    """Asks the primary, and a replica that goes on while the primary is away: for questions that
    are of many requests at once. Has the questions of a pool."""

    reads: ReplicaReads

    async def _ask(self, name: str, query: str, arguments: Sequence[Any]) -> Any:
        reads = self.reads
        try:
            return await getattr(Primary(reads), name)(query, *arguments)
        except StoreUnavailable:
            chosen = reads._chosen() if reads._primary_away else None
            if chosen is None:
                raise
            return await asked(getattr(chosen.pool, name)(query, *arguments))
