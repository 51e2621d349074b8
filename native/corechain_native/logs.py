"""Logs from the JSON of an answer to eth_getLogs, and as rows for Postgres's COPY."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

from corechain_native._native import ffi, lib

LOG_CHARACTERS_MIN = 256
"""Below the shortest log in JSON (its two hashes and its address have 180): so many fit at most."""
_LOGS, _U8, _I32 = ffi.typeof("corechain_log[]"), ffi.typeof("uint8_t[]"), ffi.typeof("int32_t[]")
_U32 = ffi.typeof("uint32_t[]")
_KINDS, _FIELDS = ffi.typeof("corechain_kind[]"), ffi.typeof("corechain_field[]")
_LOG = Struct("=QIIII20s32s32s")
_LOG_BYTES = ffi.sizeof("corechain_log")
assert _LOG_BYTES - _LOG.size in range(8)
_WORD = 32
NOT_OURS, ODD = 255, 254
"""What `kinds_of` says of a log of no known kind, and of one that has not its kind's shape."""
BY_REFERENCE = 0xFFFFFFFF
"""The size of a kind whose shape is for the reference to judge."""
NOTHING, CONSTANT, BYTES, BYTES_UNLESS_ZERO, NUMERIC = range(5)
"""How a field of a row is made: null; bytes of the constants; bytes of the words; the same, or null
where they are zeros; a numeric of 16 bytes of the words."""
_NUMERIC_BYTES = 28
_ROW_BYTES = 128
"""Above what a raw row takes beside its topics and data."""
_ENDS_BYTES = 32
_into = ffi.from_buffer


class PackedLogs:
    """The logs of an answer in two buffers. Its sequence is theirs."""

    __slots__ = ("_heap", "_logs", "_records", "count")

    def __init__(self, count: int, records: bytes, heap: bytes) -> None:
        self.count, self._records, self._heap = count, records, heap
        self._logs = _into(_LOGS, records)

    def log(self, place: int) -> tuple[bytes, tuple[bytes, ...], bytes, int, bytes, bytes, int]:
        """(address, topics, data, block number, block hash, transaction, index)."""
        number, index, start, size, topics, address, hash_, transaction = _LOG.unpack_from(
            self._records, _LOG_BYTES * place
        )
        heap, data = self._heap, start + _WORD * topics
        words = tuple([heap[at : at + _WORD] for at in range(start, data, _WORD)])
        return address, words, heap[data : data + size], number, hash_, transaction, index

    def fit(self, addresses: Sequence[bytes], first: int, last: int) -> bool:
        """Whether they are in chain order, of these contracts (20 bytes each; of anybody where
        there are none) and blocks, and each block has one hash and no index twice."""
        if any(len(address) != 20 for address in addresses) or not 0 <= first <= last < 2**63:
            return False
        packed = b"".join(addresses)
        return bool(
            lib.corechain_logs_fit(self._logs, self.count, packed, len(addresses), first, last)
        )

    def leading(self) -> list[int]:
        """The places of those that begin a run of one block and contract."""
        places = array("I", bytes(4 * self.count))
        found = lib.corechain_leading_logs(self._logs, self.count, _into(_U32, places, True))
        return places[:found].tolist()

    def kinds_of(self, kinds: "Kinds") -> bytes:
        """A byte a log: its place in the kinds, NOT_OURS or ODD."""
        of = bytearray(self.count)
        lib.corechain_kinds_of(
            self._logs, self.count, self._heap_pointer(), kinds.table, kinds.count, kinds.masks,
            _into(_U8, of, True),
        )  # fmt: skip
        return bytes(of)

    def raw_rows(self) -> bytes:
        """block number, index, block hash, transaction, address, topics, data."""
        room = _ENDS_BYTES + _ROW_BYTES * self.count + len(self._heap)
        out = bytearray(room)
        used = lib.corechain_raw_rows(
            self._logs, self.count, self._heap_pointer(), _into(_U8, out, True), room
        )
        return bytes(memoryview(out)[:used])

    def field_rows(self, of: bytes, table: "FieldTable") -> bytes:
        """A row a log whose kind has one in the table. `of`: what `kinds_of` said."""
        assert len(of) == self.count
        room = _ENDS_BYTES + table.row_bytes * sum(map(of.count, table.kinds))
        out = bytearray(room)
        used = lib.corechain_field_rows(
            self._logs, self.count, self._heap_pointer(), of, table.first, table.fields,
            table.width, table.constants, _into(_U8, out, True), room,
        )  # fmt: skip
        return bytes(memoryview(out)[:used])

    def _heap_pointer(self) -> Any:
        return _into(_U8, self._heap)


