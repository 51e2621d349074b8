"""What the series database has been told, what it refused, and what it must be told again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, outages
from corechain_indexer.errors import LinesRefused
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.outbox import Outbox
from corechain_indexer.store.points import Span

if TYPE_CHECKING:
    from corechain.service.database import Conn

NAME = "series"


@dataclass(frozen=True, slots=True)
class Refused:
    """Readings that are missing in the series database because it will not have them."""

    batches: int
    readings: int
    why: str | None


@dataclass(frozen=True, slots=True)
class CopyStore:
    """Every method raises StoreUnavailable. The connection holds the sink's lock."""

    connection: "Conn"
    archive: Archive = NO_ARCHIVE

    async def target(self) -> str:
        """Which database was filled last, as a digest; empty for none."""
        return str(await asked(self.connection.fetchval(SQL["sink_target"], NAME)))

    async def begin_anew(self, target: str) -> None:
        """Everything is to be told to `target`, which knows nothing."""
        await asked(self.connection.execute(SQL["forget_all_refused"]))
        await Outbox(self.connection).retarget(NAME, target)

    async def retracted(self, row_id: int) -> bytes:
        """The packed readings of the batch that a row of the outbox retracts. Raises
        ArchiveUnavailable too."""
        row = await asked(self.connection.fetchrow(SQL["retracted_leaves"], row_id))
        if row is None or row["leaves"] is row["packed"] is None:
            return b""
        return await self.archive.leaves(row)

    async def standing(self, spans: Sequence[Span]) -> Sequence[tuple[int, bytes]]:
        """(id, commitment) of the verified batches whose window meets one of the spans."""
        firsts, lasts = [first for first, _ in spans], [last for _, last in spans]
        rows = await asked(self.connection.fetch(SQL["verified_in"], firsts, lasts))
        return [(row["batch_id"], row["commitment"]) for row in rows]

    async def leaves(self, batch_id: int, commitment: bytes) -> bytes:
        """Raises ArchiveUnavailable too."""
        return await Outbox(self.connection, self.archive).leaves(batch_id, commitment)

    async def note(self, refused: LinesRefused) -> None:
        """Replaces what was noted of the batch before."""
        rows = [(refused.batch_id, r.count, r.first, r.last, r.why) for r in refused.refusals]
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(SQL["forget_refused"], refused.batch_id)
                await self.connection.executemany(SQL["note_refused"], rows)

    async def forget(self, batch_id: int) -> None:
        """What was refused of a batch that is gone."""
        await asked(self.connection.execute(SQL["forget_refused"], batch_id))

    async def refused(self) -> Refused:
        row = await asked(self.connection.fetchrow(SQL["series_refused"]))
        assert row is not None, "an aggregate always has a row"
        return Refused(**row)
