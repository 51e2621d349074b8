"""A station's archive: CSV (comma, semicolon or tab) or NDJSON, one observation time a row.

Columns are metrics by their names in their units (`air_temperature` in Cel), sensor.community's
names (its archive's `P1`, `P2`, `temperature`), or what a mapping says.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from corechain.protocol.errors import ProtocolError
from corechain.protocol.vocabulary import METRICS
from corechain_relayer.bridge.errors import MalformedUpload, MissingTime
from corechain_relayer.bridge.formats import mapping as mapped
from corechain_relayer.bridge.formats.clocks import Clock, instant
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, apply, rule
from corechain_relayer.bridge.formats.sensor_community import RULES as COMMUNITY_RULES
from corechain_relayer.bridge.formats.upload import (
    Arrival,
    Draft,
    Message,
    Profile,
    Upload,
    decoded_json,
    object_in,
)

_RULES = (
    *(rule(metric.name, metric.name, metric.unit) for metric in METRICS),
    rule(STATION_PRESSURE, STATION_PRESSURE, "hPa"),
)
_COMMUNITY = "sensor_type"
"""A column that only sensor.community's archive has: its `pressure` is a barometer's, in pascal."""
_TIMES = ("observed_at", "time", "timestamp", "datetime", "date_time", "dateutc")
MAX_LINE_BYTES, MAX_COLUMNS = 1 << 16, 512
Row = Upload | ProtocolError


def read(arrival: Arrival) -> Upload:
    """One row, as NDJSON has it. Raises MalformedUpload, NothingMeasured, MissingTime, and what a
    wrong clock raises."""
    return _row(arrival.message.object, arrival.profile, arrival.clock, None)[0]


def identity(message: Message) -> str:
    return ""


def rows(lines: Iterable[bytes], kind: str, profile: Profile, clock: Clock) -> Iterator[Row]:
    """The rows of a file of `kind` "csv" or "ndjson"; a bad one stands as its error, the others
    live. Raises MalformedUpload where the file has no head that can be read."""
    fields = _csv_fields(lines) if kind == "csv" else _json_fields(lines)
    after: int | None = None
    for found in fields:
        if isinstance(found, ProtocolError):
            yield found
            continue
        try:
            upload, after = _row(found, profile, clock, after)
        except ProtocolError as error:
            yield error
        else:
            yield upload


def _row(
    fields: Mapping[str, object], profile: Profile, clock: Clock, after: int | None
) -> tuple[Upload, int]:
    own = profile.mapping
    at = clock.check(_time(fields, profile, after))
    draft = Draft(at, profile)
    if isinstance(own, mapped.Mapping):
        own.apply(draft, fields)
    else:
        apply(draft, COMMUNITY_RULES.values() if _COMMUNITY in fields else _RULES, fields)
    return draft.upload(), at


def _time(fields: Mapping[str, object], profile: Profile, after: int | None) -> int:
    own = profile.mapping
    zone = profile.zone
    if isinstance(own, mapped.Mapping):
        zone = own.zone or zone
        if own.time:
            return instant(mapped.find(fields, own.time), zone, after)
    name = next((name for name in _TIMES if name in fields), None)
    if name is None:
        raise MissingTime("observed_at, time or timestamp")
    return instant(fields[name], zone, after)


def _bounded(lines: Iterable[bytes]) -> Iterator[str | ProtocolError]:
    for line in lines:
        if len(line) > MAX_LINE_BYTES:
            yield MalformedUpload(f"a line of more than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield line.decode("utf-8-sig", "replace").strip("\r\n\0")


def _json_fields(lines: Iterable[bytes]) -> Iterator[dict[str, Any] | ProtocolError]:
    for line in _bounded(lines):
        try:
            yield line if isinstance(line, ProtocolError) else object_in(decoded_json(line), "row")
        except ProtocolError as error:
            yield error


def _csv_fields(lines: Iterable[bytes]) -> Iterator[dict[str, Any] | ProtocolError]:
    bounded = _bounded(lines)
    head = next(bounded, None)
    if not isinstance(head, str):
        raise MalformedUpload("a CSV file without a line of column names")
    delimiter = max(";,\t", key=head.count)
    columns = [name.strip() for name in _cells(head, delimiter)]
    if len(columns) > MAX_COLUMNS or len(set(columns)) != len(columns):
        raise MalformedUpload("the column names are too many, or not unique")
    for line in bounded:
        if isinstance(line, ProtocolError):
            yield line
            continue
        cells = _cells(line, delimiter)
        if len(cells) == len(columns):
            yield dict(zip(columns, cells, strict=True))
        else:
            yield MalformedUpload("a row that has not one cell a column")


def _cells(line: str, delimiter: str) -> list[str]:
    # Not strict: an unbalanced quote swallows the rest of its line, and the row is short then. A
    # cell is shorter than csv's own limit, as the line is.
    return next(csv.reader([line], delimiter=delimiter), [])
