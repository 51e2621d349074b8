"""The entity sets of SensorThings: their properties, what they lead to, and their ids. Pure.

Ids are text that says what it names, so nothing keeps them: `0x…` a station (and its sensor),
`0x…:air_temperature` a datastream, `0x…:872a1072bffffff` where a station is (and what it observes
there), `air_temperature` a property, `4294967297:17` leaf 17 of that batch.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corechain.protocol.cells import is_cell
from corechain.protocol.vocabulary import BY_NAME, Metric

MAX_BATCH_ID, MAX_POSITION = 2**48 - 1, 2**32 - 1


@dataclass(frozen=True, slots=True)
class EntitySet:
    """`one` and `many`: what an entity leads to, the set by the name of the link."""

    name: str
    properties: tuple[str, ...]
    one: Mapping[str, str]
    many: Mapping[str, str]

    @property
    def links(self) -> tuple[str, ...]:
        return (*self.one, *self.many)

    @property
    def known(self) -> frozenset[str]:
        return frozenset((*self.properties, *self.links, "id", "@iot.id", "@iot.selfLink"))


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ONE = {
    "Thing": "Things", "Sensor": "Sensors", "Datastream": "Datastreams",
    "ObservedProperty": "ObservedProperties", "FeatureOfInterest": "FeaturesOfInterest",
}  # fmt: skip


def _to(*names: str) -> dict[str, str]:
    return {name: _ONE[name] for name in names}


_DESCRIBED = ("name", "description", "properties")
SETS: Mapping[str, EntitySet] = {
    made.name: made
    for made in (
        EntitySet(
            "Things", _DESCRIBED, {}, _same("Locations", "HistoricalLocations", "Datastreams")
        ),
        EntitySet(
            "Locations",
            (*_DESCRIBED, "encodingType", "location"),
            {},
            _same("Things", "HistoricalLocations"),
        ),
        EntitySet("HistoricalLocations", ("time",), _to("Thing"), _same("Locations")),
        EntitySet(
            "Datastreams",
            (
                *_DESCRIBED,
                *("observationType", "unitOfMeasurement", "observedArea", "phenomenonTime"),
                "resultTime",
            ),
            _to("Thing", "Sensor", "ObservedProperty"),
            _same("Observations"),
        ),
        EntitySet("Sensors", (*_DESCRIBED, "encodingType", "metadata"), {}, _same("Datastreams")),
        EntitySet("ObservedProperties", (*_DESCRIBED, "definition"), {}, _same("Datastreams")),
        EntitySet(
            "Observations",
            ("phenomenonTime", "resultTime", "result", "resultQuality", "parameters"),
            _to("Datastream", "FeatureOfInterest"),
            {},
        ),
        EntitySet(
            "FeaturesOfInterest",
            (*_DESCRIBED, "encodingType", "feature"),
            {},
            _same("Observations"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Named:
    """What an id says; what it does not say is None."""

    device: bytes | None = None
    metric: Metric | None = None
    cell: int | None = None
    batch: int | None = None
    position: int | None = None


_DEVICE = r"0x(?P<device>[0-9a-f]{40})"
_FORMS = {
    "Things": _DEVICE,
    "Sensors": _DEVICE,
    "Datastreams": _DEVICE + r":(?P<metric>[a-z0-9_]{1,40})",
    "Locations": _DEVICE + r":(?P<cell>[0-9a-f]{15})",
    "FeaturesOfInterest": _DEVICE + r":(?P<cell>[0-9a-f]{15})",
    "ObservedProperties": r"(?P<metric>[a-z0-9_]{1,40})",
    "Observations": r"(?P<batch>[1-9][0-9]{0,14}):(?P<position>0|[1-9][0-9]{0,9})",
}
_PATTERNS = {name: re.compile(form, re.ASCII) for name, form in _FORMS.items()}


def named_by(set_name: str, text: str) -> Named | None:
    """What an id of a set says; None for what is none. Each thing has one id."""
    pattern = _PATTERNS.get(set_name)
    found = None if pattern is None else pattern.fullmatch(text)
    if found is None:
        return None
    said = found.groupdict()
    metric = BY_NAME.get(said.get("metric") or "")
    cell = int(said["cell"], 16) if said.get("cell") else None
    batch, position = int(said.get("batch") or 0), int(said.get("position") or 0)
    is_wrong = (
        ("metric" in said and metric is None)
        or (cell is not None and not is_cell(cell))
        or batch > MAX_BATCH_ID
        or position > MAX_POSITION
    )
    if is_wrong:
        return None
    device = bytes.fromhex(said["device"]) if said.get("device") else None
    places = (batch, position) if batch else (None, None)
    return Named(device, metric, cell, *places)
