"""Loops that outlive everything but their own end: outages, halts, even their own mistakes.

Each loop of a service runs in sessions. A session starts from what is durable, so going on after an
outage is the same as going on after a crash. How a session ended decides what `/ready` says of the
loop and when the next one starts; none of it ends the process or another loop.
"""

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from corechain.protocol.errors import CoreChainError, TransportError
from corechain.service.errors import AccessRefused, Halt, WriterLockHeld, WrongDatabase
from corechain.service.reasons import reason_of
from corechain.service.waking import Waking

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
CALM_AFTER_S = 60.0
"""A session that lasted so long has recovered: the next outage starts with a short pause."""
SETTLED_AFTER_S = 1.0
"""A session that lasted so long is running: most outages show themselves in the first question."""
STANDBY_PAUSE_S = 1.0
"""How often a standby asks whether the leader is gone: the time of a takeover, hence short."""
HALT_PAUSE_S = 10.0
"""How often a halted loop looks whether an operator has cured the cause."""
CANCEL_AGAIN_S = 0.5
LONGEST_OBEYED_S = 120.0
"""A server that asks to be left alone for longer is asked again nevertheless."""


Loop = Callable[[], Coroutine[Any, Any, None]]
"""A loop that is not running yet. No coroutine: a process that ends before it starts its loops, for
a setting that is wrong, would leave coroutines that nobody awaited, and Python warns of each."""


class LoopState(StrEnum):
    """What a loop is doing, as `/ready` and the metric `corechain_loop_state` name it."""

    STARTING = "starting"
    RUNNING = "running"
    STANDBY = "standby"
    """Healthy, but another process is the writer."""
    WAITING = "waiting"
    """An outage of something it needs."""
    HALTED = "halted"
    """Only an operator can cure it."""
    FAILED = "failed"
    """Its own mistake; it is started again all the same."""


HALTS = (Halt, WrongDatabase)
"""A database that is not ours ends a process at its start; one that was away then halts a loop."""
NOT_READY = (LoopState.WAITING, LoopState.HALTED, LoopState.FAILED)


@dataclass(frozen=True, slots=True)
class LoopReport:
    """A loop's state and, where it is not well, why."""

    state: LoopState
    reason: str = ""
    since: float = field(default_factory=lambda: time.monotonic(), compare=False)
    """When it was said, in monotonic seconds; the same words said again are the same report."""

    def aged(self) -> str:
        """The reason and its age: a loop between two tries knows no more than its last one."""
        return f"{self.reason} ({time.monotonic() - self.since:.0f} s ago)"


@dataclass(slots=True)
class Loops:
    """The loops of a process by name, as they are now. `changed` is called at each new state, and
    with None for a loop that has nothing more to do."""

    changed: Callable[[str, LoopState | None], None] = lambda name, state: None
    refused: Callable[[str], None] = lambda setting: None
    """Hears of each time that a server refused what a setting says."""
    reports: dict[str, LoopReport] = field(default_factory=dict)
    waking: Waking = field(default_factory=Waking)

    def set(self, name: str, state: LoopState, reason: str = "") -> None:
        self.reports[name] = LoopReport(state, reason)
        self.changed(name, state)

    def hear(self, error: BaseException) -> None:
        """Counts a refusal of what one of our settings says."""
        if isinstance(error, AccessRefused):
            self.refused(error.setting)

    def done(self, name: str) -> None:
        """Forgets a loop whose session ended by itself: it has nothing more to do."""
        self.reports.pop(name, None)
        self.changed(name, None)

    def unwell(self) -> Mapping[str, str]:
        """The reasons of the loops that do not do their work now and their age, by name."""
        return {n: r.aged() for n, r in self.reports.items() if r.state in NOT_READY}

    def states(self) -> Mapping[str, str]:
        return {name: report.state.value for name, report in self.reports.items()}


@dataclass(slots=True)
class Reporter:
    """Shows in /ready what keeps a loop from its work while its session runs, and takes back only
    what it has shown itself: what ended a session is the supervision's to say."""

    loops: Loops
    name: str
    shown: LoopReport | None = None

    def __call__(self, problem: CoreChainError | None) -> None:
        before, self.shown = self.shown, None
        if problem is not None:
            state = LoopState.HALTED if isinstance(problem, Halt) else LoopState.WAITING
            self.shown = LoopReport(state, str(problem))
            self.loops.set(self.name, state, str(problem))
        elif before is not None and self.loops.reports.get(self.name) == before:
            self.loops.set(self.name, LoopState.RUNNING)


class Pause:
    """Doubles from outage to outage, up to a limit."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_S

    def next(self, lasted_s: float) -> float:
        if lasted_s >= CALM_AFTER_S:
            self._seconds = FIRST_PAUSE_S
        pause, self._seconds = self._seconds, min(LONGEST_PAUSE_S, self._seconds * 2)
        return pause


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """What is inside an exception group, however deep; any other error is its own cause."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from causes_of(inner)
    else:
        yield error


