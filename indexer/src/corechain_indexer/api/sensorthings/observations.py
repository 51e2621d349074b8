"""Readings of a datastream, of what a station observes at a cell, or of all, page by page.

A page is read forward as any other of ours, or backward: a window of time that ends where the page
before began, narrower where it holds too many, wider where it holds too few.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from corechain.protocol.vocabulary import BY_CODE, Metric
from corechain_indexer.api.params import MAX_LIMIT, decode_cursor, encode_cursor
from corechain_indexer.api.sensorthings.entities import (
    LAST_SECOND,
    Item,
    Station,
    newest_row,
    shown_time,
)
from corechain_indexer.api.sensorthings.judging import holds, is_about_time, span_of
from corechain_indexer.api.sensorthings.options import Options
from corechain_indexer.api.sensorthings.stations import CURSOR, Page, Stations
from corechain_indexer.errors import InvalidQuery, NotInSubset
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.pages import FIRST_PLACE, PageOf, Place
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.series import SegmentSeries

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.page_columns import ReadingRow

    Rows = Sequence[ReadingRow]

EVERYTHING = (0, LAST_SECOND)
MAX_SCANNED = 20_000
"""Readings that a filter looks at for one page: 20 questions."""
MAX_WALKED = 20_000
"""Stations that are looked at for a page of all readings; of most of them, only whether they have
any."""
YEAR_S = 366 * 86_400
FIRST_WINDOW_S = 3_600
"""A reading an hour is what most stations send; per reading that is wanted."""
WIDER = 4
Cursor = list[int | bytes]


@dataclass(frozen=True, slots=True)
class Observed:
    """Of one station, one metric of it or all, at one cell or anywhere."""

    station: Station
    metric: Metric | None = None
    cell: int | None = None


@dataclass(slots=True)
class Observations:
    """As of a block, or of now. Every method raises StoreUnavailable, ArchiveUnavailable."""

    pool: "Database"
    pages: Pages
    archive: Archive
    newest_block: int | None
    scanned: int = 0

    async def first_at(self, station: Station, metric: Metric) -> int | None:
        """When a metric of a station was first observed."""
        page = PageOf(station.device, metric.code, *EVERYTHING, newest_block=self.newest_block)
        rows = await self.pages.rows(page, 1)
        return rows[0][1] if rows else None

    async def page(self, observed: Observed, options: Options) -> Page:
        """Raises InvalidQuery, NotInSubset."""
        if options.by_time and observed.metric is None:
            raise NotInSubset("$orderby", "the order by time of more than one datastream")
        count = await self._counted(observed, options) if options.count else None
        latest = self._latest(observed, options)
        if latest is not None:
            return replace(latest, count=count)
        cursor = _decoded(options)
        if cursor is not None and cursor[0] != observed.station.device:
            raise InvalidQuery(CURSOR, "is not one that this path gave")
        rows = self._backward if options.newest_first else self._forward
        return await self._taken(options, rows(observed, options, cursor), count)

    async def every(self, stations: Stations, options: Options) -> Page:
        """Of all stations, one after the other. Raises InvalidQuery, NotInSubset."""
        if options.by_time:
            raise NotInSubset("$orderby", "the order by time of more than one datastream")
        count = None
        if options.count:
            if options.filter is not None or self.newest_block is not None:
                raise NotInSubset("$count", "how many readings of all stations meet this")
            tallies = await Reads(self.pool).state_counts()
            count = sum(row["readings"] for row in tallies)
        return await self._taken(options, self._all(stations, options), count)

    async def _all(self, stations: Stations, options: Options) -> AsyncIterator[Item]:
        cursor, walked = _decoded(options), 0
        begin = cast("bytes", cursor[0]) if cursor else b""
        async for station in stations.walk(b"", first=begin):
            walked += 1
            if walked > MAX_WALKED:
                words = f"more than {MAX_WALKED} stations up to {station.name} are looked at"
                raise InvalidQuery("query", f"{words}: ask a Datastream for its Observations")
            if station.newest:
                place = cursor if cursor and begin == station.device else None
                async for item in self._forward(Observed(station), options, place):
                    yield item

    async def _taken(self, options: Options, items: AsyncIterator[Item], count: int | None) -> Page:
        """Those that are asked for, and where the next page begins."""
        wanted = options.skip + options.top
        found: list[Item] = []
        last: Item | None = None
        async for item in items:
            if options.filter is None or holds(options.filter, item.value):
                if len(found) == wanted:
                    return _page(found, options, found[-1] if found else None, count)
                found.append(item)
            last = item
            if self.scanned >= MAX_SCANNED and options.filter is not None:
                return self._cut_short(found, options, last, count)
        return _page(found, options, None, count)

    def _cut_short(
        self, found: list[Item], options: Options, last: Item, count: int | None
    ) -> Page:
        """A page with fewer than are asked for. One without any is an end to many clients, so that
        it is refused rather than shown."""
        if len(found) <= options.skip:
            assert last.row is not None, "a reading"
            words = f"holds for none of {MAX_SCANNED} readings up to {shown_time(last.row[1])}"
            raise InvalidQuery("$filter", f"{words}: ask for another phenomenonTime")
        return _page(found, options, last, count)

    # ------------------------------------------------------------------ one station

    def _items(self, observed: Observed, rows: "Rows") -> list[Item]:
        return [
            Item("Observations", observed.station, BY_CODE[row[0]], row=row)
            for row in rows
            if row[0] in BY_CODE and observed.cell in (None, row[6] & 2**64 - 1)
        ]

    def _of(self, observed: Observed, span: tuple[int, int]) -> PageOf:
        code = None if observed.metric is None else observed.metric.code
        return PageOf(observed.station.device, code, *span, newest_block=self.newest_block)

    async def _forward(
        self, observed: Observed, options: Options, cursor: Cursor | None
    ) -> AsyncIterator[Item]:
        page: PageOf | None = self._of(observed, span_of(options.filter, EVERYTHING))
        assert page is not None, "just made"
        if page.start > page.end:
            return
        page = page if cursor is None else page.behind(cursor)
        limit = MAX_LIMIT + 1
        if options.filter is None or is_about_time(options.filter):
            limit = min(limit, options.skip + options.top + 1)
        while page is not None:
            rows = self._seen(observed, await self.pages.rows(page, limit))
            for item in self._items(observed, rows):
                yield item
            if len(rows) < limit:
                return
            page = replace(page, after=Place(*rows[-1][:4]))

    async def _backward(
        self, observed: Observed, options: Options, cursor: Cursor | None
    ) -> AsyncIterator[Item]:
        start, end = span_of(options.filter, EVERYTHING)
        before: Place | None = None
        if cursor is not None:
            before = Place(*(int(number) for number in cursor[1:]))
            end = min(end, before.observed_at)
        assert observed.metric is not None, "checked with the order"
        newest = newest_row(observed.station, observed.metric)
        if newest is None:
            return
        end = min(end, newest[1])
        wanted = min(options.skip + options.top, MAX_LIMIT) + 1
        width = FIRST_WINDOW_S * wanted
        # Wider and wider: no hole of any length takes more than a dozen questions.
        while start <= end:
            begin = max(start, end - width + 1)
            limit = 4 * wanted
            rows = await self.pages.rows(self._of(observed, (begin, end)), limit)
            if len(rows) == limit and begin < end:
                # As wide as so many readings are, if they come as fast all along; half at the most.
                fits = (rows[-1][1] - rows[0][1]) * wanted // limit
                width = max(1, min(fits, (end - begin + 1) // 2))
                continue
            if len(rows) == limit:  # of a single second
                rows = await self._second(observed, end)
            self._seen(observed, rows)
            below = [row for row in rows if before is None or tuple(row[:4]) < before]
            for item in self._items(observed, below[::-1]):
                yield item
            end, width = begin - 1, width * (WIDER if len(rows) < wanted else 1)

    def _seen(self, observed: Observed, rows: "Rows") -> "Rows":
        """Counted. Raises InvalidQuery where a station that moves was elsewhere all along."""
        self.scanned += len(rows)
        if observed.cell is not None and self.scanned > 10 * MAX_SCANNED:
            raise InvalidQuery("path", f"more than {10 * MAX_SCANNED} readings are of other cells")
        return rows

    async def _second(self, observed: Observed, second: int) -> "Rows":
        page, found = self._of(observed, (second, second)), list["ReadingRow"]()
        while True:
            rows = await self.pages.rows(page, MAX_LIMIT)
            found += rows
            if len(rows) < MAX_LIMIT or len(found) >= MAX_SCANNED:
                return found
            page = replace(page, after=Place(*rows[-1][:4]))

    def _latest(self, observed: Observed, options: Options) -> Page | None:
        """The newest reading of a datastream is known with its station: what dashboards ask for of
        a hundred stations at once takes no question each."""
        plain = options.filter is None and options.cursor is None and options.skip == 0
        if not (plain and options.newest_first and options.top == 1) or observed.metric is None:
            return None
        row = newest_row(observed.station, observed.metric)
        if row is None:
            return Page(())
        item = Item("Observations", observed.station, observed.metric, row=row)
        return Page([item], _token(item))

    async def _counted(self, observed: Observed, options: Options) -> int:
        """Sums of segments, not readings: a year of a reading a minute is some 9,000 of them."""
        if observed.metric is None or not is_about_time(options.filter):
            raise NotInSubset("$count", "how many readings meet more than bounds of their time")
        start, end = span_of(options.filter, EVERYTHING)
        if start > end:
            return 0
        series = SegmentSeries(self.pool, self.archive)
        question = observed.station.device, observed.metric.code, start, end, YEAR_S, MAX_LIMIT
        return sum(one.count for one in await series.up_to(self.newest_block, *question))


def _page(found: list[Item], options: Options, last: Item | None, count: int | None) -> Page:
    return Page(found[options.skip :], None if last is None else _token(last), count)


def _token(item: Item) -> str:
    assert item.station is not None, "a reading has one"
    assert item.row is not None, "a reading"
    return encode_cursor([item.station.device, *item.row[:4]])


def _decoded(options: Options) -> Cursor | None:
    """Numbers of any 64 bits, as they came from a caller."""
    if options.cursor is None:
        return None
    return decode_cursor(options.cursor, FIRST_PLACE, CURSOR)
