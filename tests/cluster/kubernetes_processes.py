"""The manifests with processes of ours as pods: what rollouts and a drain do to who sends and asks.
`make test-cluster` runs this. Scheduler, controllers and API server are Kubernetes'; a stand-in for
the kubelets starts, probes and ends a process for each pod (support/kubelet.py), and NGINX follows
the EndpointSlices of the Services (support/ingress.py).

given the small overlay, with Postgres, Valkey and a chain outside of it
  what `kubectl apply` alone brings up takes reports and answers queries
  while gateways, aggregators, APIs, mirrors and the submitter are rolled out, and a node is drained
    ├── nothing that was acknowledged is lost, nothing is counted twice, no report is refused
    ├── no query fails
    ├── a pod that was asked to end serves for two seconds more who has not heard of it
    └── no process ends but those that were asked to
"""

import copy
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.cluster import REPOSITORY, Fleet, record
from support.control_plane import ControlPlane
from support.ingress import Follower, ingress
from support.kube_api import KubeApi
from support.kubelet import Kubelet, kubelet
from support.kwok import NO_STAGES
from support.late_clients import late_clients
from support.manifests import Document, Site, listed
from support.processes import PATIENCE_S, eventually
from support.query_load import QueryLoad
from support.running_site import SPACE, ready, running_site

from corechain.devnet.network import Network
from corechain.devnet.service import probe
from corechain.devnet.settings import (
    GUARD_KEY,
    MAX_REPORT_AGE_S,
    SUBMITTER_KEY,
    WATCHTOWER_KEY,
    Ports,
)

SITE = Site("small")
PATHS = "/v1/batches?limit=20", "/v1/devices?limit=20", "/v1/status", "/v1/epochs"
ROLLED = "deployment/gateway", "deployment/aggregator", "deployment/api", "deployment/mirror"
ASKED_LATE = {"gateway": ("http", "/health"), "api": ("http", "/v1/status")}
STEP_LIMIT_S = 6 * PATIENCE_S
"""A rollout starts two processes one after the other, on a machine that runs all of it."""
CALM_S = 15.0
PAIRS = "gateway", "api", "aggregator", "mirror", "watchtower"
PODS = {**dict.fromkeys(PAIRS, 2), "submitter": 1, "guard": 1}


def secrets(network: Network) -> list[Document]:
    """As docs/operators/kubernetes.md lists them."""
    urls, databases = network.urls, network.databases
    values = {
        "relayer": {
            "rpc-url": urls.anvil,
            "bus-url": urls.valkey,
            "database-url": databases.database_url("relayer"),
        },
        "indexer": {
            "rpc-url": urls.anvil,
            "database-url": databases.database_url("indexer"),
            "redis-url": urls.valkey.removesuffix("/0") + "/1",
        },
        "frame-key": {"key": network.frame_key.read_text()},
        "submitter": {"lane-0": SUBMITTER_KEY},
        "guard": {"lane-0": GUARD_KEY},
        "watchtower": {"watchtower": WATCHTOWER_KEY},
    }
    head = {"apiVersion": "v1", "kind": "Secret"}
    return [
        {**head, "metadata": {"name": name, "namespace": "corechain"}, "stringData": found}
        for name, found in values.items()
    ]


def manifests(network: Network) -> str:
    """The overlay with what an operator fills in: contracts, secrets, old reports allowed."""
    changed = copy.deepcopy(list(SITE.all))
    settings = {
        "relayer": {
            "RELAYER_MAX_AGE_S": "2",
            "RELAYER_MAX_REPORT_AGE_S": str(MAX_REPORT_AGE_S),
        },
        # A Service's name needs the cluster's DNS.
        "indexer": {"INDEXER_DATA_URLS": f"{network.urls.relayer}/v1/data/{{commitment}}"},
    }
    for one in changed:
        name = one["metadata"]["name"]
        if one["kind"] == "ConfigMap" and name in settings:
            one["data"] |= settings[name]
        elif one["kind"] == "ConfigMap":
            one["data"]["deployment.json"] = network.manifest.read_text()
    return listed([*secrets(network), *changed])


