"""Hashes of rows and slices, and the roots of both trees over them."""

from array import array

from corechain_native._native import ffi, lib

HASH_BYTES, LEAF_BYTES, NODE_BYTES, POSITION_BYTES = 26, 40, 42, 4
Buffer = bytes | bytearray | memoryview
"""Or whatever else gives its memory as contiguous bytes: a numpy array."""


def hash26_rows(rows: Buffer, size: int) -> bytearray:
    """The 26-byte hash of each `size` ≥ 1 bytes of the rows, one behind the other."""
    packed = ffi.from_buffer("uint8_t[]", rows)
    count, rest = divmod(len(packed), size)
    if rest:
        raise ValueError(f"{len(packed)} bytes are no rows of {size}")
    hashes = bytearray(HASH_BYTES * count)
    target = ffi.from_buffer("uint8_t[]", hashes)
    lib.corechain_hash26_rows(packed, size, size, count, target, HASH_BYTES)
    return hashes


def hash26_slices(packed: bytes, offsets: "array[int]") -> bytearray:
    """The 26-byte hash of each packed[offsets[i]:offsets[i + 1]]. Offsets (typecode I) ascend."""
    starts = ffi.from_buffer("uint32_t[]", offsets)
    count = len(offsets) - 1
    hashes = bytearray(HASH_BYTES * max(0, count))
    target = ffi.from_buffer("uint8_t[]", hashes)
    fits = offsets.itemsize == 4 and count >= 0
    if not fits or lib.corechain_hash26_slices(packed, len(packed), starts, count, target) != 0:
        raise ValueError(f"no offsets into {len(packed)} bytes")
    return hashes


def merkle_root(hashes: Buffer) -> bytes:
    """The root of the plain tree over at least one leaf hash of 26 bytes."""
    work = bytearray(hashes) + bytes(HASH_BYTES)
    count = _count(len(work) - HASH_BYTES, HASH_BYTES)
    root = ffi.new("uint8_t[]", HASH_BYTES)
    lib.corechain_merkle_root(ffi.from_buffer("uint8_t[]", work), count, root)
    return bytes(ffi.buffer(root))


def merkle_paths(hashes: Buffer) -> tuple[bytes, bytearray]:
    """(root, ways) of the plain tree over at least one leaf hash of 26 bytes: of each leaf its
    position (4 bytes), then its siblings from the leaf up, one leaf behind the other."""
    leaves = ffi.from_buffer("uint8_t[]", hashes)
    count = _count(len(leaves), HASH_BYTES)
    depth = (count - 1).bit_length()
    work = ffi.from_buffer("uint8_t[]", bytearray(HASH_BYTES * (2 * count + 2 * depth + 1)))
    ways = bytearray(count * (POSITION_BYTES + HASH_BYTES * depth))
    root = ffi.new("uint8_t[]", HASH_BYTES)
    target = ffi.from_buffer("uint8_t[]", ways)
    lib.corechain_merkle_paths(leaves, count, depth, work, target, root)
    return bytes(ffi.buffer(root)), ways


def statistics_root(leaves: Buffer, hashes: Buffer) -> bytes:
    """The root of the statistics tree over at least one leaf of 40 bytes, sorted, and the leaves'
    hashes of 26."""
    held, digests = ffi.from_buffer("uint8_t[]", leaves), ffi.from_buffer("uint8_t[]", hashes)
    count = _count(len(held), LEAF_BYTES)
    if count != _count(len(digests), HASH_BYTES):
        raise ValueError(f"{count} leaves have other hashes")
    work = ffi.from_buffer("uint8_t[]", bytearray(NODE_BYTES * (count + 1)))
    root = ffi.new("uint8_t[]", HASH_BYTES)
    lib.corechain_statistics_root(held, digests, count, work, root)
    return bytes(ffi.buffer(root))


def _count(length: int, size: int) -> int:
    count, rest = divmod(length, size)
    if rest or not count:
        raise ValueError(f"{length} bytes are not one or more of {size}")
    return count
