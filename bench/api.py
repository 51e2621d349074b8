"""The query API under 10,000 kept connections: latency at a rate, the knee, CPU a request.

make bench-api      READINGS=1000000 (filled once, kept under .corechain/bench; 10000000 is the
                    full run and takes a quarter of an hour to fill) CONNECTIONS=10000 RATE=3000
                    SECONDS=15 WORKERS=2 (processes of the API)

Writes bench/results/api.json. Nothing is warmed: Postgres and the API have just started when the
first request comes, and every request asks for another device.
"""

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from accounts import Accounts
from api_store import DAY_S, KINDS, START, Store, filled_store, growing_chain

from corechain.devnet.process import LOCALHOST, free_port

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MIX = {"latest": 40, "readings": 25, "series": 15, "statistics": 10, "batches": 5, "status": 5}
"""Shares in hundred; of `batches` half are pages and half single ones."""
STEPS = (1.0, 0.2, 0.4, 0.6, 0.8, 1.2, 1.5, 2.0)
"""Rates that are tried, as shares of RATE: the first one meets cold servers."""
LIMIT_MS = 50.0
START_LIMIT_S = 60.0
ONE_BY_ONE = 300


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"BENCH_{name}") or default)


@dataclass(frozen=True, slots=True)
class Questions:
    """Targets of the mix, always about another device."""

    store: Store
    seed: int

    def planned(self, count: int) -> list[tuple[str, str]]:
        random_ = random.Random(self.seed)
        kinds = random_.choices(list(MIX), list(MIX.values()), k=count)
        return [(kind, self.target(kind, random_)) for kind in kinds]

    def target(self, kind: str, random_: random.Random) -> str:
        device = "0x" + self.store.shape.device(random_.randrange(self.store.shape.devices)).hex()
        metric = random_.choice(KINDS).code
        day = START + random_.randrange(20) * DAY_S
        lane = random_.randrange(self.store.shape.lanes)
        batch = (lane << 32) + random_.randrange(1, 21)
        return {
            "latest": f"/v1/latest?device={device}",
            "readings": f"/v1/readings?device={device}&limit=100",
            "series": f"/v1/series?device={device}&metric={metric}&bucket=86400",
            "statistics": f"/v1/statistics?device={device}&metric={metric}"
            f"&from={day - 3600}&to={day + 3600}",
            "batches": random_.choice(["/v1/batches?limit=20", f"/v1/batches/{batch}"]),
            "status": "/v1/status",
        }[kind]


