"""Units by their UCUM codes (ucum.org), as exact factors to the one unit of the network.

One table: a unit is a dimension, a factor and an offset to the dimension's base:
base = (value + offset) * factor.
"""

from dataclasses import dataclass
from fractions import Fraction

from corechain.protocol.vocabulary import I32_MAX, I32_MIN, Metric
from corechain_relayer.bridge.errors import InvalidMapping


@dataclass(frozen=True, slots=True)
class Unit:
    """`code` in `dimension`; exact."""

    code: str
    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


def _unit(code: str, dimension: str, factor: str | int, offset: str | int = 0) -> Unit:
    return Unit(code, dimension, Fraction(factor), Fraction(offset))


_UNITS = (
    _unit("Cel", "temperature", 1),
    _unit("K", "temperature", 1, "-273.15"),
    _unit("[degF]", "temperature", "5/9", -32),
    _unit("hPa", "pressure", 1),
    _unit("mbar", "pressure", 1),
    _unit("Pa", "pressure", "1/100"),
    _unit("kPa", "pressure", 10),
    # The conventional inch of mercury at 0 °C (UCUM: 133.322 kPa/m times 0.0254 m).
    _unit("[in_i'Hg]", "pressure", "33.863788"),
    _unit("mm[Hg]", "pressure", "1.33322"),
    _unit("m/s", "speed", 1),
    _unit("km/h", "speed", "5/18"),
    _unit("[mi_i]/h", "speed", "0.44704"),
    _unit("[kn_i]", "speed", "1852/3600"),
    _unit("mm", "depth", 1),
    _unit("cm", "depth", 10),
    _unit("[in_i]", "depth", "25.4"),
    _unit("km", "distance", 1),
    _unit("m", "distance", "1/1000"),
    _unit("[mi_i]", "distance", "1.609344"),
    _unit("[nmi_i]", "distance", "1.852"),
    _unit("%", "ratio", 1),
    _unit("1", "ratio", 100),
    _unit("deg", "angle", 1),
    _unit("ug/m3", "concentration", 1),
    _unit("mg/m3", "concentration", 1000),
    _unit("g/m3", "concentration", 1_000_000),
    _unit("[ppm]", "mole fraction", 1),
    _unit("[ppb]", "mole fraction", "1/1000"),
    _unit("W/m2", "irradiance", 1),
    _unit("kW/m2", "irradiance", 1000),
)
UNITS = {unit.code: unit for unit in _UNITS}

# What JSON of other services writes for the same units.
_ALIASES = {
    "c": "Cel", "°c": "Cel", "celsius": "Cel", "f": "[degF]", "°f": "[degF]",
    "fahrenheit": "[degF]", "hpa": "hPa", "mb": "mbar", "pa": "Pa", "µg/m³": "ug/m3",
    "μg/m³": "ug/m3", "ug/m³": "ug/m3", "ppm": "[ppm]", "ppb": "[ppb]", "percent": "%",
    "mph": "[mi_i]/h", "kn": "[kn_i]", "w/m²": "W/m2", "degrees": "deg", "°": "deg", "inhg":
    "[in_i'Hg]", "in": "[in_i]",
}  # fmt: skip


def unit_of(code: str) -> Unit:
    """A unit by its UCUM code, or a usual way to write it. Raises InvalidMapping."""
    found = UNITS.get(code) or UNITS.get(_ALIASES.get(code.strip().lower(), ""))
    if found is None:
        raise InvalidMapping(f"unit {code!r:.20} is not in the table of units")
    return found


class DoesNotFit(ValueError):
    """A value beyond what a reading can hold."""


def scaled(value: Fraction, unit: Unit, metric: Metric) -> int:
    """The integer of a reading: in the metric's unit and scale, half to even. Raises DoesNotFit,
    InvalidMapping for a unit of something else."""
    own = UNITS[metric.unit]
    if unit.dimension != own.dimension:
        raise InvalidMapping(f"{unit.code} is no unit of {metric.name}")
    found = round(converted(value, unit) / own.factor * metric.scale)
    if not I32_MIN <= found <= I32_MAX:
        raise DoesNotFit
    return found


def converted(value: Fraction, unit: Unit) -> Fraction:
    """In the base of the unit's dimension."""
    return (value + unit.offset) * unit.factor
