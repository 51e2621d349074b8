"""Reward roots, recomputed from verified batches: proofs are served of roots that came out."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from corechain.protocol.reading import READING_BYTES, DeviceId
from corechain.protocol.reward_levels import RewardLevels
from corechain.protocol.rewards import (
    EpochScore,
    Owner,
    RewardRules,
    RewardSchedule,
    RewardTree,
    accumulate,
    points_by_owner,
    split_down,
)
from corechain.service.database import outages
from corechain_indexer.errors import ArchiveUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.epochs import EpochStore

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

log = structlog.get_logger(__name__)


def add_leaves(score: EpochScore, packed: bytes) -> None:
    """Counts those of one batch. Pure."""
    score.add(packed[i : i + READING_BYTES] for i in range(0, len(packed), READING_BYTES))


def cumulative_after(
    before: Mapping[Owner, int],
    score: EpochScore,
    owners: Mapping[DeviceId, Owner],
    emission: int,
    rules: RewardRules,
) -> dict[Owner, int]:
    """Amounts after an epoch, from what the leaves of its batches score. Pure."""
    points = points_by_owner(score.points(rules), owners)
    shares = split_down(emission, points) if sum(points.values()) else {}
    return accumulate(before, shares)


@dataclass(frozen=True, slots=True)
class RewardAuditor:
    """Works through the proposed roots that were not recomputed yet, in the order of the chain.

    A verdict follows from the chain up to the block of its proposal, and from the data files: it is
    the same whenever it is reached. So all that it rests on is read from one snapshot, and it is
    kept only while the proposal stands in the block that it was read from.
    """

    pool: "Database"
    metrics: Metrics
    schedule: RewardSchedule
    archive: Archive = NO_ARCHIVE

    async def step(self) -> None:
        """Stops at the first root that cannot be recomputed yet."""
        # Where old readings are away the root stays pending, and new ones are not judged before.
        with suppress(ArchiveUnavailable):
            while await self._settle_next():
                pass

    async def _settle_next(self) -> bool:
        with outages():
            async with self.pool.acquire() as connection:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    snapshot = _Snapshot(EpochStore(connection, self.archive), self.schedule)
                    row = await snapshot.store.next()
                    await snapshot.store.take_time()
                    computed = None if row is None else await snapshot.amounts(row)
                if row is None or computed is None:
                    return False
                async with connection.transaction():
                    return await self._keep(EpochStore(connection), row, computed)

    async def _keep(self, store: EpochStore, row: "Record", amounts: dict[Owner, int]) -> bool:
        """False when a reorg came between."""
        # Elsewhere: 50,000 owners take a tenth of a second, and the API's requests wait meanwhile.
        tree = await asyncio.to_thread(RewardTree, amounts) if amounts else None
        levels = RewardLevels.of(tree) if tree and tree.root == row["root"] else None
        state = "verified" if levels else "mismatch"
        if not await store.settle(row, state, levels):
            return False
        if levels:
            await store.keep(row, amounts)
        self.metrics.epochs.labels(state).inc()
        note = log.info if levels else log.error
        note("reward root recomputed", epoch=row["epoch"], state=state, owners=len(amounts))
        return True


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a root is recomputed from, as of one moment."""

    store: EpochStore
    schedule: RewardSchedule

    async def amounts(self, row: "Record") -> dict[Owner, int] | None:
        """Cumulative amounts after the epoch of a proposal; none for a root that no data can have,
        None while it cannot be told."""
        if row["through_block"] > row["block_number"]:
            # Blocks that nobody had seen: what they would hold cannot be what was proposed.
            return {}
        if await self.store.is_unsettled_through(row["through_block"]):
            return None
        before = await self._before(row)
        if before is None:
            return None
        after_block, amounts = before
        if row["through_block"] < after_block:
            # The epoch after it would reward data for the second time.
            return {}
        score = EpochScore()
        async for packed in self.store.leaves_between(after_block, row["through_block"]):
            # Elsewhere: an epoch has millions of readings.
            await asyncio.to_thread(add_leaves, score, packed)
        owners = await self.store.owners_at(row["through_block"])
        return await asyncio.to_thread(
            cumulative_after,
            amounts,
            score,
            owners,
            int(row["emission"]),
            self.schedule.of(row["epoch"]),
        )

    async def _before(self, row: "Record") -> tuple[int, dict[Owner, int]] | None:
        """(last block, amounts) of the epoch before; None while it is not verified itself."""
        if row["epoch"] == 1:
            return 0, {}
        last = await self.store.before(row)
        if last is None or last["state"] != "verified":
            return None
        return last["through_block"], await self.store.amounts(last)
