"""Pages of readings for all who ask at about the same time: one question to Postgres for many.

Only where every reading of a page is all in the row of its segment, as with devices that send once
a batch: Postgres answers those by columns. What has leaves to cut is asked for alone
(docs/decisions/0047).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import asyncpg

from corechain.service.database import asked
from corechain.service.gathering import Gathering
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.page_columns import PageColumns, ReadingRow
from corechain_indexer.store.pages import Arguments, PageOf, page_arguments, page_rows
from corechain_indexer.store.replica import PRIMARY

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.replica import ReplicaReads

MOST = 16
"""Pages of a group: an answer waits for the whole of its group, and a page of a hundred is some
0.2 ms of Postgres."""
LARGE = 256
"""Readings. A page of more goes alone: nobody's answer waits for a thousand of another's."""
PAUSE_S = 0.010
"""Between the beginnings of two groups. At 400 pages a second four share one, each for half of the
CPU of one alone, and wait 5 ms. Who asks alone waits for nothing."""
DEVICES_WITH_RUNS = 65_536
"""Remembered, 100 bytes each: asking for their pages together first would be in vain."""
Rows = Sequence[ReadingRow]


def _rows_of(row: "Record") -> Rows | None:
    """None where the page has to be asked for alone."""
    if row["found"] is None:
        return None
    if not row["found"]:
        return ()
    _, found, *arrays, known, finalities = row
    return PageColumns(found, arrays, dict(zip(known, finalities, strict=True)))


@dataclass(slots=True)
class Pages:
    """Pages of readings for queries; exactly what `readings_page` says, however they are asked."""

    pool: "Database"
    archive: Archive = NO_ARCHIVE
    replica: "ReplicaReads | None" = None
    pause_s: float = PAUSE_S
    _together: dict[str, Gathering[Arguments, Rows | None]] = field(default_factory=dict)
    """By source, so that an outage of one is told to nobody who asks the other."""
    _with_runs: dict[bytes, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for source in self.replica.sources if self.replica else (PRIMARY,):
            ask = _Asking(self._of(source))
            self._together[source] = Gathering(ask.some, MOST, self.pause_s)

    async def rows(self, page: PageOf, limit: int) -> Rows:
        """The first `limit` readings of a page, in order: as `PageColumns` where they are single.

        Raises StoreUnavailable, ArchiveUnavailable.
        """
        if page.device not in self._with_runs:
            found = await self._asked_together(page_arguments(page, limit), limit)
            if found is not None:
                return found
        return await self._alone(page, limit)

    async def _asked_together(self, arguments: Arguments, limit: int) -> Rows | None:
        async def by(source: str) -> Rows | None:
            if limit > LARGE:
                return (await _Asking(self._of(source)).some([arguments]))[arguments]
            return await self._together[source].get(arguments)

        try:
            return await (by(PRIMARY) if self.replica is None else self.replica.either(by))
        except asyncpg.DataError:
            # Of one of the group. Each is asked for alone then, and only who is wrong is told.
            return None

    async def _alone(self, page: PageOf, limit: int) -> Rows:
        database = cast("Database", self.replica) if self.replica else self.pool
        rows, has_runs = await page_rows(database, page, limit, self.archive)
        self._with_runs.pop(page.device, None)
        if has_runs:
            self._with_runs[page.device] = None
            if len(self._with_runs) > DEVICES_WITH_RUNS:
                del self._with_runs[next(iter(self._with_runs))]
        return rows

    def _of(self, source: str) -> "Database":
        return self.pool if self.replica is None else self.replica.pool_of(source)


@dataclass(frozen=True, slots=True)
class _Asking:
    """One question for several pages."""

    pool: "Database"

    async def some(self, pages: Sequence[Arguments]) -> Mapping[Arguments, Rows | None]:
        """Raises StoreUnavailable, asyncpg.DataError when any of them holds a wrong value."""
        columns = [list(column) for column in zip(*pages, strict=True)]
        found = await asked(self.pool.fetch(SQL["single_readings"], *columns))
        return {pages[row["n"] - 1]: _rows_of(row) for row in found}
