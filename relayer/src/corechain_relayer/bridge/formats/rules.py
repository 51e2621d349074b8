"""Fields of a format as a table: which metric, in which unit. One row is one fact."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from corechain_relayer.bridge.formats.units import UNITS, Unit
from corechain_relayer.bridge.formats.upload import Draft

STATION_PRESSURE, ALTIMETER = "station_pressure", "altimeter"
"""No metrics of the network: both are reduced to its `pressure` where the elevation is known."""


class Rule(NamedTuple):
    """The value of `name`, times `factor`, in `unit`, is `metric`, or a running total of it."""

    name: str
    metric: str
    unit: Unit
    is_counter: bool = False
    factor: Fraction = Fraction(1)


def rule(name: str, metric: str, unit: str, factor: str = "1") -> Rule:
    return Rule(name, metric, UNITS[unit], False, Fraction(factor))


def counter(name: str, unit: str, factor: str = "1") -> Rule:
    """A total of precipitation."""
    return Rule(name, "precipitation", UNITS[unit], True, Fraction(factor))


def apply(draft: Draft, rules: Iterable[Rule], fields: Mapping[str, object]) -> None:
    """Puts what is there into the draft; a field that is missing is no value of its own."""
    for item in rules:
        if item.name in fields:
            put(draft, item, item.name, fields[item.name])


def put(draft: Draft, item: Rule, name: str, raw: object) -> None:
    take = draft.count if item.is_counter else draft.add
    take(name, item.metric, raw, item.unit, item.factor)
