"""A version before, this one beside it, this one alone, and the version before again.

given the servers of a network, and services of a version before with readings in their tables
  when this version's services start on the same databases, and one of each kind ends after another
    what either gateway acknowledges is committed, each report once
    both query APIs give the same answers, and what was there before is there
  when this version is taken back
    the version before goes on with the migrated databases
"""

import itertools
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from relayer.support import PACKED, SUBMITTER_KEY, Chain, Sensor, eventually, secp
from relayer.test_crash import committed_reports, key_of
from support.asking import HTTP
from support.cluster import record
from support.processes import PATIENCE_S

from corechain.deployment import load_deployment
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.service import Service

REPOSITORY = Path(__file__).resolve().parents[2]
LANDED = {
    "last": "60eab8cfc46092dadbe83290d6a75264e00c38ff",
    "old": "5be0aada6a018d64db5e248e117509894212995a",
}
"""Versions before. There is no tag yet, so each is a commit that was released to users as a whole:
the newest, and one that lies eleven migrations back."""
SOURCES = "sdk/src", "relayer/src", "indexer/src"
"""First on the path of a process, they are what it imports."""


class HistoryMissing(Exception):
    """The repository at hand does not have the version before."""


def version_before(commit: str, folder: Path) -> Path:
    """Its sources. Raises HistoryMissing."""
    git = ["git", "-C", str(REPOSITORY)]
    found = subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], check=False)
    if found.returncode != 0:
        shallow = ["rev-parse", "--is-shallow-repository"]
        said = subprocess.run([*git, *shallow], capture_output=True, text=True, check=True)
        is_shallow = said.stdout.strip() == "true"
        way = "git fetch --unshallow" if is_shallow else "a clone of the whole repository"
        raise HistoryMissing(f"commit {commit} is not here: this test needs {way}")
    archive = subprocess.run([*git, "archive", commit, *SOURCES], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


@dataclass
class Site:
    """Two databases, a bus, a folder and a chain, and services of either version before them."""

    folder: Path
    chain: Chain
    relayer: dict[str, str]
    indexer: dict[str, str]
    old: Path
    stack: ExitStack
    sensors: Sequence[Sensor]
    numbers: Iterator[int] = field(default_factory=itertools.count)
    acknowledged: Counter[tuple[bytes, int]] = field(default_factory=Counter)

    def start(self, role: str, new: bool) -> Service:
        """Ready when it returns."""
        service = "indexer" if role == "indexer" else "relayer"
        own = dict(self.indexer if service == "indexer" else self.relayer)
        port = free_port()
        own[f"{service.upper()}_HTTP_PORT"] = str(port)
        if not new:
            own["PYTHONPATH"] = ":".join(str(self.old / path) for path in SOURCES)
        roles = [] if service == "indexer" else ["--role", role]
        name = f"{next(self.numbers)}-{'new' if new else 'old'}-{role}"
        started = Service(name, self.folder / name, port, [service, "run", *roles], own)
        self.stack.callback(started.kill)
        started.start()
        return started

    def relayers(self, new: bool) -> dict[str, Service]:
        return {role: self.start(role, new) for role in ("aggregator", "submitter", "gateway")}

    def send(self, gateway: Service, rounds: int = 5) -> None:
        """Each device a report a round, until it is acknowledged."""
        for _ in range(rounds):
            for sensor in self.sensors:
                report = sensor.report()
                eventually(lambda: self._post(gateway, report.pack()), PATIENCE_S)  # noqa: B023
                self.acknowledged[key_of(report)] += 1

    @staticmethod
    def _post(gateway: Service, body: bytes) -> bool:
        answer = HTTP.post(
            f"{gateway.url}/v1/reports", content=body, headers={"content-type": PACKED}
        )
        # A gateway that has just started does not know the registry yet, 409: it came through.
        assert answer.status_code in (202, 404, 409, 503), answer.text
        return answer.status_code in (202, 409)

    def all_committed(self) -> None:
        folder = Path(self.relayer["RELAYER_DATA_DIR"])

        def is_so() -> bool:
            """every acknowledged report is in a committed batch"""
            return committed_reports(self.chain, folder) == self.acknowledged

        eventually(is_so, PATIENCE_S)

    def answers(self, index: Service) -> dict[str, Any]:
        """Of the queries below, as soon as all batches are verified."""
        wanted = max(self.chain.commitments())
        eventually(
            lambda: _get(index, f"/v1/batches/{wanted}").get("state") == "verified", PATIENCE_S
        )
        devices = [sensor.key.identity.device.hex() for sensor in self.sensors]
        paths = ["/v1/devices", "/v1/batches?limit=500"]
        paths += [f"/v1/readings?device=0x{device}&limit=1000" for device in devices]
        paths += [f"/v1/latest?device=0x{device}" for device in devices]
        return {path: _get(index, path) for path in paths}


def _get(service: Service, path: str) -> Any:
    answer = HTTP.get(service.url + path)
    assert answer.status_code in (200, 404, 503), answer.text
    return answer.json() if answer.status_code == 200 else {}


@pytest.fixture(params=LANDED)
def landed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(
    landed: str,
    anvil: str,
    chain_state: None,
    deployment: Path,
    bus_url: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> Iterator[Site]:
    (tmp_path / "old").mkdir()
    chain = Chain(anvil, load_deployment(deployment))
    sensors = [Sensor(secp(number), chain.domain) for number in (1, 2, 3)]
    for sensor in sensors:
        chain.register(sensor.key)
    relayer = {
        "RELAYER_RPC_URL": anvil,
        "RELAYER_DEPLOYMENT": str(deployment),
        "RELAYER_BUS_URL": bus_url,
        "RELAYER_DATABASE_URL": postgres_server.create_database(f"{landed}_relayer"),
        "RELAYER_DATA_DIR": str(tmp_path / "data"),
        "RELAYER_SUBMITTER_KEY": SUBMITTER_KEY,
        "RELAYER_FRAME_KEY": "11" * 32,
        "RELAYER_MAX_AGE_S": "0.3",
    }
    indexer = {
        "INDEXER_RPC_URL": anvil,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_DATABASE_URL": postgres_server.create_database(f"{landed}_indexer"),
        "INDEXER_REDIS_URL": bus_url.removesuffix("/0") + "/1",
        "INDEXER_DATA_URLS": f"file://{tmp_path}/data/{{commitment}}.ccdf",
    }
    with ExitStack() as stack:
        old = version_before(LANDED[landed], tmp_path / "old")
        yield Site(tmp_path, chain, relayer, indexer, old, stack, sensors)


def end(services: dict[str, Service], role: str) -> None:
    services[role].stop()


def test_a_version_comes_beside_the_one_before_and_goes_again(site: Site, landed: str) -> None:
    began = time.monotonic()
    old, old_index = site.relayers(new=False), site.start("indexer", new=False)
    site.send(old["gateway"])
    site.all_committed()
    before = site.answers(old_index)

    new_index = site.start("indexer", new=True)
    # Beside each other: frames of the old gateway for the new aggregator, and the other way round.
    new_gateway = site.start("gateway", new=True)
    site.send(new_gateway)
    site.all_committed()
    new = {"aggregator": site.start("aggregator", new=True), "gateway": new_gateway}
    end(old, "aggregator")
    site.send(old["gateway"])
    site.send(new_gateway)
    site.all_committed()
    new["submitter"] = site.start("submitter", new=True)
    end(old, "submitter")
    site.send(old["gateway"])
    site.all_committed()
    beside = site.answers(old_index)
    assert site.answers(new_index) == beside
    _goes_on_from(before, beside)

    end(old, "gateway")
    old_index.stop()
    site.send(new_gateway)
    site.all_committed()
    alone = site.answers(new_index)
    _goes_on_from(beside, alone)

    for role in ("gateway", "aggregator", "submitter"):
        end(new, role)
    new_index.stop()
    back, back_index = site.relayers(new=False), site.start("indexer", new=False)
    site.send(back["gateway"])
    site.all_committed()
    _goes_on_from(alone, site.answers(back_index))
    seconds = round(time.monotonic() - began)
    reports = sum(site.acknowledged.values())
    figures = {"before": LANDED[landed][:10], "reports": reports, "seconds": seconds}
    record("upgrade" if landed == "last" else "upgrade-old", lost=0, doubled=0, **figures)


def _goes_on_from(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What was listed is listed still, as it was but for what may change: a state of finality."""
    for path, document in before.items():
        if "items" not in document or path.startswith("/v1/latest"):
            continue
        kept = [_lasting(item) for item in after[path]["items"]]
        assert [item for item in document["items"] if _lasting(item) not in kept] == [], path


def _lasting(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("final", "finality")}


def test_a_repository_without_the_version_before_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a shallow clone fails with what to do, and skips nothing"""
    clone = tmp_path / "shallow"
    source = f"file://{REPOSITORY}"
    words = ["git", "clone", "--quiet", "--depth", "1", source, str(clone)]
    subprocess.run(words, check=True, timeout=PATIENCE_S)
    monkeypatch.setitem(globals(), "REPOSITORY", clone)
    with pytest.raises(HistoryMissing, match="git fetch --unshallow"):
        version_before(LANDED["old"], tmp_path)
