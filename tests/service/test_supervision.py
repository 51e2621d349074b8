"""Whatever ends a session, the loop goes on and says how it is; the process never ends by it."""

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs
from support.processes import PATIENCE_S, until

from corechain.protocol.errors import TransportError
from corechain.service import health, supervision
from corechain.service.errors import Halt, NodeBusy, StoreUnavailable, WriterLockHeld, WrongDatabase
from corechain.service.health import AllBut, Health
from corechain.service.ops import shown_in, times_in
from corechain.service.supervision import (
    Loops,
    LoopState,
    ended_in,
    sessions,
    side_by_side,
    verdict_of,
)
from corechain.steps import ApiUnavailable
from corechain_relayer.bridge.sender import gateway_away

ENDS: dict[str, tuple[Exception, LoopState]] = {
    "an outage": (StoreUnavailable("away"), LoopState.WAITING),
    "an outage inside a task group": (
        ExceptionGroup("x", [ExceptionGroup("y", [StoreUnavailable("away")])]),
        LoopState.WAITING,
    ),
    "a full disk": (OSError(28, "No space left on device"), LoopState.WAITING),
    "a held lock": (WriterLockHeld("mirror"), LoopState.STANDBY),
    "a halt": (Halt("look at it"), LoopState.HALTED),
    "a halt beside an outage": (
        ExceptionGroup("x", [StoreUnavailable("away"), Halt("look at it")]),
        LoopState.HALTED,
    ),
    "a mistake of ours": (KeyError("oops"), LoopState.FAILED),
    "a mistake beside an outage": (
        ExceptionGroup("x", [TransportError("away"), KeyError("oops")]),
        LoopState.FAILED,
    ),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[list[Any]]:
    """The events; rendering a traceback would take longer than the pauses of these tests."""
    with capture_logs() as events:
        yield events


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_S", "STANDBY_PAUSE_S", "HALT_PAUSE_S"):
        monkeypatch.setattr(supervision, name, 0.01)
    monkeypatch.setattr(supervision, "SETTLED_AFTER_S", 0.05)


@pytest.mark.parametrize(("error", "state"), ENDS.values(), ids=ENDS.keys())
def test_how_a_session_ended_says_how_its_loop_is(error: Exception, state: LoopState) -> None:
    assert verdict_of(error).state is state


async def test_a_server_that_asks_to_be_left_alone_ends_no_pause_before_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However short the pauses of others are, and whatever a probe says of it."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    errors: list[Exception] = [
        NodeBusy("eth_chainId", 7.0),
        ExceptionGroup("x", [StoreUnavailable("away"), NodeBusy("eth_chainId", 9.0)]),
        gateway_away(ApiUnavailable("busy", 503, 86_400.0)),
    ]

    async def session() -> None:
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr("corechain.service.supervision.asyncio.sleep", sleep)
    await sessions("work", session, lambda: None)
    assert pauses == [7.0, 9.0, supervision.LONGEST_OBEYED_S]


async def supervised(
    session: Callable[[], Any], loops: Loops
) -> tuple[asyncio.Task[None], list[int]]:
    restarts: list[int] = []
    task = asyncio.create_task(sessions("work", session, lambda: restarts.append(1), loops))
    return task, restarts


@pytest.mark.parametrize(("error", "state"), ENDS.values(), ids=ENDS.keys())
async def test_a_loop_outlives_whatever_ended_its_session(
    error: Exception, state: LoopState
) -> None:
    seen: list[LoopState] = []
    loops, tries = Loops(lambda name, state: seen.append(state)), 0

    async def session() -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise error
        await asyncio.Event().wait()

    task, restarts = await supervised(session, loops)
    await until(lambda: seen[-1:] == [LoopState.RUNNING])
    assert (tries, len(restarts)) == (3, 2)
    assert seen == [LoopState.STARTING, state, state, LoopState.RUNNING]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_fails_at_once_each_time_never_looks_healthy() -> None:
    seen: list[LoopState] = []
    loops = Loops(lambda name, state: seen.append(state))

    async def session() -> None:
        raise StoreUnavailable("away")

    task, restarts = await supervised(session, loops)
    await until(lambda: len(restarts) > 3)
    task.cancel()
    assert LoopState.RUNNING not in seen


async def test_readiness_names_what_is_missing_and_why() -> None:
    async def fine() -> None:
        return None

    async def away() -> None:
        raise StoreUnavailable("connection refused")

    async def broken() -> None:
        raise KeyError("oops")

    loops = Loops()
    loops.set("mirror", LoopState.RUNNING)
    loops.set("verifier", LoopState.HALTED, "look at it")
    loops.set("exporter", LoopState.STANDBY, "another process is the writer")
    ready, document = await Health({"a": fine, "b": away, "c": broken}, loops).report()
    assert not ready
    assert document["failing"] == ["b", "c", "verifier"]
    assert document["reasons"]["b"] == "connection refused"
    assert document["reasons"]["verifier"].startswith("look at it (")
    assert document["loops"] == {
        "mirror": "running",
        "verifier": "halted",
        "exporter": "standby",
    }


async def test_who_asks_once_hears_of_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.01)
    now, hangs = 0.0, False

    async def probe() -> None:
        if hangs:
            await asyncio.Event().wait()

    watched = Health({"bus": probe}, clock=lambda: now)
    assert (await watched.report())[0]
    now, hangs = health.KEPT_S, True
    ready, document = await watched.report()
    assert (ready, document["reasons"]) == (False, {"bus": "no answer within 0.01 s"})


