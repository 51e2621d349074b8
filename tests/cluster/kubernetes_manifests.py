"""Every manifest on a real API server. `make test-cluster` runs this, once `make cluster-tools` has
built the server; pytest does not collect it by itself.

given an API server with KEDA's definitions
  it takes each overlay, as `--dry-run=server`, with no warning
  it takes the pods of each, in a namespace that enforces Kubernetes' strictest profile
  it refuses what is wrong, and a pod that asks for more
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.control_plane import ControlPlane, api_server, install, needed
from support.manifests import KUSTOMIZE, OVERLAYS, Document, Site, Workload, kustomize


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    needed("etcd", "kube-apiserver")
    with api_server(tmp_path_factory.mktemp("plane")) as running:
        install(running)
        yield running


def dry_run(plane: ControlPlane, document: Document) -> Any:
    words = ("create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-")
    return plane.kubectl(*words, text=json.dumps(document))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_takes_each_manifest(plane: ControlPlane, overlay: str) -> None:
    text = kustomize(KUSTOMIZE / "overlays" / overlay)
    words = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    finished = plane.kubectl(*words, text=text)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(finished.stdout.splitlines()) == len(Site(overlay).all)


def pod_of(one: Workload, **changes: Any) -> Document:
    spec = copy.deepcopy(one.pod) | {"restartPolicy": "Always"} | changes
    metadata = {"name": f"try-{one.name}", "namespace": "corechain", "labels": one.labels}
    claims = one.document["spec"].get("volumeClaimTemplates", ())
    spec["volumes"] += [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_their_pods_are_allowed_by_the_strictest_profile(plane: ControlPlane, overlay: str) -> None:
    for one in Site(overlay).workloads():
        finished = dry_run(plane, pod_of(one))
        assert (finished.returncode, finished.stderr) == (0, ""), one.name


def test_a_pod_that_asks_for_more_is_refused(plane: ControlPlane) -> None:
    gateway = Site("public").workload("gateway")
    finished = dry_run(plane, pod_of(gateway, hostNetwork=True))
    assert finished.returncode == 1
    assert 'violates PodSecurity "restricted' in finished.stderr


def test_what_is_wrong_is_refused(plane: ControlPlane) -> None:
    scaler = copy.deepcopy(Site("public").named("HorizontalPodAutoscaler", "gateway"))
    scaler["spec"]["maxReplicas"] = 1
    assert "must be greater than or equal to" in dry_run(plane, scaler).stderr
    scaled = copy.deepcopy(Site("public").named("ScaledObject", "aggregator"))
    scaled["spec"]["triggers"][0]["lagThreshold"] = 5
    assert "unknown field" in dry_run(plane, scaled).stderr
