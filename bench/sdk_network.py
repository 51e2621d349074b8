"""The SDK over a running network: a history from its API and Postgres, and an event's whole way.

Used by bench/sdk.py. Relayer, chain, mirror and API are processes of their own on this machine.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from accounts import Accounts
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from corechain import Client, Observation, Secp256k1Key, account_from_key
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.protocol.hashing import keccak

CELL, START, STEP_S, A_REPORT, DEVICES = 0x872A1072BFFFFFF, 1_359_720_000, 60, 500, 20
SETTINGS = {"RELAYER_MAX_AGE_S": "0.5", "RELAYER_MAX_READINGS": "10000"}
LIMIT_S, ROUNDS = 300.0, 3
SERVERS = "indexer", "postgres", "anvil", "valkey"
HEADS = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
Figures = dict[str, Any]


def client_of(network: Network, verify: bool = True) -> Client:
    urls, account = network.urls, account_from_key(ADMIN_KEY)
    return Client(urls.indexer, urls.relayer, urls.anvil, network.manifest, account, verify)


def _report(client: Client, key: Secp256k1Key, sequence: int) -> Any:
    first = START + (sequence - 1) * A_REPORT * STEP_S
    times = range(first, first + A_REPORT * STEP_S, STEP_S)
    observations = [Observation(1, CELL, at, at // STEP_S % 300) for at in times]
    return client.sign_report(key, sequence, observations)


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ready():
        assert time.monotonic() < deadline, "the readings did not arrive"
        time.sleep(0.05)


def fill(client: Client, readings: int) -> Secp256k1Key:
    """So many readings of twenty devices at one cell, all verified when it returns; one of them."""
    keys = [Secp256k1Key(keccak(b"bench sdk network %d" % one)) for one in range(DEVICES)]
    for key in keys:
        client.register_device(key)
    for sequence in range(1, readings // (DEVICES * A_REPORT) + 1):
        client.send_reports([_report(client, key, sequence) for key in keys], LIMIT_S)
    _until(lambda: int(client.status()["readings"]) >= readings)
    return keys[0]


def history_over_server(network: Network, readings: int, **asked: Any) -> Figures:
    """Best of some rounds: wall and CPU seconds of the client and of each server."""
    asked = {"metric": "air_temperature", **asked}
    rounds = [_measured(network, True, readings, asked) for _ in range(ROUNDS)]
    best = min(rounds, key=lambda one: float(one["wall_s"]))
    plain = _measured(network, False, readings, asked)
    client_s, all_s = best["client_cpu_s"], best["client_cpu_s"] + best["servers_cpu_s"]
    return best | {
        "verified_readings_per_s": round(readings / best["wall_s"]),
        "verified_readings_per_cpu_s": round(readings / all_s),
        "client_cpu_us_a_reading": round(1e6 * client_s / readings, 2),
        "unverified_client_cpu_s": plain["client_cpu_s"],
        "unverified_wall_s": plain["wall_s"],
    }


def _measured(network: Network, verify: bool, readings: int, asked: Figures) -> Figures:
    """Of a client that has asked nothing before."""
    with client_of(network, verify) as client:
        accounts = Accounts(network.pids).start()
        wall, spent = time.perf_counter(), time.process_time()
        found = sum(1 for _ in client.history(**asked))
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
        accounts.stop()
    assert found == readings, found
    cpu_s = accounts.cpu_s()
    servers = {name: round(cpu_s.get(name, 0.0), 2) for name in SERVERS}
    return {
        "readings": found,
        "wall_s": round(wall, 2),
        "client_cpu_s": round(spent, 2),
        "servers_cpu_s": round(sum(servers.values()), 2),
        "servers": servers,
    }


@contextmanager
def blocks_seen(url: str) -> Iterator[dict[int, float]]:
    """When the node announced each block, as any of its subscribers hears it."""
    seen, begun = dict[int, float](), threading.Event()

    def listen() -> None:
        with suppress(ConnectionClosed):
            for word in node:
                head = json.loads(word).get("params")
                if head is None:
                    begun.set()
                else:
                    seen[int(head["result"]["number"], 16)] = time.perf_counter()

    with connect(url.replace("http", "ws", 1)) as node:
        node.send(json.dumps(HEADS))
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        assert begun.wait(LIMIT_S)
        yield seen
    thread.join()


def event_latencies_ms(network: Network, key: Secp256k1Key, first: int, events: int) -> Figures:
    """From the block with a batch's commitment to the batch, verified, in the application: the
    mirror reads it, fetches the data file, recomputes its roots, and the API tells the stream."""
    found = list[float]()
    with blocks_seen(network.urls.anvil) as seen, client_of(network) as client:
        stream = client_of(network).stream(device=key.identity.device)
        came = threading.Semaphore(0)

        def listen() -> None:
            for event in stream:
                if event.type == "new":
                    found.append(1000 * (time.perf_counter() - seen[event.block]))
                    came.release()
                    if len(found) == events:
                        return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        _until(lambda: stream.cursor is not None)
        for sequence in range(first, first + events):
            client.send_reports([_report(client, key, sequence)], LIMIT_S)
            assert came.acquire(timeout=LIMIT_S), "an event did not come"
        thread.join()
    found.sort()
    return {
        "events": events,
        "readings_a_batch": A_REPORT,
        "p50_ms": round(statistics.median(found), 1),
        "p95_ms": round(found[int(0.95 * len(found))], 1),
    }


def network_figures(readings: int, events: int) -> Figures:
    """Histories and events of a network that is started for it."""
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        ports = Ports.free()
        with Network(Path(home) / "network", ports=ports, settings=SETTINGS) as network:
            with client_of(network) as client:
                key = fill(client, readings)
            device = key.identity.device
            return {
                "region": history_over_server(network, readings, region=CELL),
                "one_device_of_twenty": history_over_server(
                    network, readings // DEVICES, device=device
                ),
                "stream": event_latencies_ms(
                    network, key, readings // (DEVICES * A_REPORT) + 1, events
                ),
            }
