"""`corechain up --bus kafka`: the relayer's bus is Kafka, and the rest is as it was.

given a network whose bus is Kafka
  when a fleet sends
    what was acknowledged is committed, and its topic has it
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.processes import PATIENCE_S

from corechain.devnet.network import Network
from corechain.devnet.settings import Ports

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*words: object) -> str:
    command = [sys.executable, "-m", "corechain.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_fleet_sends_and_all_of_it_is_committed(deployed_home: Path, tmp_path: Path) -> None:
    home = shutil.copytree(deployed_home, tmp_path / "network")
    parts = {"services": ("relayer",), "repository": REPOSITORY, "bus": "kafka"}
    with Network(home, ports=Ports.free(), **parts) as network:
        assert "kafka" in [name for name, _, _ in network.rows()]
        assert network.environment("relayer")["RELAYER_BUS_URL"] == network.kafka.url
        file, log, found = tmp_path / "fleet", tmp_path / "acks", tmp_path / "found.json"
        of_it = "--home", home
        fleet = "--devices", 20, "--name", "kafka"
        run("fleet", "enrol", *fleet, *of_it)
        run("fleet", "sign", file, *fleet, "--reports", 3, "--observations", 1, *of_it)
        run("fleet", "send", file, "--log", log, "--list", 10, "--storm", *of_it)
        wait = "--quick", "--wait", int(PATIENCE_S), "--data-dir", network.data_dir
        run("reconcile", log, *wait, "--summary", found, *of_it)
        figures = json.loads(found.read_text())
        assert (figures["acknowledged"], figures["lost"], figures["doubled"]) == (60, 0, 0)
