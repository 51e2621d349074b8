"""One proof for neighbouring reports under a receipt's root, and the path of each of them.

A request's reports lie side by side in their frame. Whoever sent them has their hashes, so the two
edges are all that is missing: 26 bytes a level and side, and not a path for each report. A span of
one report has the siblings of a plain path. Source: docs/protocol.md, "Receipts".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import DIGEST_BYTES, ZERO26, Digest26
from corechain.protocol.merkle import depth_of, parent


def span_nodes(levels: Sequence[bytes], first: int, end: int) -> bytes:
    """The nodes that lead from leaves first … end − 1 to the root: level by level from the leaves
    up, left before right, as `MerkleTree.multiproof`. `levels`: the real nodes of each level, 26
    bytes each, the leaves first, the root last."""
    nodes, last = [], end - 1
    for level in levels[:-1]:
        if first & 1:
            nodes.append(level[DIGEST_BYTES * (first - 1) : DIGEST_BYTES * first])
        if not last & 1:
            at = DIGEST_BYTES * (last + 1)
            # Beyond the real nodes of a level all are zero.
            nodes.append(level[at : at + DIGEST_BYTES] or ZERO26)
        first, last = first >> 1, last >> 1
    return b"".join(nodes)


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring leaves with all that is known above them: a row a level, beginning at an index
    of that level."""

    rows: Sequence[tuple[int, Sequence[Digest26]]]
    root: Digest26

    def path(self, position: int) -> list[Digest26]:
        """Siblings of one of the leaves, by its position in the tree, from the leaf up."""
        return [row[(position >> up ^ 1) - at] for up, (at, row) in enumerate(self.rows)]


def span_of(leaves: Sequence[Digest26], first: int, count: int, nodes: Sequence[bytes]) -> Span:
    """The span of leaf hashes at positions first, first + 1, … of a tree over `count` leaves, with
    the nodes of `span_nodes`.

    Raises InvalidProof for positions outside the tree, and for nodes that are too few, too many or
    not of 26 bytes. Whether `root` is the right one, the caller compares.
    """
    if not leaves or first < 0 or first + len(leaves) > count:
        raise InvalidProof(f"{len(leaves)} leaves from {first} on are not in a tree of {count}")
    if any(len(node) != DIGEST_BYTES for node in nodes):
        raise InvalidProof("a node of the proof has not 26 bytes")
    left_over = map(Digest26, nodes)
    rows: list[tuple[int, Sequence[Digest26]]] = []
    row: Sequence[Digest26] = leaves
    try:
        for _ in range(depth_of(count)):
            first, row = _widened(first, row, left_over)
            rows.append((first, row))
            row = [parent(row[at], row[at + 1]) for at in range(0, len(row), 2)]
            first >>= 1
    except StopIteration:
        raise InvalidProof(f"{len(nodes)} nodes are too few to lead to the root") from None
    if next(left_over, None) is not None:
        raise InvalidProof(f"{len(nodes)} nodes are more than lead to the root")
    return Span(rows, row[0])


def _widened(
    first: int, row: Sequence[Digest26], nodes: Iterator[Digest26]
) -> tuple[int, Sequence[Digest26]]:
    """The row with its missing neighbours, so that it is whole pairs. Raises StopIteration."""
    left = [next(nodes)] if first & 1 else []
    right = [] if (first + len(row)) % 2 == 0 else [next(nodes)]
    return first - len(left), [*left, *row, *right]
