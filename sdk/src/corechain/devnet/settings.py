"""Ports, keys and settings of the embedded network: docs/architecture.md with values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from corechain.protocol.errors import CoreChainError

# Keys of accounts 0 to 3 of the public test mnemonic. Everybody has them: never fund them on a live
# chain.
DEV_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
ADMIN_KEY, SUBMITTER_KEY, PROPOSER_KEY, PAYEE_KEY = DEV_KEYS
# Accounts 5 and 6. Each role signs with a key of its own: a nonce has one owner.
WATCHTOWER_KEY = "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"
GUARD_KEY = "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"
# Accounts 8 and 9. The last one signs receipts alone: it sends nothing.
CHALLENGER_KEY = "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"
RECEIPT_KEY = "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7082dff6d409c6"
CHAIN_ID = 31337
BUSES = ("valkey", "kafka")
SERVICES = ("relayer", "indexer")
BRIDGE, CHALLENGER = "bridge", "challenger"
"""Services that are run only where they are asked for."""
# The relayer's processes, with their roles, in order of start. The guard before all others: it has
# a deadline. The gateway last: what it takes in, the others are there to carry on. It has the
# watchtower's route too, at the address that parties of channels know.
RELAYER_PROCESSES = {
    "guard": ("guard",),
    "submitter": ("submitter",),
    "aggregator": ("aggregator",),
    "gateway": ("gateway", "watchtower"),
}
# Of each process: where it listens and keeps things is not what the relayer was given.
OWN_PLACES = tuple(
    f"RELAYER_{name}" for name in ("DATABASE_URL", "DATABASE_DIRECT_URL", "DATA_DIR", "HTTP_PORT")
)
YEAR_S = 366 * 86_400
# The demo replays 2013.
MAX_REPORT_AGE_S = 30 * YEAR_S


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on the loopback interface."""

    anvil: int = 8545
    postgres: int = 8732
    valkey: int = 8779
    relayer: int = 8701
    indexer: int = 8702
    aggregator: int = 8703
    submitter: int = 8704
    guard: int = 8705
    kafka: int = 8792
    mqtt: int = 1883
    bridge: int = 8706
    challenger: int = 8707

    @property
    def gateway(self) -> int:
        """The relayer's address is its gateway's, alone or in one process with the others."""
        return self.relayer

    @classmethod
    def free(cls) -> Self:
        """Ports that nobody has right now: for tests."""
        # Not at the top: the command line reads the defaults where psutil is not installed.
        from corechain.devnet.process import free_port

        chosen: dict[str, int] = {}
        for entry in fields(cls):
            port = free_port()
            while port in chosen.values():
                port = free_port()
            chosen[entry.name] = port
        return cls(**chosen)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything listens."""

    anvil: str
    postgres: str
    valkey: str
    relayer: str
    indexer: str


def relayer_settings(
    urls: Endpoints, ports: Ports, manifest: Path, data_dir: Path, frame_key: Path, database: str
) -> dict[str, str]:
    return {
        "RELAYER_RPC_URL": urls.anvil,
        "RELAYER_DEPLOYMENT": str(manifest),
        "RELAYER_BUS_URL": urls.valkey,
        "RELAYER_DATABASE_URL": database,
        "RELAYER_DATA_DIR": str(data_dir),
        "RELAYER_FRAME_KEY_FILE": str(frame_key),
        "RELAYER_LANE": "0",
        "RELAYER_SUBMITTER_KEY": SUBMITTER_KEY,
        "RELAYER_PROPOSER_KEY": PROPOSER_KEY,
        "RELAYER_WATCHTOWER_KEY": WATCHTOWER_KEY,
        "RELAYER_GUARD_KEY": GUARD_KEY,
        "RELAYER_RECEIPT_KEY": RECEIPT_KEY,
        "RELAYER_MAX_AGE_S": "2",
        "RELAYER_MAX_REPORT_AGE_S": str(MAX_REPORT_AGE_S),
        "RELAYER_HTTP_HOST": "127.0.0.1",
        "RELAYER_HTTP_PORT": str(ports.relayer),
    }


def challenger_settings(
    urls: Endpoints, ports: Ports, manifest: Path, folder: Path, database: str
) -> dict[str, str]:
    return {
        "RELAYER_RPC_URL": urls.anvil,
        "RELAYER_DEPLOYMENT": str(manifest),
        "RELAYER_DATABASE_URL": database,
        "RELAYER_DATA_DIR": str(folder),
        "RELAYER_CHALLENGER_KEY": CHALLENGER_KEY,
        "RELAYER_CHALLENGER_DATA_URLS": f"{urls.relayer}/v1/data/{{commitment}}",
        "RELAYER_HTTP_HOST": "127.0.0.1",
        "RELAYER_HTTP_PORT": str(ports.challenger),
    }


def operator_settings(urls: Endpoints, manifest: Path, database: str) -> dict[str, str]:
    """Of commands that ask the relayer's journal and the node."""
    return {
        "RELAYER_RPC_URL": urls.anvil,
        "RELAYER_DEPLOYMENT": str(manifest),
        "RELAYER_DATABASE_URL": database,
        "RELAYER_ADMIN_KEY": ADMIN_KEY,
    }


