"""The batcher against the plainest model there is: a list of what came, a set of what was taken."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.aggregator.batcher import Added, Batcher, Outcome
from corechain_relayer.aggregator.devices import DeviceTable
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow

MAX_READINGS, MAX_AGE_S = 6, 10.0
# The second one ends with zeros, which numpy takes for the end of a text.
DEVICES = [DeviceId(b"\1" * 20), DeviceId(b"\2" * 18 + bytes(2)), DeviceId(b"\3" * 20)]
SIGNATURE = bytes(64)
U64_MAX = 2**64 - 1


def report(device: DeviceId, sequence: int, count: int = 1, value: int = 0) -> SignedReport:
    items = [Observation(1, 0, 1000 + i, value) for i in range(count)]
    return SignedReport(Report.of(device, sequence, items), SIGNATURE)


def columns(*reports: SignedReport) -> Columns:
    return columns_of(b"".join(signed.pack() for signed in reports))


def key_of(signed: SignedReport) -> tuple[bytes, int]:
    return signed.report.device, signed.report.sequence


def batcher_of(limit: int = 100) -> Batcher:
    """One that has met the devices, which have sent nothing yet."""
    batcher = Batcher(MAX_READINGS, MAX_AGE_S, DeviceTable(limit))
    batcher.table.learn(DEVICES, {}, {})
    return batcher


def add(
    batcher: Batcher,
    frame: str,
    reports: Sequence[SignedReport],
    now: float,
    committed: dict[DeviceId, SequenceWindow] | None = None,
) -> Added:
    """As the aggregator does it: the journal is asked only for what is out of order."""
    placed = batcher.place(columns(*reports))
    windows = {d: w for d, w in (committed or {}).items() if d in placed.devices}
    return batcher.add(frame, placed, now, windows)


def held(batcher: Batcher) -> list[SignedReport]:
    return [signed for part in batcher.parts() for signed in part.columns.reports()]


# Around 0, and around the sequence from which numbers of 64 bits would wrap.
SEQUENCES = st.integers(0, 30) | st.integers(2**63 - 3, 2**63 + 3) | st.just(U64_MAX)
REPORTS = st.builds(
    report, st.sampled_from(DEVICES), SEQUENCES, st.integers(1, 3), st.integers(0, 1)
)


class BatcherMachine(RuleBasedStateMachine):
    """Time passes, frames come; windows are taken, and while they are made batches more frames come
    and idle devices are forgotten. What is in a batch, the journal knows."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher = batcher_of(limit=2)
        self.first: dict[tuple[bytes, int], SignedReport] = {}
        self.windows: dict[DeviceId, SequenceWindow] = {}
        """What was seen, by the plain rule, one report after the other."""
        self.journal: dict[DeviceId, SequenceWindow] = {}
        """The same, up to the last batch."""
        self.batched: list[SignedReport] = []
        self.taken: list[SignedReport] = []
        self.taken_frames: list[str] = []
        self.frames = 0
        self.owed: list[str] = []
        """Frames of which something is in the open window."""
        self.since = 0.0
        """When the open window began, or was held last."""
        self.fresh = self.held = 0
        """Observations in the open window, since it was held and before."""

    @rule(reports=st.lists(REPORTS, min_size=1, max_size=4))
    def a_frame_arrives(self, reports: list[SignedReport]) -> None:
        self.frames += 1
        self.batcher.forget_idle()
        unknown = self.batcher.table.unknown(DEVICES)
        self.batcher.table.learn(unknown, self.known(unknown), {})
        is_first = not self.fresh and not self.held
        expected = [self.expected(signed) for signed in reports]
        added = add(self.batcher, str(self.frames), reports, self.now, self.journal)
        assert added.outcomes.tolist() == expected
        taken = [s for s, e in zip(reports, expected, strict=True) if e == Outcome.ACCEPTED]
        assert added.reports(Outcome.ACCEPTED) == taken
        if taken:
            self.owed.append(str(self.frames))
            self.since = self.now if is_first else self.since
            self.fresh += sum(signed.report.count for signed in taken)

    def known(self, devices: set[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        """What the journal says of devices. None is forgotten of which something is open."""
        assert all(signed.report.device not in devices for signed in held(self.batcher))
        return {device: self.journal[device] for device in devices if device in self.journal}

    def expected(self, signed: SignedReport) -> int:
        device, sequence = signed.report.device, signed.report.sequence
        window = self.windows.get(device, SequenceWindow())
        if window.newest - sequence > JOURNAL_WIDTH:
            return Outcome.STALE
        first = self.first.get(key_of(signed))
        if first is None:
            self.first[key_of(signed)] = signed
            self.windows[device] = window.with_seen(sequence, JOURNAL_WIDTH)
            return Outcome.ACCEPTED
        if first in self.batched:
            return Outcome.COMMITTED
        return Outcome.DUPLICATE if first.report == signed.report else Outcome.CONFLICTING

    @rule(seconds=st.floats(0, 8))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.fresh)
    @rule()
    def the_wait_is_over(self) -> None:
        # One float step on: what is left may round to a hair above nothing.
        self.now = math.nextafter(max(self.now, self.now + self.batcher.wait_s(self.now)), math.inf)
        assert self.batcher.is_due(self.now)

    @precondition(lambda self: not self.taken)
    @rule()
    def the_window_is_looked_at(self) -> None:
        if not self.batcher.is_due(self.now):
            return
        self.taken = held(self.batcher)
        window = self.batcher.take()
        assert list(window.columns.reports()) == self.taken
        assert list(window.frames) == self.owed, "acknowledged with its reports, not before"
        devices = self.batcher.table.devices(window.rows)
        assert sorted(devices) == sorted({s.report.device for s in self.taken})
        self.taken_frames, self.owed = self.owed, []
        self.fresh = self.held = 0

    @precondition(lambda self: self.taken)
    @rule(sealable=st.booleans())
    def the_window_is_made_a_batch_or_not(self, sealable: bool) -> None:
        if sealable:
            self.batcher.clear()
            self.batched += self.taken
            for signed in self.taken:
                device = signed.report.device
                window = self.journal.get(device, SequenceWindow())
                self.journal[device] = window.with_all([signed.report.sequence], JOURNAL_WIDTH)
        else:
            self.batcher.hold(self.now)
            self.owed = self.taken_frames + self.owed
            self.since = self.since if self.fresh else self.now
            self.held = sum(signed.report.count for signed in self.taken)
        self.taken, self.taken_frames = [], []

    @invariant()
    def a_window_is_due_when_it_is_full_or_old_and_never_otherwise(self) -> None:
        full = self.fresh >= MAX_READINGS
        # As the batcher computes it: a sum and a difference of floats need not agree otherwise.
        old = self.fresh > 0 and self.since + MAX_AGE_S - self.now <= 0
        assert self.batcher.is_due(self.now) == (full or old)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        everything = [*self.batched, *held(self.batcher)]
        assert len(everything) == len(self.first)
        assert {key_of(signed): signed for signed in everything} == self.first
        assert self.batcher.report_count == len(held(self.batcher))

    @invariant()
    def a_frame_is_owed_as_long_as_something_of_it_is_open(self) -> None:
        frames = [part.frame for part in self.batcher.parts()]
        assert frames == self.taken_frames + self.owed


TestBatcher = BatcherMachine.TestCase


def open_window(readings: int) -> Batcher:
    batcher = batcher_of()
    add(batcher, "1", [report(DEVICES[0], 1, readings)], now=100.0)
    return batcher


def test_a_window_is_due_when_it_is_full() -> None:
    assert not open_window(MAX_READINGS - 1).is_due(100.0)
    assert open_window(MAX_READINGS).is_due(100.0)


def test_a_window_is_due_when_its_first_report_is_old_enough() -> None:
    batcher = open_window(1)
    add(batcher, "2", [report(DEVICES[0], 2)], now=109.0)
    assert not batcher.is_due(109.9)
    assert batcher.is_due(110.0)


def test_an_empty_window_is_never_due() -> None:
    batcher = batcher_of()
    assert not batcher.is_due(1e9)
    assert batcher.wait_s(1e9) == MAX_AGE_S


def test_a_held_window_waits_for_something_new() -> None:
    batcher = open_window(MAX_READINGS)
    batcher.take()
    batcher.hold(100.0)
    assert not batcher.is_due(1000.0)
    add(batcher, "2", [report(DEVICES[1], 1)], now=105.0)
    assert not batcher.is_due(105.0)
    assert batcher.is_due(110.0)
    assert [signed.report.sequence for signed in held(batcher)] == [1, 1]


def test_what_came_while_a_window_was_held_back_keeps_its_age() -> None:
    batcher = open_window(MAX_READINGS)
    batcher.take()
    add(batcher, "2", [report(DEVICES[1], 1)], now=101.0)
    batcher.hold(105.0)
    assert not batcher.is_due(110.9)
    assert batcher.is_due(111.0)
    assert batcher.take().frames == ("1", "2")


def test_other_content_under_a_sequence_is_a_conflict_and_the_first_one_stays() -> None:
    batcher = open_window(1)
    other = report(DEVICES[0], 1, 1, value=5)
    added = add(batcher, "2", [other], now=101.0)
    assert added.reports(Outcome.CONFLICTING) == [other]
    assert held(batcher) == [report(DEVICES[0], 1)]


def test_another_signature_makes_no_other_report() -> None:
    batcher = open_window(1)
    again = SignedReport(report(DEVICES[0], 1).report, b"\1" * 64)
    assert add(batcher, "2", [again], now=101.0).reports(Outcome.DUPLICATE) == [again]


def test_what_repeats_a_window_that_is_being_sealed_is_told_from_a_conflict() -> None:
    batcher = open_window(1)
    batcher.take()
    other = report(DEVICES[0], 1, 1, value=5)
    added = add(batcher, "2", [report(DEVICES[0], 1), other], now=101.0)
    assert added.outcomes.tolist() == [Outcome.DUPLICATE, Outcome.CONFLICTING]


def test_what_is_far_below_the_newest_is_stale_and_not_batched() -> None:
    batcher = open_window(1)
    add(batcher, "2", [report(DEVICES[0], 50_000)], now=101.0)
    old = report(DEVICES[0], 2)
    assert add(batcher, "3", [old], now=102.0).reports(Outcome.STALE) == [old]


def test_what_a_batch_has_is_committed_and_keeps_no_frame() -> None:
    batcher = open_window(1)
    batcher.take()
    batcher.clear()
    again = report(DEVICES[0], 1)
    committed = {DEVICES[0]: SequenceWindow().with_seen(1, JOURNAL_WIDTH)}
    added = add(batcher, "2", [again], now=101.0, committed=committed)
    assert added.reports(Outcome.COMMITTED) == [again]
    assert list(batcher.parts()) == []


def test_what_a_batch_has_that_nobody_can_show_is_taken_once_more() -> None:
    batcher = open_window(1)
    batcher.take()
    batcher.clear()
    again, new = report(DEVICES[0], 1), report(DEVICES[1], 1)
    committed = {DEVICES[0]: SequenceWindow().with_seen(1, JOURNAL_WIDTH)}
    placed = batcher.place(columns(again, new))
    low = batcher.low_keys(placed, committed)
    assert low == [again.pack()[:28]]
    for outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
        added = batcher.add("2", batcher.place(columns(again)), 101.0, committed, low)
        assert added.reports(outcome) == [again]


def test_sequences_learnt_from_the_journal_count_as_seen() -> None:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S, DeviceTable(100))
    assert batcher.table.unknown(DEVICES) == set(DEVICES)
    committed = {DEVICES[0]: SequenceWindow().with_seen(3, JOURNAL_WIDTH)}
    batcher.table.learn(DEVICES, committed, {})
    assert batcher.table.unknown(DEVICES) == set()
    seen, new = report(DEVICES[0], 3), report(DEVICES[0], 4)
    added = add(batcher, "1", [seen, new], 0.0, committed)
    assert added.outcomes.tolist() == [Outcome.COMMITTED, Outcome.ACCEPTED]


