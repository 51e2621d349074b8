"""A bridge in this process, with stations and without a gateway."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.keys import Secp256k1Key
from corechain.service.tracing import Span
from corechain_relayer.bridge import admin
from corechain_relayer.bridge.keys import KeyFolder
from corechain_relayer.bridge.service import KEYS, Bridge
from corechain_relayer.bridge.settings import Settings
from corechain_relayer.bridge.stations import Station

REGISTRY = DeployedContract("DeviceRegistry", bytes(19) + b"\x07", 0)
DEPLOYMENT = Deployment(31337, {"DeviceRegistry": REGISTRY})
MARKED = (12298, 97746, 179360, 254872, 369644, 455838)
"""Secrets whose device ids have the mark of bridges: looking for new ones takes half a second."""
CELL = "872a1072bffffff"
NOBODY = "http://127.0.0.1:9"
"""A gateway that is away: the port of "discard" has no server."""


@dataclass
class Stage:
    """A bridge, its HTTP application as a client sees it, and tokens by the names of stations."""

    bridge: Bridge
    tokens: dict[str, str] = field(default_factory=dict)
    keys: Iterator[Secp256k1Key] = field(
        default_factory=lambda: (Secp256k1Key(n.to_bytes(32, "big")) for n in MARKED)
    )

    @classmethod
    def at(cls, folder: Path, gateway: str = NOBODY, **changes: object) -> "Stage":
        settings = Settings(
            gateway_url=gateway, deployment=folder, data_dir=folder / "bridge", **changes
        )
        return cls(Bridge(settings, DEPLOYMENT))

    def station(self, name: str, kind: str, **more: object) -> Station:
        keys = KeyFolder(self.bridge.settings.data_dir / KEYS)
        new = admin.NewStation(name, kind, CELL, **more)  # type: ignore[arg-type]
        added = admin.add_station(self.bridge.store, keys, new, lambda: next(self.keys))
        self.tokens[name] = added.token
        return added.station

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.bridge.apps()[0])
        return httpx.AsyncClient(transport=transport, base_url="http://bridge")

    def metrics(self) -> str:
        return self.bridge.metrics.exposition().decode()


class KeptSpans:
    """Stands where a collector is told; follows what has a `traceparent` alone."""

    on, ratio = True, 0.0

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def emit(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None:
        pass


def stamp(ago_s: int = 0) -> str:
    """A time as Ecowitt and Weather Underground write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - ago_s))


def ecowitt(ago_s: int = 0, **fields: object) -> dict[str, str]:
    """An upload of now."""
    return {"dateutc": stamp(ago_s), "PASSKEY": "0" * 32, **{n: str(v) for n, v in fields.items()}}
