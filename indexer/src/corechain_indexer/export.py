"""Tells cache, series and subscribers of verified batches: an outbox, so a crash loses nothing.

A batch may be told twice, never missed: every step may be repeated.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import READING_BYTES
from corechain.service.database import asked
from corechain_indexer.rewards import RewardAuditor
from corechain_indexer.store import SQL
from corechain_indexer.store.latest import Latest, newest_of
from corechain_indexer.store.series import Series

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

AT_ONCE = 16


def split_leaves(packed: bytes) -> list[bytes]:
    """The packed readings of a batch, 40 bytes each."""
    return [packed[i : i + READING_BYTES] for i in range(0, len(packed), READING_BYTES)]


@dataclass(slots=True)
class Exporter:
    """Works through the outbox, and lets the auditor look at reward roots when it is empty."""

    pool: "Database"
    latest: Latest
    series: Series
    auditor: RewardAuditor
    verified: asyncio.Event

    async def run_forever(self, poll_s: float) -> None:
        while True:
            self.verified.clear()
            if not await self.step():
                await self._wait(poll_s)

    async def _wait(self, poll_s: float) -> None:
        try:
            async with asyncio.timeout(poll_s):
                await self.verified.wait()
        except TimeoutError:
            return

    async def step(self) -> bool:
        """True when there was anything to tell."""
        for row in await asked(self.pool.fetch(SQL["retractions"], AT_ONCE)):
            await self.series.retract(row["batch_id"])
            await asked(self.pool.execute(SQL["retracted"], row["batch_id"]))
        rows = await asked(self.pool.fetch(SQL["unexported"], AT_ONCE))
        for row in rows:
            await self._tell(row)
        if not rows:
            await self.auditor.step()
        return bool(rows)

    async def _tell(self, row: "Record") -> None:
        batch_id, leaves = row["batch_id"], split_leaves(row["leaves"])
        await self.series.write(batch_id, leaves)
        await self.latest.put(newest_of(batch_id, leaves))
        await asked(self.pool.execute(SQL["exported"], batch_id))
        await self.latest.announce(
            {
                "batch_id": batch_id,
                "commitment": "0x" + row["commitment"].hex(),
                "readings": row["reading_count"],
                "window_start": row["window_start"],
                "window_end": row["window_end"],
            }
        )
