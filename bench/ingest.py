"""The whole path of messages: what one costs, how fast they go, and whether one is lost.

make bench-ingest       RATE= SECONDS= DEVICES= LIST= CONNECTIONS= WINDOWS= NATIVE=0 ONE_PROCESS=1
make bench-ingest LONG=1        ten minutes, with a kill -9 every 20 s (KILL_EVERY=)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts import Accounts
from floor import floor
from kills import Kills

from corechain.devnet.network import Network
from corechain.devnet.settings import Ports
from corechain.protocol import native

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# Signed files are kept: the contracts of a fresh local chain have the same addresses every time.
CACHE = HERE.parent / ".corechain" / "bench"
COMMAND = [sys.executable, "-m", "corechain.cli"]
SETTLE_LIMIT_S = 600
IDLE_S = 5.0
WINDOW = 20
"""Observations under one signature in the second part."""


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"BENCH_{name}") or default)


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `reports` of each of the devices, so many observations in each."""

    name: str
    devices: int
    reports: int
    observations: int
    a_request: int
    connections: int
    rate: float | None
    """Reports a second; None: as fast as the gateway answers."""
    backlog: bool = False
    """Each request is one device's: all that it has saved up."""

    @property
    def total(self) -> int:
        return self.devices * self.reports


def command(network: Network, *arguments: object) -> None:
    """Exit code 1 is for what was lost or refused: the figures say it, and the run goes on."""
    words = [*COMMAND, *map(str, arguments), "--home", str(network.home)]
    done = subprocess.run(words, check=False)
    assert done.returncode in (0, 1), f"{arguments[:2]} ended with {done.returncode}"


def signed(network: Network, load: Load) -> Path:
    """The load's file, from an earlier run if there is one."""
    registry = network.deployment.address("DeviceRegistry").hex()[:8]
    shape = f"{load.devices}x{load.reports}x{load.observations}{'b' * load.backlog}"
    file = CACHE / f"{load.name}-{shape}-{registry}.ccfl"
    command(network, "fleet", "enrol", "--devices", load.devices, "--name", load.name)
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        options = "--devices", load.devices, "--reports", load.reports, "--name", load.name
        more = ["--backlog"] if load.backlog else []
        command(
            network, "fleet", "sign", file, *options, "--observations", load.observations, *more
        )
    return file


def send_options(load: Load) -> list[object]:
    pace = ["--storm"] if load.rate is None else ["--rate", load.rate]
    return ["--list", load.a_request, "--connections", load.connections, *pace]


def run_load(network: Network, load: Load, kill_every_s: float = 0.0) -> dict[str, Any]:
    """Sends a load, waits until it is committed, and says what all processes spent on it."""
    file = signed(network, load)
    work = Path(tempfile.mkdtemp(prefix="corechain-acks-"))
    sent, found, log = work / "sent.json", work / "reconciled.json", work / "acks"
    kills = Kills(network, kill_every_s).start()
    accounts, started = Accounts(kills.pids).start(), time.monotonic()
    command(network, "fleet", "send", file, "--log", log, "--summary", sent, *send_options(load))
    sending_s = time.monotonic() - started
    kills.stop()
    data = "--data-dir", network.data_dir
    wait = "--quick", "--wait", SETTLE_LIMIT_S
    command(network, "reconcile", log, *data, *wait, "--summary", found)
    accounts.stop()
    seconds = time.monotonic() - started
    return figures(load, accounts, json.loads(sent.read_text()), json.loads(found.read_text())) | {
        "sending_s": round(sending_s, 1),
        "until_committed_s": round(seconds, 1),
        "kills": dict(kills.counts),
    }


def idle_cores(network: Network) -> float:
    """What the network spends on waiting: at low rates the most of a message's share."""
    accounts = Accounts(network.pids).start()
    time.sleep(IDLE_S)
    accounts.stop()
    return round(sum(accounts.cpu_s().values()) / IDLE_S, 3)


def figures(
    load: Load, accounts: Accounts, sent: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    cpu = accounts.cpu_s()
    messages = max(1, found["committed"])
    return {
        "messages": found["acknowledged"],
        "offered_per_s": load.rate,
        "messages_per_s": sent["messages_per_s"],
        "observations_per_s": sent["observations_per_s"],
        "cpu_us_per_message": round(1e6 * sum(cpu.values()) / messages, 1),
        "cpu_us_by_service": {name: round(1e6 * s / messages, 1) for name, s in cpu.items()},
        "cores_used": round(sum(cpu.values()) / sent["seconds"], 2),
        "lost": found["lost"],
        "doubled": found["doubled"],
        "refused": sum(sent["refused"].values()),
        "retried_requests": sum(sent["retried_requests"].values()),
        "faults": found["faults"],
        **{name: sent[name] for name in ("post_p50_ms", "post_p95_ms", "post_p99_ms")},
        "behind_s": sent["behind_s"],
        "rss_mib": {name: round(mib) for name, mib in accounts.memory_mib.items()},
    }


def one_process() -> bool:
    return os.environ.get("BENCH_ONE_PROCESS") == "1"


def is_long() -> bool:
    return os.environ.get("BENCH_LONG") == "1"


def loads() -> tuple[Load, Load]:
    rate, seconds = setting("RATE", 16_700), setting("SECONDS", 600 if is_long() else 60)
    devices, size = int(setting("DEVICES", 50_000)), int(setting("LIST", 500))
    connections = int(setting("CONNECTIONS", 32))
    reports = max(1, round(rate * seconds / devices))
    singles = Load("single", devices, reports, 1, size, connections, rate)
    windows = max(1, round(setting("WINDOWS", 100_000) / devices))
    return singles, Load("window", devices, windows, WINDOW, size // 5 or 1, connections, None)


def measure(network: Network) -> dict[str, Any]:
    messages, windows = loads()
    floors = floor()
    idle = idle_cores(network)
    kill_every_s = setting("KILL_EVERY", 20) if is_long() else 0.0
    one, many = run_load(network, messages, kill_every_s), run_load(network, windows)
    rate = many["messages"] * WINDOW / many["until_committed_s"]
    return {
        "bench": "ingest",
        "native": native.library is not None,
        "long": is_long(),
        "one_process": one_process(),
        "floor_us": floors["recover_us"],
        "idle_cores": idle,
        **one,
        "window_observations_per_s": round(rate),
        "window_cpu_us_per_observation": round(many["cpu_us_per_message"] / WINDOW, 2),
        "windows": many,
        "load_average": [round(one, 2) for one in os.getloadavg()],
    }


@contextmanager
def network_of_its_own() -> Iterator[Network]:
    with (
        tempfile.TemporaryDirectory(prefix="corechain-bench-") as home,
        Network(
            Path(home) / "network",
            ports=Ports.free(),
            services=("relayer",),
            one_process=one_process(),
            progress=lambda line: print("·", line, file=sys.stderr),
        ) as network,
    ):
        yield network


def main() -> None:
    with network_of_its_own() as network:
        found = measure(network)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(found)
    (RESULTS / "ingest.json").write_text(json.dumps(found, indent=2) + "\n")
    with (RESULTS / "ingest.jsonl").open("a") as file:
        file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
