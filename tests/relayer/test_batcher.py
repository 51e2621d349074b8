"""The batcher against the plainest model there is: a list of what came, a set of what was taken."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.aggregator.batcher import Added, Batcher
from corechain_relayer.sequences import SequenceWindow

MAX_READINGS, MAX_AGE_S = 6, 10.0
DEVICES = [DeviceId(bytes([n]) * 20) for n in (1, 2)]
SIGNATURE = bytes(64)


def report(device: DeviceId, sequence: int, count: int = 1, value: int = 0) -> SignedReport:
    items = [Observation(1, 0, 1000 + i, value) for i in range(count)]
    return SignedReport(Report.of(device, sequence, items), SIGNATURE)


def key_of(signed: SignedReport) -> tuple[bytes, int]:
    return signed.report.device, signed.report.sequence


REPORTS = st.builds(
    report, st.sampled_from(DEVICES), st.integers(0, 30), st.integers(1, 3), st.integers(0, 1)
)


class BatcherMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.batcher = Batcher(MAX_READINGS, MAX_AGE_S)
        self.batcher.learn(DEVICES, {})
        self.first: dict[tuple[bytes, int], SignedReport] = {}
        self.batched: list[SignedReport] = []
        self.frames = 0
        self.owed: list[str] = []
        """Frames of which something is in the open window."""
        self.since = 0.0
        """When the open window began, or was held last."""
        self.fresh = 0
        """Observations that came since then."""

    @rule(reports=st.lists(REPORTS, min_size=1, max_size=4))
    def a_frame_arrives(self, reports: list[SignedReport]) -> None:
        self.frames += 1
        open_before = dict(self.open_reports())
        added = self.batcher.add(str(self.frames), reports, self.now)
        taken = []
        for signed in reports:
            key = key_of(signed)
            if key not in self.first:
                self.first[key] = signed
                taken.append(signed)
        assert list(added.accepted) == taken
        repeats = [*added.duplicate, *added.conflicting, *added.committed]
        assert len(taken) + len(repeats) == len(reports)
        assert not added.stale
        self.repetitions_are_told_apart(added)
        if taken:
            self.owed.append(str(self.frames))
            self.since = self.since if open_before else self.now
            self.fresh += sum(signed.report.count for signed in taken)

    def repetitions_are_told_apart(self, added: Added) -> None:
        """The window knows its own reports; of a batch's it knows the sequences only."""
        held = self.open_reports()
        assert all(held[key_of(r)].report == r.report for r in added.duplicate)
        assert all(held[key_of(r)].report != r.report for r in added.conflicting)
        assert all(key_of(r) in map(key_of, self.batched) for r in added.committed)

    def open_reports(self) -> dict[tuple[bytes, int], SignedReport]:
        return {key_of(signed): signed for signed in self.batcher.window().reports}

    @rule(seconds=st.floats(0, 8))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.fresh)
    @rule()
    def the_wait_is_over(self) -> None:
        # One float step on: what is left may round to a hair above nothing.
        self.now = math.nextafter(max(self.now, self.now + self.batcher.wait_s(self.now)), math.inf)
        assert self.batcher.is_due(self.now)

    @rule(sealable=st.booleans())
    def the_window_is_looked_at(self, sealable: bool) -> None:
        if not self.batcher.is_due(self.now):
            return
        self.fresh = 0
        if not sealable:
            self.batcher.hold(self.now)
            self.since = self.now
            return
        window = self.batcher.window()
        assert list(window.frames) == self.owed, "acknowledged with its reports, not before"
        self.batched += window.reports
        self.batcher.clear()
        self.owed = []

    @invariant()
    def a_window_is_due_when_it_is_full_or_old_and_never_otherwise(self) -> None:
        full = self.fresh >= MAX_READINGS
        # As the batcher computes it: a sum and a difference of floats need not agree otherwise.
        old = self.fresh > 0 and self.since + MAX_AGE_S - self.now <= 0
        assert self.batcher.is_due(self.now) == (full or old)

    @invariant()
    def nothing_is_lost_reordered_or_doubled(self) -> None:
        window = self.batcher.window()
        assert self.batched + list(window.reports) == list(self.first.values())
        assert self.batcher.report_count == len(window.reports)

    @invariant()
    def a_frame_is_owed_as_long_as_something_of_it_is_open(self) -> None:
        assert list(self.batcher.window().frames) == self.owed


