"""What a gateway remembers of a lane's sequences, against the plainest memory there is.

given reports that were marked, and others that are in the journal
  when one comes again, it is the same; when another one has its sequence, it is another
  when neither memory nor journal knows the content, nobody pretends to
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import pytest
from asyncpg import BitString
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import SequenceOutOfReach, StaleSequence, Unavailable
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.states import StateColumns
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.gateway.book import Key, SequenceBook, Verdict
from corechain_relayer.gateway.remembered import FEW, RECENT
from corechain_relayer.journal.delta import delta_of
from corechain_relayer.journal.digests import to_digests
from corechain_relayer.journal.union import united
from corechain_relayer.sequences import GATEWAY_WIDTH, Seen, SequenceWindow, content_digest

DEVICE = DeviceId(b"\x05" * 20)
OTHER = DeviceId(b"\x06" * 20)


def report(sequence: int, value: int = 0, device: DeviceId = DEVICE) -> SignedReport:
    return SignedReport(Report.of(device, sequence, [Observation(1, 0, 1000, value)]), bytes(64))


def columns(*reports: SignedReport) -> Columns:
    return columns_of(b"".join(signed.pack() for signed in reports))


class Journal:
    """Committed reports; away while `is_away`."""

    def __init__(self, *committed: SignedReport) -> None:
        self.committed = {(r.report.device, r.report.sequence): r for r in committed}
        self.is_away = False
        self.asked: list[set[DeviceId]] = []

    async def sequences(self, devices: Iterable[DeviceId]) -> Mapping[DeviceId, SequenceWindow]:
        self._require()
        self.asked.append(set(devices))
        found: dict[DeviceId, SequenceWindow] = {}
        for device, sequence in self.committed:
            if device in devices:
                window = found.get(device, SequenceWindow())
                found[device] = window.with_seen(sequence, 4096)
        return found

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        self._require()
        known = {key: self.committed[key] for key in keys if key in self.committed}
        return {key: content_digest(signed.report) for key, signed in known.items()}

    def _require(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")


REPORTS = st.builds(report, st.integers(0, 80), st.integers(0, 1))


@given(st.lists(REPORTS, max_size=60), REPORTS)
def test_what_was_marked_is_told_apart_from_what_was_not(
    marked: list[SignedReport], asked: SignedReport
) -> None:
    book, first = SequenceBook(Journal()), {}
    for signed in marked:
        book.mark(columns(signed))
        first.setdefault(signed.report.sequence, signed.report)
    verdict = book.look(asked.report, {})
    held = first.get(asked.report.sequence)
    if held is None:
        assert verdict is Verdict.NEW
    else:
        right = Verdict.SAME if held == asked.report else Verdict.OTHER
        # Of old ones the content is forgotten, never mistaken.
        assert verdict in (right, Verdict.UNSURE)


SEQUENCES = st.one_of(
    st.integers(0, 40), st.integers(1_000, 1_100), st.integers(2**62 - 2, 2**62 + 3)
)


@given(st.lists(SEQUENCES, max_size=30))
def test_the_window_of_a_device_is_that_of_the_reference(sequences: list[int]) -> None:
    book, window = SequenceBook(Journal()), SequenceWindow()
    for sequence in sequences:
        if window.look(sequence, GATEWAY_WIDTH) is Seen.NEW:
            window = window.with_seen(sequence, GATEWAY_WIDTH)
        book.mark(columns(report(sequence)))
        assert book.remembered.window(DEVICE) == window


MANY = [DeviceId(bytes([7, number]) * 10) for number in range(FEW + 3)]
MORE = st.builds(report, SEQUENCES, st.integers(0, 1), st.sampled_from(MANY))


@given(SEQUENCES, st.lists(st.lists(MORE, max_size=6), max_size=4), st.lists(SEQUENCES, max_size=3))
def test_frames_of_many_devices_are_remembered_as_their_reports_would_be(
    first: int, frames: list[list[SignedReport]], learnt: list[int]
) -> None:
    together, one_by_one = SequenceBook(Journal()), SequenceBook(Journal())
    journal = SequenceWindow().with_all(learnt, GATEWAY_WIDTH)
    for book in (together, one_by_one):
        book.remembered.learn(MANY[1], journal)
    seen = {MANY[1]: journal}
    for turn, extra in enumerate(frames):
        # All devices, so that they are marked at once, and some of them again, in any order.
        frame = [report(first + 3 * turn, 0, device) for device in MANY] + extra
        together.mark(columns(*frame))
        for signed in frame:
            one_by_one.mark(columns(signed))
            device, sequence = signed.report.device, signed.report.sequence
            window = seen.get(device, SequenceWindow())
            if window.look(sequence, GATEWAY_WIDTH) is Seen.NEW:
                seen[device] = window.with_seen(sequence, GATEWAY_WIDTH)
    for device in MANY:
        assert together.remembered.window(device) == seen.get(device, SequenceWindow())
        for sequence in {signed.report.sequence for frame in frames for signed in frame}:
            digests = {book.remembered.digest(device, sequence) for book in (together, one_by_one)}
            assert len(digests) == 1


@given(st.lists(SEQUENCES, max_size=5), SEQUENCES)
def test_the_newest_of_a_device_is_new_for_certain(marked: list[int], asked: int) -> None:
    book = SequenceBook(Journal())
    for sequence in marked:
        book.mark(columns(report(sequence)))
    if book.are_newest(columns(report(asked)), book.rows_of(columns(report(asked)))).all():
        assert asked > max(marked, default=-1)
        assert book.look(report(asked).report, {}) is Verdict.NEW


def test_the_last_contents_are_remembered() -> None:
    book = SequenceBook(Journal())
    book.mark(columns(*map(report, range(RECENT + 1))))
    looks = [book.look(report(sequence).report, {}) for sequence in range(RECENT + 1)]
    assert looks == [Verdict.UNSURE, *[Verdict.SAME] * RECENT]
    assert book.look(report(RECENT, 1).report, {}) is Verdict.OTHER


async def test_the_journal_knows_contents_that_memory_has_not() -> None:
    book = SequenceBook(Journal(report(3)))
    await book.load({DEVICE})
    assert book.look(report(3).report, {}) is Verdict.UNSURE
    sealed = await book.look_up([(DEVICE, 3)])
    assert book.look(report(3).report, sealed) is Verdict.SAME
    assert book.look(report(3, 1).report, sealed) is Verdict.OTHER
    assert book.look(report(4).report, sealed) is Verdict.NEW


async def test_a_device_is_looked_up_once_and_after_an_outage_again() -> None:
    journal = Journal(report(3))
    book = SequenceBook(journal)
    journal.is_away = True
    await book.load({DEVICE})
    assert book.look(report(3).report, {}) is Verdict.NEW
    assert await book.look_up([(DEVICE, 3)]) == {}
    journal.is_away = False
    await book.load({DEVICE})
    await book.load({DEVICE, OTHER})
    assert journal.asked == [{DEVICE}, {OTHER}]
    assert book.look(report(3).report, {}) is Verdict.UNSURE


async def test_what_others_have_committed_since_is_learnt_when_asked_closely() -> None:
    journal = Journal()
    book = SequenceBook(journal)
    await book.load({DEVICE})
    journal.committed[DEVICE, 7] = report(7)
    sealed = await book.look_up([(DEVICE, 7)])
    assert book.look(report(7).report, sealed) is Verdict.SAME


async def test_a_backlog_is_read_on_from_where_it_was_left() -> None:
    pages = [[("1-0", report(1)), ("2-0", report(2))], [("3-0", report(3))]]
    asked: list[str] = []

    async def backlog(after: str) -> AsyncIterator[list[Delivery]]:
        asked.append(after)
        for page in pages:
            yield [Delivery(id, pack_frame(0, [signed])) for id, signed in page]
        yield []

    book = SequenceBook(Journal())
    await book.read_on(backlog)
    pages[:] = [[("4-0", report(4))]]
    await book.read_on(backlog)
    assert asked == ["0", "3-0"]
    looks = [book.look(report(sequence).report, {}) for sequence in range(1, 6)]
    assert looks == [*[Verdict.SAME] * 4, Verdict.NEW]


async def test_an_unreadable_frame_on_the_bus_hides_no_other() -> None:
    async def backlog(after: str) -> AsyncIterator[list[Delivery]]:
        yield [Delivery("1-0", b"poison"), Delivery("2-0", pack_frame(0, [report(1)]))]

    book = SequenceBook(Journal())
    await book.read_on(backlog)
    assert book.look(report(1).report, {}) is Verdict.SAME


def test_what_is_far_below_the_newest_is_stale() -> None:
    book = SequenceBook(Journal())
    book.mark(columns(report(5000)))
    assert book.look(report(5000 - GATEWAY_WIDTH).report, {}) is Verdict.NEW
    with pytest.raises(StaleSequence):
        book.look(report(5000 - GATEWAY_WIDTH - 1).report, {})
    book.mark(columns(report(1)))
    with pytest.raises(StaleSequence):
        book.look(report(1).report, {})


async def test_a_very_high_sequence_is_judged_only_by_who_knows_the_device() -> None:
    book, high = SequenceBook(Journal(report(2**62 + 5))), report(2**62 + 9)
    with pytest.raises(Unavailable):
        book.look(high.report, {})
    assert book.look(report(2**62).report, {}) is Verdict.NEW
    await book.load({DEVICE, OTHER})
    assert book.look(high.report, {}) is Verdict.NEW
    with pytest.raises(SequenceOutOfReach):
        book.look(report(2**62 + 9, device=OTHER).report, {})


# ------------------------------------------------------------------ the journal's rows


@given(st.sets(st.integers(0, 300), min_size=1), st.sets(st.integers(0, 300)))
def test_a_batchs_digests_come_back_for_its_own_sequences_alone(
    committed: set[int], asked: set[int]
) -> None:
    reports = {sequence: report(sequence, sequence) for sequence in sorted(committed)}
    packed = b"".join(signed.pack() for signed in reports.values())
    union = united([delta_of(columns_of(packed), StateColumns.of({}))])
    rows: Any = [
        {"device": device, "chunk": chunk, "digests": BitString.frombytes(digests)}
        for device, chunk, digests in zip(*union.digest_rows(0, 1), strict=True)
    ]
    assert len(rows) == len({sequence // 64 for sequence in committed})
    keys = [(DEVICE, sequence) for sequence in asked] + [(OTHER, 1)]
    wanted = {(DEVICE, s): content_digest(reports[s].report) for s in asked & committed}
    assert to_digests(rows, keys) == wanted
