"""Upper levels of the trees of verified batches, and the leaves below them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.levels import BLOCK, BLOCK_BYTES, UpperLevels
from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.packing import PACKED, slice_of

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.packing import Row

AT_ONCE = 8
"""Of the largest batches: 30 MB of leaves."""


def block_of(row: "Row") -> bytes:
    """The leaves of a row of `leaf_blocks`, 40 bytes each."""
    return slice_of(row, *_place(row))


def _place(row: "Row") -> tuple[int, int]:
    return BLOCK * row["block"], BLOCK


@dataclass(frozen=True, slots=True)
class LevelStore:
    """Every method raises StoreUnavailable."""

    pool: "Database"
    archive: Archive = NO_ARCHIVE

    async def of(self, batch_ids: Sequence[int]) -> "Sequence[Row]":
        """Of those that are verified; leaves only where the levels must be made from them. Raises
        ArchiveUnavailable too."""
        rows = await asked(self.pool.fetch(SQL["tree_levels"], batch_ids))
        return [await self._whole(row) for row in rows]

    async def _whole(self, row: "Record") -> "Row":
        if row["tree_levels"] is not None or row["archived"] is None:
            return row
        return {**row, "tree_levels": await self.archive.levels(row["archived"])}

    async def leaf_blocks(self, batch_ids: Sequence[int], blocks: Sequence[int]) -> "Sequence[Row]":
        """Blocks of leaves for `block_of`, by pairs of batch and number; none for a batch that is
        not verified (any more). Raises ArchiveUnavailable too."""
        question = (SQL["leaf_blocks"], batch_ids, blocks, BLOCK_BYTES, PACKED // BLOCK)
        return await self.archive.opened(await asked(self.pool.fetch(*question)), _place)

    async def fill_some(self) -> bool:
        """Makes levels that a migration cannot compute; whether there were any missing. Several at
        a time write the same."""
        rows = await asked(self.pool.fetch(SQL["batches_without_levels"], AT_ONCE))
        for row in rows:
            upper = await asyncio.to_thread(UpperLevels.of, row["leaves"])
            arguments = row["batch_id"], row["readings_root"], upper.packed
            await asked(self.pool.execute(SQL["fill_levels"], *arguments))
        return bool(rows)
