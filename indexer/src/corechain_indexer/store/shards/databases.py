"""The shards: which one has a device, and whether it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg

from corechain.service.database import asked, connect, create_pool, hang_up, migrate
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain.service.readers import Readers, require_answer
from corechain_indexer.doubt import Doubts
from corechain_indexer.errors import NotDivided, ShardDivided, ShardUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.shards import MIGRATIONS, SHARD_SQL

if TYPE_CHECKING:
    from asyncpg import Record
    from prometheus_client import Gauge

    from corechain.service.database import Conn, Database
    from corechain_indexer.store import Asked

T = TypeVar("T")
MOVER = "corechain shards"
"""Name of the lock that whoever changes the number of shards has."""
LOOK_S = 5.0
DEVICES_AT_ONCE = 10_000
DIVIDED = "CC001"
"""SQLSTATE of a shard that is asked by who divides by fewer: `divided_by` of its SQL."""


def owner_of(device: bytes, count: int) -> int:
    """The number of a device's shard, of `count`, a power of two. By the end of its id, which is a
    hash: as even as any hash of it. Of twice as many shards it is this one, or this and `count`."""
    return int.from_bytes(device[-2:]) & (count - 1)


def total_of(layout: "Record") -> int:
    """How many shards may have segments. From the first step of adding some, batches are written to
    their owners of both counts."""
    count: int = layout["count"]
    return count if layout["step"] in (None, "clean") else 2 * count


def token_of(commitment: bytes) -> int:
    """What a shard knows a batch by beside its id; as the function of this name in Postgres."""
    return int.from_bytes(commitment[:8], signed=True)


@dataclass(slots=True, eq=False)
class Shard:
    """One of the databases. Connects, and brings its tables up to date, when it is first asked."""

    number: int
    url: str
    pool: "Database" = field(init=False)
    readers: Readers = field(init=False)
    away: str = ""
    """Why it did not answer last; empty where it did."""
    doubts: Doubts = field(init=False)
    """Whether it is there at all, while an answer of it is late."""
    _ready: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pool = create_pool(self.url)
        # Who asks one question borrows no connection: half of what the pool would cost.
        self.readers = Readers(self.url)
        self.doubts = Doubts(self._is_silent)

    @property
    def name(self) -> str:
        return f"shard {self.number}"

    def is_away(self) -> bool:
        return bool(self.away)

    async def fetch(self, name: str, *arguments: Any) -> "Sequence[Record]":
        """A named query of SHARD_SQL. Raises ShardUnavailable."""
        return await self.answered(self.readers.fetch(SHARD_SQL[name], *arguments))

    async def fetchval(self, name: str, *arguments: Any) -> Any:
        """As `fetch`, the first column of the first row; None where there is none."""
        rows = await self.fetch(name, *arguments)
        return rows[0][0] if rows else None

    async def answered(self, answer: Awaitable[T]) -> T:
        """What is awaited. Raises ShardUnavailable, ShardDivided."""
        try:
            found = await asked(self.doubts.answered(answer))
        except asyncpg.PostgresError as error:
            if error.sqlstate == DIVIDED:
                raise ShardDivided(int(str(error))) from error
            raise
        except StoreUnavailable as error:
            self.away = str(error)
            raise ShardUnavailable(self.number, str(error)) from error
        self.away = ""
        return found

    async def _is_silent(self, within_s: float) -> bool:
        asking = asyncio.ensure_future(require_answer(self.url))
        asking.add_done_callback(_seen)
        done, _ = await asyncio.wait({asking}, timeout=within_s)
        asking.cancel()
        return not done

    async def prepare(self, layout: UUID) -> None:
        """Once a process: tables of this version, of this index. Raises StoreUnavailable,
        WrongDatabase."""
        async with self._lock:
            if not self._ready:
                await self.answered(self._prepare(layout))
                self._ready = True

    @property
    def is_ready(self) -> bool:
        return self._ready

    async def _prepare(self, layout: UUID) -> None:
        # A connection of its own: the pool is opened once the database is known to be the shard.
        connection = await connect(self.url)
        try:
            await refuse_pooler(connection, self.number)
        finally:
            await hang_up(connection)
        try:
            await migrate(self.url, MIGRATIONS)
        except WrongDatabase as error:
            why = str(error).removeprefix("DATABASE_URL: ")
            raise WrongDatabase(f"SHARD_URLS, {self.name}: {why}") from error
        await self.pool  # asyncpg's way to open it
        await self.readers.fetch(SHARD_SQL["claim_shard"], self.number, layout)
        row = await self.readers.fetchrow(SHARD_SQL["claimed_shard"])
        if row is None or (row["number"], row["layout"]) != (self.number, layout):
            raise another_one(self.number, row, layout)

    async def empty(self) -> None:
        """Of a rebuild. Raises StoreUnavailable."""
        await self.answered(self.readers.fetch(SHARD_SQL["empty_shard"]))
        self._ready = False

    async def close(self) -> None:
        await self.readers.close()
        if self._ready:
            await self.pool.close()


def _seen(asking: "asyncio.Future[Any]") -> None:
    """What it raises after nobody waits for it is no news: the question itself hears it."""
    if not asking.cancelled():
        asking.exception()


@dataclass(slots=True, eq=False)
class Shards:
    """All shards of an index that SHARD_URLS names. `prepare` first."""

    all: Sequence[Shard]
    count: int = 0
    """By how many questions are divided: what this process knows. It only grows."""
    written: int = 0
    """How many may have segments: twice as many, while shards are added."""
    _layout: UUID | None = None

    @classmethod
    def at(cls, urls: Sequence[str]) -> "Shards":
        return cls([Shard(number, url) for number, url in enumerate(urls)])

    async def prepare(self, main: "Asked", *, new: bool = True) -> None:
        """Divides an index that is `new`. A shard that is away is prepared when it is first asked.

        Raises WrongDatabase for an index that is divided otherwise, or is not and has readings, and
        for a shard that is another one; StoreUnavailable."""
        if new:
            await asked(main.execute(SQL["lay_out"], len(self.all)))
        row = await check_layout(main, len(self.all))
        assert row is not None, "else it was refused"
        self._layout = row["id"]
        self.follow(row)
        found = await asyncio.gather(*map(self.ready, self.used), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, ShardUnavailable):
                raise error

    @property
    def used(self) -> Sequence[Shard]:
        """Those that may have segments."""
        return self.all[: self.written]

    def follow(self, row: "Record | None") -> "Record":
        """Takes the layout as it was just read, and gives it back. Raises StoreUnavailable where it
        is not that of these shards, for one who is to be started again."""
        if row is None or row["id"] != self._layout:
            raise StoreUnavailable("Postgres: the index was rebuilt with other shards")
        self.learn(row["count"])
        self.written = total_of(row)
        self._enough(self.written)
        return row

    def learn(self, count: int) -> None:
        """There are so many: a shard, or the chain-wide database, has said so. Raises
        StoreUnavailable."""
        self._enough(count)
        # A replica, or an answer that comes late, may say what was before.
        self.count = max(self.count, count)
        self.written = max(self.written, count)

    def _enough(self, count: int) -> None:
        if count > len(self.all):
            raise StoreUnavailable(
                f"SHARD_URLS names {len(self.all)} shards; this index is divided over {count}"
            )

    async def ready(self, shard: Shard) -> Shard:
        """Raises StoreUnavailable, WrongDatabase."""
        if not shard.is_ready:
            if self._layout is None:
                raise StoreUnavailable("Postgres: the shards are not known yet")
            await shard.prepare(self._layout)
        return shard

    async def every(
        self, ask: Callable[[Shard], Awaitable[T]], count: int | None = None
    ) -> list[T]:
        """Of the first `count` shards, or all that may have segments, asked side by side. Raises
        what one of them raises."""

        async def one(shard: Shard) -> T:
            return await ask(await self.ready(shard))

        some = self.used if count is None else self.all[:count]
        return list(await asyncio.gather(*map(one, some)))

    async def fetch_all(self, name: str, *arguments: Any) -> "list[Record]":
        """The rows of all shards. Raises StoreUnavailable."""
        parts = await self.every(lambda shard: shard.fetch(name, *arguments))
        return [row for part in parts for row in part]

    async def look_forever(self) -> None:
        """Where nobody asks all of them all the time: what is said of one that is back is true
        before the next question about its devices."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Asks those that did not answer last."""
        for shard in self.used:
            if shard.away:
                with suppress(StoreUnavailable):
                    await (await self.ready(shard)).fetch("claimed_shard")

    def shown_in(self, gauge: "Gauge") -> None:
        """1 for a shard that did not answer last, by its number."""
        for shard in self.all:
            gauge.labels(shard.number).set_function(shard.is_away)

    def sentences(self) -> Sequence[str]:
        """For `/ready`: what the shards that did not answer last have, and which are not used."""
        unused = len(self.all) - self.written if self.written else 0
        words = f"SHARD_URLS names {unused} shards that are not used yet: `shards add`"
        return [words] * (unused > 0) + [
            f"{shard.name} is away: its devices' readings cannot be served, and no batch is "
            f"verified; {shard.away}"
            for shard in self.used
            if shard.away
        ]

    async def close(self) -> None:
        for shard in self.all:
            await shard.close()


