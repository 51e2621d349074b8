"""What the tests of tests/cluster share: a fleet that sends, its books, and where figures go."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corechain.devnet.cluster import GATEWAYS, ClusterNetwork
from corechain.devnet.network import Network
from corechain.devnet.service import probe
from support.processes import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = REPOSITORY / ".corechain" / "test-cluster"
"""A file of figures for each part that was tested; tools/test_cluster.py makes one of them."""
FLEET_LIMIT_S = 600


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "corechain.cli", *map(str, words)]


def run(*words: object) -> None:
    subprocess.run(command(*words), check=True, timeout=FLEET_LIMIT_S)


def figure(port: int, name: str) -> float:
    """A figure of a service's metrics, without labels."""
    _, text = probe(port, "/metrics", PATIENCE_S)
    lines = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(next(lines).split()[1])


def accepted(network: Network) -> float:
    """How many reports the gateways have acknowledged, each in its present life."""
    behind = network.backends if isinstance(network, ClusterNetwork) else {}
    ports = [behind[name] for name in GATEWAYS] if behind else [network.ports.relayer]
    return sum(figure(port, "corechain_reports_accepted_total") for port in ports)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices that send what they have signed, and the log of what was acknowledged."""

    network: Network
    folder: Path
    devices: int = 500
    reports: int = 80
    rate: float = 2_000.0
    """Reports a second."""

    @property
    def messages(self) -> int:
        return self.devices * self.reports

    @property
    def _log(self) -> Path:
        return self.folder / "acks"

    @property
    def _home(self) -> tuple[str, Path]:
        return "--home", self.network.home

    @contextmanager
    def sending(self, *words: object, whole: bool = True) -> "Iterator[subprocess.Popen[bytes]]":
        """Enrols and signs first; waits at the end until all is sent. Not `whole`: ends the sender,
        which waits for the answers to what is under way."""
        shape = "--devices", self.devices, "--name", "cluster"
        file = self.folder / "signed"
        run("fleet", "enrol", *shape, *self._home)
        sizes = "--reports", self.reports, "--observations", 1
        run("fleet", "sign", file, *shape, *sizes, *self._home)
        options = "--log", self._log, "--rate", self.rate, *words, *self._home
        with subprocess.Popen(command("fleet", "send", file, *options)) as process:
            try:
                yield process
                if whole:
                    assert process.wait(FLEET_LIMIT_S) == 0
                else:
                    process.terminate()
                    process.wait(FLEET_LIMIT_S)
            finally:
                process.kill()

    def reconciled(self) -> dict[str, Any]:
        """The books: every acknowledged report in exactly one committed file?"""
        found = self.folder / "found.json"
        wait = "--quick", "--wait", 300, "--data-dir", self.network.data_dir
        run("reconcile", self._log, *wait, "--summary", found, *self._home)
        figures: dict[str, Any] = json.loads(found.read_text())
        return figures


def record(part: str, **figures: object) -> None:
    """Keeps what was measured of a part, for the table of all."""
    PARTS.mkdir(parents=True, exist_ok=True)
    document = {"part": part, "at": round(time.time()), **figures}
    print(json.dumps(document))
    (PARTS / f"{part}.json").write_text(json.dumps(document, indent=2) + "\n")
