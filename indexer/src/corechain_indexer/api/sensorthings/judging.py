"""What a filter says of one entity, and between which times its readings lie. Pure."""

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from math import ceil, floor
from typing import Any

from corechain_indexer.api.sensorthings.filters import (
    OPTION,
    Call,
    Compare,
    Every,
    Literal,
    Node,
    Not,
    Operand,
    Path,
    Some,
    Value,
)
from corechain_indexer.api.sensorthings.shapes import Shape
from corechain_indexer.errors import InvalidQuery, NotInSubset

Lookup = Callable[[tuple[str, ...]], Any]
"""The value of a property; a time as `datetime`. Raises InvalidQuery, NotInSubset."""
OPS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt,
    "ge": operator.ge, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_KINDS: tuple[Any, ...] = (bool, (int, float), str, datetime)
PHENOMENON_TIME = Path(("phenomenonTime",))
Span = tuple[int, int]


def holds(node: Node, lookup: Lookup) -> bool:
    """Nothing but `ne` holds between what is of two kinds, or with null."""
    match node:
        case Every(parts):
            return all(holds(part, lookup) for part in parts)
        case Some(parts):
            return any(holds(part, lookup) for part in parts)
        case Not(inner):
            return not holds(inner, lookup)
        case Compare(name, left, right):
            return _compared(name, _value(left, lookup), _value(right, lookup))
        case Call(name, arguments):
            return _called(name, *(_value(argument, lookup) for argument in arguments))


def _value(operand: Operand, lookup: Lookup) -> Any:
    return operand.value if isinstance(operand, Literal) else lookup(operand.parts)


def _compared(name: str, left: Any, right: Any) -> bool:
    if _kind(left) != _kind(right):
        return name == "ne"
    if left is None or isinstance(left, bool):
        return name in ("eq", "ne", "ge", "le") and OPS[name](left is right, True)
    if not isinstance(left, str | int | float | datetime):
        raise InvalidQuery(OPTION, "compares what is neither number, text nor time")
    return OPS[name](left, right)


def _kind(value: Any) -> int:
    return next((n for n, kind in enumerate(_KINDS) if isinstance(value, kind)), -1)


def _called(name: str, first: Any, second: Any) -> bool:
    if name in ("geo.intersects", "st_within", "st_intersects"):
        # A station is a point: what it lies in, and what it meets, is the same.
        place, area = (second, first) if isinstance(first, Shape) else (first, second)
        if not isinstance(area, Shape) or not isinstance(place, Mapping):
            raise InvalidQuery(OPTION, f"{name} takes a location and a geography'POLYGON((…))'")
        if place.get("type") != "Point":  # what is described by fields, or an area itself
            raise NotInSubset(OPTION, f"{name} of what is no point")
        longitude, latitude = place["coordinates"]
        return area.holds(longitude, latitude)
    if not isinstance(first, str) or not isinstance(second, str):
        return False
    if name == "substringof":
        return first in second
    if name == "contains":
        return second in first
    return first.startswith(second) if name == "startswith" else first.endswith(second)


def span_of(node: Node | None, everything: Span) -> Span:
    """Seconds outside of which no reading meets the filter; the first is after the last where none
    does."""
    match node:
        case Compare(name, left, right):
            if left == PHENOMENON_TIME and isinstance(right, Literal):
                return _span(name, right.value, everything)
            if right == PHENOMENON_TIME and isinstance(left, Literal):
                return _span(_TURNED.get(name, name), left.value, everything)
        case Every(parts):
            spans = [span_of(part, everything) for part in parts]
            return max(a for a, _ in spans), min(b for _, b in spans)
        case Some(parts):
            spans = [span_of(part, everything) for part in parts]
            return min(a for a, _ in spans), max(b for _, b in spans)
    return everything


def _span(name: str, value: Value, everything: Span) -> Span:
    start, end = everything
    if not isinstance(value, datetime):
        return everything
    at = value.timestamp()
    match name:
        case "eq":
            return max(start, ceil(at)), min(end, floor(at))
        case "gt":
            return max(start, floor(at) + 1), end
        case "ge":
            return max(start, ceil(at)), end
        case "lt":
            return start, min(end, ceil(at) - 1)
        case "le":
            return start, min(end, floor(at))
    return everything


def is_about_time(node: Node | None) -> bool:
    """Whether the span says all that the filter does: bounds of the time, all of which hold."""
    match node:
        case None:
            return True
        case Every(parts):
            return all(is_about_time(part) for part in parts)
        case Compare(name, left, right):
            sides = [side for side in (left, right) if side != PHENOMENON_TIME]
            is_bound = len(sides) == 1 and isinstance(sides[0], Literal)
            return is_bound and name != "ne" and isinstance(sides[0].value, datetime)  # type: ignore[union-attr]
    return False


def pinned(node: Node | None, paths: tuple[tuple[str, ...], ...]) -> str | None:
    """The text that a property must equal for the filter to hold, by any of its names."""
    match node:
        case Every(parts):
            return next((text for part in parts if (text := pinned(part, paths))), None)
        case Compare("eq", Path(path), Literal(str(text))) if path in paths:
            return text
    return None
