"""What verification costs: 1,000 readings with and without, from a real network, in one run.

python bench/verified_readings.py
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from corechain import Client, Observation, Secp256k1Key, account_from_key
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.protocol.hashing import keccak

READINGS, ROUNDS = 1_000, 15
RESULTS = Path(__file__).parent / "results" / "verified_readings.jsonl"
CELL, START, STEP_S = 0x872A1072BFFFFFF, 1_359_720_000, 60
SETTLE_LIMIT_S = 120.0


def client_of(network: Network, verify: bool) -> Client:
    urls, account = network.urls, account_from_key(ADMIN_KEY)
    return Client(urls.indexer, urls.relayer, urls.anvil, network.manifest, account, verify)


def fill(client: Client, key: Secp256k1Key, batches: int) -> None:
    """The readings of one device, spread over so many batches."""
    client.register_device(key)
    a_batch = READINGS // batches
    for number in range(batches):
        times = range(START + number * a_batch * STEP_S, START + (number + 1) * a_batch * STEP_S)
        observations = [Observation(1, CELL, at, at // STEP_S % 500) for at in times[::STEP_S]]
        held = client.status()["readings"]
        client.send_reports([client.sign_report(key, number + 1, observations)])
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while client.status()["readings"] < held + a_batch:
            assert time.monotonic() < deadline, "the readings did not arrive"
            time.sleep(0.05)


def measured(ask: Callable[[], object]) -> tuple[float, float]:
    """Median wall and CPU milliseconds."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        started, spent = time.perf_counter(), time.process_time()
        ask()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return 1000 * statistics.median(wall), 1000 * statistics.median(cpu)


def compare(network: Network, batches: int) -> dict[str, float]:
    key = Secp256k1Key(keccak(b"bench %d" % batches))
    device = key.identity.device
    with client_of(network, True) as proven, client_of(network, False) as plain:
        fill(proven, key, batches)
        assert len(proven.readings(device=device, limit=READINGS)) == READINGS
        assert len(plain.readings(device=device, limit=READINGS)) == READINGS
        without = measured(lambda: plain.readings(device=device, limit=READINGS))
        with_ = measured(lambda: proven.readings(device=device, limit=READINGS))
    wall, cpu = (one / two for one, two in zip(with_, without, strict=True))
    figures = {
        "batches": batches,
        "unverified_wall_ms": without[0],
        "verified_wall_ms": with_[0],
        "wall_ratio": wall,
        "unverified_cpu_ms": without[1],
        "verified_cpu_ms": with_[1],
        "cpu_ratio": cpu,
    }
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        settings = {"RELAYER_MAX_AGE_S": "0.2"}
        with Network(Path(home) / "network", ports=Ports.free(), settings=settings) as network:
            lines = [json.dumps(compare(network, batches)) for batches in (1, 10, 100)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
