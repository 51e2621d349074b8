"""Degrees as H3 cells. The library is loaded when the first degrees come."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import cell_index, number, whole

RESOLUTION = 7
"""Of a cell that is made from degrees: about 5 km², the network's resolution for stations."""
FINEST = 15
STRIP_DEGREES = 60
"""Of a box: from 180 on H3 takes the other side of the globe, from 120 on it fails at a pole."""


def cell_of(latitude: float, longitude: float, resolution: int = RESOLUTION) -> int:
    """The H3 cell at a place in degrees (WGS 84). Raises InvalidValue, ValueOutOfRange."""
    from h3 import latlng_to_cell

    north, east = number("latitude", latitude), number("longitude", longitude)
    if not -90 <= north <= 90:
        raise InvalidValue("latitude", latitude, "takes degrees from -90 to 90")
    if not -180 <= east <= 180:
        raise InvalidValue("longitude", longitude, "takes degrees from -180 to 180")
    return int(latlng_to_cell(north, east, whole("resolution", resolution, 0, FINEST)), 16)


def cells_in(area: object, resolution: int = 5) -> list[int]:
    """The cells whose centres lie in an area, all children of one as that one.

    `area`: a GeoJSON Polygon or MultiPolygon (RFC 7946, longitude first), or a box (south, west,
    north, east) in degrees that does not cross the antimeridian.
    Raises InvalidValue for another shape, ValueOutOfRange.
    """
    import h3

    level = whole("resolution", resolution, 0, FINEST)
    shape = area if isinstance(area, Mapping) else _box(area)
    try:
        found = h3.geo_to_cells(shape, level)
    except (ValueError, TypeError, LookupError, AttributeError, h3.H3BaseException) as error:
        raise InvalidValue("area", area, "takes a GeoJSON polygon or a box of degrees") from error
    return sorted(int(one, 16) for one in h3.compact_cells(set(found)))


def _box(area: object) -> dict[str, object]:
    if not isinstance(area, Sequence) or isinstance(area, str | bytes) or len(area) != 4:
        raise InvalidValue("area", area, "takes (south, west, north, east) in degrees")
    south, west, north, east = (number("area", edge) for edge in area)
    if not -90 <= south < north <= 90 or not -180 <= west < east <= 180:
        raise InvalidValue("area", area, "takes (south, west, north, east) in degrees")
    count = int((east - west) // STRIP_DEGREES) + 1
    edges = [west + (east - west) * n / count for n in range(count)] + [east]
    rings = [
        [(left, south), (right, south), (right, north), (left, north), (left, south)]
        for left, right in pairwise(edges)
    ]
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}


def cell(parameter: str, value: object) -> int:
    """A cell by its index, its hex digits, or a pair (latitude, longitude) in degrees.

    Raises InvalidValue, InvalidCell.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        if len(value) != 2:
            raise InvalidValue(parameter, value, "takes a pair (latitude, longitude) in degrees")
        return cell_of(value[0], value[1])
    return cell_index(parameter, value)
