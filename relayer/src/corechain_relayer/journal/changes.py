"""What deltas say of the devices that a reader asks for, beside what the tables say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from corechain.protocol.columns import rows_of as records_of
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain_relayer.journal.delta import Delta
from corechain_relayer.journal.digests import Key
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow

Rows = Mapping[DeviceId, Sequence[tuple[Delta, int]]]
"""Where the deltas speak of a device: (delta, row in it)."""


@dataclass(slots=True)
class Changes:
    """United from the rows of deltas, in any order."""

    digests: dict[Key, bytes] = field(default_factory=dict)
    states: dict[StateKey, State] = field(default_factory=dict)

    def add(self, device: DeviceId, delta: Delta, row: int) -> None:
        for sequence, digest in delta.reports_of(row):
            self.digests[device, sequence] = digest
        for metric, state in delta.states_of(row):
            self.states[device, metric] = later(self.states.get((device, metric)), state)


def later(one: State | None, two: State) -> State:
    """The state of the later observation: a state never moves back in time."""
    return two if one is None or one.at < two.at else one


def rows_of(deltas: Iterable[Delta], devices: Iterable[DeviceId]) -> Rows:
    """For those of some devices that occur in the deltas."""
    wanted = list(devices)
    ids = records_of(b"".join(wanted), 20)
    found: dict[DeviceId, list[tuple[Delta, int]]] = {}
    for delta in deltas:
        places, rows = delta.places_of(ids)
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            found.setdefault(wanted[place], []).append((delta, row))
    return found


def changes_of(rows: Rows) -> Changes:
    changes = Changes()
    for device, places in rows.items():
        for delta, row in places:
            changes.add(device, delta, row)
    return changes


def windows_after(
    stored: Mapping[DeviceId, SequenceWindow], rows: Rows
) -> dict[DeviceId, SequenceWindow]:
    """The stored windows, moved on by what the deltas have of their devices."""
    windows = dict(stored)
    for device, places in rows.items():
        sequences = (number for delta, row in places for number in delta.sequences_of(row))
        windows[device] = windows.get(device, SequenceWindow()).with_all(sequences, JOURNAL_WIDTH)
    return windows


def states_after(stored: Mapping[StateKey, State], rows: Rows) -> dict[StateKey, State]:
    """The stored states, moved on by what the deltas have of their devices."""
    states = dict(stored)
    for key, state in changes_of(rows).states.items():
        states[key] = later(states.get(key), state)
    return states
