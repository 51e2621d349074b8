"""Reward epochs: what was proposed, what is recomputed from, and what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner
from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


@dataclass(frozen=True, slots=True)
class EpochStore:
    """Every method raises StoreUnavailable. A *proposal* is a row with `block_number` and
    `log_index`, which name its event. Amounts in base units, blocks by number."""

    database: "Asked"

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
        place = proposal["block_number"], proposal["log_index"]
        leaves = await asked(self.database.fetch(SQL["epoch_leaves"], *place))
        return {Owner(leaf["owner"]): int(leaf["cumulative"]) for leaf in leaves}

    # ------------------------------------------------------------ for the auditor

    async def next(self) -> "Record | None":
        """The oldest proposal that was not recomputed yet."""
        return await asked(self.database.fetchrow(SQL["next_epoch"]))

    async def is_unsettled_through(self, block: int) -> bool:
        """Whether the data of a batch up to a block is not verified."""
        return bool(await asked(self.database.fetchval(SQL["unsettled_through"], block)))

    async def before(self, proposal: "Record") -> "Record | None":
        """The proposal of the epoch before, as it stood when this one was made."""
        place = proposal["block_number"], proposal["log_index"]
        question = (SQL["epoch_before"], proposal["epoch"] - 1, *place)
        return await asked(self.database.fetchrow(*question))

    async def leaves_between(self, after_block: int, through_block: int) -> list[bytes]:
        """The packed leaves of each verified batch of the blocks, 40 bytes a reading."""
        rows = await asked(self.database.fetch(SQL["leaves_between"], after_block, through_block))
        return [row["leaves"] for row in rows]

    async def owners_at(self, block: int) -> Mapping[DeviceId, Owner]:
        """Who owned which device at the end of a block."""
        rows = await asked(self.database.fetch(SQL["owners_at"], block))
        return {DeviceId(row["device"]): Owner(row["owner"]) for row in rows}

    async def settle(self, proposal: "Record", state: str) -> bool:
        """False when the event that was judged does not stand any more."""
        place = proposal["block_number"], proposal["log_index"], proposal["block_hash"]
        return await asked(self.database.fetchval(SQL["settle_epoch"], *place, state)) is not None

    async def keep(self, proposal: "Record", amounts: Mapping[Owner, int]) -> None:
        """The leaves of the reward tree, by owner."""
        place = proposal["block_number"], proposal["log_index"]
        leaves = enumerate(sorted(amounts.items()))
        records = [(*place, position, owner, amount) for position, (owner, amount) in leaves]
        await asked(self.database.copy_records_to_table("reward_leaf", records=records))
