"""Columns in numpy: views without a copy, reports taken and joined without an object a report.

For services (extra `service`): nothing that `import corechain` loads comes here.
"""

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from corechain.protocol.frame import Columns

Octets = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]
"""Indexes of reports or observations."""


def ints(column: "array[int]") -> npt.NDArray[np.int64]:
    """A copy in which differences and sums do not wrap. Not for cells and sequences (64 bits)."""
    return np.frombuffer(column, column.typecode).astype(np.int64)


def words(column: "array[int]") -> npt.NDArray[np.uint64]:
    """A view of a column of 64-bit numbers."""
    return np.frombuffer(column, np.uint64)


def rows_of(packed: bytes | bytearray, size: int) -> Octets:
    """A view of records of one size, one a row."""
    return np.frombuffer(packed, np.uint8).reshape(-1, size)


def bytes_as_text(rows: Octets) -> npt.NDArray[np.bytes_]:
    """Rows as values that numpy compares and sorts as unsigned bytes, all of them."""
    rows = np.ascontiguousarray(rows)
    return rows.view(f"S{rows.shape[1]}").ravel()


def ascending(ids: Octets) -> Places:
    """The order of device ids, each there once, by their bytes.

    By their first 8 bytes, as numbers: ids are hashes, so these differ unless somebody made them
    agree; text takes eight times as long to sort.
    """
    heads = np.ascontiguousarray(ids[:, :8]).view(">u8").ravel().astype(np.uint64)
    order: Places = np.argsort(heads)
    ordered = heads[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(bytes_as_text(ids), kind="stable")
    return order


def spans(firsts: Places, counts: Places) -> Places:
    """The indexes first, first + 1, … of each span, one span behind the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Places = np.arange(total) + np.repeat(firsts - (ends - counts), counts)
    return places


def _offsets(sizes: Places) -> "array[int]":
    offsets = array("I", bytes(4))
    offsets.frombytes(np.cumsum(sizes).astype(np.uint32).tobytes())
    return offsets


def _chosen(column: "array[int]", places: Places) -> "array[int]":
    values = np.frombuffer(column, column.typecode)[places]
    return array(column.typecode, values.tobytes())


def _packed(columns: Columns, starts: Places, sizes: Places) -> bytes:
    size = int(sizes[0]) if len(sizes) else 0
    if (
        size
        and size * len(columns) == len(columns.packed)
        and (np.diff(ints(columns.starts)) == size).all()
    ):
        # All reports have one size: a table.
        return bytes(rows_of(columns.packed, size)[starts // size].tobytes())
    packed, spots = columns.packed, zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
    return b"".join([packed[start:end] for start, end in spots])


def take_columns(columns: Columns, places: Places) -> Columns:
    """The reports at these places, in the order given."""
    starts, firsts = ints(columns.starts), ints(columns.firsts)
    sizes, counts = np.diff(starts)[places], np.diff(firsts)[places]
    inner = spans(firsts[places], counts)
    return Columns(
        _packed(columns, starts[places], sizes),
        _offsets(sizes),
        _offsets(counts),
        rows_of(columns.devices, 20)[places].tobytes(),
        _chosen(columns.sequences, places),
        _chosen(columns.metrics, inner),
        _chosen(columns.cells, inner),
        _chosen(columns.times, inner),
        _chosen(columns.values, inner),
    )


def _joined(columns: Sequence["array[int]"], typecode: str) -> "array[int]":
    return array(typecode, b"".join(column.tobytes() for column in columns))


def _joined_offsets(columns: Sequence["array[int]"]) -> "array[int]":
    return _offsets(np.concatenate([np.zeros(0, np.int64), *(np.diff(ints(c)) for c in columns)]))


def join_columns(parts: Sequence[Columns]) -> Columns:
    """All reports of all parts, in order."""
    return Columns(
        b"".join(part.packed for part in parts),
        _joined_offsets([part.starts for part in parts]),
        _joined_offsets([part.firsts for part in parts]),
        b"".join(part.devices for part in parts),
        _joined([part.sequences for part in parts], "Q"),
        _joined([part.metrics for part in parts], "H"),
        _joined([part.cells for part in parts], "Q"),
        _joined([part.times for part in parts], "Q"),
        _joined([part.values for part in parts], "i"),
    )
