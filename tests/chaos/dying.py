"""The real relayer, as a process that ends itself (SIGKILL) at a named point.

CHAOS_POINT is one of POINTS, CHAOS_NTH how many times it has to come there.
"""

import asyncio
import functools
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """Right before or right after a call of one function of a role."""

    role: str
    module: str
    owner: str
    """A class of the module; empty: the module itself."""
    name: str
    after: bool

    @property
    def label(self) -> str:
        place = f"{self.owner}.{self.name}" if self.owner else self.name
        return f"{self.role}: {'after' if self.after else 'before'} {place}"


def _both(role: str, module: str, owner: str, name: str) -> list[Point]:
    return [Point(role, module, owner, name, after) for after in (False, True)]


PACKAGE = "corechain_relayer."
POINTS = {
    point.label: point
    for point in (
        *_both("gateway", "bus.valkey", "ValkeyBus", "append"),
        *_both("gateway", "bus.kafka.bus", "KafkaBus", "append"),
        *_both("aggregator", "aggregator.sealing", "", "write_data_file"),
        *_both("aggregator", "journal.batches", "BatchJournal", "keep"),
        *_both("aggregator", "journal.fold", "", "_apply"),
        *_both("aggregator", "bus.consumer", "ValkeyConsumer", "ack"),
        *_both("aggregator", "bus.kafka.consumer", "KafkaConsumer", "ack"),
        *_both("submitter", "submitter.journal", "IntentJournal", "record"),
        *_both("submitter", "submitter.node", "Node", "send"),
        *_both("submitter", "submitter.journal", "IntentJournal", "mark_sent"),
        *_both("submitter", "submitter.journal", "IntentJournal", "confirm"),
        *_both("watchtower", "watchtower.store", "EvidenceStore", "keep"),
        *_both("watchtower", "watchtower.store", "EvidenceStore", "want"),
        *_both("guard", "guard.store", "AnswerStore", "record"),
    )
}


def points_on(bus: str) -> list[str]:
    """The labels of those points that a relayer on this kind of bus comes to."""
    others = {"valkey": "Kafka", "kafka": "Valkey"}[bus]
    return [label for label, point in POINTS.items() if not point.owner.startswith(others)]


def dying(real: Callable[..., Any], after: bool, nth: int) -> Callable[..., Any]:
    """The real function; the process is gone before or after its nth call."""
    left = [nth]

    def die() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(real)
    def sync(*args: Any, **kwargs: Any) -> Any:
        if not after:
            die()
        answer = real(*args, **kwargs)
        if after:
            die()
        return answer

    @functools.wraps(real)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        if not after:
            die()
        answer = await real(*args, **kwargs)
        if after:
            die()
        return answer

    return asynchronous if asyncio.iscoroutinefunction(real) else sync


def arm(label: str, nth: int) -> None:
    point = POINTS[label]
    module = importlib.import_module(PACKAGE + point.module)
    owner = getattr(module, point.owner) if point.owner else module
    setattr(owner, point.name, dying(getattr(owner, point.name), point.after, nth))


def live(environment: Mapping[str, str], log: str) -> None:
    """Runs in a process of its own that was forked when all was imported, as an init system's would
    be once it had read its files: until it dies."""
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    label = os.environ.pop("CHAOS_POINT", "")
    if label:
        arm(label, int(os.environ.pop("CHAOS_NTH")))
    from corechain_relayer.commands import commands

    sys.argv = ["corechain_relayer", "run"]
    commands()


class Forked:
    """A relayer, as `subprocess.Popen` has it. Importing it anew for each kill takes four times as
    long as all that it does until it is killed."""

    context = multiprocessing.get_context("forkserver")

    def __init__(self, environment: Mapping[str, str], log: str) -> None:
        self.context.set_forkserver_preload(["chaos.preload"])
        self._process = self.context.Process(target=live, args=(dict(environment), log))
        self._process.start()

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        return int(self._process.exitcode or 0)
