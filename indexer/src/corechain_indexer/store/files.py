"""Verified data files in Postgres: header, leaves, readings, rejections, hourly statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, bytes_as_text, ints
from corechain.protocol.keys import KeyType
from corechain.protocol.levels import UpperLevels
from corechain.protocol.reading import FAIL, DeviceId
from corechain.protocol.sealing import LEAF_ROWS, SealedBatch
from corechain.service.database import asked, outages
from corechain_indexer.errors import BatchUndone
from corechain_indexer.projections import Row
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

HOUR_S = 3600
Numbers = npt.NDArray[np.int64]
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
    """A batch as rows of three tables, and what is kept of its trees."""

    readings: list[Row]
    rejections: list[Row]
    rollups: list[Row]
    tree_levels: bytes
    """`corechain.protocol.levels.UpperLevels.packed`."""


@dataclass(frozen=True, slots=True)
class _Leaves:
    """A batch's readings as columns, in the order of its leaves."""

    metrics: Numbers
    cells: Numbers
    """As `to_signed`."""
    devices: Octets
    times: Numbers
    values: Numbers
    flags: Numbers

    @classmethod
    def of(cls, packed: bytes) -> "_Leaves":
        leaves = np.frombuffer(packed, LEAF_ROWS)
        times = leaves["high"].astype(np.int64) << 32 | leaves["low"]
        cells = leaves["cell"].astype(np.uint64).view(np.int64)
        metrics, values = leaves["metric"].astype(np.int64), leaves["value"].astype(np.int64)
        flags = leaves["flag"].astype(np.int64)
        return cls(metrics, cells, np.ascontiguousarray(leaves["device"]), times, values, flags)


def _ids(devices: Octets) -> list[bytes]:
    packed = devices.tobytes()
    return [packed[at : at + 20] for at in range(0, len(packed), 20)]


def _readings(batch_id: int, leaves: _Leaves) -> list[Row]:
    return list(
        zip(
            repeat(batch_id),
            range(len(leaves.metrics)),
            leaves.metrics.tolist(),
            leaves.cells.tolist(),
            _ids(leaves.devices),
            leaves.times.tolist(),
            leaves.values.tolist(),
            leaves.flags.tolist(),
            strict=False,  # the batch's id goes on for ever
        )
    )


def _rollups(batch_id: int, leaves: _Leaves) -> list[Row]:
    """Count, sum, least and greatest value of each (device, metric, hour)."""
    hours = leaves.times - leaves.times % HOUR_S
    devices = bytes_as_text(leaves.devices)
    order = np.lexsort((hours, leaves.metrics, devices))
    keys = [column[order] for column in (devices, leaves.metrics, hours)]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    firsts, values = np.flatnonzero(begins), leaves.values[order]
    return list(
        zip(
            repeat(batch_id),
            _ids(leaves.devices[order[firsts]]),
            keys[1][firsts].tolist(),
            keys[2][firsts].tolist(),
            np.diff(firsts, append=len(order)).tolist(),
            np.add.reduceat(values, firsts).tolist(),
            np.minimum.reduceat(values, firsts).tolist(),
            np.maximum.reduceat(values, firsts).tolist(),
            strict=False,
        )
    )


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
    readings, rollups = derived_rows(batch.header.batch_id, batch.leaves)
    levels = UpperLevels.of(batch.leaves).packed
    return BatchRows(readings, _rejections(batch), rollups, levels)


def derived_rows(batch_id: int, packed: bytes) -> tuple[list[Row], list[Row]]:
    """Readings and hourly statistics of a batch's leaves, in the order of READING_COLUMNS and
    ROLLUP_COLUMNS. Pure and CPU-bound."""
    leaves = _Leaves.of(packed)
    return _readings(batch_id, leaves), _rollups(batch_id, leaves)


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
