"""The API metrics.k8s.io as metrics-server serves it, of services whose load the test chooses.

Source: k8s.io/metrics, v1beta1.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from corechain.devnet.process import LOCALHOST
from support.aggregated import register, wait_for
from support.control_plane import ControlPlane
from support.running_site import ready

API = "v1beta1.metrics.k8s.io"
PATH = "/apis/metrics.k8s.io/v1beta1"
VERSION = "metrics.k8s.io/v1beta1"


@dataclass(slots=True)
class Load:
    """CPU cores that each service uses in all, shared evenly by its ready pods."""

    plane: ControlPlane
    cores: dict[str, float] = field(default_factory=dict)

    def answer(self, url: str) -> dict[str, Any]:
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if not path.endswith("/pods"):
            kind = {"name": "pods", "namespaced": True, "kind": "PodMetrics", "verbs": ["list"]}
            listed = {"groupVersion": VERSION, "resources": [{"singularName": "", **kind}]}
            return {"kind": "APIResourceList", "apiVersion": "v1", **listed}
        service = query["labelSelector"][0].removeprefix("app.kubernetes.io/name=")
        pods = ready(self.plane, service)
        used_m = round(1_000 * self.cores.get(service, 0.0) / max(1, len(pods)))
        items = [_metrics(pod, used_m) for pod in pods]
        return {"kind": "PodMetricsList", "apiVersion": VERSION, "metadata": {}, "items": items}


def _metrics(pod: Any, used_m: int) -> dict[str, Any]:
    usage = {"cpu": f"{used_m}m", "memory": "100Mi"}
    names = [one["name"] for one in pod["spec"]["containers"]]
    kept = ("name", "namespace", "labels")
    return {
        "metadata": {name: pod["metadata"][name] for name in kept},
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": "10s",
        "containers": [{"name": name, "usage": usage} for name in names],
    }


def _handler(load: Load) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.startswith(PATH)
            body = json.dumps(load.answer(self.path) if known else {}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not to standard error."""

    return Handler


@contextmanager
def cpu_metrics(plane: ControlPlane) -> Iterator[Load]:
    load = Load(plane)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*plane.authority.issue("metrics"))
    with ThreadingHTTPServer((LOCALHOST, 0), _handler(load)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            register(plane, API, "metrics", server.server_port)
            wait_for(plane, API)
            yield load
        finally:
            server.shutdown()
            thread.join()
