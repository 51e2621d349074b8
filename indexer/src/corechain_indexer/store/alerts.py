"""What the rules of alerts ask the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules ask the database. Every method raises StoreUnavailable."""

    database: "Asked"

    async def unverified(self, limit: int, known: Sequence[int]) -> "Sequence[Record]":
        """`batch_id`, `state`, `reason` of the first ones, and of those known that still are."""
        return await asked(self.database.fetch(SQL["unverified_batches"], limit, list(known)))

    async def rollbacks(self, blocks: int) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["deep_rollbacks"], blocks))

    async def challenges(
        self, after: int, before: int, parties: Sequence[bytes] | None
    ) -> "Sequence[Record]":
        arguments = after, before, None if parties is None else list(parties)
        return await asked(self.database.fetch(SQL["challenges_due"], *arguments))

    async def wrong_roots(self) -> "Sequence[Record]":
        return await asked(self.database.fetch(SQL["wrong_roots"]))
