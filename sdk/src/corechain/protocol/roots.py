"""Roots of both trees without a Python object a node. The oracle: MerkleTree and StatisticsTree."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, Places
from corechain.protocol.hashing import Digest26, hash26, keccak
from corechain.protocol.statistics import NODE_BYTES

_NODE = np.dtype([("hash", "u1", 26), ("sum", ">i8"), ("min", ">i4"), ("max", ">i4")])
assert _NODE.itemsize == NODE_BYTES


def hash_rows(rows: Octets) -> Octets:
    """The 26-byte hash of each row."""
    size, packed = rows.shape[1], rows.tobytes()
    digests = [keccak(packed[at : at + size]) for at in range(0, len(packed), size)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)[:, :26]


def hash_slices(packed: bytes, starts: Places) -> Octets:
    """The 26-byte hash of each packed[starts[i]:starts[i + 1]]."""
    at = starts.tolist()
    digests = [keccak(packed[one:two]) for one, two in pairwise(at)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)[:, :26]


def _paired(rows: Octets) -> Octets:
    """Two rows a row; the last one of an odd number stands beside zeros."""
    count, size = rows.shape
    even = np.zeros((count + count % 2, size), np.uint8)
    even[:count] = rows
    return even.reshape(-1, 2 * size)


def merkle_root(hashes: Octets) -> Digest26:
    """The root over leaf hashes, at least one."""
    while len(hashes) > 1:
        hashes = hash_rows(_paired(hashes))
    return Digest26(hashes[0].tobytes())


def statistics_root(hashes: Octets, values: npt.NDArray[np.int64]) -> Digest26:
    """The root of the statistics tree over sorted leaves' hashes and values, at least one."""
    sums = lows = highs = values
    while True:
        nodes = np.empty(len(hashes), _NODE)
        nodes["hash"], nodes["sum"], nodes["min"], nodes["max"] = hashes, sums, lows, highs
        rows = nodes.view(np.uint8).reshape(-1, NODE_BYTES)
        if len(rows) == 1:
            return hash26(rows.tobytes())
        hashes, pairs = hash_rows(_paired(rows)), np.arange(0, len(rows), 2)
        sums = np.add.reduceat(sums, pairs)
        lows, highs = np.minimum.reduceat(lows, pairs), np.maximum.reduceat(highs, pairs)