@dataclass(slots=True)
class RunningSite:
    """A running site and what stands around it."""

    network: Network
    plane: ControlPlane
    kubelet: Kubelet
    ingress: Follower
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds of each."""

    def rolled_out(self, what: str) -> None:
        """As a new version is: another template, pod after pod."""
        began = time.monotonic()
        self.plane.done(*SPACE, "rollout", "restart", what)
        limit = f"--timeout={STEP_LIMIT_S:.0f}s"
        self.plane.done(*SPACE, "rollout", "status", what, limit)
        self.steps[f"rollout {what.partition('/')[2]}"] = round(time.monotonic() - began, 1)

    def drained(self, node: str) -> int:
        """How many pods had to leave."""
        began = time.monotonic()
        moved = sum(pod["spec"]["nodeName"] == node for pod in ready(self.plane))
        words = "drain", node, "--delete-emptydir-data", f"--timeout={STEP_LIMIT_S:.0f}s"
        with self.plane.begin(*words) as draining:
            said = draining.communicate(timeout=STEP_LIMIT_S + PATIENCE_S)[0]
        assert draining.returncode == 0, said
        assert eventually(self.is_whole, STEP_LIMIT_S), self.pods()
        self.steps["drain"] = round(time.monotonic() - began, 1)
        return moved

    def pods(self) -> dict[str, int]:
        return {name: len(ready(self.plane, name)) for name in PODS}

    def is_whole(self) -> bool:
        assert not self.kubelet.faults(), self.kubelet.faults()
        return self.pods() == PODS


@pytest.fixture
def site(deployed_home: Path, tmp_path: Path) -> Iterator[RunningSite]:
    home = shutil.copytree(deployed_home, tmp_path / "network")
    with ExitStack() as stack:
        network = Network(home, ports=Ports.free(), services=(), repository=REPOSITORY)
        stack.enter_context(network)
        network.data_dir.mkdir(exist_ok=True)
        site = running_site(tmp_path, manifests(network), NO_STAGES)
        plane = stack.enter_context(site)
        api = KubeApi(plane.port, "corechain")
        ports = network.ports.relayer, network.ports.indexer
        follower = stack.enter_context(ingress(api, tmp_path / "nginx", *ports, REPOSITORY))
        claims = {"batches": network.data_dir}
        running = stack.enter_context(kubelet(api, tmp_path / "pods", claims))
        # KEDA's part: no controller of its kind runs here.
        plane.done(*SPACE, "scale", "deployment/aggregator", "--replicas=2")
        yield RunningSite(network, plane, running, follower)


def readings(network: Network) -> int:
    """Of verified batches, as the API counts them."""
    status, text = probe(network.ports.indexer, "/v1/status", PATIENCE_S)
    return int(json.loads(text)["readings"]) if status == 200 else -1


def figures_of(load: QueryLoad, calm: tuple[float, float], busy: tuple[float, float]) -> Any:
    return {
        "queries": len(load.answers),
        "queries_failed": len(load.failed(*busy)),
        "p50_during_ms": median_ms(load, *busy),
        "p95_before_ms": load.p95_ms(*calm),
        "p95_during_ms": load.p95_ms(*busy),
    }


def median_ms(load: QueryLoad, start: float, end: float) -> float:
    return round(1e3 * statistics.median(one.took_s for one in load.between(start, end)), 1)


def test_rollouts_and_a_drain_lose_nothing(site: RunningSite, tmp_path: Path) -> None:
    began = time.monotonic()
    assert eventually(site.is_whole, STEP_LIMIT_S), (site.pods(), site.kubelet.restarts())
    up_s = round(time.monotonic() - began, 1)
    # As many as last for a quarter of an hour: the sender is ended when all is done.
    fleet = Fleet(site.network, tmp_path, devices=500, reports=90, rate=50.0)
    summary = tmp_path / "sent.json"
    load = QueryLoad(site.network.ports.indexer, lambda: PATHS)
    words = "--list", 5, "--connections", 8, "--summary", summary
    late = late_clients(site.kubelet, ASKED_LATE)
    with load, late as clients, fleet.sending(*words, whole=False) as sending:
        time.sleep(CALM_S)
        busy = time.monotonic()
        for what in ROLLED:
            site.rolled_out(what)
        site.rolled_out("statefulset/submitter")
        moved = site.drained("node-a")
        end = time.monotonic()
        assert sending.poll() is None, "the fleet was sending all the time"
    sent, books = json.loads(summary.read_text()), fleet.reconciled()
    record(
        "kubernetes_processes",
        up_s=up_s,
        seconds=site.steps,
        pods=sum(PODS.values()),
        moved=moved,
        turns_of_the_ingress=site.ingress.turns,
        restarts=site.kubelet.restarts(),
        acknowledged=books["acknowledged"],
        lost=books["lost"],
        doubled=books["doubled"],
        reports_refused=sent["refused"],
        requests_retried=sent["retried_requests"],
        post_p95_ms=sent["post_p95_ms"],
        asked_late=clients.asked_late,
        refused_late=len(clients.refused),
        **figures_of(load, (busy - CALM_S, busy), (busy, end)),
    )
    assert (books["lost"], books["doubled"], sent["refused"]) == (0, 0, {})
    assert books["acknowledged"] >= sent["acknowledged"] > 0
    assert eventually(lambda: readings(site.network) >= books["acknowledged"], 2 * PATIENCE_S)
    assert not load.failed(busy - CALM_S, end), load.failed(busy - CALM_S, end)[:5]
    assert clients.asked_late > 0
    assert clients.refused == []
    assert site.kubelet.restarts() == {}
