"""What an audit compares: events, blocks, batches, and what is derived from their leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


@dataclass(frozen=True, slots=True)
class Audited:
    """Blocks by number, both ends included. Every method raises StoreUnavailable."""

    database: "Asked"

    async def events(self, first: int, last: int) -> "Sequence[Record]":
        return await self._rows("audit_events", first, last)

    async def blocks(self, first: int, last: int) -> "Sequence[Record]":
        return await self._rows("audit_blocks", first, last)

    async def batches(self, first: int, last: int, after: int, limit: int) -> "Sequence[Record]":
        return await self._rows("audit_batches", first, last, after, limit)

    async def segments(self, batch_id: int) -> "Sequence[Record]":
        """In the order of SEGMENT_COLUMNS."""
        return await self._rows("audit_segments", batch_id)

    async def stray_segments(self) -> list[int]:
        """Batches that are not verified and have segments."""
        return [row["batch_id"] for row in await self._rows("audit_stray_segments")]

    async def wrong_merges(self) -> list[int]:
        """Newest batches of merged rows that do not add up."""
        return [row["batch_id"] for row in await self._rows("audit_merged_runs")]

    async def _rows(self, query: str, *arguments: Any) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL[query], *arguments))
