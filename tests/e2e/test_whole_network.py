"""The whole path, all services as processes on embedded servers, real weather.

given the network
  ├── the demo ends with exit 0 and a summary in which the known faults are rejected
  ├── when relayer and indexer are killed in the middle of the replay and started again
  │     ├── it every acknowledged observation is in a batch exactly once
  │     └── it everything that the indexer serves is proven against the chain
  └── when somebody listens: a message comes for every verified batch
"""

import json
import shutil
import subprocess
import sys
from collections import Counter

import httpx
import pytest
from support.processes import PATIENCE_S, eventually
from websockets.sync.client import connect

from corechain.account import account_from_key
from corechain.client import Client
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.devnet.weather import STATIONS, read_rows
from corechain.protocol.batch import open_data_file
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.steps import ApiUnavailable

ROWS, PART = 600, 24
KILLED = {7: "relayer", 11: "indexer", 15: "relayer", 19: "indexer"}
SETTLED_S = 180.0


def test_the_demo_shows_the_whole_path(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "corechain.cli", "demo", "--home", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=300,
        env=None,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "1048 mph wind",
        "queries paid by voucher",
        "100 in one transaction",
        "rewards claimed",
        "17.40 °C of 744 readings",
    ):
        assert line in done.stdout


@pytest.fixture(scope="module")
def small_batches(deployed_home, tmp_path_factory):
    settings = {"RELAYER_MAX_READINGS": "700", "RELAYER_MAX_AGE_S": "1"}
    home = shutil.copytree(deployed_home, tmp_path_factory.mktemp("network") / "home")
    with Network(home, ports=Ports.free(), settings=settings) as network:
        yield network


def _client(network):
    urls = network.urls
    account = account_from_key(ADMIN_KEY)
    return Client(urls.indexer, urls.relayer, urls.anvil, network.deployment, account)


def _deliver(client, network, reports):
    """Sends until the gateway has taken every report; a refusal of a replay is a delivery too."""
    for _ in range(50):
        try:
            deliveries = client.send_reports(reports)
        except ApiUnavailable:
            network.restart("relayer")
            continue
        assert all(d.accepted or d.error == "ReplayedSequence" for d in deliveries), deliveries
        return
    raise AssertionError("the gateway did not come back")


def _data_files(network, client):
    for batch in client.batches(limit=1000):
        name = batch["commitment"].removeprefix("0x")
        answer = httpx.get(f"{network.urls.relayer}/v1/data/{name}", timeout=PATIENCE_S)
        yield open_data_file(answer.raise_for_status().content)[0]


def test_services_killed_in_the_middle_of_the_replay_lose_nothing(small_batches):
    network = small_batches
    keys = {s.name: Secp256k1Key(bytes(31) + bytes([i])) for i, s in enumerate(STATIONS, 1)}
    keys["LGA"] = P256Key(bytes(31) + b"\x09")
    rows, sent, sequences = read_rows([2])[:ROWS], Counter(), dict.fromkeys(keys, 0)
    with _client(network) as client:
        for key in keys.values():
            client.register_device(key)
        for number, first in enumerate(range(0, ROWS, PART)):
            reports = []
            for row in rows[first : first + PART]:
                sequences[row.station] += 1
                key, sequence = keys[row.station], sequences[row.station]
                reports.append(client.sign_report(key, sequence, row.observations))
                sent[key.identity.device, sequence] = len(row.observations)
            if number in KILLED:
                network.kill(KILLED[number])
            _deliver(client, network, reports)
            if KILLED.get(number) == "indexer":
                network.restart("indexer")
        total = sum(sent.values())

        def settled():
            try:
                status = client.status()
            except ApiUnavailable:
                return False
            return status["readings"] + status["rejections"] == total

        assert eventually(settled, SETTLED_S), client.status()
        found = Counter()
        for batch in _data_files(network, client):
            for signed in batch.reports:
                report = signed.report
                found[report.device, report.sequence] += report.count
        assert found == sent
        device = keys["LGA"].identity.device
        proven = client.readings(device=device, metric="pressure", limit=5)
        assert len(proven) == 5


def test_a_listener_hears_of_every_verified_batch(small_batches):
    network = small_batches
    key = Secp256k1Key(bytes(31) + b"\x33")
    url = network.urls.indexer.replace("http", "ws") + "/v1/batches/stream"
    with _client(network) as client, connect(url) as socket:
        client.register_device(key)
        row = read_rows([5])[0]
        # Of another test's last batch it may hear now, too.
        earlier = {batch["batch_id"] for batch in client.batches(limit=1000)}
        client.send_reports([client.sign_report(key, 1, row.observations)])
        message = json.loads(socket.recv(timeout=PATIENCE_S))
        while message["batch_id"] in earlier:
            message = json.loads(socket.recv(timeout=PATIENCE_S))
        batch = client.batch(message["batch_id"])
        assert (batch["state"], batch["commitment"]) == ("verified", message["commitment"])
        assert message["readings"] == batch["header"]["reading_count"] == len(row.observations)
