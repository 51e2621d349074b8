"""What the aggregator remembers of the devices it has met, a row each: no object a report.

Of a device's sequences only the newest: what comes in order needs no more, and for anything else
the caller asks the journal for the whole window. Quality states lie in columns by metric.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import filterfalse, repeat

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, Places, ascending
from corechain.protocol.frame import Columns
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import U64_MAX, DeviceId
from corechain.protocol.states import StateColumns
from corechain_relayer.journal.delta import ids_in
from corechain_relayer.sequences import SequenceWindow

FIRST_ROWS = 1_024
NEVER = -1
"""As a row: a device that was never met. As a time: a (device, metric) without a state."""
Numbers = npt.NDArray[np.int64]


def device_ids(columns: Columns) -> list[DeviceId]:
    """One a report."""
    return ids_in(columns.devices)


@dataclass(slots=True)
class _States:
    """The states of one metric, by row of the device."""

    values: Numbers
    times: Numbers
    run_starts: Numbers

    @classmethod
    def empty(cls, size: int) -> "_States":
        return cls(*(np.full(size, NEVER, np.int64) for _ in range(3)))

    def columns(self) -> "tuple[Numbers, Numbers, Numbers]":
        return self.values, self.times, self.run_starts

    def taken(self, rows: Places, size: int) -> "_States":
        """With these rows first, in this order."""
        moved = _States.empty(size)
        moved.put(slice(len(rows)), self, rows)
        return moved

    def put(self, places: "Places | slice", other: "_States", rows: Places) -> None:
        """The other's states of these rows, here at these places."""
        for column, source in zip(self.columns(), other.columns(), strict=True):
            column[places] = source[rows]


@dataclass(frozen=True, slots=True)
class HeldStates:
    """The states of some devices at one moment. The table may move on, and its rows elsewhere."""

    devices: Octets
    """Ascending, 20 bytes a row."""
    states: Mapping[int, _States]
    """By metric, a row a device."""

    def before(
        self, devices: Octets, ranks: Places, metrics: npt.NDArray[np.uint16]
    ) -> tuple[Numbers, Numbers, Numbers]:
        """As `PriorStates` has it, of these very devices: found by their rank, not by their id."""
        assert np.array_equal(devices, self.devices), "states of other devices"
        found = _States.empty(len(ranks))
        for code in np.unique(metrics).tolist():
            if code in self.states:
                places = np.flatnonzero(metrics == code)
                found.put(places, self.states[code], ranks[places])
        return found.columns()

    def mapping(self) -> dict[StateKey, State]:
        """As objects: for tests."""
        ids = ids_in(self.devices.tobytes())
        return {
            (ids[row], code): State(*(int(column[row]) for column in held.columns()))
            for code, held in self.states.items()
            for row in np.flatnonzero(held.times != NEVER).tolist()
        }


@dataclass(slots=True)
class DeviceTable:
    """Rows of devices. Holds at most `limit`, but for those in use (`evict`)."""

    limit: int
    _rows: dict[DeviceId, int] = field(default_factory=dict)
    _ids: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 20), np.uint8))
    following: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """The lowest sequence above all that were taken."""
    _used: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    """When the device was last asked for, in calls of `rows_of`."""
    _states: dict[int, _States] = field(default_factory=dict)
    _calls: int = 0

    def __len__(self) -> int:
        return len(self._rows)

    def rows_of(self, columns: Columns) -> Places:
        """The row of each report's device, NEVER where it was not learnt."""
        ids = device_ids(columns)
        found = np.fromiter(map(self._rows.get, ids, repeat(NEVER)), np.intp, len(ids))
        self._calls += 1
        self._used[found[found != NEVER]] = self._calls
        return found

    def known_rows(self, columns: Columns) -> Places | None:
        """The row of each report's device; None where one was not learnt. They hold until `evict`
        moves them."""
        rows = self.rows_of(columns)
        return None if (rows == NEVER).any() else rows

    def unknown(self, devices: Iterable[DeviceId]) -> set[DeviceId]:
        # Not by subtracting the keys: that goes through all devices that were ever met.
        return set(filterfalse(self._rows.__contains__, devices))

    def learn(
        self,
        devices: Iterable[DeviceId],
        windows: Mapping[DeviceId, SequenceWindow],
        states: Mapping[StateKey, State],
    ) -> None:
        """What the journal says of devices; nothing of those that are known by now."""
        fresh = self.unknown(devices)
        self._grow(len(self._rows) + len(fresh))
        for device in fresh:
            row = self._rows[device] = len(self._rows)
            self._ids[row] = np.frombuffer(device, np.uint8)
            newest = windows[device].newest if device in windows else -1
            self.following[row] = min(newest + 1, U64_MAX)
        self.keep(StateColumns.of({key: s for key, s in states.items() if key[0] in fresh}))

    def _grow(self, size: int) -> None:
        before = len(self.following)
        if size <= before:
            return
        after = max(FIRST_ROWS, 2 * before, size)
        self._resize(np.arange(before), after)

    def _resize(self, rows: Places, size: int) -> None:
        """Keeps these rows, in this order, with room for so many."""
        for name in ("_ids", "following", "_used"):
            source = getattr(self, name)
            column = np.zeros((size, *source.shape[1:]), source.dtype)
            column[: len(rows)] = source[rows]
            setattr(self, name, column)
        self._states = {code: held.taken(rows, size) for code, held in self._states.items()}

    def take(self, rows: Places, sequences: npt.NDArray[np.uint64]) -> None:
        """These sequences are used from now on."""
        after = np.minimum(sequences, np.uint64(U64_MAX - 1)) + np.uint64(1)
        np.maximum.at(self.following, rows, after)

    def keep(self, states: StateColumns) -> None:
        """Quality states after a batch, of known devices."""
        ids = ids_in(states.devices)
        rows = np.fromiter(map(self._rows.__getitem__, ids), np.intp, len(ids))
        for code in np.unique(states.metrics).tolist():
            held = self._states.setdefault(code, _States.empty(len(self.following)))
            chosen = states.metrics == code
            held.values[rows[chosen]] = states.values[chosen]
            held.times[rows[chosen]] = states.times[chosen]
            held.run_starts[rows[chosen]] = states.run_starts[chosen]

    def devices(self, rows: Places) -> list[DeviceId]:
        return ids_in(self._ids[rows].tobytes())

    def states_of(self, rows: Places) -> "HeldStates":
        """The states that these devices have now, each device once."""
        rows = rows[ascending(self._ids[rows])]
        states = {code: held.taken(rows, len(rows)) for code, held in self._states.items()}
        return HeldStates(self._ids[rows], states)

    def evict(self, in_use: Places) -> Places | None:
        """Forgets the devices that were idle longest, where there are more than the limit: all but
        half as many, and those in use. The new row of each old one then, NEVER for the forgotten;
        None where all stay."""
        count = len(self._rows)
        if count <= self.limit:
            return None
        urgent = np.zeros(count, np.bool_)
        urgent[in_use] = True
        order = np.lexsort((self._used[:count], urgent))
        kept = np.sort(order[count - max(self.limit // 2, int(urgent.sum())) :])
        return self._compact(kept, count)

    def _compact(self, kept: Places, count: int) -> Places:
        moved = np.full(count, NEVER, np.intp)
        moved[kept] = np.arange(len(kept))
        self._resize(kept, max(FIRST_ROWS, len(kept)))
        self._rows = dict(zip(self.devices(moved[kept]), range(len(kept)), strict=True))
        return moved
