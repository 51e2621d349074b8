"""Times and places as they are typed on a command line."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from corechain.protocol.errors import InvalidValue

BOX_EDGES = 4
MOST_DIGITS = 40


def time_of(name: str, text: str | None) -> Any:
    """Seconds, or an aware datetime. Raises InvalidValue."""
    if text is None:
        return None
    # int() takes the digits of every script, and 4,300 of them at most.
    if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        right = "takes seconds since 1970, or ISO 8601 with a time zone: 2013-02-01T12:00:00Z"
        raise InvalidValue(name, text, right) from error


def number_of(text: str) -> float:
    """As numbers are written everywhere. Raises ValueError: also for digits of other scripts, and
    for `1_0`, which float() takes for ten."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text)


def place_of(text: str) -> Any:
    """A cell's hex as it stands, or latitude and longitude. Raises InvalidValue."""
    if "," not in text:
        return text
    try:
        latitude, longitude = map(number_of, text.split(","))
    except ValueError as error:
        right = "takes an H3 cell, or latitude,longitude in degrees: 40.69,-74.17"
        raise InvalidValue("cell", text, right) from error
    return latitude, longitude


def region_of(text: str | None) -> Any:
    """Cells, a box, or the polygon of a GeoJSON file. Raises InvalidValue."""
    if text is None:
        return None
    pieces = text.split(",")
    if len(pieces) == BOX_EDGES and any(set(piece) & set(".-") for piece in pieces):
        try:
            return tuple(map(number_of, pieces))
        except ValueError as error:
            raise InvalidValue("region", text, "takes four numbers of degrees") from error
    if Path(text).suffix in (".json", ".geojson"):
        return _polygon(Path(text))
    return pieces


def _polygon(path: Path) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidValue("region", str(path), "takes a GeoJSON file") from error
    is_feature = isinstance(found, dict) and found.get("type") == "Feature"
    return found["geometry"] if is_feature and "geometry" in found else found
