"""What the aggregator's table of devices does for a frame, and what it does not do."""

from typing import ClassVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.columns import ascending, rows_of
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain.protocol.states import StateColumns
from corechain_relayer.aggregator.devices import DeviceTable

FLEET = 1_000

# Equal heads and zeros at the end: what sorting by numbers, or as text, could get wrong.
IDS = [DeviceId(bytes(8) + bytes([n]) * 6 + bytes(6)) for n in range(4)]
IDS += [DeviceId(bytes([n]) * 18 + bytes(2)) for n in (1, 127, 128, 255)]
KEYS = st.tuples(st.sampled_from(IDS), st.sampled_from((0, 1, 9, 65_535)))
VALUES = st.integers(-(2**31), 2**31 - 1)
STATES = st.builds(State, VALUES, st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1))


class Counted(bytes):
    """A device id that counts how often one of them is looked at by a set or a dictionary."""

    looks: ClassVar[int] = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return bytes.__hash__(self)

    __eq__ = bytes.__eq__


def device(number: int) -> DeviceId:
    return DeviceId(Counted(number.to_bytes(20, "big")))


def test_looking_for_strangers_takes_no_step_a_device_of_the_fleet() -> None:
    table = DeviceTable(limit=FLEET)
    table.learn([device(number) for number in range(FLEET)], {}, {})
    stranger, known = device(FLEET + 1), device(1)
    Counted.looks = 0
    assert table.unknown([known, stranger, known]) == {stranger}
    assert Counted.looks < 20, "more looks than a frame of three reports needs"


@given(st.permutations(IDS))
def test_ids_are_ordered_by_their_bytes(ids: list[DeviceId]) -> None:
    order = ascending(rows_of(b"".join(ids), 20))
    assert [ids[place] for place in order.tolist()] == sorted(IDS)


@given(
    states=st.dictionaries(KEYS, STATES),
    chosen=st.sets(st.sampled_from(IDS), min_size=1),
    later=STATES,
    data=st.data(),
)
def test_a_table_says_of_a_window_what_columns_of_states_say(
    states: dict[StateKey, State], chosen: set[DeviceId], later: State, data: st.DataObject
) -> None:
    """as of the moment when it was asked"""
    table = DeviceTable(limit=len(IDS))
    table.learn(IDS, {}, states)
    rows = [table._rows[device] for device in data.draw(st.permutations(sorted(chosen)))]
    held = table.states_of(np.array(rows))
    table.keep(StateColumns.of({(IDS[0], 1): later}))
    pairs = sorted(data.draw(st.sets(KEYS.filter(lambda key: key[0] in chosen))))
    devices = sorted(chosen)
    window = (
        rows_of(b"".join(devices), 20),
        np.array([devices.index(device) for device, _ in pairs], np.intp),
        np.array([metric for _, metric in pairs], np.uint16),
    )
    found, wanted = held.before(*window), StateColumns.of(states).before(*window)
    assert [column.tolist() for column in found] == [column.tolist() for column in wanted]
