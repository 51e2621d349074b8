"""Segments: a device's run of readings in a batch, as a row that says where its leaves are and what
is in them (docs/decisions/0029). Derived from the leaves alone."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import bytes_as_text, rows_of
from corechain.protocol.reading import READING_BYTES
from corechain.protocol.sealing import LEAF_ROWS

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from corechain.service.database import Conn

    Writing = Conn | PoolConnectionProxy[Record]

DAY_S = 86_400
"""No segment crosses a day (UTC): who looks for a time looks a day further at the most, and a
statistic of days opens none. A shorter span would cut more runs in two, a row each."""
SEGMENT_COLUMNS = (
    "batch_id", "cell", "first_at", "last_at", "sum", "position", "count", "metric", "min", "max",
    "last", "flag", "device",
)  # fmt: skip
RUN_BYTES = 30
"""Metric, cell and device: what a run has in common. They are a leaf's first bytes."""
_WIDTHS = {">i8": 8, ">i4": 4, ">i2": 2, "V20": 20}
_TYPES = (">i8",) * 5 + (">i4",) * 6 + (">i2", "V20")
# Postgres' binary COPY: the fields of a row, each behind its length; see "COPY", file formats.
COPY_ROW = np.dtype(
    [("fields", ">i2")]
    + [
        item
        for name, kind in zip(SEGMENT_COLUMNS, _TYPES, strict=True)
        for item in ((f"{name}_bytes", ">i4"), (name, kind))
    ]
)
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
Numbers = npt.NDArray[np.int64]


def leaf_times(leaves: npt.NDArray[Any]) -> Numbers:
    """Seconds at which LEAF_ROWS were observed."""
    times: Numbers = leaves["high"].astype(np.int64) << 32 | leaves["low"]
    return times


@dataclass(frozen=True, slots=True)
class Segments:
    """All segments of a batch, as rows of binary COPY. Equal where all their rows are."""

    packed: bytes

    @classmethod
    def of(cls, batch_id: int, leaves: bytes) -> "Segments":
        """Of sorted leaves, 40 bytes each. Pure and CPU-bound; no Python step a reading."""
        rows = np.frombuffer(leaves, LEAF_ROWS)
        times, values = leaf_times(rows), rows["value"].astype(np.int64)
        firsts = _firsts(leaves, times)
        counts = np.diff(firsts, append=len(rows))
        found = np.zeros(len(firsts), COPY_ROW)
        found["fields"] = len(SEGMENT_COLUMNS)
        for name, kind in zip(SEGMENT_COLUMNS, _TYPES, strict=True):
            found[f"{name}_bytes"] = _WIDTHS[kind]
        leading = rows[firsts]
        found["batch_id"], found["position"], found["count"] = batch_id, firsts, counts
        found["cell"] = leading["cell"].astype(np.uint64).view(np.int64)
        found["metric"] = leading["metric"]
        found["device"] = np.ascontiguousarray(leading["device"]).view("V20").ravel()
        ends = firsts + counts - 1
        found["first_at"], found["last_at"] = times[firsts], times[ends]
        found["last"], found["flag"] = values[ends], rows["flag"][ends]
        if len(firsts):
            found["sum"] = np.add.reduceat(values, firsts)
            found["min"] = np.minimum.reduceat(values, firsts)
            found["max"] = np.maximum.reduceat(values, firsts)
        return cls(found.tobytes())

    def __len__(self) -> int:
        return len(self.packed) // COPY_ROW.itemsize

    def rows(self) -> list[tuple[Any, ...]]:
        """As Postgres gives them, in the order of SEGMENT_COLUMNS and of their positions."""
        found = np.frombuffer(self.packed, COPY_ROW)
        columns = [found[name].tolist() for name in SEGMENT_COLUMNS]
        return list(zip(*columns, strict=True))

    async def copy_to(self, connection: "Writing") -> None:
        """Adds them to the table, as they are."""
        source = BytesIO(COPY_HEAD + self.packed + COPY_END)
        await connection.copy_to_table(
            "segment", source=source, columns=SEGMENT_COLUMNS, format="binary"
        )


def _firsts(leaves: bytes, times: Numbers) -> npt.NDArray[np.intp]:
    """Where another run, or another day of it, begins."""
    keys = bytes_as_text(rows_of(leaves, READING_BYTES)[:, :RUN_BYTES])
    days = times // DAY_S
    begins = np.ones(len(times), np.bool_)
    begins[1:] = (keys[1:] != keys[:-1]) | (days[1:] != days[:-1])
    return np.flatnonzero(begins)