async def lay_out(url: str, shards: Shards | None) -> None:
    """`Shards.prepare` on a connection of its own, or, without any, a look that none are needed.
    Raises as it does."""
    connection = await connect(url)
    try:
        if shards is None:
            await check_layout(connection, 0)
        else:
            await shards.prepare(connection)
    finally:
        await hang_up(connection)


async def check_layout(main: "Asked", count: int) -> "Record | None":
    """How the index is divided, by a process that knows of `count` shards; None where it is not.
    Raises WrongDatabase where these differ, NotDivided where it will be, StoreUnavailable."""
    row = await asked(main.fetchrow(SQL["shard_layout"]))
    divided = 0 if row is None else row["count"]
    # Twice as many are named from before they are added until they are: see `moving`.
    if (divided == count and (row is None or total_of(row) == count)) or 0 < 2 * divided == count:
        return row
    if row is not None:
        raise WrongDatabase(
            f"SHARD_URLS names {count} shards; this index is divided over {total_of(row)}"
        )
    if not await asked(main.fetchval(SQL["has_segments"])):
        raise NotDivided()
    raise WrongDatabase(
        "SHARD_URLS: this index has its readings in DATABASE_URL; to divide it, rebuild it: "
        "`corechain indexer rebuild`"
    )


def another_one(number: int, claimed: "Record | None", layout: UUID) -> WrongDatabase:
    """What is named for a shard says that it is another one, of this index or another."""
    said = f"SHARD_URLS: what is named for shard {number} is another one"
    if claimed is not None and claimed["layout"] == layout:
        said += (
            f", shard {claimed['number']} of this index: the order was changed, or a database is "
            "named twice"
        )
    return WrongDatabase(said)


