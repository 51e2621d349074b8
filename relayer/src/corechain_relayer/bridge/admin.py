"""What the commands of the bridge do to its stations. No terminal here."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from corechain.account import account_from_key
from corechain.client import Client
from corechain.deployment import Deployment
from corechain.http import service_url
from corechain.protocol.errors import InvalidValue, ProtocolError
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.places import cell as place
from corechain.protocol.places import cell_of
from corechain.service.settings import InvalidSetting
from corechain_relayer.bridge.errors import InvalidMapping
from corechain_relayer.bridge.formats.archive import rows
from corechain_relayer.bridge.formats.clocks import EARLIEST_ARCHIVED, Clock
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.registry import FORMATS, OWN_PATHS, POLLED
from corechain_relayer.bridge.formats.upload import Upload
from corechain_relayer.bridge.keys import KeyFolder, new_key
from corechain_relayer.bridge.service import KEYS
from corechain_relayer.bridge.settings import Settings
from corechain_relayer.bridge.stations import NEEDS_MAPPING, Station, hash_of, new_token, zone_of
from corechain_relayer.bridge.store import BridgeStore, Sign

NAME_LENGTH = 64
ROWS_AT_ONCE = 256
"""Rows of a file in one transaction: a thousand times the speed of one each, and little to do again
after a crash."""
EVERY_S = (30, 86_400)
ELEVATIONS_M = (-430.0, 8_849.0)
"""From the shore of the Dead Sea to the top of Mount Everest."""


@dataclass(frozen=True, slots=True)
class NewStation:
    """What an operator says of a station; texts as they were typed."""

    name: str
    format: str
    cell: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    elevation_m: float | None = None
    timezone: str | None = None
    mapping: str | None = None
    identity: str | None = None
    token: str | None = None
    url: str | None = None
    every_s: int | None = None
    header: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A new station, and the token that is shown once."""

    station: Station
    token: str

    def summary(self) -> dict[str, str]:
        """What to type into its app; nothing of it for one that is polled."""
        station = self.station
        device, cell = "0x" + station.device.hex(), f"{station.cell:015x}"
        document = {"name": station.name, "device": device, "cell": cell}
        if station.url is None:
            path = OWN_PATHS.get(station.format, f"/{station.format}/{self.token}")
            document |= {"path": path, "token": self.token}
        return document


def add_station(
    store: BridgeStore,
    keys: KeyFolder,
    new: NewStation,
    make_key: Callable[[], Secp256k1Key] = new_key,
) -> Added:
    """Its key is on disk before it is known. Raises InvalidValue, InvalidMapping, NameTaken."""
    fields = _checked(new)
    token = new.token or new_token()
    key = make_key()
    keys.keep(key)
    columns = {**fields, "device": key.identity.device, "token_hash": hash_of(token)}
    return Added(store.add(columns), token)


def _checked(new: NewStation) -> dict[str, Any]:
    _check_name(new.name)
    _check_format(new)
    _check_polling(new)
    zone_of(new.timezone)
    low, high = ELEVATIONS_M
    if new.elevation_m is not None and not low <= new.elevation_m <= high:
        raise InvalidValue("elevation", new.elevation_m, f"takes metres from {low} to {high}")
    if new.token is not None and len(new.token) < 16:
        raise InvalidValue("token", "what is not shown", "takes at least 16 characters")
    return {
        "name": new.name,
        "format": new.format,
        "cell": f"{_cell(new):015x}",
        "elevation_m": new.elevation_m,
        "timezone": new.timezone,
        "mapping": new.mapping,
        "identity": new.identity,
        "url": new.url,
        "every_s": new.every_s,
        "header": new.header,
    }


def _check_name(name: str) -> None:
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidValue("name", name, f"takes 1 to {NAME_LENGTH} printable characters")


def _check_format(new: NewStation) -> None:
    if new.format not in FORMATS:
        raise InvalidValue("format", new.format, f"takes one of {', '.join(FORMATS)}")
    if new.mapping is not None:
        mapping = parse_mapping(new.mapping)
        if new.format == "json" and new.identity and not mapping.identity:
            raise InvalidMapping('identity: the mapping does not say where it is (identity = "…")')
    elif new.format in NEEDS_MAPPING:
        raise InvalidMapping(f"a station of format {new.format} needs a mapping file")