def read_logs(body: bytes) -> PackedLogs | None:
    """The logs of a JSON array. None for what is not plainly good: the reference judges that."""
    room = len(body) // LOG_CHARACTERS_MIN + 1
    records, heap = bytearray(_LOG_BYTES * room), bytearray(len(body) // 2 + 1)
    logs, target = _into(_LOGS, records, True), _into(_U8, heap, True)
    count = lib.corechain_read_logs(_into(_U8, body), len(body), logs, room, target, len(heap))
    if count < 0:
        return None
    kept = bytes(memoryview(records)[: _LOG_BYTES * count])
    return PackedLogs(count, kept, bytes(memoryview(heap)[: _used(kept)]))


def _used(records: bytes) -> int:
    """Bytes of the heap: what the last log has is the last."""
    if not records:
        return 0
    _, _, start, size, topics, *_ = _LOG.unpack_from(records, len(records) - _LOG_BYTES)
    return int(start + _WORD * topics + size)


class Kinds:
    """The events that are told apart: topic0, topics behind it, bytes of all words (or
    BY_REFERENCE) and the mask of what must be zero in them, each."""

    __slots__ = ("count", "masks", "sizes", "table")

    def __init__(self, kinds: Sequence[tuple[bytes, int, int, bytes]]) -> None:
        shaped = [kind for kind in kinds if kind[2] != BY_REFERENCE]
        if len(kinds) > ODD or any(len(mask) != size for _, _, size, mask in shaped):
            raise ValueError(f"{len(kinds)} kinds cannot be told apart")
        entries: list[tuple[bytes, int, int, int]] = []
        self.count, self.masks = len(kinds), b""
        for topic, topics, size, mask in kinds:
            entries.append((topic, topics, size, len(self.masks)))
            self.masks += mask
        self.table = ffi.new(_KINDS, entries)
        self.sizes = [0 if size == BY_REFERENCE else size for _, _, size, _ in kinds]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a row. `size` bytes from `start` of the words, or the constant itself."""

    how: int
    start: int = 0
    size: int = 0
    constant: bytes = b""


class FieldTable:
    """The rows of one table of the database: for some kinds, by their place, the fields behind
    block number and index. Raises ValueError for a field that is outside of its kind's words."""

    __slots__ = ("constants", "fields", "first", "kinds", "row_bytes", "width")

    def __init__(self, rows: dict[int, Sequence[Field]], kinds: Kinds) -> None:
        for kind, fields in rows.items():
            if any(field.start + field.size > kinds.sizes[kind] for field in fields):
                raise ValueError(f"a field of kind {kind} is outside of its words")
        (self.width,) = {len(fields) for fields in rows.values()}
        self.kinds, self.constants = tuple(rows), b""
        entries: list[tuple[int, int, int]] = []
        first = [-1] * 256
        for kind, fields in rows.items():
            first[kind] = len(entries)
            entries += map(self._entry, fields)
        self.first, self.fields = ffi.new(_I32, first), ffi.new(_FIELDS, entries)
        self.row_bytes = 18 + max(map(_bytes_of, rows.values()))

    def _entry(self, field: Field) -> tuple[int, int, int]:
        if field.how != CONSTANT:
            return field.how, field.start, field.size
        start, self.constants = len(self.constants), self.constants + field.constant
        return CONSTANT, start, len(field.constant)


def _bytes_of(fields: Iterable[Field]) -> int:
    """The most that they take in a row."""
    return sum(4 + max(field.size, len(field.constant), _NUMERIC_BYTES) for field in fields)