def part_settings(
    settings: Mapping[str, str], port: int, place: int, prefix: str = "RELAYER"
) -> dict[str, str]:
    """Of one of a service's processes: addresses that no other has. The first has the port for
    operations that is set, those after it the ones that follow."""
    own, ops_port = {**settings, f"{prefix}_HTTP_PORT": str(port)}, f"{prefix}_OPS_PORT"
    first = settings.get(ops_port, "")
    if first.isascii() and first.isdigit() and int(first):  # 0: any; no number: refused by them
        own[ops_port] = str(int(first) + place)
    return own


def indexer_settings(
    urls: Endpoints, ports: Ports, manifest: Path, database: str, price: int
) -> dict[str, str]:
    return {
        "INDEXER_RPC_URL": urls.anvil,
        "INDEXER_PUBLIC_RPC_URL": urls.anvil,
        "INDEXER_DEPLOYMENT": str(manifest),
        "INDEXER_DATABASE_URL": database,
        "INDEXER_REDIS_URL": urls.valkey.removesuffix("/0") + "/1",
        "INDEXER_DATA_URLS": f"{urls.relayer}/v1/data/{{commitment}}",
        "INDEXER_PRICE_PER_QUERY": str(price),
        "INDEXER_PAYEE_KEY": PAYEE_KEY,
        "INDEXER_HTTP_HOST": "127.0.0.1",
        "INDEXER_HTTP_PORT": str(ports.indexer),
    }


def bridge_settings(urls: Endpoints, ports: Ports, manifest: Path, folder: Path) -> dict[str, str]:
    return {
        "BRIDGE_GATEWAY_URL": urls.relayer,
        "BRIDGE_API_URL": urls.indexer,
        "BRIDGE_DEPLOYMENT": str(manifest),
        "BRIDGE_DATA_DIR": str(folder),
        "BRIDGE_RPC_URL": urls.anvil,
        # Account 0, as all that an operator does by hand on this network.
        "BRIDGE_REGISTRAR_KEY": ADMIN_KEY,
        "BRIDGE_HTTP_HOST": "127.0.0.1",
        "BRIDGE_HTTP_PORT": str(ports.bridge),
    }


class UnknownService(CoreChainError):
    """None of `relayer`, `indexer`, `bridge` and `challenger`."""


def require_service(name: str) -> None:
    """Raises UnknownService."""
    known = (*SERVICES, BRIDGE, CHALLENGER)
    if name not in known:
        raise UnknownService(f"no service is called {name!r}: there are {', '.join(known)}")


def service_of(setting: str) -> str:
    """Which service an extra setting is for. Raises UnknownService."""
    name = setting.partition("_")[0].lower()
    if name == CHALLENGER:
        raise UnknownService(f"{setting}: the challenger's settings begin with RELAYER_")
    require_service(name)
    return name


def extra_settings(service: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The challenger's are those of the relayer, whose prefix it has, without its places."""
    if service == CHALLENGER:
        given = extra_settings("relayer", extra)
        return {n: v for n, v in given.items() if n.removesuffix("_FILE") not in OWN_PLACES}
    return {name: value for name, value in extra.items() if service_of(name) == service}
