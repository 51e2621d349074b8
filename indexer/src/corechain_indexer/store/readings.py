"""Verified readings as the query API asks for them: by device, metric and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from asyncpg import Record

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


class Near(NamedTuple):
    """`batches`: rows of `verified_between`, in the order of their ids."""

    where: Whereabouts
    batches: "Sequence[Record]"


@dataclass(frozen=True, slots=True)
class Readings:
    """Times in seconds, both ends included. Raises StoreUnavailable."""

    database: "Asked"

    async def near(self, wanted: Wanted, most: int) -> "Near | None":
        """The whereabouts, and the batches as `verified_between` says them, where so many segments
        tell; None where there are more, or the leaves of one have to be looked at."""
        start, end = wanted.start, wanted.end
        arguments = wanted.device, wanted.metric, start - start % HOUR_S, end, wanted.newest_block
        rows = await asked(self.database.fetch(SQL["segments_near"], *arguments, most + 1))
        around = any(row["first_at"] < start and row["last_at"] > end for row in rows)
        merged = any(row.get("count", 1) < 0 for row in rows)  # it holds readings of many batches
        if around or merged or len(rows) > most:
            return None
        batches = {row["batch_id"]: row for row in rows}
        cells = sorted({row["cell"] for row in rows if row["last_at"] >= start})
        where = Whereabouts(sorted(batches), [to_unsigned(cell) for cell in cells])
        return Near(where, [batches[number] for number in where.batches])

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
