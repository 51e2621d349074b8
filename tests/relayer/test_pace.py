"""Who would wait too long for a frame is told so at once.

given a gatherer whose frames take their time
  the wait is what is waiting by the pace of the frames before; idle time is no pace, and what was
  asked for is none
  when a frame hangs, the wait grows
  a crowd that comes after an hour of idling is not judged by that hour
given a gateway behind which too much waits
  it answers 503 with Retry-After before it reads a body, and takes reports again afterwards
  it does so, too, for a storm that comes before anything is known of its pace
"""

import asyncio
import selectors
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import until

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import Overloaded
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.bus.room import Limits, Rooms
from corechain_relayer.gateway.gather import FRAME_REPORTS, FRAMES_UNDER_WAY, Gatherer, Waiting
from corechain_relayer.gateway.intake import PACKED
from corechain_relayer.gateway.pace import ASSUMED_PER_S, BELIEVED_S, LEAST_REPORTS, LEAST_S, Pace
from corechain_relayer.gateway.service import Gateway
from corechain_relayer.metrics import Metrics


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_wait_is_what_waits_by_the_pace_of_the_frames_before() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.filled()
    for _ in range(100):
        clock.now += 0.5
        pace.ended(500)
    assert pace.wait_s(10_000) == pytest.approx(10.0, rel=0.05)
    assert pace.wait_s(0) == 0.0


def test_a_short_queue_is_no_reason_to_refuse_on_a_machine_that_paused() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.filled()
    pace.ended(1)
    clock.now += 30
    assert pace.wait_s(LEAST_REPORTS - 1) == 0.0
    assert pace.wait_s(LEAST_REPORTS) > 0.0


def test_the_time_in_which_nobody_waited_is_no_pace() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(1_000):
        clock.now += 3.6
        pace.ended(1)
    pace.filled()
    assert pace.wait_s(10_000) == 10_000 / ASSUMED_PER_S


@pytest.mark.parametrize(("idle_s", "is_believed"), [(BELIEVED_S / 2, True), (3_600, False)])
def test_the_pace_of_a_crowd_holds_for_the_next_one_for_a_minute(
    idle_s: float, is_believed: bool
) -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.filled()
    for _ in range(20):
        clock.now += 0.1
        pace.ended(1_000)
    pace.caught_up()
    clock.now += idle_s
    pace.filled()
    expected = 5.0 if is_believed else 50_000 / ASSUMED_PER_S
    assert pace.wait_s(50_000) == pytest.approx(expected)


def test_a_frame_that_hangs_makes_the_wait_grow() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.filled()
    clock.now += LEAST_S / 2
    assert pace.wait_s(5_000) == 5_000 / ASSUMED_PER_S
    clock.now += 20
    first = pace.wait_s(5_000)
    clock.now += 20
    assert 0 < first < pace.wait_s(5_000)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1_000)), max_size=200))
def test_the_wait_is_never_less_than_nothing(frames: list[tuple[float, int]]) -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.filled()
    for took_s, reports in frames:
        clock.now += took_s
        pace.ended(reports)
    assert 0 <= pace.wait_s(10_000) <= pace.wait_s(20_000)


class Leaping(selectors.SelectSelector):
    """Waits for nothing: the clock leaps instead, so that a minute takes milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.clock.now += timeout
        return found


@dataclass
class Pipeline:
    """Frames' work: one step of `per_s` reports a second, then a disk of `disk_s`."""

    per_s: float
    disk_s: float
    step: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, group: Sequence[Waiting]) -> None:
        async with self.step:
            await asyncio.sleep(sum(waiting.count for waiting in group) / self.per_s)
        await asyncio.sleep(self.disk_s)
        for waiting in group:
            waiting.settle([None] * waiting.count)


