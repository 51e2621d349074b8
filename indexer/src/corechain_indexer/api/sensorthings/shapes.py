"""Areas of geographic filters: well-known text to rings, and whether a point lies in them. Pure."""

import re
from dataclasses import dataclass
from itertools import pairwise

from corechain_indexer.errors import InvalidQuery, NotInSubset

MAX_CORNERS = 500
_POLYGON = re.compile(r"\s*POLYGON\s*\(\s*(\(.*\))\s*\)\s*", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,3}(?:\.\d{1,15})?", re.ASCII)
Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon: its outer ring and its holes, each of (longitude, latitude) in degrees. `text` is
    what it was written as."""

    text: str
    rings: tuple[Ring, ...]

    def holds(self, longitude: float, latitude: float) -> bool:
        """By the even-odd rule, on the map and not on the sphere; an edge is in or out."""
        crossed = sum(_crossings(ring, longitude, latitude) for ring in self.rings)
        return crossed % 2 == 1


def _crossings(ring: Ring, x: float, y: float) -> int:
    """How many edges a ray from the point to the east crosses."""
    count = 0
    for (x0, y0), (x1, y1) in pairwise(ring):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            count += 1
    return count


def shape_of(text: str) -> Shape:
    """Of `POLYGON((…))`. Raises InvalidQuery, NotInSubset for other shapes."""
    found = _POLYGON.fullmatch(text)
    if found is None:
        if re.match(r"\s*[A-Z]+\s*\(", text, re.IGNORECASE | re.ASCII):
            raise NotInSubset("$filter", "an area that is no POLYGON")
        raise InvalidQuery("$filter", "has an area that is no well-known text")
    rings = tuple(_ring(part) for part in re.split(r"\)\s*,\s*\(", found[1].strip()[1:-1]))
    if sum(map(len, rings)) > MAX_CORNERS:
        raise InvalidQuery("$filter", f"has an area of more than {MAX_CORNERS} corners")
    return Shape(text, rings)


def _ring(text: str) -> Ring:
    corners = [corner.split() for corner in text.split(",")]
    if any(len(c) != 2 or not all(map(_NUMBER.fullmatch, c)) for c in corners):
        raise InvalidQuery("$filter", "has an area with a corner that is not two numbers")
    ring = tuple((float(x), float(y)) for x, y in corners)
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise InvalidQuery("$filter", "has an area whose ring does not close")
    return ring
