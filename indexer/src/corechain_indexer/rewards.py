"""Reward roots, recomputed from verified batches: proofs are served of roots that came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from corechain.protocol.reading import READING_BYTES, DeviceId
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
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from corechain.service.database import Database

    Held = PoolConnectionProxy[Record]

log = structlog.get_logger(__name__)


def _score(files: list[bytes]) -> EpochScore:
    score = EpochScore()
    for packed in files:
        score.add(packed[i : i + READING_BYTES] for i in range(0, len(packed), READING_BYTES))
    return score


def cumulative_after(
    before: Mapping[Owner, int],
    files: list[bytes],
    owners: Mapping[DeviceId, Owner],
    emission: int,
    rules: RewardRules,
) -> dict[Owner, int]:
    """Amounts after an epoch, from the packed leaves of its batches. Pure."""
    points = points_by_owner(_score(files).points(rules), owners)
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

    async def step(self) -> None:
        """Stops at the first root that cannot be recomputed yet."""
        while await self._settle_next():
            pass

    async def _settle_next(self) -> bool:
        with outages():
            async with self.pool.acquire() as connection:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    row = await connection.fetchrow(SQL["next_epoch"])
                    snapshot = _Snapshot(connection, self.schedule)
                    computed = None if row is None else await snapshot.amounts(row)
                if row is None or computed is None:
                    return False
                async with connection.transaction():
                    return await self._keep(connection, row, computed)

    async def _keep(self, connection: "Held", row: "Record", amounts: dict[Owner, int]) -> bool:
        """False when a reorg came between."""
        matches = bool(amounts) and RewardTree(amounts).root == row["root"]
        state = "verified" if matches else "mismatch"
        place = (row["block_number"], row["log_index"])
        if await connection.fetchval(SQL["settle_epoch"], *place, row["block_hash"], state) is None:
            return False
        leaves = enumerate(sorted(amounts.items()) if matches else ())
        records = [(*place, i, owner, amount) for i, (owner, amount) in leaves]
        await connection.copy_records_to_table("reward_leaf", records=records)
        self.metrics.epochs.labels(state).inc()
        note = log.info if matches else log.error
        note("reward root recomputed", epoch=row["epoch"], state=state, owners=len(amounts))
        return True


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a root is recomputed from, as of one moment."""

    connection: "Held"
    schedule: RewardSchedule

    async def amounts(self, row: "Record") -> dict[Owner, int] | None:
        """Cumulative amounts after the epoch of a proposal; none for a root that no data can have,
        None while it cannot be told."""
        if row["through_block"] > row["block_number"]:
            # Blocks that nobody had seen: what they would hold cannot be what was proposed.
            return {}
        if await self.connection.fetchval(SQL["unsettled_through"], row["through_block"]):
            return None
        before = await self._before(row)
        if before is None:
            return None
        after_block, amounts = before
        files = await self._fetch("leaves_between", after_block, row["through_block"])
        owners = await self._fetch("owners_at", row["through_block"])
        return cumulative_after(
            amounts,
            [found["leaves"] for found in files],
            {DeviceId(found["device"]): Owner(found["owner"]) for found in owners},
            int(row["emission"]),
            self.schedule.of(row["epoch"]),
        )

    async def _fetch(self, query: str, *arguments: object) -> list["Record"]:
        return await self.connection.fetch(SQL[query], *arguments)

    async def _before(self, row: "Record") -> tuple[int, dict[Owner, int]] | None:
        """(last block, amounts) of the epoch before; None while it is not verified itself."""
        if row["epoch"] == 1:
            return 0, {}
        place = (row["block_number"], row["log_index"])
        last = await self.connection.fetchrow(SQL["epoch_before"], row["epoch"] - 1, *place)
        if last is None or last["state"] != "verified":
            return None
        leaves = await self._fetch("epoch_leaves", last["block_number"], last["log_index"])
        amounts = {Owner(leaf["owner"]): int(leaf["cumulative"]) for leaf in leaves}
        return last["through_block"], amounts
