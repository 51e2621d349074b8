"""What other stores must still learn, written by Postgres's own transactions (migration 0007)."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from corechain.service.database import asked, outages
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn


@dataclass(frozen=True, slots=True)
class Outbox:
    """Every method raises StoreUnavailable. The connection holds the sink's lock."""

    connection: "Conn"
    archive: Archive = NO_ARCHIVE

    async def next(self, sink: str, limit: int) -> "Sequence[Record]":
        return await asked(self.connection.fetch(SQL["outbox"], sink, limit))

    async def emitted(self, row_id: int) -> None:
        await asked(self.connection.execute(SQL["emitted"], row_id))

    async def leaves(self, batch_id: int, commitment: bytes) -> bytes:
        """The packed readings of a batch, 40 bytes each; none when it has gone meanwhile, or is
        another one (a retraction follows). Raises ArchiveUnavailable too."""
        found = await asked(self.connection.fetchrow(SQL["batch_leaves"], batch_id))
        if found is None or found["commitment"] != commitment:
            return b""
        return await self.archive.leaves(found)

    async def retarget(self, sink: str, target: str) -> None:
        """Begins from the beginning when the sink's store is another one than before."""
        with outages():
            async with self.connection.transaction():
                if await self.connection.fetchval(SQL["sink_target"], sink) == target:
                    return
                if target:
                    await self.connection.execute(SQL["forget_pending"], sink)
                    await self.connection.execute(SQL["add_all"], sink)
                await self.connection.execute(SQL["set_sink_target"], sink, target)

    async def distrust_cache(self, runs: AbstractSet[str]) -> UUID:
        """A new generation of the cache, with every device marked as stale. `runs`: of the servers
        that it will be written to."""
        with outages():
            async with self.connection.transaction():
                generation: UUID = await self.connection.fetchval(
                    SQL["new_generation"], " ".join(sorted(runs))
                )
                await self.connection.execute(SQL["all_stale"])
        return generation

    async def stale_devices(self, limit: int) -> "Sequence[Record]":
        """`id` and `device` of those whose cached values a rollback made doubtful."""
        return await asked(self.connection.fetch(SQL["stale_devices"], limit))

    async def refreshed(self, ids: Sequence[int]) -> None:
        await asked(self.connection.execute(SQL["refreshed"], ids))
