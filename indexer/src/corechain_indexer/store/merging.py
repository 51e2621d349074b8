"""Merges readings that came singly: a device that sends one observation a batch has a row for each,
six times the size of its leaf. Once all batches of a day are final, what a device sent of a metric
from a cell on that day becomes one row (docs/decisions/0029). Answers stay what they were.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.vocabulary import BY_CODE
from corechain.service.database import outages
from corechain_indexer.store import SQL
from corechain_indexer.store.segments import DAY_S

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.segments import Writing

DEVICES_AT_ONCE = 16
"""With ten metrics an hour 4,000 readings, 20 ms of Postgres; with one a minute 230,000."""
PAUSE_S, POLL_S = 0.05, 600.0
"""Fifty thousand devices are gone through in some minutes, and a day comes once a day."""


@dataclass(frozen=True, slots=True)
class MergeStore:
    """Goes through each day once. How far it is stands in the database and moves in the transaction
    that merges: whoever is killed, or is one of several, does nothing twice and leaves nothing out.
    """

    pool: "Database"

    async def merge_forever(self, older_than_s: float) -> None:
        """In small steps: between two of them everybody else has the database."""
        while True:
            more = await self.merge_some(older_than_s)
            await asyncio.sleep(PAUSE_S if more else POLL_S)

    async def merge_some(self, older_than_s: float) -> bool:
        """Some devices of the first day that is over for so long and not gone through; whether
        there was one. Raises StoreUnavailable."""
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(SQL["merging_alone"])
                mark = await connection.fetchrow(SQL["merge_mark"])
                assert mark is not None, "the migration wrote it"
                day = await connection.fetchval(SQL["day_to_merge"], mark["day"], older_than_s)
                if day is None:
                    return False
                await _merge(connection, day, mark)
        return True


async def _merge(connection: "Writing", day: int, mark: "Record") -> None:
    after = mark["device"] or b""
    rows = await connection.fetch(SQL["devices_behind"], after, DEVICES_AT_ONCE)
    devices = [row["device"] for row in rows]
    if not devices:
        await connection.execute(SQL["move_merge_mark"], day, None)
        return
    await connection.execute(SQL["merge_runs"], devices, list(BY_CODE), day * DAY_S)
    # The days between the mark and this one have nothing: the same day is found again.
    await connection.execute(SQL["move_merge_mark"], mark["day"], devices[-1])
