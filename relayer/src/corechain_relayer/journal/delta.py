"""What a batch changes for its devices, in one compact value: one row a batch, not one a device.

Sequences, what each was used for, and the quality state after the batch. Deltas may be applied in
any order, and again: sequences and digests are united, and of two states of one (device, metric)
the later observation counts, for a state only ever moves to a later one (quality rules).
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corechain.protocol.columns import Octets, Places, bytes_as_text, rows_of
from corechain.protocol.frame import Columns, content_digests
from corechain.protocol.quality import State
from corechain.protocol.reading import DeviceId
from corechain.protocol.states import StateColumns
from corechain_relayer.errors import UnreadableDelta
from corechain_relayer.sequences import DIGEST_BYTES

MAGIC, VERSION = b"CCBD", 1
_HEAD = struct.Struct("<4sBIII")


def ids_in(packed: bytes) -> list[DeviceId]:
    """Device ids that lie one behind the other."""
    # Void, not S: numpy would cut zeros off the end of an id.
    ids: list[DeviceId] = np.frombuffer(packed, "V20").tolist()
    return ids


@dataclass(frozen=True, slots=True)
class Delta:
    """Columns by device; n devices, m reports, k states. Times in seconds since 1970.

    Device i has the reports firsts[i] to firsts[i + 1], and the states state_firsts[i] to
    state_firsts[i + 1].
    """

    ids: bytes
    """20 bytes a device: ascending, each once."""
    firsts: "array[int]"
    sequences: "array[int]"
    digests: bytes
    """8 a report, see `content_digest`."""
    state_firsts: "array[int]"
    metrics: "array[int]"
    values: "array[int]"
    times: "array[int]"
    run_starts: "array[int]"

    @property
    def devices(self) -> list[DeviceId]:
        """As objects."""
        return ids_in(self.ids)

    def places_of(self, wanted: Octets) -> tuple[Places, Places]:
        """(places among some ids, rows here) of those ids that are here. All ids are searched at
        once: a gateway that starts asks for each device of a fleet."""
        held, sought = bytes_as_text(rows_of(self.ids, 20)), bytes_as_text(wanted)
        if not len(held):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        rows = np.minimum(np.searchsorted(held, sought), len(held) - 1)
        there = np.flatnonzero(held[rows] == sought)
        return there, rows[there]

    def reports_of(self, row: int) -> Iterator[tuple[int, bytes]]:
        """(sequence, digest) of the reports of the device in a row."""
        for index in range(self.firsts[row], self.firsts[row + 1]):
            start = index * DIGEST_BYTES
            yield self.sequences[index], self.digests[start : start + DIGEST_BYTES]

    def sequences_of(self, row: int) -> "array[int]":
        return self.sequences[self.firsts[row] : self.firsts[row + 1]]

    def states_of(self, row: int) -> Iterator[tuple[int, State]]:
        """(metric, state after the batch) of the device in a row."""
        for index in range(self.state_firsts[row], self.state_firsts[row + 1]):
            state = State(self.values[index], self.times[index], self.run_starts[index])
            yield self.metrics[index], state

    def pack(self) -> bytes:
        """`"CCBD" ‖ version u8 = 1 ‖ n, m, k u32 ‖ the columns`, integers little-endian."""
        counts = len(self.ids) // 20, len(self.sequences), len(self.metrics)
        return b"".join(
            (
                _HEAD.pack(MAGIC, VERSION, *counts),
                self.ids,
                _bytes(self.firsts),
                _bytes(self.sequences),
                self.digests,
                *map(_bytes, (self.state_firsts, self.metrics, self.values)),
                *map(_bytes, (self.times, self.run_starts)),
            )
        )


def _bytes(column: "array[int]") -> bytes:
    return _little_endian(column).tobytes()


def _little_endian(column: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column


@dataclass(slots=True)
class _Cursor:
    data: bytes
    offset: int

    def take(self, size: int) -> bytes:
        self.offset += size
        if self.offset > len(self.data):
            raise UnreadableDelta("the delta ends too early")
        return self.data[self.offset - size : self.offset]

    def column(self, kind: str, length: int) -> "array[int]":
        column = array(kind)
        column.frombytes(self.take(length * column.itemsize))
        return _little_endian(column)


def unpack_delta(data: bytes) -> Delta:
    """Raises UnreadableDelta."""
    cursor = _Cursor(data, 0)
    magic, version, n, m, k = _HEAD.unpack(cursor.take(_HEAD.size))
    if magic != MAGIC or version != VERSION:
        raise UnreadableDelta("not a delta of version 1")
    delta = Delta(
        cursor.take(20 * n),
        cursor.column("I", n + 1),
        cursor.column("Q", m),
        cursor.take(DIGEST_BYTES * m),
        cursor.column("I", n + 1),
        cursor.column("H", k),
        cursor.column("i", k),
        cursor.column("Q", k),
        cursor.column("Q", k),
    )
    if cursor.offset != len(data):
        raise UnreadableDelta("there are bytes behind the delta")
    return delta


def delta_of(reports: Columns, states: StateColumns) -> Delta:
    """`reports` in a batch's order (device, sequence); `states` of their devices only, ordered by
    (device, metric)."""
    owners = bytes_as_text(rows_of(reports.devices, 20))
    firsts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    packed = rows_of(reports.devices, 20)[firsts].tobytes()
    of_states = bytes_as_text(rows_of(states.devices, 20))
    state_firsts = np.searchsorted(of_states, owners[firsts])
    return Delta(
        packed,
        _column("I", [*firsts.tolist(), len(reports)]),
        reports.sequences,
        content_digests(reports),
        _column("I", [*state_firsts.tolist(), len(states)]),
        _column("H", states.metrics.tolist()),
        _column("i", states.values.tolist()),
        _column("Q", states.times.tolist()),
        _column("Q", states.run_starts.tolist()),
    )


def _column(kind: str, numbers: list[int]) -> "array[int]":
    return array(kind, numbers)
