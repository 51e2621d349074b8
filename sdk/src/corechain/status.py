"""Whether node, relayer, indexer and the servers behind them work, asked from outside."""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.http import client
from corechain.protocol.errors import CoreChainError, TransportError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5.0
HTTP_NOT_FOUND = 404
WHOLE_S = 12.0
"""For all answers, however they drip: all parts are asked at once."""
HEALTHY, DEGRADED, DOWN = 0, 1, 2
"""Exit codes: all is well; something is not, and somebody else of its kind does its work; nobody
does."""
ADVICE = {
    "node": "start it, or name another one (RELAYER_RPC_URL, INDEXER_RPC_URL)",
    "patroni": "its log; `patronictl list`: docs/postgres.md",
    "etcd": "start it: two of three have to live",
    "kafka": "start the broker that is away; copies catch up by themselves",
    "valkey": "start it: what was acknowledged is in its append-only file",
    "pgbouncer": "start it: services go through the others meanwhile",
    "postgres": "start it: services wait and go on by themselves",
    "nginx": "`nginx -t`, its log; gateways and APIs have addresses of their own",
}
OF_OURS = "/ready and the log of the process: docs/operators.md"
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
    servers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Kind and port of the servers of this machine, by name; only `corechain up` tells them."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one part says of itself."""

    part: str
    url: str
    works: bool
    detail: str
    lags: bool = False
    """It works, and needs an operator all the same."""

    @property
    def state(self) -> str:
        return "down" if not self.works else "degraded" if self.lags else "ok"

    @property
    def kind(self) -> str:
        """What it is one of: `gateway-1` is a gateway."""
        return re.sub(r"-\d+$", "", self.part)

    @property
    def advice(self) -> str:
        """What to do; empty where all is well."""
        return "" if self.state == "ok" else ADVICE.get(self.server or self.kind, OF_OURS)

    server: str = ""
    """Of a server that is not ours, what it is."""


def overall(checks: "Sequence[Check]") -> int:
    """HEALTHY, DEGRADED or DOWN: of each kind of part one has to work."""
    if all(check.state == "ok" for check in checks):
        return HEALTHY
    works = {check.kind: False for check in checks}
    for check in checks:
        works[check.kind] |= check.works
    return DEGRADED if all(works.values()) else DOWN


class NotWorking(TransportError):
    """A part gives no answer, or says that it cannot work."""


Servers = dict[str, tuple[str, int]]


def _read_endpoints(home: Path) -> tuple[dict[str, str], dict[str, str], Servers]:
    """The places, the relayer's other processes, and the servers."""
    path = home / ENDPOINTS_FILE
    try:
        document = json.loads(path.read_text())
        places = {name: str(document[key]) for name, key in _WRITTEN_AS.items()}
        parts = {str(name): str(url) for name, url in document.get("parts", {}).items()}
        servers = {
            str(name): (str(one["kind"]), int(one["port"]))
            for name, one in document.get("servers", {}).items()
        }
        others = {name: url for name, url in parts.items() if url != places["gateway"]}
        return places, others, servers
    except FileNotFoundError:
        return {}, {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidEndpoints(f"{path} is damaged ({error!r}); restart `corechain up`") from error


def find_places(home: Path, given: Mapping[str, object]) -> Places:
    """What is given, else the network that runs in `home`, else the usual ports.

    Raises InvalidEndpoints.
    """
    chosen = {name: str(value) for name, value in given.items() if value is not None}
    usual = {**_USUAL, "deployment": str(home / LOCAL_MANIFEST)}
    running, parts, servers = _read_endpoints(home)
    found = {**usual, **running, **chosen}
    # Who names another gateway asks for another relayer.
    if found["gateway"] != running.get("gateway"):
        parts, servers = {}, {}
    manifest = Path(found["deployment"])
    return Places(found["rpc"], found["gateway"], found["api"], manifest, parts, servers)


def inspect(places: Places) -> list[Check]:
    """One check per part; none raises. All are asked at once, within `WHOLE_S`."""
    services = {"relayer": places.gateway, **places.parts}
    with client(*(places.rpc, *services.values(), places.api), timeout=TIMEOUT_S) as http:
        asks: dict[str, tuple[str, Callable[[], Check]]] = {}

        def add(part: str, url: str, ask: Callable[[], str]) -> None:
            asks[part] = url, partial(_check, part, url, ask)

        add("node", places.rpc, lambda: _ask_node(http, places.rpc))
        for part, url in services.items():
            add(part, url, partial(_ask_service, http, url))
        add("indexer", places.api, lambda: _ask_indexer(http, places.api))
        for part, (kind, port) in places.servers.items():
            asks[part] = f"tcp://127.0.0.1:{port}", partial(_check_server, part, kind, port)
        return _all_at_once(asks)


def _all_at_once(asks: Mapping[str, tuple[str, Callable[[], Check]]]) -> list[Check]:
    found: dict[str, Check] = {}

    def run(part: str, ask: Callable[[], Check]) -> None:
        found[part] = ask()

    # No pool: the command would wait for its threads at the end.
    threads = [
        threading.Thread(target=run, args=(part, ask), daemon=True)
        for part, (_, ask) in asks.items()
    ]
    deadline = time.monotonic() + WHOLE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {WHOLE_S:g} s"
    return [found.get(part) or Check(part, url, False, late) for part, (url, _) in asks.items()]


def _check_server(part: str, kind: str, port: int) -> Check:
    from corechain.servers_asked import KINDS, NotAnswering, ask

    url = f"tcp://127.0.0.1:{port}"
    if kind not in KINDS:
        return Check(part, url, False, f"no kind of server that is known: {kind!r:.40}")
    try:
        said = ask(kind, port)
    except NotAnswering as error:
        return Check(part, url, False, str(error), server=kind)
    return Check(part, url, True, said.detail, not said.is_well, kind)


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
        if path == "/ready" and answer.status_code == HTTP_NOT_FOUND:
            # Each of ours has it: a proxy in front of several hides which of them is asked.
            return "answers; the proxy in front keeps /ready to itself"
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
