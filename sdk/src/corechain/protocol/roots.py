"""Roots of both trees without a Python object a node. The oracle: MerkleTree and StatisticsTree."""

from array import array
from itertools import pairwise

import numpy as np

from corechain.protocol import native
from corechain.protocol.columns import Octets, rows_of
from corechain.protocol.hashing import DIGEST_BYTES, ZERO26, Digest26, hash26, keccak
from corechain.protocol.reading import KEY_BYTES
from corechain.protocol.statistics import NODE_BYTES

NODE = np.dtype([("hash", "u1", 26), ("sum", ">i8"), ("min", ">i4"), ("max", ">i4")])
assert NODE.itemsize == NODE_BYTES
VALUE = slice(KEY_BYTES, KEY_BYTES + 4)


_native_rows = native.function("hash26_rows")
_native_slices = native.function("hash26_slices")
_native_merkle = native.function("merkle_root")
_native_statistics = native.function("statistics_root")


def hash_rows(rows: Octets) -> Octets:
    """The 26-byte hash of each row."""
    size = rows.shape[1]
    if _native_rows is not None:
        return rows_of(_native_rows(np.ascontiguousarray(rows), size), 26)
    packed = rows.tobytes()
    return _hashes([keccak(packed[at : at + size]) for at in range(0, len(packed), size)])


def hash_slices(packed: bytes, offsets: "array[int]") -> Octets:
    """The 26-byte hash of each packed[offsets[i]:offsets[i + 1]]."""
    if _native_slices is not None:
        return rows_of(_native_slices(packed, offsets), 26)
    return _hashes([keccak(packed[start:end]) for start, end in pairwise(offsets)])


def _hashes(digests: list[bytes]) -> Octets:
    return rows_of(b"".join(digests), 32)[:, :26]


def _paired(rows: Octets) -> Octets:
    """Two rows a row; the last one of an odd number stands beside zeros."""
    count, size = rows.shape
    even = np.zeros((count + count % 2, size), np.uint8)
    even[:count] = rows
    return even.reshape(-1, 2 * size)


def merkle_root(hashes: Octets) -> Digest26:
    """The root over leaf hashes, at least one."""
    if _native_merkle is not None:
        return Digest26(_native_merkle(hashes.tobytes()))
    while len(hashes) > 1:
        hashes = hash_rows(_paired(hashes))
    return Digest26(hashes[0].tobytes())


def merkle_levels(hashes: Octets) -> list[bytes]:
    """All levels over leaf hashes, at least one: the leaves first, the root last; real nodes alone,
    26 bytes each."""
    levels = [hashes.tobytes()]
    while len(levels[-1]) > DIGEST_BYTES:
        level = levels[-1]
        if len(level) % (2 * DIGEST_BYTES):
            level += ZERO26
        levels.append(_hash_pairs(level))
    return levels


def _hash_pairs(level: bytes) -> bytes:
    size = 2 * DIGEST_BYTES
    if _native_rows is not None:
        return bytes(_native_rows(level, size))
    return b"".join([hash26(level[at : at + size]) for at in range(0, len(level), size)])


def statistics_root(leaves: Octets, hashes: Octets) -> Digest26:
    """The root of the statistics tree over sorted leaves of 40 bytes and their hashes, at least
    one."""
    if _native_statistics is not None:
        return Digest26(_native_statistics(leaves.tobytes(), hashes.tobytes()))
    values = np.ascontiguousarray(leaves[:, VALUE]).view(">i4").ravel()
    sums = lows = highs = values.astype(np.int64)
    while True:
        nodes = np.empty(len(hashes), NODE)
        nodes["hash"], nodes["sum"], nodes["min"], nodes["max"] = hashes, sums, lows, highs
        rows = nodes.view(np.uint8).reshape(-1, NODE_BYTES)
        if len(rows) == 1:
            return hash26(rows.tobytes())
        hashes, pairs = hash_rows(_paired(rows)), np.arange(0, len(rows), 2)
        sums = np.add.reduceat(sums, pairs)
        lows, highs = np.minimum.reduceat(lows, pairs), np.maximum.reduceat(highs, pairs)
