"""The manifests as they run: pods are placed, replaced and evicted as they say. `make
test-cluster` runs this; the nodes are kwok's, whose pods are ready at once and run nothing.

given the public overlay on three nodes in three zones
  every pod runs, and those of a service are in different zones
  while a service is rolled out, no fewer pods than before are available
  while a node is drained, no service has two pods fewer; then all are on the other nodes
given no room for a second pod
  an eviction of the last one is refused
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.cluster import record
from support.control_plane import ControlPlane
from support.manifests import KUSTOMIZE, SERVING, Site, kustomize
from support.processes import PATIENCE_S, eventually
from support.running_site import NODES, SPACE, ready, running_site

SITE = Site("public")
PUBLIC = KUSTOMIZE / "overlays" / "public"
DRAIN_LIMIT_S = 600
"""Each refused eviction is tried again after 5 s."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running_site(tmp_path_factory.mktemp("plane"), kustomize(PUBLIC)) as running:
        # KEDA's part: no controller of its kind runs here.
        running.done(*SPACE, "scale", "deployment/aggregator", "--replicas=2")
        yield running


def replicas() -> Counter[str]:
    """How many pods each service has with nothing to do."""
    return Counter(
        {one.name: one.document["spec"].get("replicas", 2) for one in SITE.workloads(*SERVING)}
    )


def running_now(plane: ControlPlane) -> Counter[str]:
    return Counter(
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in ready(plane)
        if "corechain/step" not in pod["metadata"]["labels"]
    )


def fewest_while(plane: ControlPlane, done: Callable[[], bool]) -> Counter[str]:
    """The fewest pods of each service that were ready at any look until `done`."""
    fewest, deadline = replicas(), time.monotonic() + DRAIN_LIMIT_S + PATIENCE_S
    while not done():
        now = running_now(plane)
        fewest = Counter({name: min(count, now[name]) for name, count in fewest.items()})
        assert time.monotonic() < deadline
    return fewest


def test_all_pods_run_in_different_zones(plane: ControlPlane) -> None:
    assert eventually(lambda: running_now(plane) == replicas()), (running_now(plane), replicas())
    for name in ("gateway", "api", "mirror", "aggregator", "watchtower"):
        nodes = {pod["spec"]["nodeName"] for pod in ready(plane, name)}
        assert len(nodes) == 2, name


def test_a_rollout_takes_no_pod_before_its_successor_is_there(plane: ControlPlane) -> None:
    assert eventually(lambda: running_now(plane) == replicas())
    plane.done(*SPACE, "set", "image", "deployment/gateway", "corechain=registry.example/other:2")

    def is_done() -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in ready(plane, "gateway")}
        return images == {"registry.example/other:2"} and len(ready(plane, "gateway")) == 2

    fewest = fewest_while(plane, is_done)["gateway"]
    assert fewest >= 2
    record("kubernetes_rollout", pods=sum(replicas().values()), fewest_gateways=fewest)


def gather(plane: ControlPlane, name: str, place: str) -> None:
    """All pods of a service on one node: the worst that a drain can meet."""
    others = sorted(NODES.keys() - {place})
    plane.done("cordon", *others)
    plane.done(*SPACE, "rollout", "restart", f"deployment/{name}")
    plane.done(*SPACE, "rollout", "status", f"deployment/{name}", f"--timeout={PATIENCE_S:.0f}s")
    plane.done("uncordon", *others)
    assert eventually(lambda: nodes_of(plane, name) == [place, place])


def nodes_of(plane: ControlPlane, name: str) -> list[str]:
    return [pod["spec"]["nodeName"] for pod in ready(plane, name)]


def test_a_drained_node_takes_one_pod_of_a_service_at_a_time(plane: ControlPlane) -> None:
    assert eventually(lambda: running_now(plane) == replicas())
    gather(plane, "gateway", "node-a")
    steady, started = replicas(), time.monotonic()
    moved = sum(pod["spec"]["nodeName"] == "node-a" for pod in ready(plane))
    words = "drain", "node-a", "--delete-emptydir-data", f"--timeout={DRAIN_LIMIT_S}s"
    with plane.begin(*words) as draining:
        fewest = fewest_while(plane, lambda: draining.poll() is not None)
        assert draining.returncode == 0, draining.communicate()[0]
    took_s = time.monotonic() - started
    assert {name: count for name, count in fewest.items() if count < steady[name] - 1} == {}
    assert eventually(lambda: running_now(plane) == steady), running_now(plane)
    assert "node-a" not in {pod["spec"]["nodeName"] for pod in ready(plane)}
    plane.done("uncordon", "node-a")
    record("kubernetes_drain", drain_s=round(took_s, 1), moved=moved, fewest=dict(fewest))


def test_the_last_pod_of_a_service_is_not_evicted(plane: ControlPlane) -> None:
    assert eventually(lambda: running_now(plane) == replicas())
    for name in NODES:
        plane.done("cordon", name)
    try:
        first, second = ready(plane, "gateway")
        assert evict(plane, first).returncode == 0
        assert eventually(lambda: len(ready(plane, "gateway")) == 1)
        refused = evict(plane, second)
        assert refused.returncode == 1
        assert "violate the pod's disruption budget" in refused.stderr
    finally:
        for name in NODES:
            plane.done("uncordon", name)
    assert eventually(lambda: running_now(plane) == replicas())


def evict(plane: ControlPlane, pod: Any) -> Any:
    name = pod["metadata"]["name"]
    metadata = {"name": name, "namespace": "corechain"}
    document = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/corechain/pods/{name}/eviction"
    return plane.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(document))
