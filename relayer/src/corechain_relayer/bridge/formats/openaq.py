"""OpenAQ-shaped JSON, polled: `/v3/locations/{id}/sensors` (each with its parameter and latest
value), `/v3/sensors/{id}/measurements`, or v2's `/latest`.

Shapes: docs.openaq.org/resources/{sensors,latest,measurements}. `/v3/locations/{id}/latest` names
neither parameter nor unit, so it cannot be read.
"""

from collections.abc import Iterator
from typing import Any

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.errors import InvalidMapping, MalformedUpload
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.rules import STATION_PRESSURE, Rule, put
from corechain_relayer.bridge.formats.units import unit_of
from corechain_relayer.bridge.formats.upload import (
    TOO_MANY,
    Arrival,
    Draft,
    Message,
    Upload,
    list_in,
    text_in,
)

_PARAMETERS = {
    "pm25": "pm2_5",
    "pm10": "pm10",
    "co2": "co2",
    "temperature": "air_temperature",
    "relativehumidity": "relative_humidity",
    "humidity": "relative_humidity",
    "pressure": STATION_PRESSURE,
    "wind_speed": "wind_speed",
    "wind_direction": "wind_direction",
}
MAX_RESULTS = 4096
UNMAPPED, UNKNOWN_UNIT = "UnmappedParameter", "UnknownUnit"


def identity(message: Message) -> str:
    return ""


def read(arrival: Arrival) -> Upload:
    """Raises MalformedUpload, NothingMeasured. A value whose time is not believable is skipped: the
    newest value of a dead sensor may be years old."""
    results = list_in(arrival.message.object.get("results"), "results")
    draft = arrival.draft(arrival.clock.now)
    if len(results) > MAX_RESULTS:
        draft.skip("results", TOO_MANY)
    for entry in results[:MAX_RESULTS]:
        for one in _entries(entry):
            _read_one(draft, arrival, one)
    return draft.upload()


def _entries(entry: object) -> Iterator[dict[str, Any]]:
    """Itself, or the measurements that it holds."""
    if not isinstance(entry, dict):
        raise MalformedUpload("an entry of results is no JSON object")
    inner = entry.get("measurements")
    if not isinstance(inner, list):
        yield entry
        return
    yield from (one for one in inner[:64] if isinstance(one, dict))


def _read_one(draft: Draft, arrival: Arrival, entry: dict[str, Any]) -> None:
    parameter = entry.get("parameter")
    inside = parameter if isinstance(parameter, dict) else {}
    name = (text_in(parameter) or text_in(inside.get("name")))[:64]
    metric = _PARAMETERS.get(name.lower())
    if metric is None:
        draft.skip(name, UNMAPPED)
        return
    try:
        unit = unit_of(text_in(inside.get("units")) or text_in(entry.get("unit")))
        draft.at = arrival.clock.check(instant(_time(entry)))
        put(draft, Rule(name, metric, unit), name, _value(entry))
    except ProtocolError as error:  # the other sensors live
        draft.skip(name, UNKNOWN_UNIT if isinstance(error, InvalidMapping) else error.name)


def _latest(entry: dict[str, Any]) -> dict[str, Any]:
    latest = entry.get("latest")
    return latest if isinstance(latest, dict) else {}


def _value(entry: dict[str, Any]) -> object:
    return entry["value"] if "value" in entry else _latest(entry).get("value")


def _time(entry: dict[str, Any]) -> object:
    """The end of the period that a value is of, in UTC."""
    period = entry.get("period")
    ends = (
        period.get("datetimeTo") if isinstance(period, dict) else None,
        _latest(entry).get("datetime"),
        entry.get("datetime"),
        entry.get("date"),
        entry.get("lastUpdated"),
    )
    found = next((end for end in ends if end is not None), None)
    return found.get("utc") if isinstance(found, dict) else found
