"""An overlay as it runs: on a control plane with three nodes in three zones, and disks for its
claims."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.control_plane import (
    ControlPlane,
    api_server,
    controllers,
    install,
    needed,
    node,
)
from support.kwok import POD_STAGES

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


@contextmanager
def running_site(
    folder: Path, manifests: str, pods: Sequence[Any] = POD_STAGES
) -> Iterator[ControlPlane]:
    """`pods`: how those of kwok's nodes live. Skips the test where nothing is built."""
    needed("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    with api_server(folder) as running:
        install(running)
        with controllers(running, pods):
            running.apply(*(node(*place) for place in NODES.items()))
            running.apply(*(volume(*disk) for disk in DISKS))
            running.done("apply", "-f", "-", text=manifests)
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
