"""Verified readings as the query API asks for them: by device, metric and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from corechain_indexer.store import Asked

HOUR_S = 3600


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
    """Times in seconds, both ends included. Raises StoreUnavailable."""

    database: "Asked"

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
