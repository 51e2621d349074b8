"""Stations and readings as entities of SensorThings. Pure.

An `Item` is an entity before it is written: what the stores say of it, and nothing made of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from corechain.protocol.keys import KeyType
from corechain.protocol.provenance import provenance_of
from corechain.protocol.reading import FAIL, PASS, SUSPECT
from corechain.protocol.vocabulary import BY_CODE, Metric
from corechain_indexer.api.rows import celled, hexed
from corechain_indexer.api.sensorthings.filters import OPTION
from corechain_indexer.api.sensorthings.model import SETS
from corechain_indexer.errors import InvalidQuery, NotInSubset
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.latest import Newest

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store.page_columns import ReadingRow

MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
GEO_JSON, PLAIN = "application/geo+json", "text/plain"
CF_NAMES = "http://vocab.nerc.ac.uk/standard_name/"
UCUM = "http://unitsofmeasure.org/ucum.html#"
FLAGS = {PASS: "pass", SUSPECT: "suspect", FAIL: "fail"}
LAST_SECOND = 253_402_300_799
"""The end of the year 9999: what is observed later has no time in ISO 8601 that clients read."""
UNIT_NAMES = {
    "Cel": ("degree Celsius", "°C"), "%": ("percent", "%"), "hPa": ("hectopascal", "hPa"),
    "m/s": ("metre per second", "m/s"), "deg": ("degree", "°"), "mm": ("millimetre", "mm"),
    "km": ("kilometre", "km"), "ug/m3": ("microgram per cubic metre", "µg/m³"),
    "[ppm]": ("parts per million", "ppm"), "W/m2": ("watt per square metre", "W/m²"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Station:
    """A device and the newest reading of each metric that it has sent."""

    device: bytes
    facts: "Record"
    newest: Sequence[Newest]

    @property
    def name(self) -> str:
        return hexed(self.device)

    @property
    def cell(self) -> int | None:
        """Where its newest reading was observed."""
        if not self.newest:
            return None
        return int(max(self.newest, key=lambda one: one.observed_at).cell, 16)


class Item(NamedTuple):
    """`first_at`: of a datastream, when its first reading was observed; `batch`: of a reading."""

    set: str
    station: Station | None = None
    metric: Metric | None = None
    cell: int | None = None
    row: "ReadingRow | None" = None
    first_at: int | None = None
    batch: "Record | None" = None

    @property
    def id(self) -> str:
        if self.set == "ObservedProperties":
            return self._metric.name
        if self.row is not None:
            return f"{self.row[2]}:{self.row[3]}"
        if self.set == "Datastreams":
            return f"{self._station.name}:{self._metric.name}"
        if self.cell is not None:
            return f"{self._station.name}:{self.cell:015x}"
        return self._station.name

    @property
    def _station(self) -> Station:
        assert self.station is not None, "only of properties is there none"
        return self.station

    @property
    def _metric(self) -> Metric:
        assert self.metric is not None, "of this set each has one"
        return self.metric

    def one(self, link: str) -> "Item":
        """What a link to one entity leads to."""
        if link == "Datastream":
            return Item("Datastreams", self.station, self.metric)
        if link == "ObservedProperty":
            return Item("ObservedProperties", metric=self.metric)
        if link == "FeatureOfInterest":
            assert self.row is not None, "a link of readings"
            return Item("FeaturesOfInterest", self.station, cell=to_unsigned(self.row[6]))
        return Item(SETS["HistoricalLocations" if link == "Thing" else "Datastreams"].one[link],
                    self.station)  # fmt: skip

    def value(self, path: tuple[str, ...]) -> Any:
        """Of a property that a filter names. Raises InvalidQuery, NotInSubset."""
        kind, name = SETS[self.set], path[0]
        if name in kind.one and len(path) > 1:
            return self.one(name).value(path[1:])
        if name in ("id", "@iot.id") and len(path) == 1:
            return self.id
        if name not in kind.properties:
            if name in kind.many:
                raise NotInSubset(OPTION, f"properties of {name}, of which there are many")
            raise InvalidQuery(OPTION, f"{name[:40]} is no property of {self.set}")
        if name in ("parameters", "observedArea") or (
            self.set == "Datastreams" and name in ("phenomenonTime", "resultTime")
        ):
            raise NotInSubset(OPTION, f"{name} of {self.set}")
        if name == "phenomenonTime" and self.row is not None:
            return datetime.fromtimestamp(self.row[1], UTC)
        found = self.properties()[name]
        for part in path[1:]:
            if not isinstance(found, Mapping) or part not in found:
                return None
            found = found[part]
        return found

    def properties(self) -> dict[str, Any]:
        """Without links, in the order of the set."""
        return _WRITERS[self.set](self)


def derived(kind: str, station: Station) -> list[Item]:
    """The entities of a set that a station brings, by their ids."""
    if kind == "Datastreams":
        codes = sorted(one.metric for one in station.newest if one.metric in BY_CODE)
        return [Item(kind, station, BY_CODE[code]) for code in codes]
    if kind in ("Locations", "FeaturesOfInterest"):
        return [] if station.cell is None else [Item(kind, station, cell=station.cell)]
    return [Item(kind, station)]


def newest_row(station: Station, metric: Metric) -> "ReadingRow | None":
    """Of one metric; None where there is none."""
    for one in station.newest:
        if one.metric == metric.code:
            return (*_place(one), one.value, one.flag, _signed(int(one.cell, 16)), one.finality)
    return None


def _place(one: Newest) -> tuple[int, int, int, int]:
    return one.metric, one.observed_at, one.batch_id, one.position


def _signed(cell: int) -> int:
    return cell - (cell >> 63 << 64)


def shown_time(seconds: int) -> str:
    hour, second = divmod(min(seconds, LAST_SECOND), 3_600)
    return f"{_hour(hour)}{second // 60:02}:{second % 60:02}Z"


@lru_cache(maxsize=4_096)  # a page is of few hours
def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3_600, UTC).strftime("%Y-%m-%dT%H:")


@lru_cache(maxsize=1_024)
def provenance_of_batch(
    block: int, transaction: bytes, commitment: bytes, root: bytes
) -> dict[str, Any]:
    return {
        "block": block,
        "transaction": hexed(transaction),
        "commitment": hexed(commitment),
        "readings_root": hexed(root),
    }


@lru_cache(maxsize=8_192)
def point_of(cell: int) -> Mapping[str, Any]:
    """The centre of a cell, as GeoJSON."""
    from h3 import cell_to_latlng  # here: 30 ms that a start without such questions saves

    latitude, longitude = cell_to_latlng(f"{cell:015x}")
    return {"type": "Point", "coordinates": [round(longitude, 6), round(latitude, 6)]}


@lru_cache(maxsize=8_192)
def area_of(cell: int) -> Mapping[str, Any]:
    """A cell, as GeoJSON."""
    from h3 import cell_to_boundary

    ring = [[round(east, 6), round(north, 6)] for north, east in cell_to_boundary(f"{cell:015x}")]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


# ------------------------------------------------------------------------- one set each


def _thing(item: Item) -> dict[str, Any]:
    station = item._station
    facts = station.facts
    return {
        "name": station.name,
        "description": "A climate station whose every reading is signed",
        "properties": {
            "owner": hexed(facts["owner"]),
            "revoked": facts["revoked"],
            "block": facts["block_number"],
            "finality": facts["finality"],
        },
    }


def _location(item: Item) -> dict[str, Any]:
    return _described_cell(item, "The centre of the station's H3 cell", "location", point_of)


def _feature(item: Item) -> dict[str, Any]:
    return _described_cell(item, "The H3 cell that is observed", "feature", area_of)


def _described_cell(item: Item, text: str, name: str, geometry: Any) -> dict[str, Any]:
    assert item.cell is not None, "of both sets each has one"
    return {
        "name": f"{item.cell:015x}",
        "description": text,
        "properties": {"h3": f"{item.cell:015x}"},
        "encodingType": GEO_JSON,
        name: geometry(item.cell),
    }


def _datastream(item: Item) -> dict[str, Any]:
    station, metric = item._station, item._metric
    unit, symbol = UNIT_NAMES[metric.unit]
    newest = newest_row(station, metric)
    found: dict[str, Any] = {
        "name": f"{metric.name} of {station.name}",
        "description": f"{metric.standard_name}, every value of it provable",
        "properties": {"metric": metric.code, "scale": metric.scale},
        "observationType": MEASUREMENT,
        "unitOfMeasurement": {"name": unit, "symbol": symbol, "definition": UCUM + metric.unit},
    }
    if newest is not None:
        found["observedArea"] = area_of(to_unsigned(newest[6]))
        if item.first_at is not None:
            span = shown_time(item.first_at), shown_time(newest[1])
            found["phenomenonTime"] = "/".join(span)
    return found


def _sensor(item: Item) -> dict[str, Any]:
    station = item._station
    key_type = KeyType(station.facts["key_type"]).name.lower()
    signer = provenance_of(station.device).value
    return {
        "name": station.name,
        "description": "The sensor of a station, as far as the network knows it: by its key",
        "properties": {"key_type": key_type, "provenance": signer},
        "encodingType": PLAIN,
        "metadata": f"signed by a {key_type} key of the {signer}; maker and firmware are not told",
    }


def _property(item: Item) -> dict[str, Any]:
    metric = item._metric
    return {
        "name": metric.name,
        "description": metric.standard_name.replace("_", " "),
        "properties": {"metric": metric.code, "standard_name": metric.standard_name},
        "definition": f"{CF_NAMES}{metric.standard_name}/",
    }


def _observation(item: Item) -> dict[str, Any]:
    assert item.row is not None, "a reading is one"
    _, observed_at, batch_id, position, value, flag, cell, finality = item.row
    found = {
        "phenomenonTime": shown_time(observed_at),
        "resultTime": None,
        "result": item._metric.from_wire(value),
        "resultQuality": {"flag": flag, "name": FLAGS[flag], "finality": finality},
    }
    if item.batch is not None:
        batch = item.batch
        found["parameters"] = {
            "batch": batch_id,
            "leaf": position,
            "value": value,
            "cell": celled(cell),
            **provenance_of_batch(
                batch["block_number"],
                batch["transaction"],
                batch["commitment"],
                batch["readings_root"],
            ),
        }
    return found


_WRITERS = {
    "Things": _thing,
    "Locations": _location,
    "Datastreams": _datastream,
    "Sensors": _sensor,
    "ObservedProperties": _property,
    "Observations": _observation,
    "FeaturesOfInterest": _feature,
}
