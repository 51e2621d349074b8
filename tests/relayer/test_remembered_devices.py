"""What the aggregator remembers of its devices.

given more devices than are kept in memory
  when the idle ones are forgotten
    what is remembered of the others is what it was
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.columns import Places
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import columns_of
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId, Observation, Report
from corechain.protocol.states import StateColumns
from corechain_relayer.aggregator.devices import NEVER, DeviceTable, device_ids
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow
from relayer.test_aggregator import view_of

IDS = [DeviceId(bytes([n]) * 18 + bytes(2)) for n in range(8)]
STATES = st.builds(
    State, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1)
)


def rows(table: DeviceTable, *devices: DeviceId) -> Places:
    items = [Observation(1, 0, 1, 1)]
    packed = (Report.of(device, 1, items).body() + bytes(64) for device in devices)
    return table.rows_of(columns_of(b"".join(packed)))


@given(
    st.dictionaries(st.tuples(st.sampled_from(IDS), st.sampled_from((1, 2, 30_000))), STATES),
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 2**64 - 1)),
    st.lists(st.sampled_from(IDS), unique=True),
)
def test_what_is_remembered_of_the_others_is_what_it_was(
    states: dict[StateKey, State], newest: dict[DeviceId, int], asked: list[DeviceId]
) -> None:
    table = DeviceTable(limit=6)
    windows = {d: SequenceWindow().with_seen(n, JOURNAL_WIDTH) for d, n in newest.items()}
    table.learn(IDS, windows, states)
    for device in asked:
        rows(table, device)
    busy = rows(table, IDS[0])
    moved = table.evict(busy)
    assert moved is not None
    kept = [
        device for device, row in zip(IDS, rows(table, *IDS).tolist(), strict=True) if row != NEVER
    ]
    assert len(kept) == 3
    assert IDS[0] in kept
    assert table.unknown(IDS) == set(IDS) - set(kept)
    found = rows(table, *kept)
    assert table.devices(found) == kept
    assert table.states_of(found).mapping() == {k: s for k, s in states.items() if k[0] in kept}
    following = [min(newest.get(device, -1) + 1, 2**64 - 1) for device in kept]
    assert table.following[found].tolist() == following
    recent = [device for device in asked if device != IDS[0]][-2:]
    assert set(recent) <= set(kept), "who was asked for lately is kept before the others"
    table.learn(IDS, windows, states)
    assert table.states_of(rows(table, *IDS)).mapping() == states


def test_a_table_within_its_limit_forgets_nobody() -> None:
    table = DeviceTable(limit=8)
    table.learn(IDS, {}, {})
    assert table.evict(np.zeros(0, np.intp)) is None
    assert len(table) == 8


def test_states_are_moved_on_by_a_batch() -> None:
    table, key = DeviceTable(limit=8), (IDS[1], 4)
    table.learn(IDS, {}, {key: State(1, 10, 5)})
    table.keep(StateColumns.of({key: State(2, 20, 20), (IDS[2], 7): State(3, 30, 30)}))
    wanted = {key: State(2, 20, 20), (IDS[2], 7): State(3, 30, 30)}
    assert table.states_of(rows(table, *IDS)).mapping() == wanted
    assert table.states_of(rows(table, IDS[3])).mapping() == {}


def test_ids_that_end_with_zeros_are_whole() -> None:
    frame = columns_of(Report.of(IDS[0], 1, [Observation(1, 0, 1, 1)]).body() + bytes(64))
    assert device_ids(frame) == [IDS[0]]


def test_a_stranger_has_no_row() -> None:
    table = DeviceTable(limit=8)
    assert rows(table, IDS[0]).tolist() == [NEVER]
    with pytest.raises(ProtocolError):
        view_of(0).identity(IDS[0])
