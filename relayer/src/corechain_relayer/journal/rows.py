"""Rows to values and back, shared by all who speak to the journal."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain_relayer.sequences import SequenceWindow

if TYPE_CHECKING:
    from asyncpg import Record


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
        (DeviceId(row["device"]), row["metric"]): State(row["value"], row["at"], row["run_start"])
        for row in rows
    }
