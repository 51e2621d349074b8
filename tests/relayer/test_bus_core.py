"""The bus's pure parts: what a server lacks, what was lost, which reports are of which lane, that
whoever waits for an append hears of its end, and what an outage says."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as NoAnswer

from corechain.protocol.frame import columns_of
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.aggregator.checks import divide
from corechain_relayer.bus.appends import Appends, Waiting
from corechain_relayer.bus.base import Position, frames_lost
from corechain_relayer.bus.connection import away
from corechain_relayer.bus.frame import frame_of, spans_of
from corechain_relayer.bus.guard import REQUIRED, shortfalls
from corechain_relayer.bus.marks import marks_of
from corechain_relayer.errors import BusUnavailable
from corechain_relayer.metrics import Metrics

GOOD = {name: wanted for name, (wanted, _) in REQUIRED.items()}


def report(device: bytes, sequence: int) -> SignedReport:
    signed = Report.of(DeviceId(device), sequence, [Observation(1, 0, 1000, 5)])
    return SignedReport(signed, bytes(64))


REPORTS = st.lists(
    st.builds(
        report, st.binary(min_size=20, max_size=20) | st.just(bytes(20)), st.integers(0, 2**64 - 1)
    ),
    max_size=20,
)


def test_a_server_that_is_set_right_lacks_nothing() -> None:
    assert shortfalls(GOOD, "master") == []
    assert shortfalls(GOOD, "") == [], "a server that does not tell its role"
    assert shortfalls({}, "master") == [], "what is not told is another question"


@pytest.mark.parametrize("name", REQUIRED)
def test_each_wrong_setting_is_named_with_what_it_has_to_be(name: str) -> None:
    (found,) = shortfalls(GOOD | {name: "other"}, "master")
    assert (found.name, found.found, found.wanted) == (name, "other", GOOD[name])
    assert found.why in str(found)


def test_a_replica_lacks_the_right_role() -> None:
    (found,) = shortfalls(GOOD, "slave")
    assert found.name == "role"


def test_only_what_was_there_and_is_gone_is_lost() -> None:
    before = Position("a", 0, 10)
    assert frames_lost(before, Position("a", 0, 10)) == 0
    assert frames_lost(before, Position("a", 0, 7)) == 3
    assert frames_lost(before, Position("b", 10, 10)) == 0
    assert frames_lost(before, Position("b", 4, 30)) == 6
    assert frames_lost(before, Position("b", 12, 12)) == 0


@given(REPORTS)
def test_a_frames_spans_hold_each_of_its_sequences(reports: list[SignedReport]) -> None:
    wanted: dict[bytes, list[int]] = {}
    for signed in reports:
        wanted.setdefault(signed.report.device, []).append(signed.report.sequence)
    columns = columns_of(b"".join(signed.pack() for signed in reports))
    assert spans_of(columns) == {device: (min(of), max(of)) for device, of in wanted.items()}


@given(REPORTS)
def test_a_frames_marks_say_what_its_spans_say(reports: list[SignedReport]) -> None:
    columns = columns_of(b"".join(signed.pack() for signed in reports))
    width, records = marks_of(columns)
    marks = [records[at : at + width] for at in range(0, len(records), width)]
    wanted = {
        device: (b"%020d" % low, b"%020d" % high)
        for device, (low, high) in spans_of(columns).items()
    }
    assert {mark[:20]: (mark[20:40], mark[-20:]) for mark in marks} == wanted
    assert len(marks) == len(wanted)


@given(REPORTS, st.integers(1, 8), st.data())
def test_a_frame_is_divided_without_loss(
    reports: list[SignedReport], lanes: int, data: st.DataObject
) -> None:
    lane = data.draw(st.integers(0, lanes - 1))
    ours, others = divide(columns_of(b"".join(r.pack() for r in reports)), lane, lanes)
    assert lane not in others
    parts = {n: list(part.reports()) for n, part in {lane: ours, **others}.items()}
    for number, part in parts.items():
        assert all(lane_of_device(r.report.device, lanes) == number for r in part)
        assert part == [r for r in reports if r in part], "in the order in which they came"
    together = Counter(r for part in parts.values() for r in part)
    assert together == Counter(reports)


@pytest.mark.parametrize("is_mistake", [True, False])
async def test_nobody_waits_for_an_append_that_has_no_end(is_mistake: bool) -> None:
    appends, begun = Appends(), asyncio.Event()

    async def write(group: Sequence[Waiting]) -> list[None]:
        begun.set()
        if not is_mistake:
            await asyncio.Event().wait()  # until the process ends
        raise RuntimeError("nobody foresaw this")

    carrying = asyncio.create_task(appends.carry_forever(write, Metrics().bus_group))
    waiting = asyncio.create_task(appends.put(0, frame_of(1, [report(bytes(20), 1)]), True, True))
    await begun.wait()
    carrying.cancel()
    with pytest.raises(BusUnavailable, match="unknown"):
        await waiting
    await asyncio.wait([carrying])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoAnswer("Timeout reading from db.example:6379"), "no answer in time (TimeoutError)"),
        (TimeoutError(), "no answer in time (TimeoutError)"),
        (InvalidResponse("Protocol error"), "InvalidResponse: Protocol error"),
    ],
)
def test_an_outage_says_whose_it_is(error: Exception, said: str) -> None:
    """`corechain bus show` ended with "error: TimeoutError"."""
    assert str(away(error)) == f"the bus: {said}"
