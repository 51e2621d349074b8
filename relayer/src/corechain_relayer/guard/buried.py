"""Batches that the contract takes for no receipt's answer any more, and that harm nobody either.

A word of the ring that was written over, and a batch of an earlier bond, can be shown neither as an
answer nor as one of two batches with one report. So a report in such a batch may be committed once
more. Who signs with a stolen key of receipts could else demand what was committed long ago.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.protocol.batch import RING_SIZE, lane_of
from corechain.service.database import asked
from corechain.service.rpc import Questions
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

SINCE = slice(2, 7)
"""Where a receipt's demand has the second of its bond (`receipt_commitment`)."""


@dataclass(frozen=True, slots=True)
class BuriedBatches:
    """By what is final alone: no reorg may bring such a batch back beside the other one."""

    pool: "Database"
    rpc: Questions
    _over: set[bytes] = field(default_factory=set)
    """Commitments whose word was written over for good."""

    async def has(self, commitment: bytes, demand: OpenDemand) -> bool:
        """Whether our batch with this commitment is one of them, for a demand by a receipt. Raises
        StoreUnavailable, NodeUnavailable."""
        rows = await self._look([commitment])
        if commitment in self._over or not rows:
            return commitment in self._over
        block = await self.rpc.block(rows[0]["block_number"])
        since = int.from_bytes(demand.commitment[SINCE], "big")
        is_of_its_lane = lane_of(rows[0]["batch_id"]) == lane_of(demand.batch_id)
        return is_of_its_lane and block is not None and block.timestamp < since

    async def beside(self, commitments: Sequence[bytes]) -> list[bytes]:
        """Those of some batches whose word was not written over for good: whatever the others have
        in their files, nobody can show it. Raises StoreUnavailable."""
        await self._look([one for one in commitments if one not in self._over])
        return [one for one in commitments if one not in self._over]

    async def _look(self, commitments: Sequence[bytes]) -> Sequence["Record"]:
        if not commitments:
            return ()
        wanted = query("final_batches"), list(commitments), RING_SIZE
        rows: Sequence[Record] = await asked(self.pool.fetch(*wanted))
        self._over.update(row["commitment"] for row in rows if row["is_written_over"])
        return rows
