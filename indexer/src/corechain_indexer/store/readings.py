"""Verified readings as the query API asks for them: by device, metric and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.pages import PageOf, StoredReading, readings_page

if TYPE_CHECKING:
    from corechain_indexer.store import Asked

Place = tuple[bytes, int, int, int, int]
"""Where a reading stands: device, metric, time, batch, position."""
FIRST_PLACE: Place = (b"", -1, -1, -1, -1)
"""Before every reading."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Times in seconds, both ends included. Every method raises StoreUnavailable."""

    database: "Asked"

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
        of batches up to a block, or of all."""
        page = PageOf(device, metric, start, end, newest_block=newest_block).behind(after)
        return await readings_page(self.database, page, limit) if page is not None else []

    async def batches_with(
        self,
        device: bytes,
        metric: int,
        start: int,
        end: int,
        limit: int,
        newest_block: int | None,
    ) -> list[int]:
        """Ids of the batches that hold such readings, or some before and some after them."""
        arguments = (device, metric, start, end, limit, newest_block)
        rows = await asked(self.database.fetch(SQL["batches_with"], *arguments))
        return [row["batch_id"] for row in rows]

    async def cells_of(
        self,
        device: bytes,
        metric: int,
        start: int,
        end: int,
        limit: int,
        newest_block: int | None,
    ) -> list[int]:
        """H3 cells in which the device has observed the metric, by batches up to a block."""
        arguments = (device, metric, start, end, newest_block, limit)
        rows = await asked(self.database.fetch(SQL["cells_of"], *arguments))
        return [to_unsigned(row["cell"]) for row in rows]
