"""Archive files: a batch's packed leaves (store/packing.py) and the upper levels of its trees, in a
file of their own.

All numbers little-endian. A head: 8 bytes magic, 26 bytes commitment, u32 count of blocks; for each
block u32 length and 8 bytes checksum; 8 bytes checksum of all that. Then the blocks, one behind the
other, to the file's very end; the last one is the levels (`UpperLevels.packed`). A checksum is
BLAKE2b of 8 bytes (RFC 7693). In a file of the first magic all blocks are of leaves.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from secrets import token_hex
from struct import Struct

MAGIC, WITHOUT_LEVELS = b"CCLEAF2\n", b"CCLEAF1\n"
SUFFIX, PART = ".leaves", ".part"
_HEAD = Struct("<8s26sI")
_BLOCK = Struct("<I8s")
_SUM_BYTES = 8


class Damaged(ValueError):
    """The file is not what was written: cut off, changed, or of another batch."""


def path_of(folder: Path, commitment: bytes) -> Path:
    """In a subfolder of 256: listing one of a million files takes a second."""
    name = commitment.hex()
    return folder / name[:2] / (name + SUFFIX)


def encoded(commitment: bytes, leaves: Sequence[bytes], levels: bytes) -> bytes:
    """The bytes of the file. Pure."""
    blocks = [*leaves, levels]
    table = b"".join(_BLOCK.pack(len(block), _sum(block)) for block in blocks)
    head = _HEAD.pack(MAGIC, commitment, len(blocks)) + table
    return b"".join((head, _sum(head), *blocks))


def write_archive(folder: Path, commitment: bytes, leaves: Sequence[bytes], levels: bytes) -> None:
    """Returns when the file lies on the disk whole, and was read back. Raises OSError, Damaged.

    The folder has to be there: a mount that is missing must not be written under.
    """
    os.stat(folder)
    path, data = path_of(folder, commitment), encoded(commitment, leaves, levels)
    path.parent.mkdir(exist_ok=True)
    # A name of its own: who writes the same file at the same time disturbs nobody.
    part = path.with_name(f"{path.name}.{token_hex(8)}{PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    # The names too: a rename is on the disk once its folder is.
    _sync(path.parent)
    _sync(folder)
    if path.read_bytes() != data:
        raise Damaged("it did not come back as it was written")


def read_archive(folder: Path, commitment: bytes, first: int, last: int | None) -> list[bytes]:
    """Blocks of leaves first … last, those of them that there are; up to the last one without
    `last`. Reads the head and these blocks, no more. Raises OSError, Damaged."""
    span = slice(first, None if last is None else last + 1)
    return _read(folder, commitment, lambda leaves, _: range(leaves)[span])


def read_levels(folder: Path, commitment: bytes) -> bytes | None:
    """None of a file of before they were in it. Raises OSError, Damaged."""
    found = _read(folder, commitment, lambda leaves, blocks: range(leaves, blocks))
    return found[0] if found else None


def _read(folder: Path, commitment: bytes, choose: Callable[[int, int], range]) -> list[bytes]:
    """The chosen blocks, neighbours, by how many are of leaves and how many there are."""
    with path_of(folder, commitment).open("rb") as file:
        table, leaves, start = _table(file.fileno(), commitment)
        lengths = [length for length, _ in table]
        begins = [*accumulate(lengths, initial=start)]
        if begins[-1] != os.fstat(file.fileno()).st_size:
            raise Damaged("its length is wrong")
        wanted = choose(leaves, len(table))
        if not wanted:
            return []
        end = begins[wanted[-1] + 1]
        data = os.pread(file.fileno(), end - begins[wanted[0]], begins[wanted[0]])
    return [_block(data, begins[n] - begins[wanted[0]], *table[n], n) for n in wanted]


def sweep(folder: Path, older_than: float) -> int:
    """Removes what a kill left half written before a time (Unix seconds); how many there were.
    Raises OSError."""
    old = [part for part in folder.glob(f"??/*{PART}") if part.stat().st_mtime < older_than]
    for part in old:
        part.unlink(missing_ok=True)
    return len(old)


def _table(descriptor: int, commitment: bytes) -> tuple[list[tuple[int, bytes]], int, int]:
    """(length, checksum) of each block, how many are of leaves, and where the first one begins."""
    head = os.pread(descriptor, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        raise Damaged("it is cut off in its head")
    magic, of, count = _HEAD.unpack(head)
    if magic not in (MAGIC, WITHOUT_LEVELS) or (magic == MAGIC and not count):
        raise Damaged("it is no archive of leaves, or of a newer version")
    size = _HEAD.size + count * _BLOCK.size + _SUM_BYTES
    # A count that is damaged may be any number: it must not make us read gigabytes.
    if size > os.fstat(descriptor).st_size:
        raise Damaged("it is cut off in its head")
    head = os.pread(descriptor, size, 0)
    if _sum(head[:-_SUM_BYTES]) != head[-_SUM_BYTES:]:
        raise Damaged("its head is damaged")
    if of != commitment:
        raise Damaged("it is of another batch")
    table = list(_BLOCK.iter_unpack(head[_HEAD.size : -_SUM_BYTES]))
    return table, count - (magic == MAGIC), size


def _block(data: bytes, at: int, length: int, checksum: bytes, number: int) -> bytes:
    block = data[at : at + length]
    if _sum(block) != checksum:
        raise Damaged(f"its block {number} is damaged")
    return block


def _sum(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SUM_BYTES).digest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
