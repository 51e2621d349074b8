"""compose.yaml by podman: the whole network of one host in containers. `make test-compose` runs it.

given images that were built from this checkout, and a chain in a container of its own
  each service becomes healthy, as the user of the pods, without rights, on a root that is read only
  a report becomes a reading whose mean is proven, and an upload of a station is taken
  each service ends by itself within its time when it is stopped
"""

import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from support.cluster import record
from support.loading import loaded
from support.processes import PATIENCE_S, eventually

from corechain.account import account_from_key
from corechain.client import Client
from corechain.deployment import load_deployment
from corechain.devnet.deploy import deploy_contracts
from corechain.devnet.settings import (
    ADMIN_KEY,
    CHALLENGER_KEY,
    GUARD_KEY,
    RECEIPT_KEY,
    SUBMITTER_KEY,
    WATCHTOWER_KEY,
)
from corechain.devnet.weather import STATIONS, read_rows
from corechain.protocol.errors import ProtocolError, TransportError
from corechain.protocol.keys import Secp256k1Key

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
STORES = ("postgres", "valkey", "anvil")
# Those that others ask come first, as compose itself would start them.
SERVICES = ("gateway", "aggregator", "submitter", "guard", "mirror", "api", "bridge", "challenger")
PROFILES = ("--profile", "chain", "--profile", "bridge", "--profile", "challenger")
OPS_PORTS = {"mirror": 8712, "api": 8712, "bridge": 8716, "challenger": 8717}
SETTLED_S = 180.0
MEGABYTE = 1e6
# Run in a container: what its first process is, and whether it could write to the root.
LOOK = """
import json, os
lines = dict(line.split(":", 1) for line in open("/proc/1/status"))
try:
    open("/opt/mark", "w")
    writes = True
except OSError:
    writes = False
found = {"uids": lines["Uid"].split(), "rights": int(lines["CapEff"], 16), "writes": writes}
ticks = open("/proc/1/stat").read().rpartition(") ")[2].split()[11:13]
cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
print(json.dumps(found | {"kb": int(lines["VmRSS"].split()[0]), "cpu_s": cpu_s}))
"""
READY = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:%d/ready", timeout=20).status)
"""


@dataclass(frozen=True, slots=True)
class Compose:
    """The network of compose.yaml, with names and an address that nobody else has."""

    tool: ModuleType
    settings: Path
    project: str
    address: str

    def run(self, *words: str | Path, limit_s: float = 600.0) -> str:
        """What podman printed. Raises CalledProcessError."""
        return self._run("podman", *words, limit_s=limit_s)

    def compose(self, *words: str) -> str:
        files = ("-f", str(DEPLOY / "compose.yaml"), "--env-file", str(self.settings))
        return self._run(self.tool.podman_compose(), "-p", self.project, *files, *PROFILES, *words)

    def _run(self, *words: str | Path, limit_s: float = 600.0) -> str:
        environment = self.tool.environment()
        done = subprocess.run(
            list(map(str, words)), env=environment, capture_output=True, text=True, timeout=limit_s
        )
        if done.returncode:
            print(*words, done.stdout[-2_000:], done.stderr[-2_000:], flush=True)
        done.check_returncode()
        return done.stdout

    def up(self, *services: str) -> None:
        # podman asks for health by timers of systemd, which may not be there: whoever waits for a
        # dependency by it would wait for ever.
        self.compose("up", "-d", "--no-deps", *services)

    def name(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def is_healthy(self, service: str) -> bool:
        try:
            self.run("healthcheck", "run", self.name(service))
        except subprocess.CalledProcessError:
            return False
        return True

    def python(self, service: str, script: str) -> str:
        return self.run("exec", self.name(service), "python3", "-c", script)

    def state(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("inspect", self.name(service)))[0]["State"]
        return found

    def logs(self, *words: str) -> str:
        """Processes of ours log to standard error, and podman keeps the two apart."""
        done = subprocess.run(
            ["podman", "logs", *words],
            env=self.tool.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        return done.stdout

    def started_s(self, service: str) -> float:
        """From the start of its process, the last one, to the moment at which it says that it
        serves."""
        lines = self.logs("--timestamps", self.name(service)).splitlines()
        served = [line.split()[0] for line in lines if '"serving"' in line]
        began = self.state(service)["StartedAt"]
        return round(seconds_of(served[-1]) - seconds_of(began), 2)


def seconds_of(stamp: str) -> float:
    """Of the minute, of a time as podman writes it; both are seconds apart."""
    clock = stamp.replace(" ", "T").split("T")[1]
    hours, minutes, seconds = clock[:15].rstrip("Z+-").split(":")
    return int(hours) * 3_600 + int(minutes) * 60 + float(seconds)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(REPOSITORY / "tools"))
    found = loaded("tools/ensure_compose.py")
    why = found.lacking()
    if why:
        pytest.skip(why)
    subprocess.run([sys.executable, REPOSITORY / "tools" / "ensure_compose.py"], check=True)
    return found


@pytest.fixture(scope="module")
def network(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    folder = tmp_path_factory.mktemp("compose")
    address = f"127.{random.randint(2, 250)}.{random.randint(2, 250)}.{random.randint(2, 250)}"
    settings = {
        "LISTEN": address,
        "CHAIN_LISTEN": address,
        "MANIFEST": str(folder / "31337.json"),
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "FRAME_KEY": secrets.token_hex(32),
        **{f"{name.upper()}_IMAGE": f"localhost/standin-{name}:1" for name in tool.SERVERS},
        "SUBMITTER_KEY": SUBMITTER_KEY,
        "GUARD_KEY": GUARD_KEY,
        "WATCHTOWER_KEY": WATCHTOWER_KEY,
        "RECEIPT_KEY": RECEIPT_KEY,
        "CHALLENGER_KEY": CHALLENGER_KEY,
    }
    (folder / "env").write_text("".join(f"{name}={one}\n" for name, one in settings.items()))
    found = Compose(tool, folder / "env", f"corechain{os.getpid()}", address)
    try:
        found.up(*STORES)
        assert eventually(lambda: all(map(found.is_healthy, ("postgres", "valkey"))))
        deploy_contracts(REPOSITORY, f"http://{address}:8545", folder / "31337.json", print)
        (folder / "31337.json").chmod(0o644)
        found.up("owner", *SERVICES)
        yield found
    finally:
        for service in SERVICES:  # for the log of a test that failed
            print(service, found.logs("--tail", "20", found.name(service)))
        found.compose("down", "-v", "-t", "5")


def client_of(network: Compose, manifest: Path) -> Client:
    api, gateway, node = (f"http://{network.address}:{port}" for port in (8702, 8701, 8545))
    account = account_from_key(ADMIN_KEY)
    return Client(api, gateway, node, load_deployment(manifest), account)


def is_ready(network: Compose, service: str) -> bool:
    try:
        return "200" in network.python(service, READY % OPS_PORTS.get(service, 8711))
    except subprocess.CalledProcessError:
        return False


def send_and_prove(client: Client) -> None:
    """Sends a report, and asks for the mean of its temperature: the SDK proves it by the chain."""
    key, now = Secp256k1Key(secrets.token_bytes(32)), int(time.time())
    client.register_device(key)
    rows = read_rows((2,))[0].observations
    observations = [replace(one, observed_at=now - 60) for one in rows]
    report = client.sign_report(key, 1, observations)

    def is_taken() -> bool:
        try:
            return all(one.accepted for one in client.send_reports([report]))
        except (TransportError, ProtocolError):
            return False

    def is_verified() -> bool:
        status = client.status()
        return bool(status["readings"] + status["rejections"] >= len(observations))

    assert eventually(is_taken, SETTLED_S)
    assert eventually(is_verified, SETTLED_S)
    device, cell = key.identity.device, STATIONS[0].cell
    found = client.statistics("air_temperature", device, cell, now - 120, now)
    # The first observation of a row is its temperature.
    assert (found.count, found.mean) == (1, observations[0].value / found.metric.scale)


def test_the_network_of_one_host_runs_in_containers(network: Compose) -> None:
    for service in SERVICES:
        assert eventually(partial(network.is_healthy, service)), service
        assert eventually(partial(is_ready, network, service)), service
    started = {service: network.started_s(service) for service in SERVICES}

    looks = {service: json.loads(network.python(service, LOOK)) for service in SERVICES}
    for service, found in looks.items():
        assert found["uids"] == ["10001"] * 4, service
        assert (found["rights"], found["writes"]) == (0, False), service

    manifest = network.settings.with_name("31337.json")
    with client_of(network, manifest) as client:
        send_and_prove(client)

    words = ("station", "add", "roof", "--format", "ecowitt", "--cell", "872a1072bffffff")
    command = ("corechain", "bridge", *words, "--no-register")
    added = json.loads(network.run("exec", network.name("bridge"), *command))
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    form = {"PASSKEY": "0" * 32, "dateutc": stamp, "tempf": "50"}
    answer = httpx.post(
        f"http://{network.address}:8706{added['path']}", data=form, timeout=PATIENCE_S
    )
    assert answer.status_code == 200

    stopped = {}
    for service in SERVICES:
        began = time.monotonic()
        network.run("stop", "-t", "45", network.name(service))
        stopped[service] = round(time.monotonic() - began, 2)
        state = network.state(service)
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False), service
    # Once more, one after another: what a start takes where nothing else starts beside it.
    alone = {}
    for service in SERVICES:
        network.run("start", network.name(service))
        assert eventually(partial(is_ready, network, service)), service
        alone[service] = network.started_s(service)
    sizes = {
        name: network.run("image", "inspect", f"localhost/corechain/{name}:latest")
        for name in ("relayer", "indexer")
    }
    megabytes = {name: round(json.loads(one)[0]["Size"] / MEGABYTE) for name, one in sizes.items()}
    record(
        "compose",
        started_s=started,
        started_alone_s=alone,
        # Of its first process, up to when it was looked at: a busy machine makes seconds longer.
        cpu_s={service: one["cpu_s"] for service, one in looks.items()},
        stopped_s=stopped,
        rss_mib={service: round(one["kb"] / 1_024) for service, one in looks.items()},
        image_mb=megabytes,
    )
