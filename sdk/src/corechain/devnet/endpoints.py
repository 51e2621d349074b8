"""The file by which `corechain status`, `verify`, `receipt`, `tx` and `bridge` find a network."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.devnet.settings import BRIDGE, operator_settings
from corechain.kept_endpoints import ENDPOINTS_FILE

if TYPE_CHECKING:
    from corechain.devnet.network import Network


def endpoints_of(network: "Network") -> dict[str, Any]:
    """No secret is in it: the keys are public dev keys."""
    parts = {name: url for name, url, _ in network.rows() if name in network.shown_parts}
    servers = {
        one.name: {"kind": one.kind, "port": one.asked_port}
        for one in network.servers()
        if one.kind
    }
    database = network.databases.database_url("relayer")
    document = {
        **asdict(network.urls),
        "deployment": str(network.manifest),
        "pids": network.pids(),
        "parts": parts,
        "servers": servers,
        # What `corechain tx …` needs and its siblings.
        "operator": operator_settings(network.urls, network.manifest, database),
    }
    if BRIDGE in parts:
        # What `corechain bridge …` needs to speak of this bridge.
        document[BRIDGE] = network.environment(BRIDGE)
    return document


def write_endpoints(home: Path, document: dict[str, Any]) -> None:
    part = home / f"{ENDPOINTS_FILE}.part"
    part.write_text(json.dumps(document, indent=2) + "\n")
    part.replace(home / ENDPOINTS_FILE)
