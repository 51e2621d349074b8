"""A range of a batch's readings and its proof, made from the kept upper levels of the batch's
statistics tree and the few blocks of leaves at the range's edges.

For services (extra `service`). The oracle: StatisticsTree over all leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from corechain.protocol import native
from corechain.protocol.errors import InvalidProof
from corechain.protocol.levels import BLOCK, OpenedTrees, UpperLevels, hash_blocks
from corechain.protocol.reading import READING_BYTES
from corechain.protocol.statistics import (
    NODE_BYTES,
    NOTHING,
    Node,
    RangeProof,
    Statistics,
    revealed_positions,
    verify_range,
)

KeyRange = tuple[bytes, bytes]
"""The lowest and the highest key, 35 bytes each."""
_native_edges = native.function("range_edges")
_native_proof = native.function("range_proof")


class MoreBlocks(LookupError):
    """The proof shows leaves of blocks that are not open: an edge lies between two blocks."""

    def __init__(self, blocks: set[int]) -> None:
        super().__init__(f"blocks {sorted(blocks)} must be open")
        self.blocks = blocks


@dataclass(frozen=True, slots=True)
class ProvenRange:
    """Positions [start, end), with the proof as bytes: leaves of 40, nodes of 42."""

    start: int
    end: int
    leaves: bytes
    nodes: bytes
    statistics: Statistics

    @property
    def proof(self) -> RangeProof:
        return RangeProof(
            tuple(_cut(self.leaves, READING_BYTES)),
            tuple(map(Node.unpack, _cut(self.nodes, NODE_BYTES))),
        )


def _cut(packed: bytes, size: int) -> list[bytes]:
    return [packed[at : at + size] for at in range(0, len(packed), size)]


def edges_of(upper: UpperLevels, keys: KeyRange) -> tuple[int, int]:
    """The blocks in which a range begins and ends, or right after which it does."""
    if _native_edges is None:
        return upper.edges(*keys)
    first, last = _native_edges(upper.packed, upper.blocks, *keys)
    return first, last


def prove_range(
    upper: UpperLevels, blocks: Mapping[int, bytes], keys: KeyRange, root: bytes
) -> ProvenRange:
    """All readings with low ≤ key ≤ high; `blocks` maps a block's number to its packed leaves, and
    holds those of `edges_of` at least.

    Raises MoreBlocks for what else must be open, InvalidProof when the blocks do not lead to what
    is kept, or that to the statistics root of the batch's header.
    """
    if _native_proof is None:
        return _by_trees(upper, blocks, keys, root)
    edges = edges_of(upper, keys)
    first, last = edges
    # Others, of other ranges, would be hashed for nothing: only an edge's neighbour may be shown.
    near = {first, first + 1, last, last + 1}
    numbers = sorted(near.intersection(blocks))
    leaves = b"".join([blocks[number] for number in numbers])
    try:
        found = _native_proof(upper.kept_statistics, upper.count, numbers, leaves, keys, edges)
    except ValueError as error:
        raise InvalidProof(str(error)) from error
    start, end, *rest = found
    if not rest:
        raise MoreBlocks(_shown(start, end, upper.count) - blocks.keys())
    shown, nodes, total, least, greatest, made = rest
    if made != root:
        raise InvalidProof("leaves and kept levels do not lead to the statistics root")
    statistics = Statistics(end - start, total, least, greatest) if end > start else NOTHING
    return ProvenRange(start, end, shown, nodes, statistics)


def _shown(start: int, end: int, count: int) -> set[int]:
    """The blocks of the leaves that a range's proof shows."""
    return {at // BLOCK for at in revealed_positions(start, end, count)}


def _by_trees(
    upper: UpperLevels, blocks: Mapping[int, bytes], keys: KeyRange, root: bytes
) -> ProvenRange:
    opened = dict(zip(blocks, hash_blocks(list(blocks.values())), strict=True))
    trees = OpenedTrees(upper, opened)
    start, end = trees.locate(*keys)
    missing = _shown(start, end, upper.count) - blocks.keys()
    if missing:
        raise MoreBlocks(missing)
    proof = trees.statistics.range_proof(start, end)
    proven = verify_range(root, upper.count, start, end, *keys, proof)
    nodes = b"".join(node.pack() for node in proof.nodes)
    return ProvenRange(start, end, b"".join(proof.leaves), nodes, proven)
