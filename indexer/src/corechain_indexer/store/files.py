"""Verified data files in Postgres: header, leaves, readings, rejections, hourly statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.batch import Batch
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import asked, outages
from corechain_indexer.errors import BatchUndone
from corechain_indexer.projections import Row
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

HOUR_S = 3600
LONGEST_REASON = 1_000
READING_COLUMNS = (
    "batch_id", "position", "metric", "cell", "device", "observed_at", "value", "flag",
)  # fmt: skip
REJECTION_COLUMNS = (
    "batch_id", "ordinal", "device", "sequence", "metric", "cell", "observed_at", "value",
    "reasons",
)  # fmt: skip
ROLLUP_COLUMNS = ("batch_id", "device", "metric", "hour", "count", "sum", "min", "max")


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
    """A batch as rows of three tables."""

    readings: list[Row]
    rejections: list[Row]
    rollups: list[Row]


def _rollups(batch_id: int, readings: Sequence[Reading]) -> list[Row]:
    hours: dict[tuple[bytes, int, int], list[int]] = {}
    for reading in readings:
        hour = reading.observed_at - reading.observed_at % HOUR_S
        hours.setdefault((reading.device, reading.metric, hour), []).append(reading.value)
    return [
        (batch_id, *key, len(values), sum(values), min(values), max(values))
        for key, values in hours.items()
    ]


def _rejections(batch: Batch) -> Iterable[Row]:
    for ordinal, (signed, position, reasons) in enumerate(batch.rejected()):
        report = signed.report
        item = report.observations()[position]
        yield (
            batch.header.batch_id,
            ordinal,
            report.device,
            report.sequence,
            item.metric,
            to_signed(item.cell),
            item.observed_at,
            item.value,
            int(reasons),
        )


def batch_rows(batch: Batch) -> BatchRows:
    """Pure and CPU-bound; made in a thread."""
    batch_id = batch.header.batch_id
    readings = [Reading.unpack(leaf) for leaf in batch.leaves]
    rows: list[Row] = [
        (batch_id, position, r.metric, to_signed(r.cell), r.device, r.observed_at, r.value, r.flag)
        for position, r in enumerate(readings)
    ]
    return BatchRows(rows, list(_rejections(batch)), _rollups(batch_id, readings))


def _header_row(batch: Batch, rejected: int) -> Row:
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
        batch.readings.root,
        b"".join(batch.leaves),
    )


@dataclass(frozen=True, slots=True)
class FileStore:
    """What came of each data file; a state only ever goes from open to settled."""

    pool: "Database"

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

    async def verified(self, entry: OpenBatch, batch: Batch, rows: BatchRows) -> bool:
        """Header and readings in one transaction; False when the batch is not on the chain now."""
        header = _header_row(batch, len(rows.rejections))
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                found = await connection.fetchval(
                    SQL["verified"], entry.batch_id, entry.block_hash, *header
                )
                if found is None:
                    return False
                for table, records, columns in (
                    ("reading", rows.readings, READING_COLUMNS),
                    ("rejection", rows.rejections, REJECTION_COLUMNS),
                    ("rollup", rows.rollups, ROLLUP_COLUMNS),
                ):
                    await connection.copy_records_to_table(table, records=records, columns=columns)
        return True
