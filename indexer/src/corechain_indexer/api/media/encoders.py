"""Tables as bytes, page by page: the encodings that need nothing but the standard library."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from corechain_indexer.api.media.formats import Format
from corechain_indexer.api.media.tables import Kind, Row

LAST_TIME = 253_402_300_799
"""The end of the year 9999: what ISO 8601 writes without further agreement."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the begin of a formula (OWASP, "CSV injection")."""
_json = msgspec.json.Encoder()


class Encoder(Protocol):
    """Makes bytes of pages. Every method returns what can be sent by now."""

    def begin(self) -> bytes: ...

    def page(self, rows: Sequence[Row]) -> bytes: ...

    def end(self) -> bytes: ...


def iso_time(seconds: int | None) -> str | None:
    """UTC, to the second; None beyond the year 9999."""
    if seconds is None or not 0 <= seconds <= LAST_TIME:
        return None
    # isoformat takes a third of strftime's time, and there are up to three in a row of a table.
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6] + "Z"


def _timed(columns: Mapping[str, Kind], rows: Sequence[Row]) -> list[list[Any]]:
    """Rows whose times are text."""
    times = [place for place, kind in enumerate(columns.values()) if kind is Kind.TIME]
    found = [list(row) for row in rows]
    for row in found:
        for place in times:
            row[place] = iso_time(row[place])
    return found


class NdjsonEncoder:
    """A JSON object a line."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self.columns = columns

    def begin(self) -> bytes:
        return b""

    def page(self, rows: Sequence[Row]) -> bytes:
        names = tuple(self.columns)
        return _json.encode_lines(
            [dict(zip(names, row, strict=True)) for row in _timed(self.columns, rows)]
        )

    def end(self) -> bytes:
        return b""


class CsvEncoder:
    """RFC 4180, with a header line. Absent values are empty; text that a spreadsheet would take for
    a formula is led by an apostrophe."""

    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self.columns = columns
        self._texts = [at for at, kind in enumerate(columns.values()) if kind is Kind.TEXT]
        self._booleans = [at for at, kind in enumerate(columns.values()) if kind is Kind.BOOLEAN]

    def begin(self) -> bytes:
        return _lines([list(self.columns)])

    def page(self, rows: Sequence[Row]) -> bytes:
        return _lines([self._guarded(row) for row in _timed(self.columns, rows)])

    def end(self) -> bytes:
        return b""

    def _guarded(self, row: list[Any]) -> list[Any]:
        for at in self._texts:
            if row[at] is not None and row[at].startswith(_FORMULA):
                row[at] = "'" + row[at]
        for at in self._booleans:
            row[at] = None if row[at] is None else str(row[at]).lower()
        return row


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def encoder_for(form: Format, columns: Mapping[str, Kind]) -> Encoder:
    """Raises NotAcceptable where the form needs a package that is not installed."""
    if form is Format.CSV:
        return CsvEncoder(columns)
    if form is Format.NDJSON:
        return NdjsonEncoder(columns)
    # 50 MB and a quarter of a second of imports: only who asks for them waits for them.
    from corechain_indexer.api.media.arrow import ArrowEncoder, ParquetEncoder

    return ArrowEncoder(columns) if form is Format.ARROW else ParquetEncoder(columns)
