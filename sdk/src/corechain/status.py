"""Whether node, relayer and indexer work, asked from outside."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.http import client
from corechain.protocol.errors import CoreChainError, TransportError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5.0
ENDPOINTS_FILE = "endpoints.json"
# Names in the file that `corechain up` writes.
_WRITTEN_AS = {"rpc": "anvil", "gateway": "relayer", "api": "indexer", "deployment": "deployment"}
_USUAL = {
    "rpc": "http://127.0.0.1:8545",
    "gateway": "http://127.0.0.1:8701",
    "api": "http://127.0.0.1:8702",
}
LOCAL_MANIFEST = "31337.json"


class InvalidEndpoints(CoreChainError):
    """The file that `corechain up` keeps is not one."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where node, gateway and query API listen, and where the manifest is."""

    rpc: str
    gateway: str
    api: str
    deployment: Path
    parts: Mapping[str, str] = field(default_factory=dict)
    """Processes of the relayer beside its gateway, by name; only `corechain up` tells them."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one part says of itself."""

    part: str
    url: str
    works: bool
    detail: str


class NotWorking(TransportError):
    """A part gives no answer, or says that it cannot work."""


def _read_endpoints(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The places, and the relayer's other processes."""
    path = home / ENDPOINTS_FILE
    try:
        document = json.loads(path.read_text())
        places = {name: str(document[key]) for name, key in _WRITTEN_AS.items()}
        parts = {str(name): str(url) for name, url in document.get("parts", {}).items()}
        return places, {name: url for name, url in parts.items() if url != places["gateway"]}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidEndpoints(f"{path} is damaged ({error!r}); restart `corechain up`") from error


def find_places(home: Path, given: Mapping[str, object]) -> Places:
    """What is given, else the network that runs in `home`, else the usual ports.

    Raises InvalidEndpoints.
    """
    chosen = {name: str(value) for name, value in given.items() if value is not None}
    usual = {**_USUAL, "deployment": str(home / LOCAL_MANIFEST)}
    running, parts = _read_endpoints(home)
    found = {**usual, **running, **chosen}
    # Who names another gateway asks for another relayer.
    parts = {} if found["gateway"] != running.get("gateway") else parts
    return Places(found["rpc"], found["gateway"], found["api"], Path(found["deployment"]), parts)


def inspect(places: Places) -> list[Check]:
    """One check per part; none raises."""
    services = {"relayer": places.gateway, **places.parts}
    with client(*(places.rpc, *services.values(), places.api), timeout=TIMEOUT_S) as http:
        return [
            _check("node", places.rpc, lambda: _ask_node(http, places.rpc)),
            *(
                _check(part, url, partial(_ask_service, http, url))
                for part, url in services.items()
            ),
            _check("indexer", places.api, lambda: _ask_indexer(http, places.api)),
        ]


def _check(part: str, url: str, ask: Callable[[], str]) -> Check:
    import httpx

    try:
        return Check(part, url, True, ask())
    except NotWorking as error:
        return Check(part, url, False, str(error))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Check(part, url, False, f"no answer ({error})")


def _json(response: "httpx.Response") -> dict[str, Any]:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NotWorking(f"{response.request.url.path}: HTTP {response.status_code}, no JSON")
    return document


def _ask_node(http: "httpx.Client", url: str) -> str:
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    answer = _json(http.post(url, json=call))
    try:
        return f"head {int(answer['result'], 16)}"
    except (KeyError, TypeError, ValueError):
        raise NotWorking(f"eth_blockNumber: {answer}") from None


def _ask_service(http: "httpx.Client", url: str) -> str:
    for path in ("/health", "/ready"):
        answer = http.get(url + path)
        if not answer.is_success:
            failing = _json(answer).get("failing")
            named = failing if isinstance(failing, list) and failing else None
            reasons = map(str, named or [f"HTTP {answer.status_code}"])
            raise NotWorking(f"{path}: {', '.join(reasons)}")
    return "ready"


def _ask_indexer(http: "httpx.Client", url: str) -> str:
    _ask_service(http, url)
    facts = _json(http.get(url + "/v1/status"))
    return ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items()) or "–"
    if isinstance(value, list):
        return "; ".join(map(_plain, value)) or "–"
    return "unknown" if value is None else str(value)
