"""Clients that hear late that a pod goes: what `preStop` is for.

The nodes of a cluster learn one after another that a pod has left a Service, and send it new
connections until then. NGINX hides that, for it tries another gateway; a client in the cluster has
nobody who would.
"""

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.kubelet import Kubelet, PodRun
from support.processes import PATIENCE_S

LATE_S = 2.0
"""After the pod was asked to end; the manifests keep it serving for 5 s."""
PAUSE_S = 0.1
ANSWER_LIMIT_S = 30.0


@dataclass(slots=True)
class LateClients:
    """Asks each pod by itself, over a new connection each time. `paths`: name of the port and
    path, by the service's name."""

    kubelet: Kubelet
    paths: Mapping[str, tuple[str, str]]
    asked: int = 0
    asked_late: int = 0
    """Of pods that had been asked to end."""
    refused: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            for run in list(self.kubelet.runs.values()):
                asked = self.paths.get(run.view.service)
                if asked is not None and run.is_ready:
                    self._ask(run, *asked)

    def stop(self) -> None:
        self._stopping.set()

    def _ask(self, run: PodRun, port: str, path: str) -> None:
        since = run.ending_since
        late_s = 0.0 if since is None else time.monotonic() - since
        if late_s >= LATE_S:
            return
        self.asked += 1
        self.asked_late += since is not None
        why = _refusal(run.view.address, run.view.port(port), path)
        if why:
            end = "not asked to end" if since is None else f"asked to end {late_s:.1f} s before"
            self.refused.append(f"{run.name}, {end}: {why}")


def _refusal(host: str, port: int, path: str) -> str:
    """Empty where the answer is 200."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
        return "" if status == http.client.OK else str(status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


@contextmanager
def late_clients(kubelet: Kubelet, paths: Mapping[str, tuple[str, str]]) -> Iterator[LateClients]:
    clients = LateClients(kubelet, paths)
    thread = threading.Thread(target=clients.run, daemon=True)
    thread.start()
    try:
        yield clients
    finally:
        clients.stop()
        thread.join(PATIENCE_S)
