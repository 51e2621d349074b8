"""The real relayer, as a process that ends itself (SIGKILL) at a named point.

CHAOS_POINT is one of POINTS, CHAOS_NTH how many times it has to come there.
"""

import asyncio
import functools
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from support.forked import run_command


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
    """The target of a forked process: until it dies."""
    named = dict(environment)
    label = named.pop("CHAOS_POINT", "")
    if label:
        arm(label, int(named.pop("CHAOS_NTH")))
    run_command("corechain_relayer", ["run"], named, log)