def _check_polling(new: NewStation) -> None:
    low, high = EVERY_S
    if new.url is None:
        if new.every_s is not None or new.header is not None:
            raise InvalidValue("url", None, "is needed with every and header")
        return
    if new.format not in POLLED:
        raise InvalidValue("url", new.url, f"goes with {', '.join(sorted(POLLED))}")
    service_url("url", new.url)
    if new.every_s is None or not low <= new.every_s <= high:
        raise InvalidValue("every", new.every_s, f"takes seconds from {low} to {high}")
    if new.header is not None and (":" not in new.header or not new.header.isprintable()):
        raise InvalidValue("header", "what is not shown", "takes a line as X-API-Key: value")


def _cell(new: NewStation) -> int:
    if new.cell is not None:
        return place("cell", new.cell)
    if new.latitude is None or new.longitude is None:
        raise InvalidValue("place", None, "takes --latitude and --longitude, or --cell")
    return cell_of(new.latitude, new.longitude)


def require_registrar(settings: Settings) -> tuple[str, str]:
    """The node's URL and the key that pays. Raises InvalidSetting where one is not set."""
    if settings.rpc_url is None or settings.registrar_key is None:
        raise InvalidSetting(
            "BRIDGE_RPC_URL and BRIDGE_REGISTRAR_KEY are needed to register (or --no-register)"
        )
    return settings.rpc_url.get_secret_value(), settings.registrar_key.get_secret_value()


def register(
    settings: Settings, deployment: Deployment, station: Station, owner: str | None
) -> str:
    """Puts a station's device into the registry, for an owner (none: who pays). Returns the owner.

    Raises InvalidSetting without a node and a key that pays; what the contract refuses; what the
    node's outage raises.
    """
    node, secret = require_registrar(settings)
    account = account_from_key(secret)
    gateway = settings.gateway_url.get_secret_value()
    key = KeyFolder(settings.data_dir / KEYS).of(station.device)
    with Client(gateway, gateway, node, deployment, account) as client:
        client.register_device(key, owner)
    return owner or account.address


@dataclass(slots=True)
class Imported:
    """How far an import has come: rows read, observations queued, what was left out and why."""

    rows: int
    observations: int
    skipped: dict[str, int]

    def skip(self, reason: str, number: int = 1) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + number


def import_rows(
    store: BridgeStore, station: Station, sign: Sign, lines: Iterable[bytes], kind: str
) -> Iterator[Imported]:
    """Queues a file row by row; yields after every few hundred. What was imported before is left
    out, so a file can be imported again after anything. Raises Overloaded when the queue is full,
    MalformedUpload for a file that cannot be read, KeyMissing, StoreUnavailable."""
    now = int(time.time())
    found = Imported(0, 0, {})
    reading = rows(lines, kind, station.profile, Clock(now, EARLIEST_ARCHIVED))
    while chunk := list(islice(reading, ROWS_AT_ONCE)):
        uploads = [row for row in chunk if isinstance(row, Upload)]
        for row in chunk:
            if isinstance(row, ProtocolError):
                found.skip(row.name)
        for taken in store.take(station, uploads, now, sign) if uploads else ():
            found.observations += len(taken.observations)
            for reason in taken.skipped.values():
                found.skip(reason)
        found.rows += len(chunk)
        yield found


def kind_of(path: Path) -> str:
    """ "csv" or "ndjson", by a file's name. Raises InvalidValue."""
    kinds: Mapping[str, str] = {
        ".csv": "csv",
        ".tsv": "csv",
        ".txt": "csv",
        ".ndjson": "ndjson",
        ".jsonl": "ndjson",
        ".json": "ndjson",
    }
    if path.suffix.lower() not in kinds:
        raise InvalidValue("file", path.name, f"takes a name that ends in {', '.join(kinds)}")
    return kinds[path.suffix.lower()]
