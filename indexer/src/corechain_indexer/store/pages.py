"""Pages of a device's readings, decoded from the slices of leaves that its segments name."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from corechain.protocol.reading import READING_BYTES
from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive, run_in
from corechain_indexer.store.packing import slice_of
from corechain_indexer.store.page_columns import ReadingRow
from corechain_indexer.store.segments import DAY_S

if TYPE_CHECKING:
    from corechain_indexer.store import Asked
    from corechain_indexer.store.packing import Row

HIGHEST_METRIC = 0xFFFF
# A leaf's time (a high byte, 32 bits), value and flag, behind metric, cell and device.
_REST = Struct(">30xBIiB")
_TIME = slice(30, 35)


class StoredReading(NamedTuple):
    """A reading as it is served; `value` scaled, `cell` the 64 bits read as signed. In the order of
    a device's readings: its `Place` comes first."""

    metric: int
    observed_at: int
    batch_id: int
    position: int
    value: int
    flag: int
    cell: int
    finality: str
    device: bytes


class Place(NamedTuple):
    """A reading's place in the order of all of its device's."""

    metric: int
    observed_at: int
    batch_id: int
    position: int


BEGINNING = Place(-1, -1, -1, -1)
FIRST_PLACE: tuple[bytes, int, int, int, int] = (b"", -1, -1, -1, -1)
"""A cursor before every reading of every device."""
Arguments = tuple[bytes | int | None, ...]


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which readings: of a device, of one metric or of all, observed in [start, end] seconds,
    behind a place, of batches up to a block."""

    device: bytes
    metric: int | None
    start: int
    end: int
    after: Place = BEGINNING
    newest_block: int | None = None

    def behind(self, cursor: Sequence[int | bytes]) -> "PageOf | None":
        """Behind a cursor (device, metric, observed_at, batch_id, position), of any 64 bits, as it
        came from a caller. None where nothing of the device lies there."""
        device, *numbers = cursor
        assert isinstance(device, bytes)
        after = Place(*(int(number) for number in numbers))
        if device > self.device or (device == self.device and after.metric > HIGHEST_METRIC):
            return None
        if device < self.device or after.metric < 0:
            after = BEGINNING
        return replace(self, after=after)


def cursor_of(device: bytes, row: "ReadingRow | StoredReading") -> list[int | bytes]:
    """What `PageOf.behind` takes."""
    return [device, *row[:4]]


def page_arguments(page: PageOf, limit: int) -> Arguments:
    """Of the query `reading_segments`; `single_readings` takes a list of each."""
    lowest, highest = (0, HIGHEST_METRIC) if page.metric is None else (page.metric, page.metric)
    begin = max((lowest, page.start), page.after[:2])
    end = highest, page.end - page.end % DAY_S + DAY_S - 1
    metric, observed_at, batch_id, position = page.after
    window = page.start, page.end, metric, observed_at
    return (page.device, *begin, *end, *window, limit, batch_id, position, page.newest_block)


async def readings_page(
    database: "Asked", page: PageOf, limit: int, archive: Archive = NO_ARCHIVE
) -> list[StoredReading]:
    """The first `limit` readings of a page, in order.

    Raises StoreUnavailable, ArchiveUnavailable.
    """
    rows, _ = await page_rows(database, page, limit, archive)
    return named(page.device, rows)


def named(device: bytes, rows: Sequence[ReadingRow]) -> list[StoredReading]:
    return [StoredReading._make((*row, device)) for row in rows]


async def page_rows(
    database: "Asked", page: PageOf, limit: int, archive: Archive
) -> tuple[list[ReadingRow], bool]:
    """The first `limit` readings of a page, in order; and whether any are of a longer run.

    Raises StoreUnavailable, ArchiveUnavailable.
    """
    rows = await asked(database.fetch(SQL["reading_segments"], *page_arguments(page, limit)))
    # One reading is all in its row, and the query has asked for it.
    found: list[ReadingRow] = [row[:8] for row in rows if row["count"] == 1]
    runs = await archive.opened([row for row in rows if row["count"] > 1], run_in)
    for run in runs:
        found += _opened(run, page, limit)
    merged = [row for row in rows if row["count"] < 0]
    for row in merged:
        found += _unmerged(row, page)
    found.sort()
    return found[:limit], bool(runs or merged)


def _unmerged(row: "Row", page: PageOf) -> list[ReadingRow]:
    """The readings that a merged row holds of a page, in order."""
    metric, newest, standing = row["metric"], row["batch_id"], row["standing"]
    flag, cell, finality = row["flag"], row["cell"], row["finality"]
    midnight = row["first_at"] - row["first_at"] % DAY_S
    seconds = row["seconds"]
    flags = row["flags"] or [flag] * len(seconds)
    start = page.start
    if metric == page.after.metric:
        start = max(start, page.after.observed_at)
    begin = bisect_left(seconds, start - midnight)
    end = bisect_right(seconds, page.end - midnight)
    columns = (seconds, row["batch_steps"], row["positions"], row["scaled"], flags)
    cut = zip(*(column[begin:end] for column in columns), strict=True)
    found = [
        (metric, midnight + second, newest + step, position, value, flag, cell, finality)
        for second, step, position, value, flag in cut
    ]
    if standing is not None:
        known = set(standing)
        found = [item for item in found if item[2] in known]
    return [item for item in found if item[:4] > page.after]


def _opened(row: "Row", page: PageOf, limit: int) -> list[ReadingRow]:
    """The first `limit` readings that a segment holds of a page, in order."""
    metric, batch_id, position = row["metric"], row["batch_id"], row["position"]
    cell, finality = row["cell"], row["finality"]
    leaves, after = slice_of(row, position, row["count"]), page.after
    begin = _first_behind(leaves, page.start - 1)
    if metric == after.metric:
        begin = max(begin, _first_behind(leaves, after.observed_at - 1))
        begin = _behind(leaves, begin, after, batch_id, position)
    end = min(_first_behind(leaves, page.end), begin + limit)
    rest = memoryview(leaves)[READING_BYTES * begin : READING_BYTES * end]
    return [
        (metric, high << 32 | low, batch_id, place, value, flag, cell, finality)
        for place, (high, low, value, flag) in enumerate(_REST.iter_unpack(rest), position + begin)
    ]


def _time(leaves: bytes, place: int) -> int:
    start = READING_BYTES * place
    return int.from_bytes(leaves[start + _TIME.start : start + _TIME.stop])


def _first_behind(leaves: bytes, second: int) -> int:
    """Place of the first leaf that was observed after a second."""
    every = range(len(leaves) // READING_BYTES)
    return bisect_right(every, second, key=lambda place: _time(leaves, place))


def _behind(leaves: bytes, begin: int, after: Place, batch_id: int, position: int) -> int:
    """From there, the place of the first leaf behind another reading: several may have been
    observed at the same second."""
    count = len(leaves) // READING_BYTES
    while begin < count and (_time(leaves, begin), batch_id, position + begin) <= after[1:]:
        begin += 1
    return begin
