"""Reward roots, recomputed from verified batches: proofs are served of roots that came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from corechain.protocol.reading import READING_BYTES, DeviceId
from corechain.protocol.rewards import (
    EpochScore,
    Owner,
    RewardTree,
    accumulate,
    points_by_owner,
    split_down,
)
from corechain.service.database import asked, outages
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

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
) -> dict[Owner, int]:
    """Amounts after an epoch, from the packed leaves of its batches. Pure."""
    points = points_by_owner(_score(files).points(), owners)
    shares = split_down(emission, points) if sum(points.values()) else {}
    return accumulate(before, shares)


@dataclass(frozen=True, slots=True)
class RewardAuditor:
    """Works through the epochs that were not recomputed yet, in order."""

    pool: "Database"
    metrics: Metrics

    async def step(self) -> None:
        """Stops at the first epoch that cannot be recomputed yet."""
        for row in await asked(self.pool.fetch(SQL["open_epochs"])):
            if not await self._settle(row):
                return

    async def _settle(self, row: "Record") -> bool:
        if await asked(self.pool.fetchval(SQL["unsettled_through"], row["through_block"])):
            return False
        before = await self._before(row["epoch"])
        if before is None:
            return False
        after_block, amounts = before
        files = await self._fetch(SQL["leaves_between"], after_block, row["through_block"])
        owners = await self._fetch(SQL["owners_at"], row["through_block"])
        computed = cumulative_after(
            amounts,
            [found["leaves"] for found in files],
            {DeviceId(found["device"]): Owner(found["owner"]) for found in owners},
            int(row["emission"]),
        )
        await self._keep(row, computed)
        return True

    async def _fetch(self, query: str, *arguments: object) -> list["Record"]:
        return await asked(self.pool.fetch(query, *arguments))

    async def _before(self, epoch: int) -> tuple[int, dict[Owner, int]] | None:
        """(last block, amounts) of the epoch before; None while it is not verified itself."""
        if epoch == 1:
            return 0, {}
        last = await asked(self.pool.fetchrow(SQL["epoch_before"], epoch - 1))
        if last is None or last["state"] != "verified":
            return None
        place = (last["block_number"], last["log_index"])
        leaves = await self._fetch(SQL["epoch_leaves"], *place)
        amounts = {Owner(leaf["owner"]): int(leaf["cumulative"]) for leaf in leaves}
        return last["through_block"], amounts

    async def _keep(self, row: "Record", amounts: dict[Owner, int]) -> None:
        matches = bool(amounts) and RewardTree(amounts).root == row["root"]
        state = "verified" if matches else "mismatch"
        place = (row["block_number"], row["log_index"])
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                kept = await connection.fetchval(SQL["settle_epoch"], *place, state)
                if kept is None or not matches:
                    records = []
                else:
                    leaves = enumerate(sorted(amounts.items()))
                    records = [(*place, i, owner, amount) for i, (owner, amount) in leaves]
                await connection.copy_records_to_table("reward_leaf", records=records)
        self.metrics.epochs.labels(state).inc()
        note = log.info if matches else log.error
        note("reward root recomputed", epoch=row["epoch"], state=state, owners=len(amounts))
