"""The manifests as they run: pods are placed, replaced and evicted as they say. `make
test-cluster` runs this; the nodes are kwok's, whose pods are ready at once and run nothing.

given the public overlay on three nodes in three zones
  every pod runs, and those of a service are in different zones
  while a service is rolled out, no fewer pods than before are available
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
from support.control_plane import (
    ControlPlane,
    api_server,
    controllers,
    install,
    needed,
    node,
)
from support.manifests import KUSTOMIZE, SERVING, Site, kustomize
from support.processes import PATIENCE_S, eventually

SITE = Site("public")
SPACE = ("-n", "corechain")
NODES = {"node-a": "zone-a", "node-b": "zone-b", "node-c": "zone-c"}
DISKS = (("batches", "ReadWriteMany", "100Gi"), ("data-bridge-0", "ReadWriteOnce", "10Gi"))


def volume(claim: str, mode: str, size: str) -> dict[str, Any]:
    """A disk for a claim: there is no provisioner here."""
    spec = {
        "capacity": {"storage": size},
        "accessModes": [mode],
        "hostPath": {"path": f"/disks/{claim}"},
        "claimRef": {"namespace": "corechain", "name": claim},
    }
    name = {"name": claim}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": name, "spec": spec}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    needed("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    with api_server(tmp_path_factory.mktemp("plane")) as running:
        install(running)
        with controllers(running):
            running.apply(*(node(*place) for place in NODES.items()))
            disks = (
                ("batches", "ReadWriteMany", "100Gi"),
                ("data-bridge-0", "ReadWriteOnce", "10Gi"),
            )
            running.apply(*(volume(*disk) for disk in disks))
            running.done("apply", "-f", "-", text=kustomize(KUSTOMIZE / "overlays" / "public"))
            # KEDA's part: no controller of its kind runs here.
            running.done(*SPACE, "scale", "deployment/aggregator", "--replicas=2")
            yield running


def ready(plane: ControlPlane, name: str = "") -> list[Any]:
    """Pods that are ready, of one service or of all."""
    chosen = f"app.kubernetes.io/name={name}" if name else "app.kubernetes.io/part-of=corechain"
    return [
        pod
        for pod in plane.get("pods", *SPACE, "-l", chosen)["items"]
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in pod["status"].get("conditions", ())
        )
    ]


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


def kept_while(plane: ControlPlane, done: Callable[[], bool]) -> int:
    """The fewest gateways that were ready at any look until `done`."""
    looks, deadline = [len(ready(plane, "gateway"))], time.monotonic() + 2 * PATIENCE_S
    while not done():
        looks.append(len(ready(plane, "gateway")))
        assert time.monotonic() < deadline
    return min(looks)


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

    fewest = kept_while(plane, is_done)
    assert fewest >= 2
    record("kubernetes_rollout", pods=sum(replicas().values()), fewest_gateways=fewest)


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
