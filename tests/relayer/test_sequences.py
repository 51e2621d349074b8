"""Given sequences that were seen, when another one comes, it is new, replayed or stale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import ReplayedSequence, SequenceOutOfReach, StaleSequence
from corechain.protocol.reading import DeviceId, Observation, Report
from corechain_relayer.sequences import (
    GATEWAY_WIDTH,
    JOURNAL_WIDTH,
    Seen,
    SequenceWindow,
    check_reach,
    content_digest,
)

DEVICE = bytes(20)
WIDTH = 16
NEAR = st.lists(st.integers(0, 60), max_size=40)


def seen_by_definition(history: list[int], sequence: int, width: int) -> Seen:
    newest = max(history, default=-1)
    if sequence < newest - width:
        return Seen.STALE
    return Seen.REPLAYED if sequence in history else Seen.NEW


def admitted(sequences: list[int], width: int) -> tuple[SequenceWindow, list[int]]:
    window, history = SequenceWindow(), []
    for sequence in sequences:
        if window.look(sequence, width) is Seen.NEW:
            window = window.with_seen(sequence, width)
            history.append(sequence)
    return window, history


@given(NEAR, st.integers(0, 60))
def test_the_window_answers_as_a_full_history_would(sequences: list[int], asked: int) -> None:
    window, history = admitted(sequences, WIDTH)
    assert window.look(asked, WIDTH) is seen_by_definition(history, asked, WIDTH)


@given(NEAR, NEAR, st.integers(0, 60))
def test_a_merged_window_has_seen_what_either_has(
    one: list[int], two: list[int], asked: int
) -> None:
    left, history = admitted(one, WIDTH)
    right, more = admitted(two, WIDTH)
    merged = left.merged(right, WIDTH)
    assert merged.look(asked, WIDTH) is seen_by_definition(history + more, asked, WIDTH)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_a_stored_window_comes_back_unchanged_and_stays_small(sequences: list[int]) -> None:
    window, _ = admitted(sequences, JOURNAL_WIDTH)
    bitmap = window.pack()
    assert SequenceWindow.unpack(window.newest, bitmap) == window
    assert len(bitmap) <= JOURNAL_WIDTH // 8 + 1


def test_1024_below_the_newest_is_still_new_and_1025_is_stale() -> None:
    window = SequenceWindow().with_seen(5000, GATEWAY_WIDTH)
    window.check(DEVICE, 5000 - 1024, GATEWAY_WIDTH)
    with pytest.raises(StaleSequence) as stale:
        window.check(DEVICE, 5000 - 1025, GATEWAY_WIDTH)
    assert (stale.value.sequence, stale.value.newest) == (5000 - 1025, 5000)


def test_a_seen_sequence_is_replayed() -> None:
    window = SequenceWindow().with_seen(7, GATEWAY_WIDTH)
    with pytest.raises(ReplayedSequence):
        window.check(DEVICE, 7, GATEWAY_WIDTH)


@given(st.integers(-1, 2**64 - 1))
def test_a_device_that_follows_its_newest_always_has_a_next(newest: int) -> None:
    following = newest + 1
    if following < 2**64 - 1:
        check_reach(DEVICE, following, newest)


REACHES = {
    "a first report": (2**62, -1),
    "a clock in nanoseconds": (1_800_000_000 * 10**9, 5),
    "beyond a mistake": (2**62 + 2**32, 2**62),
}


@pytest.mark.parametrize(("highest", "newest"), REACHES.values(), ids=REACHES.keys())
def test_what_is_within_reach_is_accepted(highest: int, newest: int) -> None:
    check_reach(DEVICE, highest, newest)


OUT_OF_REACH = {
    "one above what is free": (2**62 + 1, -1, 2**62),
    "one beyond reach": (2**62 + 2**32 + 1, 2**62, 2**62 + 2**32),
    "the last number": (2**64 - 1, 2**64 - 2, 2**64 - 2),
}


@pytest.mark.parametrize(
    ("sequence", "newest", "highest"), OUT_OF_REACH.values(), ids=OUT_OF_REACH.keys()
)
def test_what_would_leave_no_next_is_refused_with_the_limit(
    sequence: int, newest: int, highest: int
) -> None:
    with pytest.raises(SequenceOutOfReach) as refused:
        check_reach(DEVICE, sequence, newest)
    assert (refused.value.sequence, refused.value.highest) == (sequence, highest)


@given(st.integers(0, 2**64 - 1), st.integers(0, 9), st.integers(0, 9))
def test_contents_are_told_apart_and_never_by_nothing(sequence: int, one: int, two: int) -> None:
    def digest(value: int, at: int = sequence) -> bytes:
        return content_digest(Report.of(DeviceId(DEVICE), at, [Observation(1, 0, 9, value)]))

    assert (digest(one) == digest(two)) == (one == two)
    assert any(digest(one))
    assert digest(one) != digest(one, sequence ^ 1)
    assert digest(one)[-1] & 1, "zero says that nothing is known"
