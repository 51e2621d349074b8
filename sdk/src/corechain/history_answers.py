"""A batch of a history, proven: what it shows of each range is all that it holds. Pure.

A batch shows the leaves of some ranges of keys and the one on either side of each, under its
readings root; so nothing inside a batch can be left out. That no batch is left out, their numbers
and hashes show (`corechain.history`).
"""

import operator
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec

from corechain.documents import U32, HeaderJson, MalformedAnswer, Octets26, Octets32, octets
from corechain.protocol import native
from corechain.protocol.batch import Header
from corechain.protocol.errors import InvalidProof, RangeIncomplete
from corechain.protocol.hashing import DIGEST_BYTES, Digest26, hash26
from corechain.protocol.history_ranges import Shown, shown_spans
from corechain.protocol.merkle import depth_of, root_from_multiproof
from corechain.protocol.reading import KEY_BYTES, READING_BYTES, DeviceId, Reading
from corechain.protocol.regions import KeyRange

_LEAF = struct.Struct(">HQ20sBIiB")
_TIME = slice(30, 35)
"""Where the seconds stand in a leaf."""
Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_native_rows = native.function("hash26_rows")
_native_root = native.function("merkle_root")


class HistoryBatchJson(msgspec.Struct, frozen=True):
    batch_id: Annotated[int, msgspec.Meta(ge=1, le=2**48 - 1)]
    block: Unsigned
    finality: str
    transaction: Octets32
    header: HeaderJson
    readings_root: Octets26
    ranges: list[tuple[U32, U32]]
    leaves: bytes
    nodes: bytes


class HistoryJson(msgspec.Struct, frozen=True):
    cells: list[Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{15,16}\Z")]]
    batches: list[HistoryBatchJson]
    left: Unsigned
    next_cursor: str | None = None


class BatchOrigin(NamedTuple):
    """Where readings come from. `commitment` and `readings_root` are proven on your own node;
    `block`, `transaction` and `finality` are the API's word of where to look."""

    batch_id: int
    commitment: Digest26
    readings_root: bytes
    block: int
    transaction: str
    finality: str


class HistoricReading(NamedTuple):
    """A proven reading, its position in its batch, and where the batch is."""

    reading: Reading
    position: int
    origin: BatchOrigin

    @property
    def batch_id(self) -> int:
        return self.origin.batch_id


@dataclass(frozen=True)
class HistoryBatch:
    """One batch's readings of a history: `rows`, packed leaves of 40 bytes in the order of the
    history, and their `positions`. Empty where the batch is there only to show that it was not
    left out."""

    header: Header
    origin: BatchOrigin
    rows: bytes = field(default=b"", repr=False)
    positions: Sequence[int] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.positions)

    def behind(self, count: int) -> "HistoryBatch":
        """Without its first readings."""
        rows, positions = self.rows[READING_BYTES * count :], self.positions[count:]
        return HistoryBatch(self.header, self.origin, rows, positions)

    def unpacked(self) -> Iterator[tuple[int, int, bytes, int, int, int, int]]:
        """(metric, cell, device, the high byte and the low 32 bits of the time, value, flag) of
        each reading: without an object a reading, for tables."""
        return _LEAF.iter_unpack(self.rows)

    @cached_property
    def readings(self) -> list[HistoricReading]:
        origin = self.origin
        return [
            HistoricReading(
                Reading(metric, cell, DeviceId(device), high << 32 | low, value, flag), at, origin
            )
            for at, (metric, cell, device, high, low, value, flag) in zip(
                self.positions, self.unpacked(), strict=True
            )
        ]


def opened(
    answer: HistoryBatchJson,
    ranges: Sequence[KeyRange] | None,
    window: tuple[int, int],
    *,
    newest_first: bool,
) -> HistoryBatch:
    """The readings that a batch holds of these ranges, observed in [start, end]; `ranges` None: it
    must show none. Its commitment follows from what is shown; whether that one is on the chain is
    not checked here.

    Raises MalformedAnswer, InvalidProof, RangeIncomplete.
    """
    header, root = answer.header.header(), octets(answer.readings_root)
    if answer.batch_id != header.batch_id:
        raise MalformedAnswer(f"the header of {header.batch_id} stands for {answer.batch_id}")
    shown = answer.block, answer.transaction, answer.finality
    origin = BatchOrigin(header.batch_id, header.commitment(root), root, *shown)
    if ranges is None:
        if answer.ranges or answer.leaves or answer.nodes:
            raise MalformedAnswer(f"batch {header.batch_id} shows readings nobody asked for")
        return HistoryBatch(header, origin)
    spans = _checked_spans(answer, header, len(ranges))
    keys = _checked_keys(answer.leaves, header.batch_id)
    _check_root(answer, spans, header, root)
    at = _places(answer.ranges, spans)
    for (start, end), first, (low, high) in zip(answer.ranges, at, ranges, strict=True):
        _check_range(keys, first, first + end - start, (low, high), header.batch_id)
    return HistoryBatch(header, origin, *_taken(answer, at, window, newest_first=newest_first))


