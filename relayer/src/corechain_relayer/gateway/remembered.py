"""Which sequences of many devices were seen, and what the last ones were used for: columns by row.

`SequenceWindow` is what a row means. It is kept as a ring of words (RFC 6479): sequence s is bit
s mod 64 of word s div 64 mod WORDS, so that a step forward sets a bit and empties the words that it
enters, without moving the others. So a frame is marked without a step a report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Bits, Places, words
from corechain.protocol.frame import Columns, content_digests
from corechain.protocol.reading import U64_MAX, DeviceId
from corechain_relayer.sequences import GATEWAY_WIDTH, Seen, SequenceWindow

RECENT = 32
"""So many contents a device are remembered: retries come soon. Older ones are in the journal."""
WORDS = GATEWAY_WIDTH // 64 + 1
"""Wherever the newest is in its word, the window fits."""
TAGS = 1 << 32
"""Tells apart the sequences that share a slot: 2^32 of one device do not come so soon."""
FIRST_ROWS = 1_024
NEVER = -1
FEW = 16
"""Fewer reports at a time are marked one by one: a step of numpy costs as much as some of them."""
Words = npt.NDArray[np.uint64]
N = TypeVar("N", bound=np.generic)
_SIX, _ONE = np.uint64(6), np.uint64(1)


@dataclass(slots=True)
class Remembered:
    """Grows with the devices that were met, 0.6 kB each; forgets none."""

    rows: dict[DeviceId, int] = field(default_factory=dict)
    following: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    """The lowest sequence above all that were seen; 0: none was."""
    _bits: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    _tags: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    _digests: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    """0 where nothing is known: no digest is."""

    # ------------------------------------------------------------------ rows

    def rows_of(self, devices: Sequence[DeviceId]) -> Places:
        """NEVER where a device was not met."""
        return np.fromiter(map(self.rows.get, devices, repeat(NEVER)), np.intp, len(devices))

    def _row(self, device: DeviceId) -> int:
        row = self.rows.get(device)
        if row is None:
            row = self.rows[device] = len(self.rows)
            self._grow()
        return row

    def _met(self, devices: Sequence[DeviceId]) -> Places:
        rows = self.rows_of(devices)
        if (rows == NEVER).any():
            rows = np.fromiter(map(self._row, devices), np.intp, len(devices))
        return rows

    def _grow(self) -> None:
        if len(self.rows) <= len(self.following):
            return
        size = max(FIRST_ROWS, 2 * len(self.following))
        for name, width in (("following", 1), ("_bits", WORDS), ("_tags", RECENT)):
            setattr(self, name, _longer(getattr(self, name), size * width))
        self._digests = _longer(self._digests, size * RECENT)

    # ------------------------------------------------------------------ asking

    def newest(self, device: DeviceId) -> int:
        """-1 when none was seen."""
        row = self.rows.get(device)
        return -1 if row is None else self.following.item(row) - 1

    def following_of(self, rows: Places) -> Words:
        """The lowest sequence above all that were seen, of each."""
        if not len(self.following):
            return np.zeros(len(rows), np.uint64)
        return np.where(rows == NEVER, np.uint64(0), self.following[rows])

    def look(self, device: DeviceId, sequence: int) -> Seen:
        row, below = self.rows.get(device), self.newest(device) - sequence
        if row is None or below < 0:
            return Seen.NEW
        if below > GATEWAY_WIDTH:
            return Seen.STALE
        return Seen.REPLAYED if self._has(row, sequence) else Seen.NEW

    def _has(self, row: int, sequence: int) -> bool:
        word = self._bits.item(_place(row, sequence))
        return bool(word >> (sequence & 63) & 1)

    def digest(self, device: DeviceId, sequence: int) -> bytes | None:
        """What the sequence was used for, while that is remembered."""
        row = self.rows.get(device)
        if row is None:
            return None
        slot = row * RECENT + sequence % RECENT
        is_it = self._tags.item(slot) == sequence // RECENT % TAGS
        return self._digests[slot].tobytes() if is_it and self._digests.item(slot) else None

    def window(self, device: DeviceId) -> SequenceWindow:
        row, newest = self.rows.get(device), self.newest(device)
        if row is None or newest < 0:
            return SequenceWindow()
        ring = self._bits[row * WORDS : (row + 1) * WORDS][_ring(newest)]
        count = newest - _base(newest) + 1
        # There the lowest sequence comes first, in a window the newest.
        bits = _reversed(int.from_bytes(ring.tobytes(), "little"), count)
        return SequenceWindow(newest, bits & (1 << GATEWAY_WIDTH + 1) - 1)

    # ------------------------------------------------------------------ learning

    def learn(self, device: DeviceId, other: SequenceWindow) -> None:
        """Unites the device's window with what somebody else has seen of it."""
        merged = self.window(device).merged(other, GATEWAY_WIDTH)
        row, newest = self._row(device), merged.newest
        if newest < 0:
            return
        content = _reversed(merged.bits, newest - _base(newest) + 1).to_bytes(8 * WORDS, "little")
        ring = self._bits[row * WORDS : (row + 1) * WORDS]
        ring[_ring(newest)] = np.frombuffer(content, np.uint64)
        self.following[row] = min(newest, U64_MAX - 1) + 1

    def mark(self, columns: Columns, rows: Places | None = None) -> None:
        """The reports are seen. The first one under a sequence is the one that counts. `rows` are
        those of their devices, where somebody has looked them up: a row is never moved."""
        if rows is None or (rows == NEVER).any():
            rows = self._met(columns.device_ids())
        sequences = words(columns.sequences)
        digests = np.frombuffer(content_digests(columns), np.uint64)
        rest = np.arange(len(rows))
        while len(rest):
            # A device's reports one after another, different devices' at once.
            _, firsts = np.unique(rows[rest], return_index=True)
            if len(firsts) < FEW:
                self._mark_few(rows[rest], sequences[rest], digests[rest])
                return
            now = rest[firsts]
            self._mark_each(rows[now], sequences[now], digests[now])
            rest = np.delete(rest, firsts)

    def _mark_each(self, rows: Places, sequences: Words, digests: Words) -> None:
        """Of devices of which each is there once."""
        above = sequences >= self.following[rows]
        if not above.all():
            self._mark_few(rows[~above], sequences[~above], digests[~above])
            rows, sequences, digests = rows[above], sequences[above], digests[above]
        self._enter_words(rows, sequences)
        bits = _ONE << (sequences & np.uint64(63))
        self._bits[_places(rows, sequences >> _SIX)] |= bits
        self.following[rows] = np.minimum(sequences, np.uint64(U64_MAX - 1)) + _ONE
        slots = rows * RECENT + (sequences % np.uint64(RECENT)).astype(np.intp)
        self._tags[slots] = (sequences // np.uint64(RECENT) % np.uint64(TAGS)).astype(np.uint32)
        self._digests[slots] = digests

    def _enter_words(self, rows: Places, sequences: Words) -> None:
        """Empties the words that lie between the newest and these sequences."""
        word, following = sequences >> _SIX, self.following[rows]
        before = np.where(following == 0, word, (following - _ONE) >> _SIX)
        steps = np.minimum(word - before, np.uint64(WORDS)).astype(np.intp)
        for step in range(int(steps.max(initial=0))):
            chosen: Bits = steps > step
            self._bits[_places(rows[chosen], word[chosen] - np.uint64(step))] = 0

    def _mark_few(self, rows: Places, sequences: Words, digests: Words) -> None:
        reports: Iterable[tuple[int, int, int]]
        reports = zip(rows.tolist(), sequences.tolist(), digests.tolist(), strict=True)
        for row, sequence, digest in reports:
            if self._see(row, sequence):
                slot = row * RECENT + sequence % RECENT
                self._tags[slot], self._digests[slot] = sequence // RECENT % TAGS, digest

    def _see(self, row: int, sequence: int) -> bool:
        """Whether it is new; it is no more afterwards."""
        newest = self.following.item(row) - 1
        if newest - sequence > GATEWAY_WIDTH:
            return False
        if sequence > newest:
            first = (newest >> 6) + 1 if newest >= 0 else sequence >> 6
            for word in range(max(first, (sequence >> 6) - WORDS + 1), (sequence >> 6) + 1):
                self._bits[row * WORDS + word % WORDS] = 0
            self.following[row] = min(sequence, U64_MAX - 1) + 1
        elif self._has(row, sequence):
            return False
        self._bits[_place(row, sequence)] |= np.uint64(1 << (sequence & 63))
        return True


def _longer(column: "npt.NDArray[N]", size: int) -> "npt.NDArray[N]":
    longer: npt.NDArray[N] = np.zeros(size, column.dtype)
    longer[: len(column)] = column
    return longer


def _place(row: int, sequence: int) -> int:
    return row * WORDS + (sequence >> 6) % WORDS


def _places(rows: Places, word: Words) -> Places:
    return rows * WORDS + (word % np.uint64(WORDS)).astype(np.intp)


def _base(newest: int) -> int:
    """The lowest sequence that the ring has room for; below zero where it is not full."""
    return ((newest >> 6) - WORDS + 1) << 6


def _ring(newest: int) -> Places:
    """Places in the ring, from the lowest sequence to the newest."""
    return (np.arange(1 - WORDS, 1) + (newest >> 6) % WORDS) % WORDS


def _reversed(bits: int, count: int) -> int:
    return int(f"{bits:0{count}b}"[::-1], 2)