TestBatcher = BatcherMachine.TestCase


def open_window(readings: int) -> Batcher:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S)
    batcher.learn(DEVICES, {})
    batcher.add("1", [report(DEVICES[0], 1, readings)], now=100.0)
    return batcher


def test_a_window_is_due_when_it_is_full() -> None:
    assert not open_window(MAX_READINGS - 1).is_due(100.0)
    assert open_window(MAX_READINGS).is_due(100.0)


def test_a_window_is_due_when_its_first_report_is_old_enough() -> None:
    batcher = open_window(1)
    batcher.add("2", [report(DEVICES[0], 2)], now=109.0)
    assert not batcher.is_due(109.9)
    assert batcher.is_due(110.0)


def test_an_empty_window_is_never_due() -> None:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S)
    assert not batcher.is_due(1e9)
    assert batcher.wait_s(1e9) == MAX_AGE_S


def test_a_held_window_waits_for_something_new() -> None:
    batcher = open_window(MAX_READINGS)
    batcher.hold(100.0)
    assert not batcher.is_due(1000.0)
    batcher.add("2", [report(DEVICES[1], 1)], now=105.0)
    assert not batcher.is_due(105.0)
    assert batcher.is_due(110.0)
    assert len(batcher.window().reports) == 2


def test_other_content_under_a_sequence_is_a_conflict_and_the_first_one_stays() -> None:
    batcher = open_window(1)
    other = report(DEVICES[0], 1, 1, value=5)
    added = batcher.add("2", [other], now=101.0)
    assert added.conflicting == (other,)
    assert batcher.window().reports == (report(DEVICES[0], 1),)


def test_what_is_far_below_the_newest_is_stale_and_not_batched() -> None:
    batcher = open_window(1)
    batcher.add("2", [report(DEVICES[0], 50_000)], now=101.0)
    old = report(DEVICES[0], 2)
    assert batcher.add("3", [old], now=102.0).stale == (old,)


def test_what_a_batch_has_is_committed_and_keeps_no_frame() -> None:
    batcher = open_window(1)
    batcher.clear()
    again = report(DEVICES[0], 1)
    assert batcher.add("2", [again], now=101.0).committed == (again,)
    assert batcher.window().frames == ()
    assert batcher.report_count == 0


def test_sequences_learnt_from_the_journal_count_as_seen() -> None:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S)
    assert batcher.unknown(DEVICES) == set(DEVICES)
    batcher.learn(DEVICES, {DEVICES[0]: SequenceWindow().with_seen(3, 4096)})
    assert batcher.unknown(DEVICES) == set()
    seen, new = report(DEVICES[0], 3), report(DEVICES[0], 4)
    added = batcher.add("1", [seen, new], now=0.0)
    assert (added.committed, added.accepted) == ((seen,), (new,))


def test_what_is_learnt_twice_does_not_undo_what_was_seen_since() -> None:
    batcher = open_window(1)
    batcher.learn(DEVICES, {})
    assert batcher.add("2", [report(DEVICES[0], 1)], now=101.0).duplicate


def test_the_journals_width_decides_what_is_stale() -> None:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S)
    batcher.learn(DEVICES, {})
    batcher.add("1", [report(DEVICES[0], 5000)], now=0.0)
    oldest, staler = report(DEVICES[0], 5000 - 4096), report(DEVICES[0], 5000 - 4097)
    added = batcher.add("2", [oldest, staler], now=0.0)
    assert (added.accepted, added.stale) == ((oldest,), (staler,))


def test_a_window_names_each_of_its_devices_once() -> None:
    batcher = open_window(1)
    batcher.add("2", [report(DEVICES[1], 1), report(DEVICES[1], 2)], now=101.0)
    assert batcher.window().devices == set(DEVICES)


def test_a_new_window_begins_with_its_own_first_report() -> None:
    batcher = open_window(1)
    batcher.clear()
    batcher.add("2", [report(DEVICES[0], 2)], now=150.0)
    assert batcher.wait_s(150.0) == MAX_AGE_S
    assert not batcher.is_due(159.0)
