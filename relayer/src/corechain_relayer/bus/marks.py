"""What a frame tells the server of its devices: the lowest and the highest sequence of each.

One value a frame, not an argument a sequence: packing, parsing and copying 1,500 arguments took as
long as everything else of an append together.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, rows_of, words
from corechain.protocol.frame import Columns
from corechain_relayer.bus.frame import spans_of

DIGITS = 20
"""A sequence as text: as many digits as 2^64 has, so that text compares as numbers do. Lua's own
numbers lose what is above 2^53."""
SINGLE, RANGE = 20 + DIGITS, 20 + 2 * DIGITS
_POWERS = 10 ** np.arange(DIGITS - 1, -1, -1, np.uint64)


class Marks(NamedTuple):
    """A record a device: its id, then its sequence (width SINGLE), or its lowest and its highest
    one (width RANGE)."""

    width: int
    records: bytes


def digits_of(sequences: npt.NDArray[np.uint64]) -> Octets:
    """Each sequence as DIGITS characters, one a row."""
    places = sequences[:, np.newaxis] // _POWERS % np.uint64(10)
    return places.astype(np.uint8) + np.uint8(ord("0"))


def marks_of(columns: Columns) -> Marks:
    if len(set(columns.device_ids())) == len(columns):  # nearly always: a report a device
        digits = digits_of(words(columns.sequences))
        rows = np.concatenate([rows_of(columns.devices, 20), digits], axis=1)
        return Marks(SINGLE, rows.tobytes())
    spans = spans_of(columns)
    devices = rows_of(b"".join(spans), 20)
    lowest, highest = np.array(list(spans.values()), np.uint64).T
    rows = np.concatenate([devices, digits_of(lowest), digits_of(highest)], axis=1)
    return Marks(RANGE, rows.tobytes())
