"""Stations: what an operator says of each, and how an upload is known to be of one."""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from corechain.protocol.errors import InvalidValue, ProtocolError
from corechain.protocol.reading import DeviceId
from corechain_relayer.bridge.formats.mapping import Mapping, parse_mapping
from corechain_relayer.bridge.formats.upload import Profile

TOKEN_BYTES = 16
NEEDS_MAPPING = ("json", "sensorthings")


class UnknownStation(ProtocolError):
    """No station has this token, or this identity with it."""

    status = 401

    def __init__(self) -> None:
        super().__init__("no station has this token, or this identity with it")


class NameTaken(ProtocolError):
    """Another station has this name."""


class NoSuchStation(ProtocolError):
    """No station has this name."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"no station is called {name!r:.80}; `corechain bridge station list`")


@dataclass(frozen=True, slots=True)
class Station:
    """A row of the table `station`."""

    id: int
    name: str
    format: str
    device: DeviceId
    cell: int
    profile: Profile
    identity: str | None
    url: str | None
    every_s: int
    header: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> "Station":
        """Raises InvalidValue, InvalidMapping for what a newer program has written."""
        mapping = _parsed(row["mapping"]) if row["mapping"] else None
        return cls(
            id=row["id"],
            name=row["name"],
            format=row["format"],
            device=DeviceId(row["device"]),
            cell=int(row["cell"], 16),
            profile=Profile(zone_of(row["timezone"], mapping), row["elevation_m"], mapping),
            identity=row["identity"],
            url=row["url"],
            every_s=row["every_s"] or 0,
            header=row["header"],
        )


# Read with every upload; TOML takes longer than all else of it.
_parsed = lru_cache(1024)(parse_mapping)


def zone_of(name: str | None, mapping: Mapping | None = None) -> tzinfo:
    """UTC for none. Raises InvalidValue."""
    if name is None:
        return UTC if mapping is None or mapping.zone is None else mapping.zone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        right = "takes a name of the IANA database, as Europe/Berlin"
        raise InvalidValue("timezone", name, right) from None


def new_token() -> str:
    """128 random bits, of letters and digits alone: some apps accept nothing else."""
    return secrets.token_hex(TOKEN_BYTES)


def hash_of(token: str) -> bytes:
    """What is kept of a token. No salt: it is random, and has to be looked up."""
    return hashlib.sha256(token.encode()).digest()


def chosen(candidates: list[Station], identity: str) -> Station:
    """Whose upload it is, of those with its token. Raises UnknownStation."""
    if len(candidates) == 1 and not candidates[0].identity:
        return candidates[0]
    for station in candidates:
        if chosen_by(station, identity):
            return station
    raise UnknownStation


def chosen_by(station: Station, identity: str) -> bool:
    """Whether it is known by this identity, in letters of either case."""
    return bool(station.identity) and str(station.identity).lower() == identity.lower()
