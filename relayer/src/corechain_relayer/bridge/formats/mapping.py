"""A mapping file (TOML): where in a document the values of a station of no known format stand.

time = "ts"                     # missing: the time of receipt
timezone = "Europe/Berlin"      # of local times; missing: UTC
identity = "device.serial"      # which station it is, where several share a token
items = "data.rows"             # a list, each entry with values and a time of its own

[[rule]]
path = "sensors.0.temp"
metric = "air_temperature"
unit = "Cel"
scale = 0.1                     # 215 is 21.5
when_missing = 0                # only for senders that leave zeros out

[[rule]]
path = "rain_total"
metric = "precipitation"
unit = "mm"
counter = true
"""

import tomllib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from corechain.protocol.errors import ProtocolError
from corechain.protocol.vocabulary import BY_NAME
from corechain_relayer.bridge.errors import InvalidMapping, MissingTime
from corechain_relayer.bridge.formats.clocks import instant
from corechain_relayer.bridge.formats.numbers import NotANumber, NoValue, number_of
from corechain_relayer.bridge.formats.rules import ALTIMETER, STATION_PRESSURE, Rule, put
from corechain_relayer.bridge.formats.units import UNITS, unit_of
from corechain_relayer.bridge.formats.upload import (
    TOO_MANY,
    Arrival,
    Draft,
    Message,
    Upload,
    list_in,
    text_in,
)

_TOP = frozenset(("time", "timezone", "identity", "items", "rule"))
_RULE = frozenset(("path", "metric", "unit", "scale", "counter", "when_missing"))
MAX_RULES, MAX_ITEMS = 256, 4096
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MappedRule:
    """`path` from the entry; `when_missing` None: a missing field is no value."""

    path: Path
    rule: Rule
    when_missing: int | float | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping file, checked."""

    rules: tuple[MappedRule, ...]
    time: Path = ()
    identity: Path = ()
    items: Path = ()
    zone: ZoneInfo | None = field(default=None)

    def apply(self, draft: Draft, entry: object) -> None:
        """Puts the values of one entry into the draft."""
        for item in self.rules:
            raw = find(entry, item.path)
            if raw is MISSING:
                raw = item.when_missing
            if raw is not None:
                put(draft, item.rule, item.rule.name, raw)


MISSING = object()


def find(document: object, path: Path) -> object:
    """What stands at a path of keys and positions; MISSING where there is nothing."""
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return MISSING
    return document


def _path(value: object, what: str) -> Path:
    """ "a.b.0", or a list of keys where a key has a dot. Raises InvalidMapping."""
    parts = value.split(".") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not all(isinstance(p, str) for p in parts):
        raise InvalidMapping(f"{what} is a text as a.b.0, or a list of keys")
    return tuple(p[:128] for p in parts)


def _factor(value: object) -> Fraction:
    try:
        return number_of(value)
    except (NoValue, NotANumber):
        raise InvalidMapping("scale is no number") from None


def _rule(entry: Any) -> MappedRule:
    if not isinstance(entry, dict) or not entry.keys() <= _RULE:
        raise InvalidMapping(f"a rule has {', '.join(sorted(_RULE))}, nothing else")
    path, metric = _path(entry.get("path"), "path"), str(entry.get("metric"))
    if metric not in BY_NAME and metric not in (STATION_PRESSURE, ALTIMETER):
        raise InvalidMapping(f"metric {metric!r:.40} is none of the network's")
    unit, is_counter = unit_of(str(entry.get("unit"))), entry.get("counter", False) is True
    own = BY_NAME[metric].unit if metric in BY_NAME else "hPa"
    if UNITS[own].dimension != unit.dimension:
        raise InvalidMapping(f"{unit.code} is no unit of {metric}")
    if is_counter and metric != "precipitation":
        raise InvalidMapping("only precipitation is counted")
    name = ".".join(path)
    found = Rule(name, metric, unit, is_counter, _factor(entry.get("scale", 1)))
    return MappedRule(path, found, entry.get("when_missing"))


def _zone(name: object) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidMapping("timezone is no name of the IANA database") from None


def parse_mapping(text: str) -> Mapping:
    """Raises InvalidMapping."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidMapping(f"no TOML: {error}") from None
    entries = document.get("rule", [])
    if not document.keys() <= _TOP or not isinstance(entries, list):
        raise InvalidMapping(f"a mapping has {', '.join(sorted(_TOP))}, nothing else")
    if not 1 <= len(entries) <= MAX_RULES:
        raise InvalidMapping(f"a mapping has 1 to {MAX_RULES} rules")
    paths = {
        name: _path(document[name], name)
        for name in ("time", "identity", "items")
        if name in document
    }
    return Mapping(tuple(map(_rule, entries)), zone=_zone(document.get("timezone")), **paths)


# ------------------------------------------------------------- the format "json"


def identity(message: Message, mapping: Mapping | None = None) -> str:
    path = () if mapping is None else mapping.identity
    return text_in(find(message.document, path)) if path else ""


def read(arrival: Arrival) -> Upload:
    """Any JSON, by the station's mapping. Raises InvalidMapping for a station without one,
    MalformedUpload, NothingMeasured, MissingTime, and what a wrong clock raises."""
    mapping = arrival.profile.mapping
    if not isinstance(mapping, Mapping):
        raise InvalidMapping("a station of format json needs a mapping file")
    draft = arrival.draft(arrival.clock.now)
    document = arrival.message.document
    if not mapping.items:
        draft.at = arrival.clock.check(_time(mapping, document, arrival, None))
        mapping.apply(draft, document)
        return draft.upload()
    after: int | None = None
    items = list_in(find(document, mapping.items), "items")
    if len(items) > MAX_ITEMS:
        draft.skip("items", TOO_MANY)
    for entry in items[:MAX_ITEMS]:
        try:
            draft.at = after = arrival.clock.check(_time(mapping, entry, arrival, after))
        except ProtocolError as error:  # the other entries live
            draft.skip("time", error.name)
            continue
        mapping.apply(draft, entry)
    return draft.upload()


def _time(mapping: Mapping, entry: object, arrival: Arrival, after: int | None) -> int:
    if not mapping.time:
        return arrival.clock.now
    raw = find(entry, mapping.time)
    if raw is MISSING:
        raise MissingTime(".".join(mapping.time))
    return instant(raw, mapping.zone or arrival.profile.zone, after)
