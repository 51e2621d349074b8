"""Quality states as columns: what a batch needs before it, and leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, Places, bytes_as_text, rows_of
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId

Numbers = npt.NDArray[np.int64]
NO_STATE = -1
"""As value, time and run start of a pair that has no state: no time is negative."""


class PriorStates(Protocol):
    """What a window's pairs were before it."""

    def before(
        self, devices: Octets, ranks: Places, metrics: npt.NDArray[np.uint16]
    ) -> tuple[Numbers, Numbers, Numbers]:
        """(values, times, run starts) of the pairs (devices[ranks[i]], metrics[i]); NO_STATE where
        one has none. `devices`: those of the window, ascending, 20 bytes a row."""


@dataclass(frozen=True, slots=True)
class StateColumns:
    """The state of one (device, metric) a row, no pair twice, in any order; times in seconds."""

    devices: bytes
    """20 bytes a row."""
    metrics: npt.NDArray[np.uint16]
    values: Numbers
    times: Numbers
    run_starts: Numbers

    def __len__(self) -> int:
        return len(self.metrics)

    @classmethod
    def of(cls, states: Mapping[StateKey, State]) -> "StateColumns":
        numbers = np.array(list(states.values()), np.int64).reshape(-1, 3)
        metrics = np.array([code for _, code in states], np.uint16)
        return cls(b"".join(device for device, _ in states), metrics, *numbers.T)

    def mapping(self) -> dict[StateKey, State]:
        """As objects: for tests and slow paths."""
        devices = [self.devices[at : at + 20] for at in range(0, len(self.devices), 20)]
        columns = (self.metrics, self.values, self.times, self.run_starts)
        rows = zip(devices, *(column.tolist() for column in columns), strict=True)
        return {(DeviceId(device), code): State(*state) for device, code, *state in rows}

    def before(
        self, devices: Octets, ranks: Places, metrics: npt.NDArray[np.uint16]
    ) -> tuple[Numbers, Numbers, Numbers]:
        """As `PriorStates` has it, of any devices."""
        there, rows = self.places_of(keys_of(devices[ranks], metrics))
        value, at, run_start = (np.full(len(ranks), NO_STATE, np.int64) for _ in range(3))
        value[there], at[there] = self.values[rows], self.times[rows]
        run_start[there] = self.run_starts[rows]
        return value, at, run_start

    def places_of(self, keys: Octets) -> tuple[Places, Places]:
        """(places among the keys, rows here) of those keys (22 bytes: device, metric) that have a
        state."""
        if not len(self) or not len(keys):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        held = bytes_as_text(keys_of(rows_of(self.devices, 20), self.metrics))
        order, wanted = np.argsort(held), bytes_as_text(keys)
        found = np.minimum(np.searchsorted(held[order], wanted), len(held) - 1)
        rows = order[found]
        there = np.flatnonzero(held[rows] == wanted)
        return there, rows[there]


def keys_of(devices: Octets, metrics: npt.NDArray[np.uint16]) -> Octets:
    """22 bytes a row: ordered as (device, metric)."""
    codes = metrics.astype(">u2").view(np.uint8).reshape(-1, 2)
    return np.concatenate([devices, codes], axis=1)