@contextmanager
def served(store: Store, workers: int) -> Iterator[tuple[str, int, int]]:
    """(host, port, process id) of an API that has just started."""
    port, ops = free_port(), free_port()
    environment = os.environ | {
        "INDEXER_RPC_URL": store.anvil.url,
        "INDEXER_DEPLOYMENT": str(store.manifest),
        "INDEXER_DATABASE_URL": store.database_url,
        "INDEXER_REDIS_URL": store.valkey.socket_url,
        "INDEXER_DATA_URLS": "file:///nowhere/{commitment}",
        "INDEXER_HTTP_PORT": str(port),
        "INDEXER_MAX_CONNECTIONS": "15000",
        "INDEXER_LOG_LEVEL": "warning",
    }
    if workers > 1:
        environment |= {"INDEXER_API_WORKERS": str(workers), "INDEXER_OPS_PORT": str(ops)}
    command = [sys.executable, "-m", "corechain.cli", "indexer", "run", "--role", "api"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            _until_ready(port)
            yield LOCALHOST, port, process.pid
        finally:
            process.terminate()


def _until_ready(port: int) -> None:
    until = time.monotonic() + START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{LOCALHOST}:{port}/ready", timeout=5):
                return
        except (OSError, urllib.error.HTTPError):
            assert time.monotonic() < until, "the API does not become ready"
            time.sleep(0.05)


def charged(store: Store, process: int, work: Callable[[], Any]) -> tuple[Any, Accounts]:
    """What the work returned, and what the processes spent on it."""
    pids = {
        "api": process,
        "postgres": store.postgres.pid,
        "valkey": store.valkey.pid,
        "anvil": store.anvil.pid,
    }
    accounts = Accounts(lambda: pids).start()
    try:
        return work(), accounts
    finally:
        accounts.stop()


@contextmanager
def connected(
    host: str, port: int, connections: int, rate: float, seconds: float, questions: Questions
) -> Iterator[Callable[[], dict[str, Any]]]:
    """A client with its connections open; called, it sends all and says how it went."""
    plan = {
        "connections": connections,
        "rate": rate,
        "seconds": seconds,
        "requests": questions.planned(round(rate * seconds)),
    }
    file = RESULTS / "api-plan.json"
    file.write_text(json.dumps(plan))
    command = [sys.executable, str(HERE / "api_client.py"), host, str(port), str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == "connected\n"
        file.unlink()
        talk = client.stdin, client.stdout

        def run() -> dict[str, Any]:
            print("go", file=talk[0], flush=True)
            found: dict[str, Any] = json.loads(talk[1].readline())
            return found

        yield run


def step(
    store: Store, address: tuple[str, int, int], connections: int, rate: float, number: int
) -> dict[str, Any]:
    """One rate for SECONDS."""
    host, port, process = address
    seconds, questions = setting("SECONDS", 15), Questions(store, number)
    with connected(host, port, connections, rate, seconds, questions) as run:
        found, accounts = charged(store, process, run)
    answered = max(1, found["answered"])
    spent = {name: round(1e6 * s / answered, 1) for name, s in accounts.cpu_s().items()}
    memory = {name: round(mib) for name, mib in accounts.memory_mib.items()}
    return {"rate": rate, **found, "cpu_us_per_request": spent, "rss_mib": memory}


def one_by_one(store: Store, address: tuple[str, int, int]) -> dict[str, Any]:
    """What a request of each kind costs when nothing else happens."""
    host, port, process = address
    found = {}
    for kind in ("health", *MIX):
        random_ = random.Random(kind)
        ask = Questions(store, 0).target
        targets = ["/health" if kind == "health" else ask(kind, random_) for _ in range(ONE_BY_ONE)]
        latencies, accounts = charged(store, process, lambda: asked(host, port, targets))  # noqa: B023
        spent = {name: 1000 * s / ONE_BY_ONE for name, s in accounts.cpu_s().items()}
        found[kind] = {
            "api_ms": round(spent["api"], 3),
            "postgres_ms": round(spent["postgres"], 3),
            "valkey_ms": round(spent["valkey"], 3),
            "p50_ms": round(1000 * latencies[len(latencies) // 2], 2),
            "p95_ms": round(1000 * latencies[int(len(latencies) * 0.95)], 2),
        }
        print(kind, found[kind], flush=True)
    return found


def asked(host: str, port: int, targets: list[str]) -> list[float]:
    """Seconds of each, ascending, over one connection."""
    connection, took = HTTPConnection(host, port), []
    for target in targets:
        began = time.perf_counter()
        connection.request("GET", target)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, (target, answer.status)
        took.append(time.perf_counter() - began)
    connection.close()
    return sorted(took)


def knee(steps: list[dict[str, Any]]) -> float:
    """The highest rate that was answered within the limit, without an error."""
    good = [s["rate"] for s in steps if s["p95_ms"] <= LIMIT_MS and not s["errors"]]
    return float(max(good, default=0.0))


def measure(store: Store, workers: int) -> dict[str, Any]:
    rate, connections = setting("RATE", 3_000), int(setting("CONNECTIONS", 10_000))
    store.restart_cold()
    steps: list[dict[str, Any]] = []
    with served(store, workers) as address, growing_chain(store):
        for number, share in enumerate(STEPS):
            found = step(store, address, connections, rate * share, number)
            print(json.dumps(found), flush=True)
            steps.append(found)
            if share > 1 and found["p95_ms"] > 4 * LIMIT_MS:
                break  # past the knee already
        table = one_by_one(store, address)
    return {
        **steps[0],
        "stored_readings": store.shape.readings,
        "workers": workers,
        "knee_requests_per_s": knee(steps),
        "load": os.getloadavg()[0],
        "steps": steps,
        "one_by_one": table,
    }


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    with filled_store(int(setting("READINGS", 1_000_000))) as store:
        found = measure(store, int(setting("WORKERS", 2)))
    (RESULTS / "api.json").write_text(json.dumps(found, indent=1) + "\n")
    line = {key: value for key, value in found.items() if key not in ("steps", "by_kind_ms")}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