def test_what_is_learnt_twice_does_not_undo_what_was_seen_since() -> None:
    batcher = open_window(1)
    batcher.table.learn(DEVICES, {}, {})
    again = report(DEVICES[0], 1)
    assert add(batcher, "2", [again], now=101.0).reports(Outcome.DUPLICATE) == [again]


def test_the_journals_width_decides_what_is_stale() -> None:
    batcher = batcher_of()
    add(batcher, "1", [report(DEVICES[0], 5000)], now=0.0)
    oldest, staler = report(DEVICES[0], 5000 - 4096), report(DEVICES[0], 5000 - 4097)
    added = add(batcher, "2", [oldest, staler], now=0.0)
    assert added.outcomes.tolist() == [Outcome.ACCEPTED, Outcome.STALE]


def test_one_device_out_of_order_does_not_slow_down_the_others_of_a_frame() -> None:
    batcher = open_window(1)
    reports = [report(DEVICES[0], 1), report(DEVICES[1], 1), report(DEVICES[2], 9)]
    placed = batcher.place(columns(*reports))
    assert placed.devices == {DEVICES[0]}
    assert placed.odd.tolist() == [0]
    falling = batcher.place(columns(report(DEVICES[1], 5), report(DEVICES[1], 4)))
    assert falling.devices == {DEVICES[1]}


