"""Verified readings as the query API asks for them: by device, metric and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.pages import PageOf, StoredReading, readings_page

if TYPE_CHECKING:
    from corechain_indexer.store import Asked

HOUR_S = 3600
Place = tuple[bytes, int, int, int, int]
"""Where a reading stands: device, metric, time, batch, position."""
FIRST_PLACE: Place = (b"", -1, -1, -1, -1)
"""Before every reading."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A device's metric in [start, end] seconds, by batches up to a block, or by all."""

    device: bytes
    metric: int
    start: int
    end: int
    newest_block: int | None = None


class Whereabouts(NamedTuple):
    """Ids of the batches that hold readings in the window, or some before and some after it (the
    window from its hour's begin on); and H3 cells in which some of it was observed."""

    batches: Sequence[int]
    cells: Sequence[int]


@dataclass(frozen=True, slots=True)
class Readings:
    """Times in seconds, both ends included. Every method raises StoreUnavailable."""

    database: "Asked"
    archive: Archive = NO_ARCHIVE

    async def page(
        self,
        device: bytes,
        metric: int | None,
        start: int,
        end: int,
        after: Sequence[int | bytes],
        limit: int,
        newest_block: int | None,
    ) -> list[StoredReading]:
        """In the order of `Place`, from the one that follows `after` (which may name any 64 bits);
        of batches up to a block, or of all. Raises ArchiveUnavailable too."""
        page = PageOf(device, metric, start, end, newest_block=newest_block).behind(after)
        if page is None:
            return []
        return await readings_page(self.database, page, limit, self.archive)

    async def whereabouts(self, wanted: Wanted, batches: int, cells: int) -> Whereabouts:
        """So many batches and cells at the most, the first ones."""
        arguments = (
            wanted.device,
            wanted.metric,
            wanted.start - wanted.start % HOUR_S,
            wanted.end,
            batches,
            wanted.newest_block,
            wanted.start,
            cells,
        )
        row = await asked(self.database.fetchrow(SQL["whereabouts"], *arguments))
        assert row is not None, "a select without a table has one row"
        return Whereabouts(row["batches"], [to_unsigned(cell) for cell in row["cells"]])