async def refuse_pooler(connection: "Conn", number: int) -> None:
    """Raises WrongDatabase where a pooler is between: it gives each question another session, and
    what was prepared, or locked, on one is not there on the next. So some would fail, now and then.
    """
    # A pooler makes up the process that a client is told to cancel; Postgres says its own.
    if await connection.fetchval("select pg_backend_pid()") != connection.get_server_pid():
        raise WrongDatabase(
            f"SHARD_URLS, shard {number}: a pooler (PgBouncer) answers there; name the Postgres "
            "behind it"
        )


async def check_divided(main: "Asked", shards: Shards | None) -> None:
    """Before a rebuild: an index that is divided is emptied with all of its shards, or not at all.
    Raises WrongDatabase, StoreUnavailable."""
    if await asked(main.fetchrow(SQL["shard_layout"])) is not None:
        await check_layout(main, 0 if shards is None else len(shards.all))


async def forget_shards(main: "Asked", shards: Shards) -> None:
    """Empties them: the next index may be divided otherwise, or not at all. Closes them. Raises
    StoreUnavailable, WrongDatabase."""
    try:
        await shards.prepare(main)
        # All that are named: those that were to be added as well.
        await shards.every(Shard.empty, len(shards.all))
        await asked(main.execute(SQL["forget_layout"]))
    finally:
        await shards.close()
