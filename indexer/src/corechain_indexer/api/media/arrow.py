"""Tables as Apache Arrow streams and Parquet files, by pyarrow: `corechain-indexer[arrow]`."""

from collections.abc import Mapping, Sequence
from typing import Any

from corechain_indexer.api.media.encoders import LAST_TIME
from corechain_indexer.api.media.formats import Format
from corechain_indexer.api.media.tables import Kind, Row
from corechain_indexer.errors import NotAcceptable

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise NotAcceptable(
        [form.media_type for form in (Format.JSON, Format.NDJSON, Format.CSV)],
        "Arrow and Parquet need corechain-indexer[arrow], which this server does not have",
    ) from None

ROW_GROUP = 50_000
"""Rows of a Parquet file that are written together: about 15 MB in memory, and enough of each
column to compress well."""
_TYPES = {
    Kind.INTEGER: pa.int64(),
    Kind.REAL: pa.float64(),
    Kind.TEXT: pa.string(),
    Kind.TIME: pa.timestamp("s", tz="UTC"),
    Kind.BOOLEAN: pa.bool_(),
}


def schema_of(columns: Mapping[str, Kind]) -> Any:
    return pa.schema([pa.field(name, _TYPES[kind]) for name, kind in columns.items()])


def _batch(columns: Mapping[str, Kind], schema: Any, rows: Sequence[Row]) -> Any:
    arrays = []
    by_column: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    for kind, values in zip(columns.values(), by_column, strict=True):
        if kind is Kind.TIME:  # readers make dates of them, and dates end with the year 9999
            values = [v if v is not None and 0 <= v <= LAST_TIME else None for v in values]
        arrays.append(pa.array(values, _TYPES[kind]))
    return pa.record_batch(arrays, schema=schema)


class _Drained:
    """A file that is written at one end and taken from at the other."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was written stays to be taken."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class ArrowEncoder:
    """The IPC stream format: a record batch a page."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self._columns, self._schema, self._file = columns, schema_of(columns), _Drained()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), self._schema)

    def begin(self) -> bytes:
        return self._file.taken()

    def page(self, rows: Sequence[Row]) -> bytes:
        if rows:
            self._writer.write_batch(_batch(self._columns, self._schema, rows))
        return self._file.taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._file.taken()


class ParquetEncoder:
    """Row groups of many pages; the footer, which readers start with, comes last."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self._columns, self._schema, self._file = columns, schema_of(columns), _Drained()
        sink = pa.PythonFile(self._file, mode="w")
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def begin(self) -> bytes:
        return self._file.taken()

    def page(self, rows: Sequence[Row]) -> bytes:
        self._rows += rows
        if len(self._rows) >= ROW_GROUP:
            self._write()
        return self._file.taken()

    def end(self) -> bytes:
        if self._rows:
            self._write()
        self._writer.close()
        return self._file.taken()

    def _write(self) -> None:
        self._writer.write_batch(_batch(self._columns, self._schema, self._rows))
        self._rows = []
