"""Stands in for ingress-nginx, which no registry has: the NGINX of deploy/nginx, led to the pods
that the EndpointSlices of the Services name."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from corechain.devnet.nginx import Behind, NginxServer
from support.kube_api import KubeApi
from support.kubelet import local
from support.processes import PATIENCE_S

LOOK_S = 0.25
DISCOVERY = "discovery.k8s.io/v1"


class Ingress(NginxServer):
    """A worker that was replaced answers a kept connection once more, then asks for a new one: no
    request meets the closing. ingress-nginx does not even replace its workers for a backend."""

    more = "keepalive_min_timeout 5s;"


def endpoints(api: KubeApi, service: str) -> list[str]:
    """HOST:PORT of the ready pods of a Service, at its port `http`."""
    found = set()
    chosen = f"kubernetes.io/service-name={service}"
    for one in api.items("endpointslices", DISCOVERY, chosen):
        port = next((port["port"] for port in one["ports"] or () if port["name"] == "http"), None)
        for endpoint in one["endpoints"] or ():
            if endpoint["conditions"].get("ready"):
                found |= {f"{local(address)}:{port}" for address in endpoint["addresses"]}
    return sorted(found)


@dataclass(slots=True)
class Follower:
    """Leads NGINX to whoever is ready."""

    api: KubeApi
    nginx: NginxServer
    turns: int = 0
    """How often it was led elsewhere."""
    _stopping: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        while not self._stopping.wait(LOOK_S):
            behind = Behind(endpoints(self.api, "gateway"), endpoints(self.api, "api"))
            if behind != self.nginx.behind:
                self.nginx.lead_to(behind)
                self.turns += 1

    def stop(self) -> None:
        self._stopping.set()


@contextmanager
def ingress(api: KubeApi, *place: Any) -> Iterator[Follower]:
    """`place`: folder, port of the gateways, port of the APIs, repository."""
    folder, *rest = place
    with Ingress(folder, Behind([], []), *rest) as nginx:
        follower = Follower(api, nginx)
        thread = threading.Thread(target=follower.follow, daemon=True)
        thread.start()
        try:
            yield follower
        finally:
            follower.stop()
            thread.join(PATIENCE_S)
