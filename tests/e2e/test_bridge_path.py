"""A station's upload on its way: bridge and network as processes, the command as a user types it.

given a station that was added by command
  ├── its upload is a proven reading of the indexer, with the provenance of a bridge
  ├── its archive, imported by command, is sent by the bridge that runs
  ├── when the bridge is killed in the middle of uploads
  │     └── it every upload that was acknowledged is a reading once, and nothing else is
  ├── when an answer of the gateway is lost
  │     └── it the same bytes are sent again, and the gateway has them already
  └── when the gateway is away: /ready says so, uploads are taken, and sent when it is back
"""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from relayer.bridges import MARKED, NOBODY, Stage
from relayer.support import RelayerProcess
from support.command import corechain
from support.forked import begin
from support.processes import PATIENCE_S, eventually

from corechain import Client, Provenance
from corechain.deployment import load_deployment
from corechain.devnet.process import free_port
from corechain.devnet.service import probe
from corechain.devnet.settings import ADMIN_KEY
from corechain.protocol.keys import Secp256k1Key
from corechain.service.supervision import stop_all
from corechain_relayer.bridge import admin
from corechain_relayer.bridge.formats.upload import Measurement, Upload
from corechain_relayer.bridge.sender import GatewayUnavailable
from corechain_relayer.bridge.service import Bridge
from corechain_relayer.bridge.settings import Settings

START = 1_600_000_000
"""The times of the observations; the network takes old ones."""
SETTLED_S = 180.0
UPLOADS, KILLS = 16, 2


class BridgeProcess(RelayerProcess):
    """A real bridge."""

    def launch(self):
        self.starts += 1
        environment = {"PATH": os.environ["PATH"], **self.environment}
        self.process = begin("corechain.cli", ["bridge", "run"], environment, self.log_path)


@pytest.fixture(scope="module")
def settings(network, tmp_path_factory):
    """The environment of a bridge of this network, for its process and its commands."""
    return {
        "BRIDGE_GATEWAY_URL": network.urls.relayer,
        "BRIDGE_DEPLOYMENT": str(network.manifest),
        "BRIDGE_DATA_DIR": str(tmp_path_factory.mktemp("bridge") / "data"),
        "BRIDGE_RPC_URL": network.urls.anvil,
        "BRIDGE_REGISTRAR_KEY": ADMIN_KEY,
        "BRIDGE_HTTP_PORT": "0",
        "BRIDGE_OPS_PORT": str(free_port()),
        "BRIDGE_UNKNOWN_PAUSE_S": "0.2",
        "BRIDGE_MAX_AGE_S": str(30 * 366 * 86_400),
    }


