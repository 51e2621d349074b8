"""Stands in for the kubelets of kwok's nodes: each pod that the scheduler has placed is a process
of this machine, with the environment, files, ports and probes of its manifest.

What differs from a kubelet: no image, no network or mounts of its own. A pod's address is
10.244.x.y; its process listens at 127.n.x.y, the same ports, and no other run has this n. A start
may take five times as long as `startupProbe` allows: here all nodes are one machine with two cores.
"""

import http.client
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path

from corechain.devnet.process import Child, Command
from corechain.devnet.service import clean_environment
from support.kube_api import KubeApi, Object, Refused
from support.pod_view import PodView, probe_port
from support.processes import PATIENCE_S

CLAIM_PORT = 8701
SYNC_S, TICK_S = 0.25, 0.1
PODS = "10.244"
SLOW = 5
"""How much longer than `startupProbe` says a start may take."""
_numbers = count(1)


@cache
def _here() -> tuple[str, socket.socket]:
    """Addresses that no other run of this machine has, and the socket that keeps them ours."""
    for number in range(64, 250):
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.255.254", CLAIM_PORT))
        except OSError:
            claim.close()
        else:
            return f"127.{number}", claim
    raise AssertionError("every 127.x of this machine is taken")


def local(pod_ip: str) -> str:
    """Where the ports of a pod are on this machine."""
    return pod_ip.replace(PODS, _here()[0], 1)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Probe:
    """One of the three of a container. Source: Kubernetes, "Probe", v1."""

    spec: Object
    address: str
    port: int
    passes: bool = False
    failures: int = 0
    _due: float = 0.0

    def tick(self) -> None:
        """Asks when it is time. A readiness probe passes until `failureThreshold` have failed."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.spec.get("periodSeconds", 10)
        if self._asked():
            self.passes, self.failures = True, 0
        else:
            self.failures += 1
            if self.failed:
                self.passes = False

    @property
    def failed(self) -> bool:
        return bool(self.failures >= self.spec.get("failureThreshold", 3))

    def _asked(self) -> bool:
        limit_s = self.spec.get("timeoutSeconds", 1)
        connection = http.client.HTTPConnection(self.address, self.port, timeout=limit_s)
        try:
            connection.request("GET", self.spec["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(slots=True)
class PodRun:
    """A pod from its placement to its end, in a thread of its own."""

    view: PodView
    ip: str
    grace_s: float = 0.0
    restarts: int = -1
    """Of its process."""
    fault: str = ""
    """What went wrong in the stand-in itself."""
    child: Child | None = None
    ending_since: float | None = None
    """When it was asked to end, by the monotonic clock."""
    _ending: threading.Event = field(default_factory=threading.Event)
    _told: Object = field(default_factory=dict)
    _thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return str(self.view.pod["metadata"]["name"])

    @property
    def _is_job(self) -> bool:
        owners = self.view.pod["metadata"].get("ownerReferences", ())
        return any(owner["kind"] == "Job" for owner in owners)

    @property
    def is_ready(self) -> bool:
        """As the API server was told last."""
        return bool(self._told.get("ready"))

    @property
    def is_over(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self, grace_s: float) -> None:
        """The API server has it as terminating."""
        if not self._ending.is_set():
            self.grace_s, self.ending_since = grace_s, time.monotonic()
            self._ending.set()

    def kill(self) -> None:
        """At the end of the test."""
        self._ending.set()
        if self.child is not None:
            self.child.kill()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                if self._is_complete():
                    return
                self._live()
            self._terminate()
        except (OSError, Refused, KeyError, AssertionError) as error:
            self.fault = f"{self.name}: {type(error).__name__} {error}"

    # ------------------------------------------------------------------ life

    def _live(self) -> None:
        """One process, until it ends or fails its probes, or the pod does."""
        child = self._start()
        startup, liveness, readiness = self._probes()
        while not self._ending.is_set() and child.exit_code() is None:
            if startup is not None and not startup.passes:
                startup.tick()
                hung = startup.failures >= SLOW * startup.spec["failureThreshold"]
            else:
                for probe in filter(None, (liveness, readiness)):
                    probe.tick()
                hung = liveness is not None and liveness.failed
            self._tell(ready=readiness is not None and readiness.passes)
            if hung:
                child.kill()
            self._ending.wait(TICK_S)

    def _start(self) -> Child:
        view = self.view
        environment = {**clean_environment(), **view.environment()}
        words = [sys.executable, "-m", "corechain.cli", *view.container["args"]]
        view.folder.mkdir(parents=True, exist_ok=True)
        command = Command(words, environment=environment)
        self.child = Child.spawn(command, view.folder / "log", view.folder)
        self.restarts += 1
        return self.child

    def _probes(self) -> tuple[Probe | None, Probe | None, Probe | None]:
        container = self.view.container

        def of(name: str) -> Probe | None:
            spec = container.get(name)
            return spec and Probe(spec, self.view.address, probe_port(container, spec))

        return of("startupProbe"), of("livenessProbe"), of("readinessProbe")

    def _is_complete(self) -> bool:
        """A job's process that has ended well is not started again."""
        done = self._is_job and self.child is not None and self.child.exit_code() == 0
        if done:
            self._tell(ready=False, phase="Succeeded")
        return done

    # ------------------------------------------------------------------ end

    def _terminate(self) -> None:
        """`preStop`, SIGTERM, and what is left of the time; then the pod is gone."""
        until = time.monotonic() + self.grace_s
        hook = self.view.container.get("lifecycle", {}).get("preStop")
        if hook is not None:
            time.sleep(hook["sleep"]["seconds"])
        if self.child is not None and self.child.exit_code() is None:
            self.child.stop(signal.SIGTERM, max(0.0, until - time.monotonic()))
        with suppress(Refused):
            # Somebody else may have removed it by force.
            self.view.api.remove("pods", self.name, self.view.pod["metadata"]["uid"])

    # ------------------------------------------------------------------ what it tells

    def _tell(self, *, ready: bool, phase: str = "Running") -> None:
        """Writes the status where it has changed."""
        said = {"ready": ready, "phase": phase, "restarts": self.restarts}
        if said != self._told:
            with suppress(Refused):
                self.view.api.patch_status("pods", self.name, self._status(ready, phase))
            self._told = said

    def _status(self, ready: bool, phase: str) -> Object:
        met = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
        conditions = [
            {"type": name, "status": str(true), "lastTransitionTime": now()}
            for name, true in met.items()
        ]
        container = self.view.container
        state: Object = {"running": {"startedAt": now()}}
        if phase == "Succeeded":
            state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        one = {"name": container["name"], "image": container["image"], "imageID": ""}
        one |= {"ready": ready, "started": True, "restartCount": self.restarts, "state": state}
        places = {"podIP": self.ip, "podIPs": [{"ip": self.ip}], "startTime": now()}
        return {"phase": phase, "conditions": conditions, "containerStatuses": [one], **places}


