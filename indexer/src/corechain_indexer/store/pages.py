"""Pages of a device's readings, decoded from the slices of leaves that its segments name."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from corechain.protocol.reading import READING_BYTES
from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.segments import DAY_S

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked

HIGHEST_METRIC = 0xFFFF
# A leaf's time (a high byte, 32 bits), value and flag, behind metric, cell and device.
_REST = Struct(">30xBIiB")
_TIME = slice(30, 35)


class StoredReading(TypedDict):
    """A reading as it is served; `value` scaled, `cell` the 64 bits read as signed."""

    batch_id: int
    position: int
    metric: int
    cell: int
    device: bytes
    observed_at: int
    value: int
    flag: int
    finality: str


class Place(NamedTuple):
    """A reading's place in the order of all of its device's."""

    metric: int
    observed_at: int
    batch_id: int
    position: int


BEGINNING = Place(-1, -1, -1, -1)


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


def cursor_of(reading: StoredReading) -> list[int | bytes]:
    """What `PageOf.behind` takes."""
    numbers = (reading["metric"], reading["observed_at"], reading["batch_id"], reading["position"])
    return [reading["device"], *numbers]


def page_arguments(page: PageOf, limit: int) -> tuple[bytes | int | None, ...]:
    """Of the query `reading_segments`."""
    lowest, highest = (0, HIGHEST_METRIC) if page.metric is None else (page.metric, page.metric)
    begin = max((lowest, page.start), page.after[:2])
    end = highest, page.end - page.end % DAY_S + DAY_S - 1
    metric, observed_at, batch_id, position = page.after
    window = page.start, page.end, metric, observed_at
    return (page.device, *begin, *end, *window, limit, batch_id, position, page.newest_block)


async def readings_page(database: "Asked", page: PageOf, limit: int) -> list[StoredReading]:
    """The first `limit` readings of a page, in order. Raises StoreUnavailable."""
    rows = await asked(database.fetch(SQL["reading_segments"], *page_arguments(page, limit)))
    found = [item for row in rows for item in islice(_held(row, page), limit)]
    # Places differ, so nothing behind them is ever compared.
    found.sort()
    return [_served(page.device, *item) for item in found[:limit]]


_Held = tuple[Place, int, int, "Record"]
"""Place, value and flag of a reading, and the row of its segment."""


def _served(device: bytes, place: Place, value: int, flag: int, row: "Record") -> StoredReading:
    return {
        "batch_id": place.batch_id,
        "position": place.position,
        "metric": place.metric,
        "cell": row["cell"],
        "device": device,
        "observed_at": place.observed_at,
        "value": value,
        "flag": flag,
        "finality": row["finality"],
    }


def _held(row: "Record", page: PageOf) -> Iterator[_Held]:
    """What a segment holds of a page, in order."""
    metric, batch_id = row["metric"], row["batch_id"]
    first = max(page.start, page.after.observed_at if page.after.metric == metric else 0)
    for position, observed_at, value, flag in _opened(row, first):
        if observed_at > page.end:
            return
        place = Place(metric, observed_at, batch_id, position)
        if place > page.after:
            yield place, value, flag, row


def _opened(row: "Record", first: int) -> Iterator[tuple[int, int, int, int]]:
    """(position, observed_at, value, flag) of a segment's readings from second `first` on."""
    position, leaves = row["position"], row["leaves"]
    if leaves is None:  # the only one, all in its row
        yield position, row["first_at"], row["last"], row["flag"]
        return

    def time_of(place: int) -> int:
        start = READING_BYTES * place
        return int.from_bytes(leaves[start + _TIME.start : start + _TIME.stop])

    begin = bisect_left(range(len(leaves) // READING_BYTES), first, key=time_of)
    rest = memoryview(leaves)[READING_BYTES * begin :]
    for place, (high, low, value, flag) in enumerate(_REST.iter_unpack(rest), position + begin):
        yield place, high << 32 | low, value, flag