def command(settings, *words):
    """What a command of the bridge prints."""
    done = corechain("bridge", *words, changes=settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def station(settings):
    """Added by command: (device, path of its uploads)."""
    words = ("station", "add", "roof", "--format", "ecowitt", "--elevation", "12")
    added = json.loads(command(settings, *words, "--latitude", "40.7", "--longitude", "-74.0"))
    return bytes.fromhex(added["device"][2:]), added["path"]


@pytest.fixture(scope="module")
def bridge(settings, station, tmp_path_factory):
    process = BridgeProcess(settings, tmp_path_factory.mktemp("process"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(network):
    urls = network.urls
    with Client(urls.indexer, urls.relayer, urls.anvil, network.deployment) as found:
        yield found


def settles(true):
    """From the bridge's queue to a verified batch of the indexer, on a machine that is busy."""
    return eventually(true, SETTLED_S)


def form(at, fahrenheit):
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
    return {"PASSKEY": "0" * 32, "dateutc": stamp, "tempf": str(fahrenheit), "tempinf": "70"}


def upload(bridge, path, data):
    """Sends it until it is acknowledged, as a station does."""

    def is_taken():
        try:
            answer = httpx.post(bridge.url + path, data=data, timeout=PATIENCE_S)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    assert eventually(is_taken)


def readings(client, device, start):
    """(time, hundredths of a degree); the query proves each."""
    found = client.readings(device=device, metric="air_temperature", start=start, end=start + 999)
    assert all(item.reading.provenance is Provenance.BRIDGE for item in found)
    return [(item.reading.observed_at, item.reading.value) for item in found]


def test_an_upload_is_a_proven_reading_with_the_provenance_of_a_bridge(bridge, station, client):
    device, path = station
    upload(bridge, path, form(START, 50))
    assert settles(lambda: readings(client, device, START) == [(START, 1000)])
    hexed = "0x" + device.hex()
    page = httpx.get(f"{client.api_url}/v1/readings", params={"device": hexed}).json()
    assert {row["provenance"] for row in page["items"]} == {"bridge"}
    found = httpx.get(f"{client.api_url}/v1/devices/{hexed}").json()
    assert found["provenance"] == "bridge"


def test_what_operates_a_bridge_is_at_a_port_of_its_own(bridge, settings, station):
    ops = int(settings["BRIDGE_OPS_PORT"])
    status, text = probe(ops, "/metrics", PATIENCE_S)
    assert (status, "corechain_bridge_queue_reports" in text) == (200, True)
    assert probe(ops, station[1], PATIENCE_S)[0] == 404
    assert httpx.get(f"{bridge.url}/metrics", timeout=PATIENCE_S).status_code == 404
    assert httpx.get(f"{bridge.url}/health", timeout=PATIENCE_S).status_code == 200


def test_a_bridge_that_is_killed_loses_and_doubles_nothing(bridge, station, client):
    """Killed while an upload is under way, wherever that is then; the station tries again."""
    device, path = station
    first, expected = START + 1_000, []
    with ThreadPoolExecutor(1) as stations:
        for number in range(UPLOADS):
            at = first + 10 * number
            expected.append((at, round((50 + number - 32) * 5 / 9 * 100)))
            done = stations.submit(upload, bridge, path, form(at, 50 + number))
            if number % (UPLOADS // KILLS) == 5:
                bridge.kill()
                bridge.start()
            done.result()
    assert settles(lambda: len(readings(client, device, first)) >= len(expected))
    assert readings(client, device, first) == expected


def test_an_archive_that_was_imported_by_command_is_sent(
    bridge, settings, station, client, tmp_path
):
    archive = tmp_path / "winter.csv"
    rows = [f"{START + 2_000 + 60 * n},{20 + n}.25\n" for n in range(5)]
    archive.write_text("time,air_temperature\n" + "".join(rows))
    said = json.loads(command(settings, "import", archive, "--station", "roof"))
    assert said == {"rows": 5, "observations": 5, "skipped": {}}
    expected = [(START + 2_000 + 60 * n, 2_025 + 100 * n) for n in range(5)]
    assert settles(lambda: readings(client, station[0], START + 2_000) == expected)


@pytest.fixture
def stage(network, settings, tmp_path):
    """Makes bridges in this process, with a gateway that is there or away, on one folder."""

    def make(gateway=network.urls.relayer):
        values = {name.removeprefix("BRIDGE_").lower(): value for name, value in settings.items()}
        values |= {"gateway_url": gateway, "data_dir": tmp_path}
        del values["ops_port"]  # one port has all, and is that of the process that runs
        return Stage(Bridge(Settings(**values), load_deployment(network.manifest)))

    return make


def registered(stage, name, key):
    """A station of a stage whose device the network knows."""
    stage.keys = iter([Secp256k1Key(key.to_bytes(32, "big"))])
    station = stage.station(name, "ecowitt")
    admin.register(stage.bridge.settings, stage.bridge.deployment, station, None)
    return station


async def emptied(bridge):
    while bridge.store.depth():
        with suppress(GatewayUnavailable):
            await bridge.sender.send_some()
        await asyncio.sleep(0.05)


async def test_an_answer_of_the_gateway_that_is_lost_is_asked_for_again(stage):
    """Between the gateway's answer and the end of the entry in the queue."""
    bridge = (found := stage()).bridge
    station, store, sender = registered(found, "one", MARKED[0]), bridge.store, bridge.sender
    bridge.intake.keep(station, [Upload((Measurement(1, START, 1_234),))])
    queued = store.head(10)

    async def sent():
        """What the gateway says once it has seen the registration, and is not busy."""
        while True:
            with suppress(GatewayUnavailable):
                names = await sender._send(queued)
                if names not in (["UnknownDevice"], ["Unavailable"]):
                    return names
            await asyncio.sleep(0.05)

    async with asyncio.timeout(PATIENCE_S):
        assert await sent() == [None]
        assert store.head(10) == queued  # what a crash here leaves behind
        assert await sent() == ["ReplayedSequence"]
        await emptied(found.bridge)
    assert store.refused() == []
    await bridge.close()


async def test_while_the_gateway_is_away_uploads_are_kept_and_ready_says_why(stage, client):
    away = stage(NOBODY)
    station = registered(away, "two", MARKED[1])
    loops = [asyncio.create_task(loop) for loop in away.bridge.loops()]
    async with away.client() as web, asyncio.timeout(PATIENCE_S):
        answer = await web.post(f"/ecowitt/{away.tokens['two']}", data=form(START, 50))
        assert answer.status_code == 200
        while "gateway" not in (ready := await web.get("/ready")).json().get("failing", ()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert ready.status_code == 503
        assert "corechain_bridge_queue_reports 1.0" in (await web.get("/metrics")).text
    await stop_all(loops)
    await away.bridge.close()

    back = stage().bridge
    async with asyncio.timeout(PATIENCE_S):
        await emptied(back)
    await back.close()
    assert settles(lambda: readings(client, station.device, START) == [(START, 1000)])


def test_a_station_that_was_removed_uploads_no_more(bridge, settings, station):
    _, path = station
    assert [one["name"] for one in json.loads(command(settings, "station", "list"))] == ["roof"]
    command(settings, "station", "remove", "roof")
    answer = httpx.post(bridge.url + path, data=form(START + 7_000, 50), timeout=PATIENCE_S)
    assert answer.status_code == 401
    assert json.loads(command(settings, "refused")) == []
