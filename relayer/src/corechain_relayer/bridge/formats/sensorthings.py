"""OGC SensorThings 1.1: `CreateObservations` (data arrays, §14), or a single Observation.

A Datastream says only its number; which metric in which unit it is, the station's mapping tells: a
rule whose path is that number.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from corechain.protocol.errors import ProtocolError
from corechain.protocol.vocabulary import BY_NAME
from corechain_relayer.bridge.errors import InvalidMapping, MissingTime, NothingMeasured
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.mapping import Mapping
from corechain_relayer.bridge.formats.rules import Rule, put
from corechain_relayer.bridge.formats.upload import (
    TOO_MANY,
    Arrival,
    Draft,
    Message,
    Row,
    Upload,
    list_in,
    object_in,
)

MAX_ROWS = 4096
UNMAPPED, MALFORMED_ROW = "UnmappedDatastream", "MalformedRow"
PRESSURE = BY_NAME["pressure"].code


def identity(message: Message) -> str:
    """None: a Datastream belongs to one station only where a server says so."""
    return ""


def read(arrival: Arrival) -> Upload:
    """Of data arrays all rows, the bad ones too: the answer names each. Raises MalformedUpload,
    InvalidMapping for a station without a mapping; for a single Observation NothingMeasured."""
    own = arrival.profile.mapping
    if not isinstance(own, Mapping):
        raise InvalidMapping("a station of format sensorthings needs a mapping file")
    document = arrival.message.document
    reader = _Reader(arrival, {item.rule.name: item.rule for item in own.rules})
    if isinstance(document, dict) and "result" in document:
        reader.row(_stream(document), document)
        return reader.upload()
    for group in list_in(document, "the body"):
        reader.group(object_in(group, "an entry"))
    try:
        return reader.upload()
    except NothingMeasured:
        return Upload((), (), reader.draft.skipped, (None,) * len(reader.rows))


def _stream(entry: dict[str, Any]) -> str:
    stream = object_in(entry.get("Datastream"), "Datastream")
    return str(stream.get("@iot.id", stream.get("id")))[:128]


@dataclass(slots=True)
class _Reader:
    """Rows into a draft, and what each of them measured."""

    arrival: Arrival
    rules: dict[str, Rule]
    rows: list[Row] = field(default_factory=list)
    draft: Draft = field(init=False)

    def __post_init__(self) -> None:
        self.draft = self.arrival.draft(self.arrival.clock.now)

    def group(self, group: dict[str, Any]) -> None:
        stream = _stream(group)
        names = [str(name)[:64] for name in list_in(group.get("components"), "components")[:16]]
        for row in list_in(group.get("dataArray"), "dataArray"):
            if len(self.rows) >= MAX_ROWS:
                self._fail("dataArray", TOO_MANY)
            elif not isinstance(row, list) or len(row) != len(names):
                self._fail("dataArray", MALFORMED_ROW)
            else:
                self.row(stream, dict(zip(names, row, strict=True)))

    def row(self, stream: str, row: dict[str, Any]) -> None:
        item = self.rules.get(stream)
        if item is None:
            self._fail("Datastream", UNMAPPED)
            return
        try:
            self.draft.at = self.arrival.clock.check(_time(row, self.arrival))
        except ProtocolError as error:  # the other rows live
            self._fail(item.name, error.name)
            return
        before = self.draft.skips
        put(self.draft, item, item.name, row.get("result"))
        metric = BY_NAME[item.metric].code if item.metric in BY_NAME else PRESSURE
        self.rows.append((metric, self.draft.at) if self.draft.skips == before else None)

    def _fail(self, name: str, reason: str) -> None:
        self.draft.skip(name, reason)
        self.rows.append(None)

    def upload(self) -> Upload:
        """Raises NothingMeasured. Pressures may still have been left out, and a counter may say
        nothing yet: which rows became observations is known only where they are queued."""
        return replace(self.draft.upload(), rows=tuple(self.rows))


def _time(row: dict[str, Any], arrival: Arrival) -> int:
    """phenomenonTime (of an interval, its end), else resultTime."""
    raw = row.get("phenomenonTime")
    raw = row.get("resultTime") if raw is None else raw
    if raw is None:
        raise MissingTime("phenomenonTime")
    text = raw.rpartition("/")[2] if isinstance(raw, str) else raw
    return instant(text, arrival.profile.zone)
