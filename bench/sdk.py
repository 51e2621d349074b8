"""What the SDK costs an application: verified readings of a history, the import, its share of an
event's way; first with pages from memory, without a server, then over a whole running network.

make bench-sdk           READINGS=100000
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from sdk_network import A_REPORT, CELL, START, STEP_S, network_figures
from support.flows import carried_out
from support.histories import HistoryApi, HistoryChain

from corechain.documents import octets
from corechain.histories import History
from corechain.history_answers import _hashes
from corechain.history_question import HistoryQuestion
from corechain.http import ProcessClients, client
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.hashing import ZERO26, hash26, keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.streaming import EventStream, resuming

READINGS = int(os.environ.get("BENCH_READINGS") or 100_000)
RESULTS = Path(__file__).parent / "results" / "sdk.json"
DOMAIN = registry_domain(31337, bytes(20))
EVENTS, EVENTS_A_SECOND, IMPORTS, ROUNDS = 500, 100, 15, 3
NETWORK_EVENTS = 40
FULL_NODE = 52
"""Bytes of a node's preimage."""


def batches(count: int, devices: int, readings: int) -> list[Batch]:
    """Batches of so many devices with so many readings each. Nobody looks at the signatures."""
    keys = [Secp256k1Key(keccak(b"bench sdk %d" % number)) for number in range(devices)]
    known = {key.identity.device: key.identity for key in keys}
    found: list[Batch] = []
    for number in range(1, count + 1):
        first = START + (number - 1) * readings * STEP_S
        times = range(first, first + readings * STEP_S, STEP_S)
        reports = [
            SignedReport(Report.of(device, number, _observations(times)), bytes(64))
            for device in known
        ]
        previous = found[-1].commitment if found else ZERO26
        found.append(seal(Origin(number, previous, ZERO26, 31337, bytes(20)), reports, known, {}))
    return found


def _observations(times: range) -> list[Observation]:
    return [Observation(1, CELL, at, at // STEP_S % 300) for at in times]


def question(**given: Any) -> HistoryQuestion:
    names = {"device": None, "metric": "air_temperature", "start": None, "end": None}
    names |= {"region": CELL, "newest_first": False, "since_block": None, "resolution": 7}
    return HistoryQuestion.of(*(names | given).values(), {})


def history_figures(made: list[Batch], asked: HistoryQuestion) -> dict[str, float]:
    """CPU of a history whose pages come from memory as bytes, beside decoding and hashing them."""
    api, bodies = HistoryApi(made, 16), dict[str, bytes]()

    def answer(request: Any) -> Any:
        key = str(request.params.get("cursor"))
        if key not in bodies:
            bodies[key] = json.dumps(api(request)).encode()
        return msgspec.json.decode(bodies[key])

    def run(take: Callable[[History], Any]) -> tuple[float, Any]:
        stand = asked, None, "raise", None, lambda: HistoryChain(made)
        history = History(lambda flow: carried_out(flow, answer), stand)  # type: ignore[arg-type]
        return cpu(partial(take, history))

    _, found = run(lambda history: sum(1 for _ in history))
    one_by_one = min(run(lambda history: sum(1 for _ in history))[0] for _ in range(ROUNDS))
    by_page = min(run(lambda history: sum(1 for _ in history.pages()))[0] for _ in range(ROUNDS))
    bare = min(cpu(partial(floor, list(bodies.values())))[0] for _ in range(ROUNDS))
    return {
        "readings": found,
        "batches": len(made),
        "bytes_a_reading": round(sum(map(len, bodies.values())) / found, 1),
        "verified_readings_per_s": round(found / one_by_one),
        "verified_readings_per_s_by_page": round(found / by_page),
        "cpu_us_a_reading": round(1e6 * one_by_one / found, 2),
        "floor_us_a_reading": round(1e6 * bare / found, 2),
        "cpu_over_floor": round(one_by_one / bare, 2),
    }


def floor(bodies: list[bytes]) -> None:
    """JSON decoded, each leaf and each header hashed, and a node for each leaf."""
    for body in bodies:
        for item in msgspec.json.decode(body)["batches"]:
            hashes = _hashes(base64.b64decode(item["leaves"]))
            for at in range(len(hashes) - 1):
                hash26(hashes[at] + hashes[at + 1])
            keccak(octets(item["readings_root"]))


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    spent = time.process_time()
    found = work()
    return time.process_time() - spent, found


def import_cpu_s(statement: str) -> float:
    """Median over processes that have bytecode, as those of an installed program do."""
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}

    def once() -> float:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        return float(done.stdout)

    once()  # writes the bytecode
    return round(statistics.median(once() for _ in range(IMPORTS)), 4)


def _event(number: int) -> bytes:
    hashed = "0x" + number.to_bytes(32, "big").hex()
    shown = {
        "type": "new",
        "cursor": f"c{number}",
        "id": number,
        "batch_id": number,
        "commitment": hashed[:54],
        "block": number,
        "block_hash": hashed,
        "transaction": hashed,
        "finality": "pending",
    }
    return b"id: c%d\ndata: %s\n\n" % (number, json.dumps(shown).encode())


@contextmanager
def events_served(sent: list[float]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for number in range(1, EVENTS + 1):
                time.sleep(1 / EVENTS_A_SECOND)
                sent.append(time.perf_counter())
                self.wfile.write(_event(number))

        def log_message(self, *_: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def stream_latencies_ms() -> list[float]:
    """From the server's `write` to the event in the application."""
    sent, found = list[float](), list[float]()
    with events_served(sent) as url:
        clients = ProcessClients(partial(client, url))
        state = resuming(None, "pending", 0.0)
        with EventStream(clients, url + "/v1/events", state) as events:
            for event in events:
                found.append(1000 * (time.perf_counter() - sent[event.id - 1]))
                if event.id == EVENTS:
                    break
        clients.close()
    return sorted(found)


def main() -> None:
    # First, while nothing of this process competes for the cores.
    imported = import_cpu_s("import corechain")
    clients = import_cpu_s("from corechain import Client")
    dense = batches(READINGS // 10_000, 10_000 // A_REPORT, A_REPORT)
    sparse = batches(100, 40, 10)
    one = next(iter(sparse[0].identities))
    latencies = stream_latencies_ms()
    region = history_figures(dense, question())
    network = network_figures(READINGS, NETWORK_EVENTS)
    figures = {
        "verified_readings_per_s": region["verified_readings_per_s"],
        "verified_readings_per_s_over_server": network["region"]["verified_readings_per_s"],
        "import_cpu_s": imported,
        "import_client_cpu_s": clients,
        "stream_latency_p95_ms": network["stream"]["p95_ms"],
        "stream_sdk_share_p95_ms": round(latencies[int(0.95 * len(latencies))], 3),
        "stream_sdk_share_p50_ms": round(latencies[len(latencies) // 2], 3),
        "network": network,
        "region": region,
        "one_device_of_forty": history_figures(sparse, question(device=one)),
        "load": [round(one, 1) for one in os.getloadavg()],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
