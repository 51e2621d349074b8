"""Whether node, relayer, indexer and the servers behind them work, asked from outside."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corechain.http import client
from corechain.kept_endpoints import NetworkKilled, damaged, read_endpoints
from corechain.services_asked import Answer, NotWorking, json_of
from corechain.services_asked import ask as ask_service

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 5.0
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
    "mqtt": "start the broker: devices and relayer connect again by themselves",
    "valkey": "start it: what was acknowledged is in its append-only file",
    "pgbouncer": "start it: services go through the others meanwhile",
    "postgres": "start it: services wait and go on by themselves",
    "nginx": "`nginx -t`, its log; gateways and APIs have addresses of their own",
}
OF_OURS = "/ready and the log of the process: docs/operators.md"
# Names in the file that `corechain up` writes.
_WRITTEN_AS = {"rpc": "anvil", "gateway": "relayer", "api": "indexer", "deployment": "deployment"}
_USUAL = {
    "rpc": "http://127.0.0.1:8545",
    "gateway": "http://127.0.0.1:8701",
    "api": "http://127.0.0.1:8702",
}
LOCAL_MANIFEST = "31337.json"


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


Servers = dict[str, tuple[str, int]]
Ask = Callable[[], list[Check]]
"""The first check is of the part itself."""


def _read_endpoints(home: Path) -> tuple[dict[str, str], dict[str, str], Servers]:
    """The places, the relayer's other processes, and the servers."""
    document = read_endpoints(home)
    if document is None:
        return {}, {}, {}
    try:
        places = {name: str(document[key]) for name, key in _WRITTEN_AS.items()}
        parts = {str(name): str(url) for name, url in document.get("parts", {}).items()}
        servers = {
            str(name): (str(one["kind"]), int(one["port"]))
            for name, one in document.get("servers", {}).items()
        }
        others = {name: url for name, url in parts.items() if url != places["gateway"]}
        return places, others, servers
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(home, error) from error


def find_places(
    home: Path, given: Mapping[str, object], needed: Set[str] = _WRITTEN_AS.keys()
) -> Places:
    """What is given, else the network that runs in `home`, else the usual ports.

    Raises InvalidEndpoints; NetworkKilled, unless everything that is `needed` is given.
    """
    chosen = {name: str(value) for name, value in given.items() if value is not None}
    usual = {**_USUAL, "deployment": str(home / LOCAL_MANIFEST)}
    try:
        running, parts, servers = _read_endpoints(home)
    except NetworkKilled:
        if not needed <= chosen.keys():
            raise
        running, parts, servers = {}, {}, {}
    found = {**usual, **running, **chosen}
    # Who names another gateway asks for another relayer.
    if found["gateway"] != running.get("gateway"):
        parts, servers = {}, {}
    manifest = Path(found["deployment"])
    return Places(found["rpc"], found["gateway"], found["api"], manifest, parts, servers)


def inspect(places: Places) -> list[Check]:
    """One check per part, and one per role that shares a process with others; none raises. All are
    asked at once, within `WHOLE_S`."""
    services = {"relayer": places.gateway, **places.parts}
    with client(*(places.rpc, *services.values(), places.api), timeout=TIMEOUT_S) as http:
        asks: dict[str, tuple[str, Ask]] = {
            "node": (places.rpc, partial(_check_node, http, places.rpc))
        }
        for part, url in services.items():
            asks[part] = url, partial(_check_service, http, part, url)
        asks["indexer"] = places.api, partial(_check_indexer, http, places.api)
        for part, (kind, port) in places.servers.items():
            asks[part] = f"tcp://127.0.0.1:{port}", partial(_check_server, part, kind, port)
        return _all_at_once(asks)


def _all_at_once(asks: Mapping[str, tuple[str, Ask]]) -> list[Check]:
    found: dict[str, list[Check]] = {}

    def run(part: str, url: str, ask: Ask) -> None:
        found[part] = _answered(part, url, ask)

    # No pool: the command would wait for its threads at the end.
    threads = [
        threading.Thread(target=run, args=(part, url, ask), daemon=True)
        for part, (url, ask) in asks.items()
    ]
    deadline = time.monotonic() + WHOLE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {WHOLE_S:g} s"
    checks = [found.get(part) or [Check(part, url, False, late)] for part, (url, _) in asks.items()]
    return [check for of_part in checks for check in of_part]


def _answered(part: str, url: str, ask: Ask) -> list[Check]:
    import httpx

    try:
        return ask()
    except NotWorking as error:
        return [Check(part, url, False, str(error))]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return [Check(part, url, False, f"no answer ({error})")]


def _check_server(part: str, kind: str, port: int) -> list[Check]:
    from corechain.servers_asked import KINDS, NotAnswering, ask

    url = f"tcp://127.0.0.1:{port}"
    if kind not in KINDS:
        return [Check(part, url, False, f"no kind of server that is known: {kind!r:.40}")]
    try:
        said = ask(kind, port)
    except NotAnswering as error:
        return [Check(part, url, False, str(error), server=kind)]
    return [Check(part, url, True, said.detail, not said.is_well, kind)]


def _check_node(http: "httpx.Client", url: str) -> list[Check]:
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    answer = json_of(http.post(url, json=call))
    try:
        return [Check("node", url, True, f"head {int(answer['result'], 16)}")]
    except (KeyError, TypeError, ValueError):
        raise NotWorking(f"eth_blockNumber: {answer}") from None


def _check_service(http: "httpx.Client", part: str, url: str) -> list[Check]:
    answer = ask_service(http, url)
    return [_judged(part, url, answer), *_roles_of(part, url, answer)]


def _judged(part: str, url: str, answer: Answer, more: str = "") -> Check:
    return Check(part, url, not answer.lacks, answer.detail + more, bool(answer.warnings))


def _roles_of(part: str, url: str, answer: Answer) -> list[Check]:
    """Of gateway-1 its watchtower is watchtower-1."""
    kind, _, number = part.partition("-")
    return [
        Check(f"{role}-{number}" if number else role, url, works, detail)
        for role, (works, detail) in answer.roles().items()
        if role != kind
    ]


def _check_indexer(http: "httpx.Client", url: str) -> list[Check]:
    answer = ask_service(http, url)
    if answer.lacks:
        return [_judged("indexer", url, answer)]
    facts = json_of(http.get(url + "/v1/status"))
    words = "; " + ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())
    return [_judged("indexer", url, answer, words)]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items()) or "–"
    if isinstance(value, list):
        return "; ".join(map(_plain, value)) or "–"
    return "unknown" if value is None else str(value)