@dataclass(slots=True)
class Kubelet:
    """All pods of a namespace."""

    api: KubeApi
    folder: Path
    claims: Mapping[str, Path]
    runs: dict[str, PodRun] = field(default_factory=dict)
    """By uid; also those that are over."""
    _stopping: threading.Event = field(default_factory=threading.Event)

    def sync(self) -> None:
        """Starts what was placed here, ends what is terminating."""
        while not self._stopping.wait(SYNC_S):
            pods = {pod["metadata"]["uid"]: pod for pod in self.api.items("pods")}
            for pod in pods.values():
                self._follow(pod)
            for uid, run in self.runs.items():
                if uid not in pods:
                    run.end(0.0)

    def _follow(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if "nodeName" in pod["spec"]:
            run = self.runs.get(metadata["uid"]) or self._begun(pod)
            if "deletionTimestamp" in metadata:
                run.end(float(metadata["deletionGracePeriodSeconds"]))

    def _begun(self, pod: Object) -> PodRun:
        number = next(_numbers)
        ip = f"{PODS}.{number // 250}.{number % 250 + 1}"
        folder = self.folder / f"{pod['metadata']['name']}-{number}"
        run = PodRun(PodView(pod, self.api, folder, local(ip), self.claims), ip)
        self.runs[pod["metadata"]["uid"]] = run
        run.begin()
        return run

    def restarts(self) -> dict[str, int]:
        """Processes that ended by themselves or failed their probes."""
        return {run.name: run.restarts for run in self.runs.values() if run.restarts > 0}

    def faults(self) -> list[str]:
        return [run.fault for run in self.runs.values() if run.fault]

    def stop(self) -> None:
        self._stopping.set()
        for run in list(self.runs.values()):
            run.kill()


@contextmanager
def kubelet(api: KubeApi, folder: Path, claims: Mapping[str, Path]) -> Iterator[Kubelet]:
    """Ends every process when it is left."""
    running = Kubelet(api, folder, claims)
    thread = threading.Thread(target=running.sync, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(PATIENCE_S)