async def test_what_answered_a_moment_ago_and_is_late_now_is_slow_and_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.01)
    now, loaded = 30.0, False

    async def probe() -> None:
        if loaded:
            await asyncio.Event().wait()

    watched = Health({"node": probe}, clock=lambda: now)
    assert "warnings" not in (await watched.report())[1]
    loaded, now = True, now + health.KEPT_S - 1
    ready, document = await watched.report()
    said = "node is late (no answer within 0.01 s); its last answer counts for 5 s"
    assert (ready, document["warnings"]) == (True, [said])
    now += 1  # however often it was asked meanwhile
    ready, document = await watched.report()
    assert (ready, "warnings" in document) == (False, False)
    loaded = False
    ready, document = await watched.report()
    assert (ready, "warnings" in document) == (True, False)


async def test_what_refused_and_is_late_now_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.01)
    state = "fine"

    async def probe() -> None:
        if state == "refuses":
            raise StoreUnavailable("no")
        if state == "hangs":
            await asyncio.Event().wait()

    watched = Health({"node": probe})
    found = []
    for state in ("fine", "refuses", "hangs"):  # noqa: B007 (the probe reads it)
        found.append(await watched.failing())
    assert found == [{}, {"node": "no"}, {"node": "no answer within 0.01 s"}]


async def test_what_never_answered_is_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.01)
    hangs = Health({"node": asyncio.Event().wait})
    assert await hangs.failing() == {"node": "no answer within 0.01 s"}


async def test_what_a_process_works_without_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SPARED_TIMEOUT_S", 0.01)

    async def away() -> None:
        raise StoreUnavailable("connection refused")

    async def fine() -> None: ...

    spared = {"cache": away, "node": asyncio.Event().wait, "other": fine}
    ready, document = await Health({"database": fine}, spared=spared).report()
    assert ready
    assert "failing" not in document
    assert document["warnings"] == [
        "cache is away, and this process works without it: connection refused",
        "node is away, and this process works without it: no answer within 0.01 s",
    ]


async def test_a_loop_that_waits_for_what_others_do_without_is_a_warning() -> None:
    loops = Loops()
    loops.set("mirror", LoopState.RUNNING)
    loops.set("verifier", LoopState.WAITING, "shard 1 is away")
    watched = Health({}, loops, spared_loops=AllBut(["mirror"]))
    ready, document = await watched.report()
    assert ready
    (warning,) = document["warnings"]
    assert warning.startswith("verifier waits, and this process goes on without it: shard 1 is")
    loops.set("mirror", LoopState.WAITING, "node away")
    loops.set("verifier", LoopState.HALTED, "look at it")
    ready, document = await watched.report()
    assert (ready, document["failing"]) == (False, ["mirror", "verifier"])


async def test_a_standby_is_ready_and_says_that_it_is_one() -> None:
    loops = Loops()
    loops.set("mirror", LoopState.STANDBY)
    assert await Health({}, loops).report() == (
        True,
        {"status": "ok", "loops": {"mirror": "standby"}},
    )


async def test_a_loop_that_loses_a_cancellation_does_not_hold_up_its_session() -> None:
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as Python 3.11 loses it at the end of what is waited for
            await asyncio.Event().wait()

    async def failing() -> None:
        raise StoreUnavailable("away")

    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as group, ended_in(group, [deaf(), failing()]):
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreUnavailable):
            await side_by_side(deaf(), failing())
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            await in_a_group()


async def test_failures_of_several_loops_come_together() -> None:
    async def failing(error: Exception) -> None:
        raise error

    with pytest.raises(BaseExceptionGroup) as failed:
        await side_by_side(failing(StoreUnavailable("away")), failing(Halt("look at it")))
    assert verdict_of(failed.value).state is LoopState.HALTED  # type: ignore[arg-type]


def test_a_database_that_turns_out_not_to_be_ours_halts_the_loop() -> None:
    """No mistake of ours, which would be logged with a traceback each time."""
    report = verdict_of(WrongDatabase("it has the relayer's tables"))
    assert (report.state, report.reason) == (LoopState.HALTED, "it has the relayer's tables")


async def test_a_loop_that_has_nothing_more_to_do_shows_no_state() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("loop_state", "", ["loop", "state"], registry=registry)

    async def session() -> None:
        return None

    await sessions("journal", session, lambda: None, Loops(shown_in(gauge)))
    states = [{"loop": "journal", "state": state.value} for state in LoopState]
    assert {registry.get_sample_value("loop_state", labels) for labels in states} == {0.0}


async def test_each_probe_is_timed_and_one_without_an_answer_takes_for_ever() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("probe_seconds", "", ["probe"], registry=registry)
    clock = itertools.count(10.0, 0.5)

    async def fine() -> None:
        return None

    async def away() -> None:
        raise StoreUnavailable("connection refused")

    timed, now = times_in(gauge), lambda: next(clock)
    await Health({"fine": fine}, spared={"away": away}, clock=now, timed=timed).report()
    seconds = {
        name: registry.get_sample_value("probe_seconds", {"probe": name})
        for name in ("fine", "away")
    }
    assert 0.5 <= (seconds["fine"] or 0) <= 2.0
    assert seconds["away"] == math.inf
