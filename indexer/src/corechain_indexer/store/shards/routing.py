"""Questions about devices, put to the shards that have them and judged by the chain-wide database.

Each is two statements: one to a shard, or to all, and one that leaves of it what stands, adds what
only the chain-wide database has, and gives rows as if all tables were in one. Rows of batches that
do not stand are rare: the shards are asked again, without them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.service.database import asked
from corechain.service.errors import StoreUnavailable
from corechain_indexer.errors import ShardDivided
from corechain_indexer.store import SQL
from corechain_indexer.store.shards.databases import (
    DEVICES_AT_ONCE,
    Shard,
    Shards,
    owner_of,
    token_of,
)

if TYPE_CHECKING:
    from asyncpg import Record

    Rows = Sequence[Record]
    Answer = Sequence[Mapping[str, Any] | Record]

T = TypeVar("T")
ROUNDS = 20
"""Each leaves out more batches, all that were undone lately at once."""
Arguments = Sequence[Any]


def _columns(rows: "Rows", names: Sequence[str]) -> list[list[Any]]:
    return [[row[name] for row in rows] for name in names]


@dataclass(slots=True, frozen=True, eq=False)
class Question:
    """One question and the number of shards that it is divided by: a shard that is one of more by
    then refuses it."""

    main: Any
    shards: Shards
    count: int

    async def of(self, device: bytes) -> Shard:
        """The shard that has a device. Raises as `Shards.ready`."""
        return await self.shards.ready(self.shards.all[owner_of(device, self.count)])

    async def fetch_all(self, name: str, *arguments: Any) -> "list[Record]":
        """The rows of all shards. Raises StoreUnavailable, ShardDivided."""
        parts = await self.shards.every(
            lambda shard: shard.fetch(name, *arguments, self.count), self.count
        )
        return [row for part in parts for row in part]

    def divided(self, devices: Sequence[bytes]) -> dict[int, list[bytes]]:
        """Devices by the numbers of their shards."""
        found: dict[int, list[bytes]] = {}
        for device in devices:
            found.setdefault(owner_of(device, self.count), []).append(device)
        return found

    async def ask(self, name: str, *arguments: Any) -> "Rows":
        """The chain-wide database. Raises StoreUnavailable."""
        rows: Rows = await asked(self.main.fetch(SQL[name], *arguments))
        return rows

    async def judged(self, ask: Callable[[list[int]], Awaitable["Answer"]]) -> "Answer":
        """What `ask` gives without tokens of batches that do not stand, once it gives none of them.
        Raises StoreUnavailable."""
        fallen: list[int] = []
        for _ in range(ROUNDS):
            rows = await ask(fallen)
            more = {row["token"] for row in rows if not row["standing"]}.difference(fallen)
            if not more:
                return rows
            fallen += more
        raise StoreUnavailable("Postgres: batches come and go faster than they are read")


@dataclass(slots=True, eq=False)
class Routed:
    """Has the questions of `main`, a pool, or a connection with its transaction, of the chain-wide
    database. Those about devices go by the shards."""

    main: Any
    shards: Shards

    def __getattr__(self, name: str) -> Any:
        return getattr(self.main, name)

    def __await__(self) -> Any:
        return self.main.__await__()

    async def fetch(self, query: str, *arguments: Any) -> "Answer":
        route = FETCHED.get(query)
        if route is None:
            found: Answer = await self.main.fetch(query, *arguments)
            return found
        return await self._answer(route, arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        if query not in FETCHED:
            return await self.main.fetchrow(query, *arguments)
        rows = await self._answer(FETCHED[query], arguments)
        return rows[0] if rows else None

    async def execute(self, query: str, *arguments: Any) -> Any:
        route = EXECUTED.get(query)
        if route is None:
            return await self.main.execute(query, *arguments)
        return await self._answer(route, arguments)

    async def _answer(
        self, route: "Callable[[Question, Arguments], Awaitable[T]]", arguments: "Arguments"
    ) -> T:
        """Raises StoreUnavailable, also where there are more shards than this process knows."""
        while True:
            try:
                return await route(Question(self.main, self.shards, self.shards.count), arguments)
            except ShardDivided as error:
                # Twice as many each time, and no more than are named.
                self.shards.learn(error.count)


# --------------------------------------------------------------------------- of one device

_SEGMENT = "metric", "first_at", "batch_id", "position", "last", "flag", "cell", "count", "token"


async def _reading_segments(by: Question, arguments: Arguments) -> "Answer":
    shard = await by.of(arguments[0])

    async def ask(fallen: list[int]) -> "Answer":
        rows = await shard.fetch("reading_segments", *arguments, fallen, by.count)
        return await by.ask("judged_segments", *_columns(rows, _SEGMENT)) if rows else ()

    return await by.judged(ask)


async def _single_readings(by: Question, arguments: Arguments) -> "Answer":
    """Each page is asked for by itself."""
    return [{"n": number, "found": None} for number in range(1, len(arguments[0]) + 1)]


async def _whole_series(by: Question, arguments: Arguments) -> "Answer":
    """Each series is asked for by itself."""
    return [{"n": number, "starts": None} for number in range(1, len(arguments[0]) + 1)]


_NEAR = "batch_id", "token", "cell", "first_at", "last_at"


async def _segments_near(by: Question, arguments: Arguments) -> "Answer":
    shard = await by.of(arguments[0])

    async def ask(fallen: list[int]) -> "Answer":
        rows = await shard.fetch("segments_near", *arguments, fallen, by.count)
        return await by.ask("judged_near", *_columns(rows, _NEAR)) if rows else ()

    return await by.judged(ask)


_PLACE = "kind", "batch_id", "token", "cell", "position", "count"


async def _whereabouts(by: Question, arguments: Arguments) -> "Answer":
    _, _, _, end, batches, _, start, cells = arguments
    shard = await by.of(arguments[0])
    found: list[Any] = []

    async def ask(fallen: list[int]) -> "Answer":
        rows = await shard.fetch("whereabouts", *arguments, fallen, by.count)
        window = start, end, batches, cells
        found[:] = await by.ask("judged_whereabouts", *_columns(rows, _PLACE), *window)
        return [{"token": token, "standing": False} for token in found[0]["fallen"]]

    await by.judged(ask)
    return found


_BUCKET = "bucket", "count", "sum", "min", "max", "position", "batch_id", "token"


async def _series(by: Question, arguments: Arguments) -> "Answer":
    shard = await by.of(arguments[0])
    found: list[Any] = []

    async def ask(fallen: list[int]) -> "Answer":
        rows = await shard.fetch("series", *arguments, fallen, by.count)
        opened = [row for row in rows if not row["whole"]]
        judged: Answer = ()
        if opened:
            judged = await by.ask("judged_series", *_columns(opened, _BUCKET))
        found[:] = [row for row in rows if row["whole"]] + list(judged)
        # Sums do not say of which batches: so of all that may have fallen. Judged after the sums
        # were made: what is undone later was still there.
        doubtful = (rows[0]["batches"], rows[0]["tokens"]) if rows else ([], [])
        lost = [*await by.ask("fallen", *doubtful), *await _gone_lately(by)] if rows else []
        return [*judged, *({"token": row["token"], "standing": False} for row in lost)]

    await by.judged(ask)
    return found


async def _gone_lately(by: Question) -> "Rows":
    """Those that do not stand again."""
    rows = await by.ask("gone_lately")
    if not rows:
        return ()
    return await by.ask("fallen", *_columns(rows, ("batch_id", "token")))


# ------------------------------------------------------------------------- of many devices

_NEWEST = (
    "device", "metric", "observed_at", "value", "flag", "batch_id", "position", "cell", "token",
)  # fmt: skip


async def _newest_readings(by: Question, arguments: Arguments) -> "Answer":
    devices, metrics, *bound = arguments
    newest_block = bound[0] if bound else None
    divided = by.divided(devices)

    async def of(number: int, some: list[bytes], fallen: list[int]) -> "Rows":
        shard = await by.shards.ready(by.shards.all[number])
        return await shard.fetch("newest_readings", some, metrics, newest_block, fallen, by.count)

    async def ask(fallen: list[int]) -> "Answer":
        parts = await asyncio.gather(*(of(*item, fallen) for item in divided.items()))
        rows = [row for part in parts for row in part]
        return await by.ask("judged_newest", *_columns(rows, _NEWEST)) if rows else ()

    return await by.judged(ask)


_HELD = "batch_id", "token", "device", "metric", "cell"


async def _batch_contents(by: Question, arguments: Arguments) -> "Answer":
    rows = await by.fetch_all("batch_contents", *arguments)
    return await by.ask("judged_contents", arguments[0], *_columns(rows, _HELD))


async def _audit_segments(by: Question, arguments: Arguments) -> "Answer":
    (batch_id,) = arguments
    rows = await by.ask("commitment_of", batch_id)
    if not rows:
        return ()
    return await by.fetch_all("audit_segments", batch_id, token_of(rows[0]["commitment"]))


async def _audit_stray_segments(by: Question, arguments: Arguments) -> "Answer":
    rows = await by.fetch_all("audit_stray_segments")
    return await by.ask("fallen", *_columns(rows, ("batch_id", "token")))


async def _unsettle_verdicts(by: Question, arguments: Arguments) -> Any:
    first_block, devices = arguments
    held = await by.fetch_all("batches_with", devices)
    batches = sorted({row["batch_id"] for row in held})
    query = SQL["unsettle_verdicts_of"]
    return await asked(by.main.execute(query, first_block, devices, batches))


async def _all_stale(by: Question, arguments: Arguments) -> Any:
    async def mark(shard: Shard) -> None:
        after = b""
        while rows := await shard.fetch("devices_after", after, DEVICES_AT_ONCE, by.count):
            devices = [row["device"] for row in rows]
            await asked(by.main.execute(SQL["mark_devices_stale"], devices))
            after = devices[-1]

    for shard in by.shards.all[: by.count]:  # one after the other: `main` may be a connection
        await mark(await by.shards.ready(shard))


FETCHED: Mapping[str, Callable[[Question, Arguments], Awaitable["Answer"]]] = {
    SQL["reading_segments"]: _reading_segments,
    SQL["single_readings"]: _single_readings,
    SQL["newest_readings"]: _newest_readings,
    SQL["newest_readings_as_of"]: _newest_readings,
    SQL["whereabouts"]: _whereabouts,
    SQL["segments_near"]: _segments_near,
    SQL["series"]: _series,
    SQL["whole_series"]: _whole_series,
    SQL["batch_contents"]: _batch_contents,
    SQL["audit_segments"]: _audit_segments,
    SQL["audit_stray_segments"]: _audit_stray_segments,
}
EXECUTED: Mapping[str, Callable[[Question, Arguments], Awaitable[Any]]] = {
    SQL["unsettle_verdicts"]: _unsettle_verdicts,
    SQL["all_stale"]: _all_stale,
}
"""Every query of ours that names the table of segments is in one of these (tests/indexer/
test_shards.py looks)."""
