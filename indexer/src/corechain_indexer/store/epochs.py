"""Reward epochs: what was proposed, what is recomputed from, and what came out."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import DeviceId
from corechain.protocol.reward_levels import RewardLevels
from corechain.protocol.rewards import Owner, RewardTree
from corechain.service.database import asked
from corechain.service.lock_keeping import PATIENT
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


BATCHES_AT_ONCE = 16
"""Their leaves are some megabytes; those of an epoch are no answer that comes within 30 s."""


def _place(proposal: "Record") -> tuple[int, int]:
    return proposal["block_number"], proposal["log_index"]


def _levels_of(amounts: Mapping[Owner, int]) -> RewardLevels:
    return RewardLevels.of(RewardTree(amounts))


@dataclass(frozen=True, slots=True)
class EpochStore:
    """Every method raises StoreUnavailable. A *proposal* is a row with `block_number` and
    `log_index`, which name its event. Amounts in base units, blocks by number."""

    database: "Asked"
    archive: Archive = NO_ARCHIVE

    # ---------------------------------------------------------------- for queries

    async def page(self, after: int, limit: int) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["epochs"], after, limit))

    async def claimable(self, now: int) -> "Record | None":
        """The newest verified proposal whose window has passed at a time in seconds."""
        return await asked(self.database.fetchrow(SQL["claimable"], now))

    async def claimed(self, owner: bytes) -> int:
        """What an owner has claimed so far, on the mirrored chain."""
        return int(await asked(self.database.fetchval(SQL["claimed"], owner)))

    async def amounts(self, proposal: "Record") -> dict[Owner, int]:
        """Cumulative amounts of a verified proposal; none when it is not (any more)."""
        leaves = await asked(self.database.fetch(SQL["epoch_leaves"], *_place(proposal)))
        return {Owner(leaf["owner"]): int(leaf["cumulative"]) for leaf in leaves}

    async def levels(self, proposal: "Record") -> RewardLevels | None:
        """Of the tree of a verified proposal; None when it is not verified (any more)."""
        question = (SQL["reward_levels"], *_place(proposal), proposal["root"])
        row = await asked(self.database.fetchrow(*question))
        if row is None:
            return None
        if row["tree_levels"] is not None:
            return RewardLevels(row["owners"], row["tree_levels"])
        # Verified by an older version, and not filled in yet.
        amounts = await self.amounts(proposal)
        return await asyncio.to_thread(_levels_of, amounts) if amounts else None

    async def around(
        self, proposal: "Record", owner: Owner
    ) -> tuple[int, list[tuple[Owner, int]]] | None:
        """An owner's position, and the 64 leaves (fewer at the end) that its block holds; None when
        it has no leaf."""
        rows = await asked(self.database.fetch(SQL["reward_block"], *_place(proposal), owner))
        leaves = [(Owner(row["owner"]), int(row["cumulative"])) for row in rows]
        position = next((row["position"] for row in rows if row["owner"] == owner), None)
        return None if position is None else (position, leaves)

    async def fill_some(self) -> bool:
        """Makes the levels of an epoch that an older version has verified; whether there was one.
        Several at a time write the same."""
        row = await asked(self.database.fetchrow(SQL["epoch_without_levels"]))
        if row is None:
            return False
        amounts = await self.amounts(row)
        if amounts:  # a reorg may have taken it meanwhile
            levels = await asyncio.to_thread(_levels_of, amounts)
            kept = (levels.owners, levels.packed, row["root"])
            await asked(self.database.execute(SQL["fill_epoch_levels"], *_place(row), *kept))
        return True

    # ------------------------------------------------------------ for the auditor

    async def take_time(self) -> None:
        """In a transaction that only reads, and keeps nobody: old readings may take an archive
        minutes."""
        await asked(self.database.execute(PATIENT))

    async def next(self) -> "Record | None":
        """The oldest proposal that was not recomputed yet."""
        return await asked(self.database.fetchrow(SQL["next_epoch"]))

    async def is_unsettled_through(self, block: int) -> bool:
        """Whether the data of a batch up to a block is not verified."""
        return bool(await asked(self.database.fetchval(SQL["unsettled_through"], block)))

    async def before(self, proposal: "Record") -> "Record | None":
        """The proposal of the epoch before, as it stood when this one was made."""
        question = (SQL["epoch_before"], proposal["epoch"] - 1, *_place(proposal))
        return await asked(self.database.fetchrow(*question))

    async def leaves_between(self, after_block: int, through_block: int) -> AsyncIterator[bytes]:
        """The packed leaves of each verified batch of the blocks, 40 bytes a reading. Raises
        ArchiveUnavailable too."""
        found = await asked(
            self.database.fetch(SQL["batches_of_epoch"], after_block, through_block)
        )
        batches = [row["batch_id"] for row in found]
        for at in range(0, len(batches), BATCHES_AT_ONCE):
            part = batches[at : at + BATCHES_AT_ONCE]
            for row in await asked(self.database.fetch(SQL["files_of_epoch"], part)):
                yield await self.archive.leaves(row)

    async def owners_at(self, block: int) -> Mapping[DeviceId, Owner]:
        """Who owned which device at the end of a block."""
        rows = await asked(self.database.fetch(SQL["owners_at"], block))
        return {DeviceId(row["device"]): Owner(row["owner"]) for row in rows}

    async def settle(self, proposal: "Record", state: str, levels: RewardLevels | None) -> bool:
        """False when the event that was judged does not stand any more. `levels` of a root that
        came out."""
        verdict = [proposal["block_hash"], state]
        verdict += (levels.owners, levels.packed) if levels else (None, None)
        arguments = (*_place(proposal), *verdict)
        return await asked(self.database.fetchval(SQL["settle_epoch"], *arguments)) is not None

    async def keep(self, proposal: "Record", amounts: Mapping[Owner, int]) -> None:
        """The leaves of the reward tree, by owner."""
        place = _place(proposal)
        leaves = enumerate(sorted(amounts.items()))
        records = [(*place, position, owner, amount) for position, (owner, amount) in leaves]
        await asked(self.database.copy_records_to_table("reward_leaf", records=records))