def test_a_window_names_each_of_its_devices_once() -> None:
    batcher = open_window(1)
    add(batcher, "2", [report(DEVICES[1], 1), report(DEVICES[1], 2)], now=101.0)
    assert set(batcher.table.devices(batcher.take().rows)) == set(DEVICES[:2])


def test_a_new_window_begins_with_its_own_first_report() -> None:
    batcher = open_window(1)
    batcher.take()
    batcher.clear()
    add(batcher, "2", [report(DEVICES[0], 2)], now=150.0)
    assert batcher.wait_s(150.0) == MAX_AGE_S
    assert not batcher.is_due(159.0)


def test_devices_of_an_open_window_are_not_forgotten() -> None:
    batcher = batcher_of(limit=2)
    for number, device in enumerate(DEVICES):
        add(batcher, str(number), [report(device, 1)], now=0.0)
    batcher.forget_idle()
    assert batcher.table.unknown(DEVICES) == set()
    batcher.take()
    batcher.forget_idle()
    assert batcher.table.unknown(DEVICES) == set()
    batcher.clear()
    batcher.forget_idle()
    assert batcher.table.unknown(DEVICES) == set(DEVICES[:2]), "the last one that sent stays"
    rows = batcher.table.rows_of(columns(report(DEVICES[2], 2)))
    assert np.array_equal(rows, [0])
