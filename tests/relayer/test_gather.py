"""Requests that share a frame: each has its own answer, and nobody waits for nothing.

given requests that come together
  they are one frame; each gets the faults of its own reports
  when the work fails, each of them hears it
given a frame under way
  what comes is gathered; one that comes alone afterwards goes at once
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.processes import PATIENCE_S

from corechain.protocol.errors import MalformedReport, TransportError
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.gateway.gather import FRAME_REPORTS, FRAMES_UNDER_WAY, Gatherer, joined
from corechain_relayer.gateway.gather import Waiting as Request
from corechain_relayer.metrics import Metrics

NEVER_S = 3600.0


def request(*sequences: int, observations: int = 1) -> Columns:
    items = [Observation(1, 5, 1000 + n, n) for n in range(observations)]
    reports = [
        SignedReport(Report.of(DeviceId(bytes(19) + bytes([n % 256])), n, items), bytes(64))
        for n in sequences
    ]
    return columns_of(b"".join(report.pack() for report in reports))


def sequences(one: Request) -> Sequence[int]:
    return columns_of(one.packed).sequences


@dataclass
class Work:
    """Finds a fault in every odd sequence; waits for `go` before that."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    frames: list[list[int]] = field(default_factory=list)

    async def run(self, group: Sequence[Request]) -> None:
        self.frames.append([n for one in group for n in sequences(one)])
        await self.go.wait()
        for one in group:
            one.settle([MalformedReport(str(n)) if n % 2 else None for n in sequences(one)])


def bad(faults: Sequence[Exception | None]) -> list[str]:
    return [str(fault) for fault in faults if fault]


async def test_requests_that_come_together_share_a_frame_and_nothing_else() -> None:
    work = Work()
    work.go.set()
    gatherer = Gatherer(work.run, NEVER_S, Metrics())
    found = await asyncio.gather(*(gatherer.take(request(n)) for n in range(5)))
    assert work.frames == [[0, 1, 2, 3, 4]]
    assert [bad(faults) for faults in found] == [[], ["1"], [], ["3"], []]


async def test_one_that_comes_alone_goes_at_once() -> None:
    work = Work()
    work.go.set()
    gatherer = Gatherer(work.run, NEVER_S, Metrics())
    for number in (0, 2, 4):
        assert await gatherer.take(request(number)) == [None]
    assert work.frames == [[0], [2], [4]]


async def test_what_comes_while_a_frame_is_under_way_is_gathered_until_it_ends() -> None:
    work = Work()
    gatherer = Gatherer(work.run, NEVER_S, Metrics())
    first = asyncio.create_task(gatherer.take(request(0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(gatherer.take(request(n))) for n in (2, 4, 6)]
    await asyncio.sleep(0)
    assert work.frames == [[0]]
    work.go.set()
    assert await asyncio.gather(first, *later) == [[None]] * 4
    assert work.frames == [[0], [2, 4, 6]]


async def test_a_full_frame_is_followed_by_another_and_only_so_many_are_under_way() -> None:
    work = Work()
    gatherer = Gatherer(work.run, 0.0, Metrics())
    half = FRAME_REPORTS // 2 + 1
    requests = [request(*range(0, 2 * half, 2)) for _ in range(FRAMES_UNDER_WAY + 2)]
    tasks = [asyncio.create_task(gatherer.take(one)) for one in requests]
    async with asyncio.timeout(PATIENCE_S):
        while len(work.frames) < FRAMES_UNDER_WAY:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(work.frames) == FRAMES_UNDER_WAY
        work.go.set()
        assert await asyncio.gather(*tasks) == [[None] * half] * len(tasks)
    assert [len(frame) for frame in work.frames] == [half] * len(tasks)


async def test_each_request_of_a_frame_hears_of_an_outage() -> None:
    async def away(group: Sequence[Request]) -> None:
        raise TransportError("away")

    gatherer = Gatherer(away, NEVER_S, Metrics())
    found = await asyncio.gather(
        *(gatherer.take(request(n)) for n in range(3)), return_exceptions=True
    )
    assert [str(error) for error in found] == ["away"] * 3
    with pytest.raises(TransportError):  # and the next one is tried
        await gatherer.take(request(9))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=5))
def test_requests_are_joined_as_if_they_had_come_as_one(shapes: list[tuple[int, int]]) -> None:
    parts = [request(*range(count), observations=size) for count, size in shapes]
    waiting = [Request(part.packed, len(part), lambda outcome: None) for part in parts]
    assert joined(waiting) == columns_of(b"".join(part.packed for part in parts))
    assert joined(waiting[:1]) == parts[0]
    known = Request(parts[0].packed, len(parts[0]), lambda outcome: None, parts[0])
    assert joined([known]) is parts[0], "nobody parses them again"


async def test_a_frame_takes_as_many_reports_as_fit_and_not_one_more() -> None:
    """One request is under way; the others wait for it, half a frame each."""
    work = Work()
    gatherer = Gatherer(work.run, NEVER_S, Metrics())
    half = [2 * n for n in range(FRAME_REPORTS // 2)]
    tasks = [asyncio.create_task(gatherer.take(request(0)))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(gatherer.take(request(*half))) for _ in range(3)]
    async with asyncio.timeout(PATIENCE_S):
        while len(work.frames) < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        work.go.set()
        await asyncio.gather(*tasks)
    assert [len(frame) for frame in work.frames] == [1, 2 * len(half), len(half)]
