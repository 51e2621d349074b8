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
"""Of the sink of the first series database."""


def sink_name(number: int) -> str:
    """Of the one of a server, counted from 0 as the settings name them."""
    return NAME if number == 0 else f"{NAME} {number + 1}"


async def name_sinks(connection: "Conn", count: int) -> frozenset[str]:
    """The outbox writes for so many series databases from now on. Answers with the names of those
    that have downsampled buckets. Raises StoreUnavailable."""
    names = [sink_name(number) for number in range(count)]
    with outages():
        held = await connection.fetch(SQL["series_sinks"])
        downsampled = frozenset(row["name"] for row in held if row["downsampled"])
        if {row["name"] for row in held} == set(names):
            return downsampled
        async with connection.transaction():
            # Nobody verifies or undoes a batch meanwhile: who began before would write no row for
            # a new sink, and one for a sink that goes.
            await connection.execute(SQL["hold_batches"])
            await connection.execute(SQL["forget_sinks"], names)
            await connection.execute(SQL["add_sinks"], names)
    return downsampled


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
    sink: str = NAME

    async def target(self) -> str:
        """Which database was filled last, as a digest; empty for none."""
        return str(await asked(self.connection.fetchval(SQL["sink_target"], self.sink)))

    async def begin_anew(self, target: str) -> None:
        """Everything is to be told to `target`, which knows nothing."""
        await asked(self.connection.execute(SQL["forget_all_refused"], self.sink))
        await Outbox(self.connection).retarget(self.sink, target)

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
        found = refused.refusals
        rows = [(self.sink, refused.batch_id, r.count, r.first, r.last, r.why) for r in found]
        with outages():
            async with self.connection.transaction():
                await self.connection.execute(SQL["forget_refused"], self.sink, refused.batch_id)
                await self.connection.executemany(SQL["note_refused"], rows)

    async def forget(self, batch_id: int) -> None:
        """What was refused of a batch that is gone."""
        await asked(self.connection.execute(SQL["forget_refused"], self.sink, batch_id))

    async def refused(self) -> Refused:
        row = await asked(self.connection.fetchrow(SQL["series_refused"], self.sink))
        assert row is not None, "an aggregate always has a row"
        return Refused(**row)