async def crowded(
    per_s: float, disk_s: float, share: float, steady_s: float, crowd: int, a_request: int
) -> list[tuple[float, float, float]]:
    """After a steady load of a share of what can be done comes a crowd. (estimated, real, assumed)
    seconds until all that waits is settled, asked now and then while it is worked off."""
    loop = asyncio.get_running_loop()
    gatherer = Gatherer(Pipeline(per_s, disk_s).run, 0.004, Metrics(), Pace(loop.time))
    settled: list[float] = []
    many = int(steady_s * share * per_s / a_request)
    for _ in range(many):
        gatherer.put(Waiting(b"", a_request, lambda _: None))
        await asyncio.sleep(a_request / (share * per_s))
    for _ in range(crowd // a_request):
        gatherer.put(Waiting(b"", a_request, lambda _: settled.append(loop.time())))
    asked: list[tuple[float, float, float]] = []
    while len(settled) < crowd // a_request:
        assumed_s = gatherer._reports / ASSUMED_PER_S
        asked.append((loop.time(), gatherer.wait_s(), assumed_s))
        await asyncio.sleep(0.25)
    return [(estimate, settled[-1] - at, assumed_s) for at, estimate, assumed_s in asked]


@settings(max_examples=12, deadline=None)
@given(
    per_s=st.floats(2_000, 20_000),
    disk_s=st.floats(0.001, 0.15),
    share=st.floats(0.05, 0.9),
    crowd_s=st.floats(2, 8),
    a_request=st.sampled_from([20, 100, 500]),
)
def test_a_crowd_after_a_steady_load_is_told_what_the_gateway_can_do(
    per_s: float, disk_s: float, share: float, crowd_s: float, a_request: int
) -> None:
    """Not what was asked of it before: after a tenth of that, a second would be called ten."""
    selector = Leaping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = selector.clock  # type: ignore[method-assign]
    crowd = int(crowd_s * per_s)
    try:
        asked = loop.run_until_complete(crowded(per_s, disk_s, share, 3.0, crowd, a_request))
    finally:
        loop.close()
    for estimate, real, assumed_s in asked:
        assert estimate <= max(assumed_s, 1.3 * real + 1)
    # Two seconds later it is known, while enough still waits to be spoken of.
    known = [one for one in asked[8:] if one[1] * per_s > 2 * LEAST_REPORTS]
    for estimate, real, _ in known:
        assert 0.6 * real - 1 <= estimate <= 1.3 * real + 1


@dataclass
class Slow:
    """A frame's work that waits for `go`."""

    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, group: Sequence[Waiting]) -> None:
        await self.go.wait()
        for waiting in group:
            waiting.settle([None] * waiting.count)


class Everything:
    """A registry, bus and lane that take all devices."""

    seen, rooms = 1, Rooms.of(1, Limits(0))

    def __init__(self, work: Slow) -> None:
        self.view, self.run = self, work.run

    def unknown(self, devices: Sequence[DeviceId]) -> bool:
        return False

    def has_met(self, devices: Sequence[DeviceId]) -> bool:
        return True


async def settled(gatherer: Gatherer) -> None:
    """No frame waits or is under way. One that began while the loop of a test ends would never be
    awaited, and asyncio says so, as a warning that fails another test."""
    await until(lambda: not (gatherer._waiting or gatherer._under_way or gatherer._timer), 0.001)


async def test_a_gateway_that_is_behind_says_so_before_it_reads_and_recovers() -> None:
    work, clock = Slow(), Clock()
    parts: Any = Everything(work)
    domain, metrics = Domain("CoreChain", "1", 1337, bytes(20)), Metrics()
    gate = Gateway(domain, parts, parts, parts, parts, metrics, 0.0, max_wait_s=10.0)
    gatherer: Gatherer = gate._known
    gatherer.pace = Pace(clock)
    ended: list[object] = []
    for _ in range(FRAMES_UNDER_WAY + 5):
        gatherer.put(Waiting(b"", FRAME_REPORTS, ended.append))
        await asyncio.sleep(0.01)
    gate.require_room()
    clock.now += 30.0  # and not a frame was done
    with pytest.raises(Overloaded) as refused:
        gate.require_room()
    assert refused.value.retry_after_s == 30
    assert 'corechain_refused_early_total{limit="wait"} 1.0' in metrics.exposition().decode()
    work.go.set()
    await settled(gatherer)
    assert len(ended) == FRAMES_UNDER_WAY + 5
    gate.require_room()


async def test_a_crowd_after_idling_is_not_judged_by_the_time_that_nobody_came() -> None:
    work, clock = Slow(), Clock()
    work.go.set()
    gatherer = Gatherer(work.run, 0.0, Metrics(), Pace(clock))
    ended: list[object] = []
    gatherer.put(Waiting(b"", 1, ended.append))
    while not ended:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    clock.now += 3_600
    # All in one step of the loop, as they come when many sockets are read at once.
    for _ in range(FRAMES_UNDER_WAY):
        gatherer.put(Waiting(b"", FRAME_REPORTS, ended.append))
    assert gatherer.wait_s() <= FRAMES_UNDER_WAY * FRAME_REPORTS / ASSUMED_PER_S
    await settled(gatherer)


async def test_a_storm_that_comes_at_once_is_refused_before_it_waits_too_long() -> None:
    """All in one step of the loop: nothing has been settled yet, and nothing is known."""
    work, domain, ended = Slow(), Domain("CoreChain", "1", 1337, bytes(20)), list[object]()
    parts: Any = Everything(work)
    gate = Gateway(domain, parts, parts, parts, parts, Metrics(), 0.004, max_wait_s=1.0)
    report = Report.of(DeviceId(bytes(20)), 1, [Observation(1, 5, 1_000, 7)])
    body = SignedReport(report, bytes(64)).pack()

    def storm() -> None:
        for _ in range(10 * int(ASSUMED_PER_S)):
            gate.require_room()
            gate.take_straight(PACKED, body, lambda: "", ended.append)

    with pytest.raises(Overloaded) as refused:
        storm()
    assert refused.value.retry_after_s == 2
    assert gate._known._reports == pytest.approx(ASSUMED_PER_S, abs=2)
    work.go.set()
    await settled(gate._known)
    assert len(ended) >= ASSUMED_PER_S
