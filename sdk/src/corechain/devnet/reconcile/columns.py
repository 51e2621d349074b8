"""The reports of a data file as columns, and the numbers that a fleet gives them: for numpy, which
comes with the services. No Python step a report. `scan` and `Ledger` are the reference without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corechain.devnet.fleet.shape import Shape
from corechain.protocol.columns import (
    Bits,
    Octets,
    Places,
    ascending,
    bytes_as_text,
    rows_of,
    words,
)
from corechain.protocol.errors import MalformedDataFile, MalformedReport
from corechain.protocol.frame import columns_at
from corechain.protocol.reading import DeviceId

ONCE, FATE, MOST_SEEN = 8, 7, 31
"""A report's byte in a ledger: how often it was seen in the upper 5 bits."""


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """(device, sequence) of reports."""

    devices: Octets
    """20 bytes a row."""
    sequences: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.sequences)

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        packed = self.devices.tobytes()
        for at, sequence in enumerate(self.sequences.tolist()):
            yield packed[20 * at : 20 * at + 20], sequence

    def __getitem__(self, chosen: Bits) -> "KeyColumns":
        return KeyColumns(self.devices[chosen], self.sequences[chosen])


def keys_at(data: bytes, offset: int, reports: int) -> tuple[KeyColumns, int, int]:
    """The keys of so many packed reports, their observations, and the offset behind them.

    Raises MalformedDataFile.
    """
    try:
        columns = columns_at(data, offset, reports)
    except MalformedReport as error:
        raise MalformedDataFile(str(error)) from error
    keys = KeyColumns(rows_of(columns.devices, 20), words(columns.sequences))
    return keys, columns.firsts[-1], offset + columns.starts[-1]


@dataclass(frozen=True, slots=True)
class Numbering:
    """Finds the numbers of a fleet's reports: 28 bytes a device."""

    shape: Shape
    order: Places
    ids: Octets
    heads: npt.NDArray[np.uint64] | None
    """The first 8 bytes of the ids; None where two devices have them in common."""

    @classmethod
    def of(cls, shape: Shape, devices: Sequence[DeviceId]) -> "Numbering":
        unordered = rows_of(b"".join(devices), 20)
        order = ascending(unordered)
        ids = unordered[order]
        heads = _heads(ids)
        return cls(shape, order, ids, heads if (heads[1:] != heads[:-1]).all() else None)

    def numbers(self, keys: KeyColumns) -> tuple[Places, Bits]:
        """(numbers of those reports that are the fleet's, which ones those are)."""
        shape = self.shape
        places, ours = self._places(keys.devices)
        turns = keys.sequences - np.uint64(shape.first_sequence)  # wraps below the first one
        ours &= (keys.sequences >= shape.first_sequence) & (turns < shape.reports)
        device, turn = self.order[places[ours]], turns[ours].astype(np.intp)
        by_device = device * shape.reports + turn
        return by_device if shape.by_device else turn * shape.devices + device, ours

    def _places(self, ids: Octets) -> tuple[Places, Bits]:
        """Where ids are among ours, and which of them are there at all."""
        wanted, held = bytes_as_text(ids), bytes_as_text(self.ids)
        if self.heads is None:
            found = np.searchsorted(held, wanted)
        else:
            # Numbers take a sixth of the time of text.
            found = np.searchsorted(self.heads, _heads(ids))
        places: Places = np.minimum(found, len(held) - 1)
        return places, held[places] == wanted


def count_seen(reports: bytearray, numbers: Places) -> None:
    """Each was seen once more, as often as it is there; the count ends at MOST_SEEN."""
    cells = np.frombuffer(reports, np.uint8)
    found, times = np.unique(numbers, return_counts=True)
    seen = np.minimum(cells[found] // ONCE + times, MOST_SEEN).astype(np.uint8)
    cells[found] = (cells[found] & FATE) | seen * np.uint8(ONCE)


def _heads(ids: Octets) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(ids[:, :8]).view(">u8").ravel().astype(np.uint64)
