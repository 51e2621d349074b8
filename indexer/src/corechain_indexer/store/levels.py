"""Upper levels of the trees of batches that were verified before they were kept."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.levels import UpperLevels
from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

AT_ONCE = 8
"""Of the largest batches: 30 MB of leaves."""


@dataclass(frozen=True, slots=True)
class LevelStore:
    """Fills in what a migration cannot compute. Several at a time write the same."""

    pool: "Database"

    async def fill_some(self) -> bool:
        """Whether there were any without."""
        rows = await asked(self.pool.fetch(SQL["batches_without_levels"], AT_ONCE))
        for row in rows:
            upper = await asyncio.to_thread(UpperLevels.of, row["leaves"])
            arguments = row["batch_id"], row["readings_root"], upper.packed
            await asked(self.pool.execute(SQL["fill_levels"], *arguments))
        return bool(rows)
