"""Drops intents and signed transactions that have been final for long; batches keep what came of
them. Any number of processes may do it at once."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from corechain.service.database import asked
from corechain_relayer.journal.batches import lane_queue
from corechain_relayer.journal.sql import query
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.commits import CommitStore

if TYPE_CHECKING:
    from corechain.service.database import Database

log = structlog.get_logger(__name__)

PIECE = 1_000
"""Intents a statement: the submitter's own writes wait for none that takes long."""
PAUSE_S = 60.0
"""Between two looks that find nothing more; the rate of a busy lane is some two a second."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Of one lane. Answers of guard and watchtower are few, and looked up by demand: they stay."""

    pool: "Database"
    lane: int
    keep_s: float
    metrics: Metrics

    async def prune_forever(self) -> None:
        """Raises StoreUnavailable."""
        while True:
            if await self.prune() < PIECE:
                await asyncio.sleep(PAUSE_S)

    async def prune(self) -> int:
        """Drops a piece of the oldest; how many intents.

        Nothing above the block up to which the search for commitments has read: it asks whether an
        intent of ours accounts for what it finds there.
        """
        read_through = await CommitStore(self.pool, self.lane).read_through()
        if read_through is None:
            return 0
        queue = lane_queue(self.lane)
        fields = (queue, read_through, self.keep_s, PIECE)
        dropped = int(await asked(self.pool.fetchval(query("prune_final"), *fields)))
        if dropped:
            self.metrics.intents_pruned.labels(queue).inc(dropped)
            log.info("final intents dropped", queue=queue, intents=dropped)
        return dropped
