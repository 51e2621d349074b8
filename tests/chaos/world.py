"""Virtual time, the trace, the faults that were reached, and deaths between any two effects.

Everything random comes from one generator that the seed makes: the same seed, the same trace.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any

from corechain.service.errors import StoreUnavailable
from corechain.service.tracing import NO_TRACES

MOST_GAS = 60_000
"""What a transaction of the models may use."""


NO_TWINS: Mapping[str, Any] = MappingProxyType({})


class Died(BaseException):
    """The process ends here. Nothing of ours may catch it."""


class Violation(AssertionError):
    """An invariant does not hold. `name`: as docs/reliability.md has it."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name, self.what = name, what


CRASHES = {
    ("before", "record"): "7 killed when signed, not in the journal",
    ("after", "record"): "8 killed when in the journal, not sent",
    ("before", "send"): "8 killed when in the journal, not sent",
    ("after", "send"): "9 killed when sent, not marked as sent",
    ("before", "mark_sent"): "9 killed when sent, not marked as sent",
    ("before", "record a replacement"): "12 killed during a replacement",
    ("after", "record a replacement"): "12 killed during a replacement",
    ("before", "confirm"): "13 killed when in a block, not in the journal",
    ("after", "confirm"): "13 killed when confirmed",
    ("before", "unconfirm"): "33 killed while a reorg is worked off",
    ("after", "unconfirm"): "33 killed while a reorg is worked off",
    ("after", "append"): "2 killed when on the bus, not acknowledged",
    ("before", "write file"): "3 killed when read from the bus, not in the journal",
    ("after", "write file"): "5 killed when sealed, not in the journal",
    ("before", "keep batch"): "5 killed when sealed, not in the journal",
    ("after", "keep batch"): "4 killed when in the journal, not off the bus",
    ("before", "ack"): "4 killed when in the journal, not off the bus",
}
"""Moments of the catalogue by the effect around which the process dies."""


@dataclass(slots=True)
class World:
    """What all models of one run share. Times in seconds of an origin of its own."""

    seed: int
    traced: bool = False
    """Whether the trace is kept as lines, for a person; its digest is there in any case."""
    rng: random.Random = field(init=False)
    now: float = 1_000_000.0
    reached: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    """What metrics and logs of the code under test have counted."""
    owed: Counter[str] = field(default_factory=Counter)
    """What they must have counted."""
    lines: list[str] = field(default_factory=list)
    trace: list[object] = field(default_factory=list)
    effects: int = 0
    dies_at: int = -1
    """Number of the effect at which the process dies; -1: it does not."""
    dies_after: bool = False
    fails_at: int = -1
    """Number of the effect at which the store fails, before the write or after its commit."""
    fails_after: bool = False
    interrupts_at: int = -1
    """Number of the effect before which the process is paused, while `interrupt` happens."""
    interrupt: Callable[[], None] = lambda: None
    skew: float = 0.0
    """What the wall clock is ahead of steady time."""
    session: int = 0
    """The store's lock belongs to the process that was started last."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def fault(self, name: str) -> None:
        """A fault of the catalogue has bitten."""
        self.reached[name] += 1

    def note(self, *what: object) -> None:
        self.trace.append(what)
        if self.traced:
            self.lines.append(f"{self.now - 1_000_000:9.1f}  " + " ".join(map(str, what)))

    def digest(self) -> str:
        """Of the whole trace: two runs of a seed have the same one."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()[:16]

    def effect(self, name: str, stored: bool) -> "Effect":
        """One thing that the process does to the world; it may die before or after it. `stored`: it
        is a write of the store, which may fail in either moment: then nobody knows whether it was
        committed."""
        return Effect(self, name, stored)

    def die(self, name: str, when: str) -> None:
        self.note("died", when, name)
        self.fault(CRASHES.get((when, name), "13 killed around another write"))
        self.dies_at = -1
        raise Died(name)

    # ------------------------------------------------------------------ as the module `time`

    def time(self) -> float:
        return self.now + self.skew

    def monotonic(self) -> float:
        return self.now


class Effect:
    """Around what is done. Raises Died, StoreUnavailable. No generator: there are so many."""

    __slots__ = ("_dies", "_fails", "_name", "_stored", "_world")

    def __init__(self, world: World, name: str, stored: bool) -> None:
        self._world, self._name, self._stored = world, name, stored

    def __enter__(self) -> None:
        world = self._world
        number = world.effects
        world.effects += 1
        if number == world.interrupts_at:
            world.interrupts_at = -1
            world.interrupt()
        self._dies, self._fails = number == world.dies_at, self._stored and number == world.fails_at
        if self._dies and not world.dies_after:
            world.die(self._name, "before")
        if self._fails and not world.fails_after:
            world.fault("58 a write is lost before its commit")
            raise StoreUnavailable(f"{self._name}: the server went away")

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if kind is not None:
            return
        if self._dies:
            self._world.die(self._name, "after")
        if self._fails:
            self._world.fault("58 a commit whose answer is lost")
            raise StoreUnavailable(f"{self._name}: no answer to the commit")


@dataclass(frozen=True, slots=True)
class _Said:
    """A metric of any kind, or a log: counts what is said under its name."""

    said: Counter[str]
    name: str

    def labels(self, *labels: object) -> "_Said":
        return self

    def inc(self, by: float = 1) -> None:
        self.said[self.name] += 1

    def set(self, value: float) -> None:
        pass

    def observe(self, value: float) -> None:
        pass


class Counted:
    """Stands for the metrics: a thousandth of what a registry costs to make."""

    def __init__(self, world: World) -> None:
        self._said = world.said
        self.traces = NO_TRACES

    def __getattr__(self, name: str) -> _Said:
        found = _Said(self._said, name)
        self.__dict__[name] = found
        return found


class Logged:
    """Stands for a module's logger."""

    def __init__(self, world: World) -> None:
        self._said = world.said

    def _count(self, event: str, **fields: object) -> None:
        self._said[event] += 1

    debug = info = warning = error = critical = _count


@cache
def _places(modules: tuple[ModuleType, ...], names: tuple[str, ...]) -> list[tuple[Any, str]]:
    """Which module has which of the names."""
    return [(module, name) for module in modules for name in names if hasattr(module, name)]


@contextmanager
def virtual(
    world: World, modules: tuple[ModuleType, ...], twins: Mapping[str, Any] = NO_TWINS
) -> Iterator[None]:
    """The clock and the loggers of some modules are the world's; so are the bytes of transactions,
    which say nothing of their gas, and `twins` by their names."""
    own = {"time": world, "log": Logged(world), "gas_limit": lambda raw: MOST_GAS} | dict(twins)
    kept = [(m, name, getattr(m, name)) for m, name in _places(modules, tuple(own))]
    for module, name, _ in kept:
        setattr(module, name, own[name])
    try:
        yield
    finally:
        for module, name, real in kept:
            setattr(module, name, real)
