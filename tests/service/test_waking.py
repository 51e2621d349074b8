"""A loop that waits goes on when what it waited for answers again, not when its pause ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.processes import until

from corechain.protocol.errors import TransportError
from corechain.service import supervision, waking
from corechain.service.errors import Halt, NodeUnavailable, StoreUnavailable
from corechain.service.health import Health
from corechain.service.supervision import LoopReport, Loops, LoopState, sessions

Session = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No pause ends by itself, and what wakes does so at once."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S", "HALT_PAUSE_S"):
        monkeypatch.setattr(supervision, name, 86_400.0)
    monkeypatch.setattr(supervision, "SETTLED_AFTER_S", 0.01)
    monkeypatch.setattr(waking, "STEADY_PAUSE_S", 86_400.0)
    for name in ("FLOOR_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(waking, name, 0.01)
    with capture_logs() as events:
        yield events


class Needed:
    """What a process needs, and how it is now; a probe and a session ask it."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure, self.probed, self.tries = failure, 0, 0

    async def probe(self) -> None:
        self.probed += 1
        self._ask()

    async def session(self) -> None:
        self.tries += 1
        self._ask()
        await asyncio.Event().wait()

    def _ask(self) -> None:
        if self.failure is not None:
            raise self.failure


@asynccontextmanager
async def running(loops: Loops, *works: Session) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(sessions(f"work {number}", work, lambda: None, loops))
        for number, work in enumerate(works)
    ]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def state(loops: Loops, number: int = 0) -> LoopState | None:
    report = loops.reports.get(f"work {number}")
    return report and report.state


@pytest.mark.parametrize("is_spared", [False, True])
@pytest.mark.parametrize("failure", [StoreUnavailable("away"), NodeUnavailable("away"), OSError()])
async def test_an_end_of_an_outage_that_nobody_asked_about_wakes_all_who_wait(
    failure: Exception, is_spared: bool
) -> None:
    loops, needed = Loops(), Needed(failure)
    probes = {"server": needed.probe}
    _ = Health({}, loops, spared=probes) if is_spared else Health(probes, loops)
    async with running(loops, needed.session, needed.session):
        await until(lambda: needed.probed > 1 and state(loops) is LoopState.WAITING)
        assert needed.tries == 2  # an outage that lasts costs probes, not sessions
        needed.failure = None
        await until(lambda: all(state(loops, n) is LoopState.RUNNING for n in (0, 1)))


async def test_a_process_looks_only_while_a_loop_waits() -> None:
    loops, needed = Loops(), Needed(StoreUnavailable("away"))
    Health({"server": needed.probe}, loops)
    async with running(loops, needed.session):
        await until(lambda: needed.probed > 0)
        needed.failure = None
        await until(lambda: state(loops) is LoopState.RUNNING)
        assert loops.waking._looking is None


async def test_a_node_that_lied_and_answered_all_the_while_is_asked_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waking, "STEADY_PAUSE_S", 0.01)
    loops, lies, fine = Loops(), Needed(NodeUnavailable("another block")), Needed(None)
    Health({"node": fine.probe}, loops)
    async with running(loops, lies.session):
        await until(lambda: lies.tries > 0)
        lies.failure = None
        await until(lambda: state(loops) is LoopState.RUNNING)


async def test_what_flaps_wakes_nobody_before_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "FLOOR_S", 86_400.0)
    loops, needed = Loops(), Needed(TransportError("away"))
    health = Health({"server": needed.probe}, loops)
    async with running(loops, needed.session):
        await until(lambda: state(loops) is LoopState.WAITING)
        for _ in range(20):
            for needed.failure in (TransportError("away"), None):
                await health.failing()
        assert needed.tries == 1


async def test_a_recovery_within_the_floor_is_not_lost() -> None:
    loops = Loops()
    resting = asyncio.create_task(loops.waking.rest(86_400.0))
    await asyncio.sleep(0)
    loops.waking.wake()
    await resting


async def test_a_halted_loop_waits_for_its_operator() -> None:
    loops, halted, needed = Loops(), Needed(Halt("look at it")), Needed(StoreUnavailable("away"))
    Health({"server": needed.probe}, loops)
    async with running(loops, halted.session, needed.session):
        await until(lambda: needed.probed > 0)
        needed.failure = None
        await until(lambda: state(loops, 1) is LoopState.RUNNING)
        assert halted.tries == 1


def test_a_reason_tells_how_old_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    loops = Loops()
    loops.set("mirror", LoopState.WAITING, "the node does not answer")
    now = 112.0
    assert loops.unwell() == {"mirror": "the node does not answer (12 s ago)"}
    assert LoopReport(LoopState.WAITING, "same") == LoopReport(LoopState.WAITING, "same", 1.0)
