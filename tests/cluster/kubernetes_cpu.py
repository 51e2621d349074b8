"""Gateways and query APIs scaled by their CPU, as deploy/kustomize/base says. `make test-cluster`
runs this; the nodes are kwok's, so that the test says how many cores a service uses.

given the public overlay, and metrics of its pods
  with nothing to do there are two pods
  as a service uses more cores it has a pod for each 60 % of what a pod requests
  with nothing to do there are two again
"""

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import record
from support.cpu_metrics import Load, cpu_metrics
from support.manifests import Document, Site, listed
from support.running_site import running_site
from support.scaled import CALM, Scaled

SITE = Site("public")
SERVICES = "gateway", "api"
PODS = 4, 10
"""Twice as many as two, and more than one period of `scaleUp` allows."""


def calm() -> list[Document]:
    """The overlay with less time to calm down."""
    changed = copy.deepcopy(list(SITE.all))
    for one in changed:
        if one["kind"] == "HorizontalPodAutoscaler":
            one["spec"]["behavior"]["scaleDown"] = CALM
    return changed


def cores_a_pod(service: str) -> float:
    """What a pod uses when there are as many as the autoscaler wants."""
    (metric,) = SITE.named("HorizontalPodAutoscaler", service)["spec"]["metrics"]
    requested = SITE.workload(service).container["resources"]["requests"]["cpu"]
    wanted: float = metric["resource"]["target"]["averageUtilization"] / 100 * float(requested)
    return wanted


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    with running_site(tmp_path, listed(calm())) as plane, cpu_metrics(plane) as said:
        yield said


def test_gateways_and_apis_follow_their_cpu(load: Load) -> None:
    services = [Scaled(load.plane, name) for name in SERVICES]
    for pods in (2, *PODS, 2):
        for one in services:
            load.cores[one.service] = 0.0 if pods == 2 else pods * cores_a_pod(one.service)
        changed_at = time.monotonic()
        for one in services:
            one.become(pods, changed_at, cores=round(load.cores[one.service], 2))
    record("kubernetes_cpu", hpa_steps=[step for one in services for step in one.steps])
