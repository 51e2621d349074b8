"""What a batch changes for its devices, as a value: what was put into it comes out of it.

given changes of batches
  when they are packed and read again, or put together in any order
    they say what each said
  when the bytes are no delta
    the reader stops, and its error names a way out
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.quality import State, StateKey
from corechain_relayer.errors import UnreadableDelta
from corechain_relayer.journal.changes import later, rows_of
from corechain_relayer.journal.delta import delta_of, unpack_delta
from corechain_relayer.journal.digests import CHUNK, Key
from corechain_relayer.journal.rows import to_states
from corechain_relayer.journal.union import united
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow, content_digest
from relayer.test_deltas import DEVICES, STRANGER, ordered, report

STATES = st.builds(
    State, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**40), st.integers(0, 2**40)
)
SEQUENCES = st.integers(0, 60) | st.integers(0, 2**64 - 1)
KEYS = st.tuples(st.sampled_from(DEVICES), SEQUENCES)


@given(
    st.sets(KEYS, min_size=1),
    st.dictionaries(st.tuples(st.sampled_from(DEVICES), st.integers(0, 65_535)), STATES),
)
def test_a_delta_says_what_was_put_into_it(keys: set[Key], states: dict[StateKey, State]) -> None:
    devices = {device for device, _ in keys}
    states = {key: state for key, state in states.items() if key[0] in devices}
    delta = unpack_delta(delta_of(*ordered([report(*key) for key in keys], states)).pack())
    assert delta.devices == sorted(devices)
    found, kept, rows = {}, {}, rows_of([delta], [STRANGER, *DEVICES])
    assert rows.keys() == devices
    for device in devices:
        ((_, row),) = rows[device]
        found |= {(device, number): digest for number, digest in delta.reports_of(row)}
        kept |= {(device, metric): state for metric, state in delta.states_of(row)}
        assert list(delta.sequences_of(row)) == sorted(n for d, n in keys if d == device)
    assert found == {key: content_digest(report(*key).report) for key in keys}
    assert kept == states
    assert rows_of([delta], []) == {}


def test_what_is_no_delta_stops_its_reader_with_a_way_out() -> None:
    packed = delta_of(*ordered([report(DEVICES[0], 1)], {})).pack()
    for wrong in (b"", packed[:-1], packed + b"\0", b"XXXX" + packed[4:], b"CCBD\2" + packed[5:]):
        with pytest.raises(UnreadableDelta, match="newer program"):
            unpack_delta(wrong)


@given(st.lists(SEQUENCES), st.lists(SEQUENCES), st.randoms())
def test_a_window_is_the_same_in_whatever_order_it_has_seen(
    one: list[int], two: list[int], order: random.Random
) -> None:
    """also when something is counted again"""
    window = SequenceWindow().with_all(one, JOURNAL_WIDTH)
    together = window.with_all(two, JOURNAL_WIDTH)
    mixed = [*one, *two, *one]
    order.shuffle(mixed)
    assert SequenceWindow().with_all(mixed, JOURNAL_WIDTH) == together
    newest = max(mixed, default=-1)
    assert together.newest == newest
    for sequence in mixed:
        seen = together.look(sequence, JOURNAL_WIDTH)
        assert seen is (Seen.STALE if newest - sequence > JOURNAL_WIDTH else Seen.REPLAYED)


def test_of_two_states_the_later_observation_counts() -> None:
    early, late = State(1, 10, 5), State(2, 11, 11)
    assert later(None, early) == early
    assert later(early, late) == later(late, early) == late


BATCHES = st.tuples(
    st.sets(KEYS, min_size=1),
    st.dictionaries(st.tuples(st.sampled_from(DEVICES), st.sampled_from((1, 2, 65_535))), STATES),
)


@given(st.lists(BATCHES, min_size=1, max_size=4))
def test_deltas_together_say_what_each_says(
    batches: list[tuple[set[Key], dict[StateKey, State]]],
) -> None:
    deltas, states = [], dict[StateKey, State]()
    keys = {key for batch, _ in batches for key in batch}
    for own, after in batches:
        theirs = {key: s for key, s in after.items() if key[0] in {device for device, _ in own}}
        states |= {key: later(states.get(key), state) for key, state in theirs.items()}
        deltas.append(delta_of(*ordered([report(*key) for key in own], theirs)))
    union = united(deltas)
    count = len(union.devices)
    assert union.devices == sorted({device for device, _ in keys})
    windows = {
        device: SequenceWindow().with_all((n for d, n in keys if d == device), JOURNAL_WIDTH)
        for device in union.devices
    }
    assert union.windows(0, count, {}) == windows
    found = {
        (device, chunk * CHUNK + place): digests[8 * place : 8 * place + 8]
        for middle in (0, count // 2)
        for device, chunk, digests in zip(*union.digest_rows(middle, count), strict=True)
        for place in range(CHUNK)
        if any(digests[8 * place : 8 * place + 8])
    }
    assert found == {key: content_digest(report(*key).report) for key in keys}
    rows = zip(union.devices, union.packed_states(0, count, {}), strict=True)
    kept = to_states({"device": device, "states": packed} for device, packed in rows)
    # Of two states of one time, which only a test makes, either may count.
    assert {key: state.at for key, state in kept.items()} == {
        key: state.at for key, state in states.items()
    }


@given(BATCHES, BATCHES)
def test_states_are_united_with_those_that_are_stored(
    stored: tuple[set[Key], dict[StateKey, State]], fresh: tuple[set[Key], dict[StateKey, State]]
) -> None:
    """the later one counts; where times are equal, the stored one"""
    (_, before), (own, after) = stored, fresh
    theirs = {key: s for key, s in after.items() if key[0] in {device for device, _ in own}}
    union = united([delta_of(*ordered([report(*key) for key in own], theirs))])
    packed = {
        device: united([delta_of(*ordered([report(device, 1)], states))]).packed_states(0, 1, {})[0]
        for device in DEVICES
        if (states := {key: state for key, state in before.items() if key[0] == device})
    }
    count = len(union.devices)
    found = to_states(
        {"device": device, "states": states}
        for device, states in zip(union.devices, union.packed_states(0, count, packed), strict=True)
    )
    assert found == {
        key: later(before.get(key), theirs[key]) if key in theirs else before[key]
        for key in theirs.keys() | {key for key in before if key[0] in union.devices}
    }
