"""The batcher against the plainest model there is: a list of what came, a set of what was taken."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.aggregator.batcher import Batcher
from corechain_relayer.bus.base import Delivery

MAX_READINGS, MAX_AGE_S = 6, 10.0
DEVICES = [DeviceId(bytes([n]) * 20) for n in (1, 2)]
SIGNATURE = bytes(64)


def report(device: DeviceId, sequence: int, count: int = 1, value: int = 0) -> SignedReport:
    items = [Observation(1, 0, 1000 + i, value) for i in range(count)]
    return SignedReport(Report.of(device, sequence, items), SIGNATURE)


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
        self.delivered: list[Delivery] = []
        self.acknowledged: list[Delivery] = []
        self.batched: list[SignedReport] = []
        self.opened_at = 0.0

    @rule(reports=st.lists(REPORTS, min_size=1, max_size=4))
    def a_frame_arrives(self, reports: list[SignedReport]) -> None:
        delivery = Delivery(str(len(self.delivered)), b"")
        self.delivered.append(delivery)
        if self.batcher.is_empty:
            self.opened_at = self.now
        added = self.batcher.add(delivery, reports, self.now)
        for signed in added.accepted:
            key = signed.report.device, signed.report.sequence
            assert key not in self.first, "a sequence was accepted twice"
            self.first[key] = signed
        assert not added.stale
        repeats = [*added.duplicate, *added.conflicting]
        assert len(added.accepted) + len(repeats) == len(reports)
        assert all((r.report.device, r.report.sequence) in self.first for r in repeats)

    @rule(seconds=st.floats(0, 8))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(sealable=st.booleans())
    def the_window_is_looked_at(self, sealable: bool) -> None:
        if not self.batcher.is_due(self.now):
            return
        if not sealable:
            self.batcher.hold(self.now)
            assert not self.batcher.is_due(self.now + 2 * MAX_AGE_S), "held without anything new"
            return
        window = self.batcher.window()
        self.batched += window.reports
        self.acknowledged += window.deliveries
        self.batcher.clear()

    @invariant()
    def nothing_is_lost_reordered_or_doubled(self) -> None:
        window = self.batcher.window()
        assert self.batched + list(window.reports) == list(self.first.values())

    @invariant()
    def a_delivery_is_acknowledged_only_with_its_reports(self) -> None:
        assert self.acknowledged + list(self.batcher.window().deliveries) == self.delivered

    @invariant()
    def a_full_window_is_due(self) -> None:
        window = self.batcher.window()
        observations = sum(signed.report.count for signed in window.reports)
        if self.batcher.is_due(self.now):
            assert observations > 0


TestBatcher = BatcherMachine.TestCase


def open_window(readings: int) -> Batcher:
    batcher = Batcher(MAX_READINGS, MAX_AGE_S)
    batcher.learn(DEVICES, {})
    batcher.add(Delivery("1", b""), [report(DEVICES[0], 1, readings)], now=100.0)
    return batcher


def test_a_window_is_due_when_it_is_full() -> None:
    assert not open_window(MAX_READINGS - 1).is_due(100.0)
    assert open_window(MAX_READINGS).is_due(100.0)


def test_a_window_is_due_when_its_first_report_is_old_enough() -> None:
    batcher = open_window(1)
    batcher.add(Delivery("2", b""), [report(DEVICES[0], 2)], now=109.0)
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
    batcher.add(Delivery("2", b""), [report(DEVICES[1], 1)], now=105.0)
    assert not batcher.is_due(105.0)
    assert batcher.is_due(110.0)
    assert len(batcher.window().reports) == 2


def test_other_content_under_a_sequence_is_a_conflict_and_the_first_one_stays() -> None:
    batcher = open_window(1)
    other = report(DEVICES[0], 1, 1, value=5)
    added = batcher.add(Delivery("2", b""), [other], now=101.0)
    assert added.conflicting == (other,)
    assert batcher.window().reports == (report(DEVICES[0], 1),)


def test_what_is_far_below_the_newest_is_stale_and_not_batched() -> None:
    batcher = open_window(1)
    batcher.add(Delivery("2", b""), [report(DEVICES[0], 50_000)], now=101.0)
    old = report(DEVICES[0], 2)
    assert batcher.add(Delivery("3", b""), [old], now=102.0).stale == (old,)
