"""Rows to values and back, shared by all who speak to the journal."""

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain_relayer.sequences import SequenceWindow

if TYPE_CHECKING:
    from asyncpg import Record

STATE_ROWS = np.dtype([("metric", ">u2"), ("value", ">i4"), ("at", ">u8"), ("run_start", ">u8")])
"""A packed quality state (sql/0009); times in seconds since 1970."""
_STATE = struct.Struct(">HiQQ")
assert STATE_ROWS.itemsize == _STATE.size


def to_windows(rows: "Iterable[Record]") -> dict[DeviceId, SequenceWindow]:
    return {
        DeviceId(row["device"]): SequenceWindow.unpack(int(row["newest"]), row["seen"])
        for row in rows
    }


def window_columns(windows: Mapping[DeviceId, SequenceWindow]) -> list[list[Any]]:
    """Parallel arrays (device, newest as text, seen)."""
    return [
        list(windows),
        [str(window.newest) for window in windows.values()],
        [window.pack() for window in windows.values()],
    ]


def to_states(rows: "Iterable[Record]") -> dict[StateKey, State]:
    return {
        (DeviceId(row["device"]), metric): State(*state)
        for row in rows
        for metric, *state in _STATE.iter_unpack(row["states"])
    }
