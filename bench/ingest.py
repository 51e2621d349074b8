"""The whole path of messages: what one costs, how fast they go, and whether one is lost.

make bench-ingest       RATE= SECONDS= DEVICES= LIST= CONNECTIONS= WINDOWS= P256= SINGLES=
                        NATIVE=0 ONE_PROCESS=1
make bench-ingest LONG=1        ten minutes, with a kill -9 every 20 s (KILL_EVERY=); then every
                        data file is sealed again: its content is what the chain has committed to
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts import Accounts
from floor import floor, microseconds, p256_check
from kills import VICTIMS, Kills

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
LATENCIES = "post_p50_ms", "post_p95_ms", "post_p99_ms", "post_longest_ms"
WINDOW = 20
"""Observations under one signature in the part of windows."""
FEWER_DEVICES = 5_000
"""For the parts that ask what a signature or a request costs, not what a device does: the key of a
secure element is a transaction's payload."""


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
    p256: bool = False
    """Devices with secure elements."""
    bound: bool = False
    """Afterwards every data file is sealed again and compared with its commitment."""

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
    curve = ["--p256"] if load.p256 else []
    command(network, "fleet", "enrol", "--devices", load.devices, "--name", load.name, *curve)
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        options = "--devices", load.devices, "--reports", load.reports, "--name", load.name
        more = [*curve, *(["--backlog"] if load.backlog else [])]
        command(
            network, "fleet", "sign", file, *options, "--observations", load.observations, *more
        )
    return file


def send_options(load: Load) -> list[object]:
    pace = ["--storm"] if load.rate is None else ["--rate", load.rate]
    return ["--list", load.a_request, "--connections", load.connections, *pace]


def run_load(
    network: Network,
    load: Load,
    kill_every_s: float = 0.0,
    victims: Sequence[str] = VICTIMS,
    gateways: Sequence[str] = (),
) -> dict[str, Any]:
    """Sends a load, waits until it is committed, and says what all processes spent on it.

    `gateways`: their URLs, where the network has more than one.
    """
    file = signed(network, load)
    work = Path(tempfile.mkdtemp(prefix="corechain-acks-"))
    sent, found, log = work / "sent.json", work / "reconciled.json", work / "acks"
    to = [word for url in gateways for word in ("--gateway-url", url)]
    kills = Kills(network, kill_every_s, victims).start()
    accounts, started = Accounts(kills.pids).start(), time.monotonic()
    options = *to, *send_options(load)
    command(network, "fleet", "send", file, "--log", log, "--summary", sent, *options)
    sending_s = time.monotonic() - started
    kills.stop()
    data = "--data-dir", network.data_dir
    wait = "--wait", SETTLE_LIMIT_S
    command(network, "reconcile", log, *data, "--quick", *wait, "--summary", found)
    accounts.stop()
    seconds = time.monotonic() - started
    if load.bound:  # once more, when the clock has stopped: it seals every file again
        command(network, "reconcile", log, *data, *wait, "--summary", found)
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
        "retried_why": sent["retried_requests"],
        "faults": found["faults"],
        "bound": load.bound,
        **{name: sent[name] for name in LATENCIES},
        "behind_s": sent["behind_s"],
        "rss_mib": {name: round(mib) for name, mib in accounts.memory_mib.items()},
    }


def one_process() -> bool:
    return os.environ.get("BENCH_ONE_PROCESS") == "1"


def is_long() -> bool:
    return os.environ.get("BENCH_LONG") == "1"


def loads() -> dict[str, Load]:
    """By what they measure. A part with no messages is left out."""
    rate, seconds = setting("RATE", 16_700), setting("SECONDS", 600 if is_long() else 60)
    devices, size = int(setting("DEVICES", 50_000)), int(setting("LIST", 500))
    connections, each = int(setting("CONNECTIONS", 32)), round(rate * seconds / devices) or 1
    fewer = min(devices, FEWER_DEVICES)
    shapes = {
        # First: the clock of this part stops when all is found, and who looks reads what was there.
        "windows": Load(
            "window", fewer, _each("WINDOWS", 100_000, fewer), WINDOW,
            size // 5 or 1, connections, None,
        ),
        "messages": Load(
            "single", devices, each, 1, size, connections, rate, bound=is_long()
        ),
        "p256": Load(
            "secure", fewer, _each("P256", 50_000, fewer), 1, size, connections, None, p256=True
        ),
        "singles": Load("alone", fewer, _each("SINGLES", 50_000, fewer), 1, 1, 256, None),
    }  # fmt: skip
    return {name: load for name, load in shapes.items() if load.reports}


def _each(name: str, messages: int, devices: int) -> int:
    """Messages of each device."""
    wanted = setting(name, messages)
    return max(1, round(wanted / devices)) if wanted >= 1 else 0


def window_figures(many: dict[str, Any]) -> dict[str, Any]:
    rate = many["messages"] * WINDOW / many["until_committed_s"]
    return {
        "window_observations_per_s": round(rate),
        "window_cpu_us_per_observation": round(many["cpu_us_per_message"] / WINDOW, 2),
    }


def gateway_us(found: dict[str, Any]) -> float:
    by_service: dict[str, float] = found["cpu_us_by_service"]
    return sum(us for name, us in by_service.items() if name in ("gateway", "relayer"))


def p256_figures(found: dict[str, Any]) -> dict[str, Any]:
    return {"p256_gateway_us": gateway_us(found), "p256_floor_us": microseconds(p256_check())}


def single_figures(found: dict[str, Any]) -> dict[str, Any]:
    return {"singles_gateway_us": gateway_us(found), "singles_per_s": found["messages_per_s"]}


SUMMARIES = {"windows": window_figures, "p256": p256_figures, "singles": single_figures}


def measure(network: Network) -> dict[str, Any]:
    floors, idle = floor(), idle_cores(network)
    kill_every_s = {"messages": setting("KILL_EVERY", 20) if is_long() else 0.0}
    parts = {
        name: run_load(network, load, kill_every_s.get(name, 0.0)) for name, load in loads().items()
    }
    result = {
        "bench": "ingest",
        "native": native.library is not None,
        "long": is_long(),
        "one_process": one_process(),
        "floor_us": floors["recover_us"],
        "idle_cores": idle,
        **parts.pop("messages"),
    }
    for name, part in parts.items():
        result |= {**SUMMARIES[name](part), name: part}
    return result | {"load_average": [round(one, 2) for one in os.getloadavg()]}


@contextmanager
def network_of_its_own(
    settings: Mapping[str, str] | None = None, bus: str = "valkey"
) -> Iterator[Network]:
    with (
        tempfile.TemporaryDirectory(prefix="corechain-bench-") as home,
        Network(
            Path(home) / "network",
            ports=Ports.free(),
            services=("relayer",),
            one_process=one_process(),
            settings=settings or {},
            bus=bus,
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
