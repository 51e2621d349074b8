"""Verified data files in Postgres: header, leaves, their segments, rejections."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from corechain.protocol.columns import ints
from corechain.protocol.keys import KeyType
from corechain.protocol.levels import UpperLevels
from corechain.protocol.reading import FAIL, DeviceId
from corechain.protocol.sealing import SealedBatch
from corechain.service.database import asked, outages
from corechain_indexer.errors import BatchUndone
from corechain_indexer.projections import Row
from corechain_indexer.store import SQL
from corechain_indexer.store.segments import Segments
from corechain_indexer.store.shards.databases import token_of
from corechain_indexer.store.shards.keeping import settle, write_segments

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.segments import Writing
    from corechain_indexer.store.shards.databases import Shards

LONGEST_REASON = 1_000
REJECTION_COLUMNS = (
    "batch_id", "ordinal", "device", "sequence", "metric", "cell", "observed_at", "value",
    "reasons",
)  # fmt: skip


def to_signed(cell: int) -> int:
    """The 64 bits of a cell as Postgres' signed bigint."""
    return cell - (1 << 64) if cell >> 63 else cell


def to_unsigned(cell: int) -> int:
    return cell + (1 << 64) if cell < 0 else cell


def _shown(reason: str) -> str:
    """A reason as it is kept: short, and without the one character that Postgres refuses."""
    return reason.replace("\0", "")[:LONGEST_REASON]


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A committed batch whose data is not settled; `attempts` to get its file so far.

    It is judged as of the end of the block `block_hash`, and of no other.
    """

    batch_id: int
    commitment: bytes
    block_hash: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class BatchRows:
    """A batch as rows of two tables, and what is kept of its trees."""

    segments: Segments
    rejections: list[Row]
    tree_levels: bytes
    """`corechain.protocol.levels.UpperLevels.packed`."""


def _rejections(batch: SealedBatch) -> list[Row]:
    reports, bad = batch.reports, np.flatnonzero(batch.flags == FAIL).tolist()
    owners = np.searchsorted(ints(reports.firsts), bad, side="right") - 1
    return [
        (
            batch.header.batch_id,
            ordinal,
            reports.device(owner),
            reports.sequences[owner],
            reports.metrics[index],
            to_signed(reports.cells[index]),
            reports.times[index],
            reports.values[index],
            int(batch.reasons[index]),
        )
        for ordinal, (index, owner) in enumerate(zip(bad, owners.tolist(), strict=True))
    ]


def batch_rows(batch: SealedBatch) -> BatchRows:
    """Pure and CPU-bound; made in a thread."""
    segments = Segments.of(batch.header.batch_id, batch.leaves)
    return BatchRows(segments, _rejections(batch), UpperLevels.of(batch.leaves).packed)


def _header_row(batch: SealedBatch, rejected: int, levels: bytes) -> Row:
    header = batch.header
    return (
        header.previous,
        header.ancestor,
        header.statistics_root,
        header.reports_root,
        header.data_hash,
        header.rules_hash,
        header.reading_count,
        header.report_count,
        rejected,
        header.window_start,
        header.window_end,
        batch.readings_root,
        batch.leaves,
        levels,
    )


@dataclass(frozen=True, slots=True)
class FileStore:
    """What came of each data file; a state only ever goes from open to settled."""

    pool: "Database"
    shards: "Shards | None" = None

    async def open_batches(self, limit: int, running: Sequence[int]) -> list[OpenBatch]:
        """Batches to settle besides those that are being settled: new ones first."""
        rows = await asked(self.pool.fetch(SQL["open_batches"], limit, running))
        return [OpenBatch(**row) for row in rows]

    async def registered(
        self, entry: OpenBatch, devices: Iterable[DeviceId]
    ) -> dict[DeviceId, KeyType]:
        """Those that were registered at the end of the batch's block. Raises BatchUndone."""
        query, place = SQL["registered_devices"], (entry.batch_id, entry.block_hash)
        rows = await asked(self.pool.fetch(query, *place, list(devices)))
        if not rows:
            raise BatchUndone(entry.batch_id)
        known = [row for row in rows if row["device"] is not None]
        return {DeviceId(row["device"]): KeyType(row["key_type"]) for row in known}

    async def withhold(self, entry: OpenBatch, reason: str, retry_s: float) -> None:
        shown, query = _shown(reason), SQL["withhold"]
        await asked(self.pool.execute(query, entry.batch_id, entry.block_hash, shown, retry_s))

    async def mismatch(self, entry: OpenBatch, reason: str) -> None:
        query = SQL["mismatch"]
        await asked(self.pool.execute(query, entry.batch_id, entry.block_hash, _shown(reason)))

    async def verified(self, entry: OpenBatch, batch: SealedBatch, rows: BatchRows) -> bool:
        """Header and readings in one transaction; False when the batch is not on the chain now."""
        header = _header_row(batch, len(rows.rejections), rows.tree_levels)
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                # Before the verdict on shards, which know nothing of this transaction: the verdict
                # is what makes rows count there.
                if not await self._on_shards(connection, entry, rows.segments):
                    return False
                found = await connection.fetchval(
                    SQL["verified"], entry.batch_id, entry.block_hash, *header
                )
                if found is None:
                    return False
                if self.shards is None:
                    # After it: another mirror that judges the batch, too, waits for the verdict,
                    # and finds it given.
                    await rows.segments.copy_to(connection)
                await connection.copy_records_to_table(
                    "rejection", records=rows.rejections, columns=REJECTION_COLUMNS
                )
        if self.shards is not None:
            await settle(self.shards, entry.batch_id, token_of(entry.commitment))
        return True

    async def _on_shards(self, connection: "Writing", entry: OpenBatch, segments: Segments) -> bool:
        """False where the batch was undone."""
        if self.shards is None:
            return True
        batch = entry.batch_id, token_of(entry.commitment)
        return await write_segments(self.shards, connection, batch, entry.block_hash, segments)