def _checked_spans(answer: HistoryBatchJson, header: Header, asked: int) -> Shown:
    """Which positions are shown. Raises RangeIncomplete, InvalidProof."""
    ranges, count, behind = answer.ranges, header.reading_count, 0
    if len(ranges) != asked:
        raise RangeIncomplete(f"batch {header.batch_id} answers {len(ranges)} of {asked} ranges")
    for start, end in ranges:
        if not behind <= start <= end <= count:
            raise InvalidProof(f"batch {header.batch_id}: [{start}, {end}) of {count} is no range")
        behind = end
    spans = shown_spans(ranges, count)
    if len(answer.leaves) != READING_BYTES * sum(end - start for start, end in spans):
        raise InvalidProof(f"batch {header.batch_id} does not show the leaves of its ranges")
    return spans


def _checked_keys(leaves: bytes, batch_id: int) -> list[bytes]:
    keys = [leaves[at : at + KEY_BYTES] for at in range(0, len(leaves), READING_BYTES)]
    # A batch whose leaves are out of order can be challenged; nobody's edges mean anything in it.
    if not all(map(operator.lt, keys, islice(keys, 1, None))):
        raise InvalidProof(f"the leaves of batch {batch_id} are out of order")
    return keys


def _check_root(answer: HistoryBatchJson, spans: Shown, header: Header, root: bytes) -> None:
    count, nodes = header.reading_count, answer.nodes
    whole = spans == [(0, count)]
    hashes = _hashes(answer.leaves)
    if whole and _native_root is not None:
        # All that stands beside the leaves is the padding.
        found = bytes(_native_root(b"".join(hashes)))
        good = found == root and not any(nodes)
    else:
        positions = [at for span in spans for at in range(*span)]
        cut = [nodes[at : at + DIGEST_BYTES] for at in range(0, len(nodes), DIGEST_BYTES)]
        good = bool(positions) and root == root_from_multiproof(
            hashes, positions, depth_of(count), cut
        )
    if not good:
        raise InvalidProof(f"the leaves of batch {header.batch_id} are not under its root")


def _hashes(leaves: bytes) -> list[Digest26]:
    if _native_rows is None:
        starts = range(0, len(leaves), READING_BYTES)
        return [hash26(leaves[at : at + READING_BYTES]) for at in starts]
    packed = bytes(_native_rows(leaves, READING_BYTES))
    return [Digest26(packed[at : at + DIGEST_BYTES]) for at in range(0, len(packed), DIGEST_BYTES)]


def _places(ranges: Sequence[tuple[int, int]], spans: Shown) -> list[int]:
    """Where the first leaf of each range stands among those that are shown."""
    found, before, number = [], 0, 0
    for start, _ in ranges:
        # An empty range may stand right behind the last leaf that is shown.
        while number + 1 < len(spans) and start >= spans[number + 1][0]:
            before += spans[number][1] - spans[number][0]
            number += 1
        found.append(before + start - spans[number][0])
    return found


def _check_range(keys: Sequence[bytes], first: int, behind: int, of: KeyRange, batch: int) -> None:
    """The leaf before is below the range, the one behind above it, and those between are in it."""
    low, high = of
    good = (
        (first == behind or (low <= keys[first] and keys[behind - 1] <= high))
        and (first == 0 or keys[first - 1] < low)
        and (behind == len(keys) or keys[behind] > high)
    )
    if not good:
        raise RangeIncomplete(f"batch {batch} does not show where a range begins and ends")


def _taken(
    answer: HistoryBatchJson, at: Sequence[int], window: tuple[int, int], *, newest_first: bool
) -> tuple[bytes, list[int]]:
    """Rows and positions, by time."""
    leaves = answer.leaves
    low, high = (edge.to_bytes(5, "big") for edge in window)
    found: list[tuple[bytes, int, bytes]] = []
    for (start, end), first in zip(answer.ranges, at, strict=True):
        for place in range(end - start):
            leaf = leaves[READING_BYTES * (first + place) : READING_BYTES * (first + place + 1)]
            time = leaf[_TIME]
            if low <= time <= high:
                found.append((time, start + place, leaf))
    # By time, and where that is the same by position, which is by metric, cell and device.
    found.sort(reverse=newest_first)
    return b"".join(leaf for _, _, leaf in found), [position for _, position, _ in found]


def parse_history(answer: Any) -> HistoryJson:
    """Raises MalformedAnswer."""
    try:
        return msgspec.convert(answer, HistoryJson)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MalformedAnswer(f"not a history: {error}") from error
