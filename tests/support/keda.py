"""KEDA beside a control plane: its operator asks a trigger's server, its adapter serves what it was
told as external metrics, through the API server's aggregation layer."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from corechain.devnet.process import LOCALHOST, free_port
from support.aggregated import register, wait_for
from support.control_plane import ControlPlane, Part

METRICS = "v1beta1.external.metrics.k8s.io"


def _certificates(plane: ControlPlane) -> Path:
    """Operator and adapter prove to each other who they are, with one certificate."""
    folder = plane.folder / "keda"
    folder.mkdir()
    certificate, secret = plane.authority.issue("keda")
    for source, name in ((plane.authority.path, "ca"), (certificate, "tls"), (secret, "tls")):
        shutil.copy(source, folder / f"{name}{source.suffix}")
    return folder


def _operator(plane: ControlPlane, certificates: Path, metrics: int) -> Part:
    health = free_port()
    words = [
        f"--cert-dir={certificates}",
        f"--metrics-service-bind-address={LOCALHOST}:{metrics}",
        f"--health-probe-bind-address={LOCALHOST}:{health}",
        "--metrics-bind-address=0",
        "--leader-elect=false",
        # They would be patched with a certificate that it makes: ours are there.
        "--enable-cert-rotation=false",
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
    ]
    return Part("keda-operator", plane.folder, health, words, "http:/readyz")


def _adapter(plane: ControlPlane, certificates: Path, metrics: int) -> Part:
    port = free_port()
    words = [
        f"--cert-dir={certificates}",
        f"--metrics-service-address={LOCALHOST}:{metrics}",
        f"--bind-address={LOCALHOST}",
        f"--secure-port={port}",
        f"--port={free_port()}",
        *(
            f"--{asked}-kubeconfig={plane.kubeconfig}"
            for asked in ("lister", "authentication", "authorization")
        ),
    ]
    return Part("keda-adapter", plane.folder, port, words, "https:/readyz")


@contextmanager
def keda(plane: ControlPlane) -> Iterator[None]:
    """Both programs, and external metrics available."""
    certificates, metrics = _certificates(plane), free_port()
    operator, adapter = (make(plane, certificates, metrics) for make in (_operator, _adapter))
    register(plane, METRICS, "keda", adapter.port)
    settings = {
        "KUBECONFIG": str(plane.kubeconfig),
        "POD_NAMESPACE": "keda",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda",
        "WATCH_NAMESPACE": "",
    }
    with ExitStack() as stack:
        for part in (operator, adapter):
            part.environment = {**os.environ, **settings}
            stack.callback(part.kill)
            part.start()
        wait_for(plane, METRICS)
        yield
