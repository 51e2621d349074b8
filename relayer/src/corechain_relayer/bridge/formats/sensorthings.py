"""OGC SensorThings 1.1: `CreateObservations` (data arrays, §14), or a single Observation.

A Datastream says only its number; which metric in which unit it is, the station's mapping tells: a
rule whose path is that number.
"""

from typing import Any

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.errors import InvalidMapping, MissingTime
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.mapping import Mapping
from corechain_relayer.bridge.formats.rules import Rule, put
from corechain_relayer.bridge.formats.upload import (
    Arrival,
    Draft,
    Message,
    Upload,
    list_in,
    object_in,
)

MAX_ROWS = 4096
UNMAPPED, MALFORMED_ROW = "UnmappedDatastream", "MalformedRow"


def identity(message: Message) -> str:
    """None: a Datastream belongs to one station only where a server says so."""
    return ""


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured, InvalidMapping for a station without a mapping."""
    own = arrival.profile.mapping
    if not isinstance(own, Mapping):
        raise InvalidMapping("a station of format sensorthings needs a mapping file")
    rules = {item.rule.name: item.rule for item in own.rules}
    draft = arrival.draft(arrival.clock.now)
    document = arrival.message.document
    if isinstance(document, dict) and "result" in document:
        _read_row(draft, arrival, rules.get(_stream(document)), document)
    else:
        for group in list_in(document, "the body"):
            _read_group(draft, arrival, rules, object_in(group, "an entry"))
    return draft.upload()


def _stream(entry: dict[str, Any]) -> str:
    stream = object_in(entry.get("Datastream"), "Datastream")
    return str(stream.get("@iot.id", stream.get("id")))[:128]


def _read_group(
    draft: Draft, arrival: Arrival, rules: dict[str, Rule], group: dict[str, Any]
) -> None:
    item = rules.get(_stream(group))
    names = [str(name)[:64] for name in list_in(group.get("components"), "components")[:16]]
    for row in list_in(group.get("dataArray"), "dataArray")[:MAX_ROWS]:
        if not isinstance(row, list) or len(row) != len(names):
            draft.skip("dataArray", MALFORMED_ROW)
            continue
        _read_row(draft, arrival, item, dict(zip(names, row, strict=True)))


def _read_row(draft: Draft, arrival: Arrival, item: Rule | None, row: dict[str, Any]) -> None:
    if item is None:
        draft.skip("Datastream", UNMAPPED)
        return
    try:
        draft.at = arrival.clock.check(_time(row, arrival))
    except ProtocolError as error:  # the other rows live
        draft.skip(item.name, error.name)
        return
    put(draft, item, item.name, row.get("result"))


def _time(row: dict[str, Any], arrival: Arrival) -> int:
    """phenomenonTime (of an interval, its end), else resultTime."""
    raw = row.get("phenomenonTime") or row.get("resultTime")
    if raw is None:
        raise MissingTime("phenomenonTime")
    text = raw.rpartition("/")[2] if isinstance(raw, str) else raw
    return instant(text, arrival.profile.zone)
