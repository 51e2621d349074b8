"""Ranges of a batch's leaves with their proofs, from the kept levels of its statistics tree."""

from array import array
from collections.abc import Sequence

from corechain_native._native import ffi, lib

KEY_BYTES = 35
_ONE, _EDGES = ffi.typeof("corechain_range[1]"), ffi.typeof("uint32_t[2]")
_U32 = ffi.typeof("uint32_t[]")
_OTHER_BLOCK = -1
Found = tuple[int, int, bytes, bytes, int, int, int, bytes]
"""(start, end, leaves, nodes, sum, least, greatest, root): positions [start, end), 40 bytes a leaf,
42 a node, 26 the root."""


def range_edges(fences: bytes, blocks: int, low: bytes, high: bytes) -> tuple[int, int]:
    """The blocks in which a range of keys begins and ends, or right after which; `fences` begins
    with the first key of each, 35 bytes. Raises ValueError."""
    if not 0 < blocks <= len(fences) // KEY_BYTES or not len(low) == len(high) == KEY_BYTES:
        raise ValueError(f"{len(fences)} bytes are not the first keys of {blocks} blocks")
    edges = ffi.new(_EDGES)
    lib.corechain_range_edges(fences, blocks, low, high, edges)
    return edges[0], edges[1]


def range_proof(
    kept: bytes,
    count: int,
    numbers: Sequence[int],
    leaves: bytes,
    keys: tuple[bytes, bytes],
    edges: tuple[int, int],
) -> tuple[int, int] | Found:
    """The range of keys [low, high] in a batch of `count` leaves, and what proves it; only its
    (start, end) where a leaf must be shown whose block is not among the open ones, `numbers`.

    `kept`: the nodes from level 6 up, `leaves`: of the open blocks. Wrong leaves or nodes lead to
    another root than the batch's. Raises ValueError for lengths or numbers that cannot be.
    """
    low, high = keys
    if not len(low) == len(high) == KEY_BYTES or low > high or not 0 < count < 2**32:
        raise ValueError(f"no range of {count} leaves")
    found = ffi.new(_ONE)
    try:
        places = array("I", numbers)
        opened, length = ffi.from_buffer(_U32, places), len(leaves)
        code = lib.corechain_range_proof(
            kept, len(kept), count, opened, len(places), leaves, length, low, high, *edges, found
        )
    except OverflowError:  # of what 32 bits do not hold
        raise ValueError(f"blocks {list(numbers)}, edges {edges} of {count} leaves") from None
    one = found[0]
    if code == _OTHER_BLOCK:
        return one.start, one.end
    if code:
        raise ValueError(f"blocks {list(numbers)} of {count} leaves, {len(kept)} bytes kept")
    shown = ffi.buffer(one.leaves, 40 * one.leaf_count)[:]
    nodes = ffi.buffer(one.nodes, 42 * one.node_count)[:]
    root = ffi.buffer(one.root)[:]
    return one.start, one.end, shown, nodes, one.sum, one.min, one.max, root