def verdict_of(error: Exception) -> LoopReport:
    """What an error that ended a session says of its loop. The gravest cause of a group counts."""
    causes = list(causes_of(error))
    # An OSError that nobody gave a type is a full or broken disk, or a socket: the world's fault.
    outages = (TransportError, OSError, TimeoutError)
    mistakes = [c for c in causes if not isinstance(c, (*outages, *HALTS))]
    if mistakes:
        return LoopReport(LoopState.FAILED, f"{type(mistakes[0]).__name__}: {mistakes[0]}")
    halts = [cause for cause in causes if isinstance(cause, HALTS)]
    if halts:
        return LoopReport(LoopState.HALTED, str(halts[0]))
    if all(isinstance(cause, WriterLockHeld) for cause in causes):
        return LoopReport(LoopState.STANDBY, str(causes[0]))
    return LoopReport(LoopState.WAITING, _sentence(causes[0]))


def asked_s(error: BaseException) -> float:
    """For how long whoever failed us asks to be left alone (Retry-After); 0 where nobody does."""
    asked = (getattr(cause, "wait_s", None) or 0.0 for cause in causes_of(error))
    return min(LONGEST_OBEYED_S, max(asked, default=0.0))


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, CoreChainError) else reason_of(error)


@dataclass(slots=True)
class _Supervised:
    """One loop: its sessions and what became of the last one."""

    name: str
    session: Callable[[], Awaitable[None]]
    restarted: Callable[[], None]
    loops: Loops
    pause: Pause = field(default_factory=Pause)
    told: LoopReport | None = None

    async def run_forever(self) -> None:
        self.loops.set(self.name, LoopState.STARTING)
        while True:
            started = time.monotonic()
            try:
                await self._session()
                self.loops.done(self.name)
                return
            except Exception as error:
                asked = asked_s(error)
                seconds = self._judge(error, time.monotonic() - started, asked)
            # A probe that answers again says nothing of a server that is up, and busy.
            await (asyncio.sleep(seconds) if asked else self._rest(seconds))

    async def _rest(self, seconds: float) -> None:
        """Only an outage may end before the pause does: a halt needs an operator."""
        if self.loops.reports[self.name].state is LoopState.WAITING:
            await self.loops.waking.rest(seconds)
        else:
            await asyncio.sleep(seconds)

    async def _session(self) -> None:
        """The state turns to running only once a session has lasted: one that fails at its first
        question would otherwise look healthy between two tries."""
        settled = asyncio.get_running_loop().call_later(SETTLED_AFTER_S, self._settled)
        try:
            await self.session()
        finally:
            settled.cancel()

    def _settled(self) -> None:
        if self.loops.reports[self.name] not in (self.told, LoopReport(LoopState.STARTING)):
            return  # the session has said by itself how it is
        if self.told is not None:
            log.info("loop runs again", loop=self.name)
        self.told = None
        self.loops.set(self.name, LoopState.RUNNING)

    def _judge(self, error: Exception, lasted_s: float, least_s: float) -> float:
        report = verdict_of(error)
        self.loops.set(self.name, report.state, report.reason)
        for cause in causes_of(error):
            self.loops.hear(cause)
        self.restarted()
        seconds = max(least_s, self._pause_after(report.state, lasted_s))
        if report.state is LoopState.FAILED:
            log.critical("session failed", loop=self.name, retry_s=seconds, exc_info=error)
        elif report != self.told:  # the same words again and again would bury what is new
            emit = log.error if report.state is LoopState.HALTED else log.warning
            fields = {"loop": self.name, "state": report.state, "error": report.reason}
            emit("session ended", retry_s=seconds, **fields)
        self.told = report
        return seconds

    def _pause_after(self, state: LoopState, lasted_s: float) -> float:
        if state is LoopState.STANDBY:
            return STANDBY_PAUSE_S
        if state is LoopState.HALTED:
            return HALT_PAUSE_S
        return self.pause.next(lasted_s)


async def sessions(
    name: str,
    session: Callable[[], Awaitable[None]],
    restarted: Callable[[], None],
    loops: Loops | None = None,
) -> None:
    """Runs a session again and again, whatever ends it: an outage, a halt, a mistake of ours.

    `restarted` counts the ends, `loops` gets the states. Ends only by cancellation, or when a
    session returns.
    """
    await _Supervised(name, session, restarted, loops or Loops()).run_forever()


async def stop_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels tasks in reverse order, again until they end: on Python 3.11 a cancellation is lost
    when it meets the end of what was waited for (asyncio.wait_for, gh-86296), as each write to
    Valkey is by redis. Ours is asyncio.timeout, which ruff holds us to."""
    running = set(tasks)
    while running:
        for task in reversed(tasks):
            task.cancel()
        _, running = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)


@asynccontextmanager
async def ended_in(
    group: asyncio.TaskGroup, loops: Iterable[Coroutine[Any, Any, None]]
) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Tasks of a group that have ended when this is left, whatever it is left by: the group itself
    cancels once, and a lost cancellation (see `stop_all`) would leave a process without an end."""
    tasks = [group.create_task(loop) for loop in loops]
    try:
        yield tasks
    finally:
        await stop_all(tasks)


async def side_by_side(*loops: Coroutine[Any, Any, None]) -> None:
    """Runs the loops of one session until one fails or all have ended; then stops the others.

    Not an asyncio.TaskGroup, which cancels once: a lost cancellation (see `stop_all`) would let a
    session hang for ever after an outage. Raises the failure, or a group of several.
    """
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await stop_all(tasks)
    failures = [f for task in tasks if not task.cancelled() and (f := task.exception())]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup("several loops failed", failures)
