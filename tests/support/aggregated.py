"""APIs of the cluster that a process of this machine serves."""

from typing import Any

from support.control_plane import ControlPlane
from support.processes import PATIENCE_S


def register(plane: ControlPlane, api: str, namespace: str, port: int) -> None:
    """Tells the API server who serves `api` (VERSION.GROUP): a loopback port, by TLS."""
    version, _, group = api.partition(".")
    # A Service of this type is the only one that leads to loopback.
    service = {"type": "ExternalName", "externalName": "localhost"}
    place = {"name": "served-by-tests", "namespace": namespace}
    spec: dict[str, Any] = {
        "group": group,
        "version": version,
        "service": {**place, "port": port},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    registration = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": service},
        {**registration, "metadata": {"name": api}, "spec": spec},
    )


def wait_for(plane: ControlPlane, api: str) -> None:
    limit = f"--timeout={PATIENCE_S:.0f}s"
    plane.done("wait", "--for=condition=Available", f"apiservice/{api}", limit)
