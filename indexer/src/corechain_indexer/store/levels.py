"""Upper levels of the trees of verified batches, and the leaves below them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.levels import BLOCK, BLOCK_BYTES, UpperLevels
from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.packing import PACKED, slice_of

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

AT_ONCE = 8
"""Of the largest batches: 30 MB of leaves."""


def block_of(row: "Record") -> bytes:
    """The leaves of a row of `leaf_blocks`, 40 bytes each."""
    return slice_of(row, BLOCK * row["block"], BLOCK)


@dataclass(frozen=True, slots=True)
class LevelStore:
    """Every method raises StoreUnavailable."""

    pool: "Database"

    async def of(self, batch_ids: Sequence[int]) -> "Sequence[Record]":
        """Of those that are verified; leaves only where the levels must be made from them."""
        return await asked(self.pool.fetch(SQL["tree_levels"], batch_ids))

    async def leaf_blocks(
        self, batch_ids: Sequence[int], blocks: Sequence[int]
    ) -> "Sequence[Record]":
        """Blocks of leaves for `block_of`, by pairs of batch and number; none for a batch that is
        not verified (any more)."""
        question = (SQL["leaf_blocks"], batch_ids, blocks, BLOCK_BYTES, PACKED // BLOCK)
        return await asked(self.pool.fetch(*question))

    async def fill_some(self) -> bool:
        """Makes levels that a migration cannot compute; whether there were any missing. Several at
        a time write the same."""
        rows = await asked(self.pool.fetch(SQL["batches_without_levels"], AT_ONCE))
        for row in rows:
            upper = await asyncio.to_thread(UpperLevels.of, row["leaves"])
            arguments = row["batch_id"], row["readings_root"], upper.packed
            await asked(self.pool.execute(SQL["fill_levels"], *arguments))
        return bool(rows)
