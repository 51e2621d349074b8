"""Histories as columns: with units, times in UTC, flags, and what leads to the chain.

pandas and pyarrow are loaded when a table of theirs is asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corechain.history import HistoryPage
from corechain.history_answers import HistoryBatch
from corechain.history_errors import MissingExtra
from corechain.protocol.provenance import provenance_of
from corechain.protocol.vocabulary import BY_CODE

if TYPE_CHECKING:
    import pandas
    import pyarrow

KINDS: Mapping[str, str] = {
    "device": "text",
    "metric": "int",
    "metric_name": "text",
    "unit": "text",
    "observed_at": "int",
    "time": "time",
    "value": "int",
    "quantity": "real",
    "flag": "int",
    "cell": "text",
    "provenance": "text",
    "batch_id": "int",
    "position": "int",
    "finality": "text",
    "block": "int",
    "transaction": "text",
    "commitment": "text",
    "readings_root": "text",
}
"""The columns, as those of the API's tables. `value` is a scaled whole number, `quantity` the same
in the UCUM `unit`; `observed_at` is in seconds, `time` the same with its time zone, UTC; `flag` is
QARTOD's, 1 good, 3 suspect."""
Columns = Mapping[str, Sequence[Any]]


def columns_of(batches: Iterable[HistoryBatch]) -> dict[str, list[Any]]:
    """One list a column; `time` in seconds."""
    found: dict[str, list[Any]] = {name: [] for name in KINDS}
    for batch in batches:
        for name, values in _columns(batch).items():
            found[name] += values
    return found


def _columns(batch: HistoryBatch) -> Columns:
    count = len(batch)
    if not count:
        return {}
    metrics, cells, devices, highs, lows, values, flags = zip(*batch.unpacked(), strict=True)
    known = [BY_CODE.get(code) for code in metrics]
    times = [high << 32 | low for high, low in zip(highs, lows, strict=True)]
    texts = {device: "0x" + device.hex() for device in {*devices}}
    signers = {device: provenance_of(device).value for device in texts}
    hexes = {cell: f"{cell:015x}" for cell in {*cells}}
    origin = batch.origin
    return {
        "device": [texts[device] for device in devices],
        "metric": metrics,
        "metric_name": [one and one.name for one in known],
        "unit": [one and one.unit for one in known],
        "observed_at": times,
        "time": times,
        "value": values,
        "quantity": [
            one and one.from_wire(value) for one, value in zip(known, values, strict=True)
        ],
        "flag": flags,
        "cell": [hexes[cell] for cell in cells],
        "provenance": [signers[device] for device in devices],
        "batch_id": [origin.batch_id] * count,
        "position": batch.positions,
        "finality": [origin.finality] * count,
        "block": [origin.block] * count,
        "transaction": [origin.transaction] * count,
        "commitment": ["0x" + origin.commitment.hex()] * count,
        "readings_root": ["0x" + origin.readings_root.hex()] * count,
    }


def _batches(pages: Iterable[HistoryPage]) -> Iterable[HistoryBatch]:
    return (batch for found in pages for batch in found.batches)


def to_pandas(pages: Iterable[HistoryPage]) -> "pandas.DataFrame":
    """A row a reading; `time` is datetime64[s, UTC]. Raises MissingExtra."""
    try:
        import pandas
    except ImportError as error:
        raise MissingExtra("a DataFrame", "pandas", "pandas") from error
    kinds = {"int": "int64", "real": "float64", "text": "object"}
    columns = columns_of(_batches(pages))
    series = {
        name: pandas.Series(
            pandas.to_datetime(columns[name], unit="s", utc=True).as_unit("s")
            if kind == "time"
            else columns[name],
            dtype=None if kind == "time" else kinds[kind],
        )
        for name, kind in KINDS.items()
    }
    return pandas.DataFrame(series)


def arrow() -> Any:
    """The module. Raises MissingExtra."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("an Arrow table or a Parquet file", "pyarrow", "arrow") from error
    return pyarrow


def arrow_schema() -> "pyarrow.Schema":
    """Raises MissingExtra."""
    pa = arrow()
    kinds = {
        "int": pa.int64(),
        "real": pa.float64(),
        # The same few texts in each row of a batch.
        "text": pa.dictionary(pa.int32(), pa.string()),
        "time": pa.timestamp("s", "UTC"),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in KINDS.items()])


def record_batch(batches: Iterable[HistoryBatch]) -> "pyarrow.RecordBatch":
    """Raises MissingExtra."""
    pa, schema = arrow(), arrow_schema()
    columns = columns_of(batches)
    arrays = [
        pa.array(columns[field.name], pa.string()).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def to_arrow(pages: Iterable[HistoryPage]) -> "pyarrow.Table":
    """A row a reading. Raises MissingExtra."""
    pa, schema = arrow(), arrow_schema()
    parts = [record_batch(found.batches) for found in pages]
    return pa.Table.from_batches(parts, schema=schema).unify_dictionaries()
