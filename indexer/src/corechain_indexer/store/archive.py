"""Leaves and tree levels of old batches, out of Postgres: moved into files, and read from there."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from corechain.service.database import asked, outages
from corechain.service.workers import LooseWorkers
from corechain_indexer.errors import ArchiveUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.archive_files import (
    Damaged,
    read_archive,
    read_levels,
    sweep,
    write_archive,
)
from corechain_indexer.store.packing import PACKED, leaves_of

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

    Row = Mapping[str, Any] | Record

log = structlog.get_logger(__name__)
T = TypeVar("T")
Slice = tuple[int, int]
"""Position and count of leaves."""

WORKERS = 4
AT_ONCE = 8
"""Batches that are moved in one go: a few MB of packed leaves."""
LIMITS_S = {"read": 10.0, "write": 120.0}
"""A mount that hangs answers never; a disk that is asleep wakes up in less, and who writes waits
until all of it is on the disk, behind everything else that is."""
PAUSE_S, POLL_S = 0.2, 60.0
FORSAKEN_S = 3_600.0
"""A file that is half written for so long has nobody any more who writes it."""
MOST_TROUBLES = 1_000
"""Remembered for /ready: a folder that is away makes one of every batch."""
TOLD_S = 600.0
"""How long /ready tells of one that nobody asked for again: it may be there by now."""


@dataclass(slots=True, eq=False)
class Archive:
    """The files in a folder; without one, what was archived cannot be read here. `failed` gets
    `read` or `write` each time that a file cannot be. Threads of its own: a mount that hangs stops
    nobody but those who wait for it, and the end of no process."""

    folder: Path | None = None
    failed: Callable[[str], None] = lambda what: None
    _troubles: dict[bytes, tuple[float, str]] = field(default_factory=dict)
    _workers: LooseWorkers = field(default_factory=lambda: LooseWorkers("archive", WORKERS))

    def close(self) -> None:
        self._workers.close()

    def sentences(self) -> Sequence[str]:
        """For `/ready`: of these batches old readings cannot be served; of all others they are."""
        since = time.monotonic() - TOLD_S
        found = [why for met_at, why in self._troubles.values() if met_at > since]
        if not found:
            return []
        return [
            f"archives of {len(found)} batches cannot be read or written; the last: {found[-1]}"
        ]

    async def opened(
        self, rows: "Sequence[Row]", slice_in: "Callable[[Row], Slice] | None" = None
    ) -> "Sequence[Row]":
        """Rows for `leaves_of`, or for `slice_of` with the slice that each is asked for: column
        `packed` comes from the file where column `archived` names one. Raises ArchiveUnavailable.
        """
        if all(row["archived"] is None for row in rows):
            return rows
        return [await self._opened(row, slice_in) for row in rows]

    async def leaves(self, row: "Row") -> bytes:
        """All leaves of a batch, from columns `leaves`, `packed` and `archived`; elsewhere where it
        takes time. Raises ArchiveUnavailable."""
        (whole,) = await self.opened([row])
        return await asyncio.to_thread(leaves_of, whole)

    async def levels(self, commitment: bytes) -> bytes | None:
        """The upper levels of the batch's trees; None of a file of an older version, where Postgres
        has them. Raises ArchiveUnavailable."""
        return await self._ask("read", commitment, lambda at: read_levels(at, commitment))

    async def write(self, commitment: bytes, leaves: Sequence[bytes], levels: bytes) -> None:
        """Returns when both can be read from the file. Raises ArchiveUnavailable."""

        def task(at: Path) -> None:
            write_archive(at, commitment, leaves, levels)

        await self._ask("write", commitment, task)

    async def sweep(self) -> None:
        """Removes what was never written to its end. Raises OSError."""
        if self.folder is not None:
            await asyncio.to_thread(sweep, self.folder, time.time() - FORSAKEN_S)

    async def _opened(self, row: "Row", slice_in: "Callable[[Row], Slice] | None") -> "Row":
        name = row["archived"]
        if name is None:
            return row
        first, last = (0, None) if slice_in is None else _blocks(*slice_in(row))
        blocks = await self._ask("read", name, lambda at: read_archive(at, name, first, last))
        return {**row, "packed": blocks}

    async def _ask(self, what: str, commitment: bytes, work: Callable[[Path], T]) -> T:
        if self.folder is None:
            raise self._trouble(what, commitment, "INDEXER_ARCHIVE_DIR is not set")
        try:
            async with asyncio.timeout(LIMITS_S[what]):
                found = await self._workers.run(partial(work, self.folder))
        except (OSError, Damaged) as error:  # a TimeoutError is one
            raise self._trouble(what, commitment, _sentence(error)) from error
        self._troubles.pop(commitment, None)
        return found

    def _trouble(self, what: str, commitment: bytes, why: str) -> ArchiveUnavailable:
        trouble = ArchiveUnavailable(commitment, why)
        if self._troubles.pop(commitment, None) is None:
            log.error("archive unavailable", what=what, commitment=commitment.hex(), why=why)
        if len(self._troubles) < MOST_TROUBLES:
            self._troubles[commitment] = time.monotonic(), str(trouble)
        self.failed(what)
        return trouble


def _sentence(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or "no answer in time"


NO_ARCHIVE = Archive()
"""Of who has no folder: all that is in Postgres is served."""


def _blocks(position: int, count: int) -> tuple[int, int]:
    return position // PACKED, (position + count - 1) // PACKED


def run_in(row: "Row") -> Slice:
    """The slice of a row with columns `position` and `count`."""
    return row["position"], row["count"]


@dataclass(frozen=True, slots=True)
class ArchiveStore:
    """Moves what is old. Several at a time do each batch once, or write the same file twice."""

    pool: "Database"
    archive: Archive
    moved: Callable[[], None] = lambda: None

    async def move_forever(self, older_than_s: int) -> None:
        """In small steps. A folder that is away, or full, is asked again later: nothing is lost
        meanwhile but space. Raises StoreUnavailable."""
        while True:
            try:
                more = await self.move_some(older_than_s)
            except ArchiveUnavailable:  # noted for /ready, and in the log
                more = False
            await asyncio.sleep(PAUSE_S if more else POLL_S)

    async def move_some(self, older_than_s: int) -> bool:
        """The packed leaves of final batches whose window ended so long ago, the oldest first;
        whether there were any. Raises StoreUnavailable, ArchiveUnavailable."""
        rows = await asked(self.pool.fetch(SQL["archivable"], older_than_s, AT_ONCE))
        for row in rows:
            # Postgres forgets them last: whenever this ends, they are in one place at least.
            await self.archive.write(row["commitment"], row["packed"], row["tree_levels"])
            await self._forget(row)
        return bool(rows)

    async def _forget(self, row: "Record") -> None:
        name = row["batch_id"], row["readings_root"], row["commitment"]
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                # None where it was undone meanwhile, or moved by another.
                if await connection.fetchval(SQL["note_archived"], *name) is not None:
                    await connection.execute(SQL["forget_packed"], row["batch_id"])
                    self.moved()
