"""Positional Merkle tree, padded to a power of two with the zero node.

Leaf, node and header preimages differ in length, so no node can pass as a leaf; the zero node
cannot be the hash of anything anybody knows, so nothing can be proven at a padded position.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import ZERO26, Digest26, hash26

MAX_DEPTH = 32


def depth_of(count: int) -> int:
    """Levels above the leaves of a tree of `count` ≥ 1 leaves."""
    return (count - 1).bit_length()


def parent(left: bytes, right: bytes) -> Digest26:
    if left == ZERO26 and right == ZERO26:
        return ZERO26
    return hash26(left + right)


def _level_above(level: Sequence[Digest26]) -> list[Digest26]:
    even = level if len(level) % 2 == 0 else [*level, ZERO26]
    # Only real nodes are kept: what lies beyond them is zero on every level.
    return [hash26(even[i] + even[i + 1]) for i in range(0, len(even), 2)]


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """A tree over leaf hashes, at least one. Its levels, of which 0 is the leaves, are made from
    them, or given: real nodes alone, as far as anybody will look."""

    leaves: Sequence[Digest26]
    levels: Sequence[Sequence[Digest26]] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.leaves, "a tree has at least one leaf"
        if not self.levels:
            object.__setattr__(self, "levels", self._all_levels())

    def _all_levels(self) -> list[Sequence[Digest26]]:
        levels: list[Sequence[Digest26]] = [self.leaves]
        while len(levels[-1]) > 1:
            levels.append(_level_above(levels[-1]))
        return levels

    @classmethod
    def over(cls, preimages: Sequence[bytes]) -> "MerkleTree":
        return cls([hash26(item) for item in preimages])

    @property
    def root(self) -> Digest26:
        return self.levels[-1][0]

    def proof(self, position: int) -> list[Digest26]:
        """Sibling hashes from the leaf up. Raises IndexError beyond the leaves."""
        if not 0 <= position < len(self.leaves):
            raise IndexError(f"position {position} of {len(self.leaves)} leaves")
        siblings = []
        for level in self.levels[:-1]:
            sibling = position ^ 1
            siblings.append(level[sibling] if sibling < len(level) else ZERO26)
            position >>= 1
        return siblings

    def multiproof(self, positions: Sequence[int]) -> list[Digest26]:
        """The nodes that lead from the leaves at strictly ascending positions to the root: level
        by level from the leaves up, each left to right, without what follows from the leaves.

        Raises IndexError beyond the leaves, ValueError for none, repeated or unsorted positions.
        """
        _check_ascending(positions)
        if positions[0] < 0 or positions[-1] >= len(self.leaves):
            raise IndexError(f"positions {positions[0]}…{positions[-1]} of {len(self.leaves)}")
        nodes: list[Digest26] = []
        known = list(positions)
        for level in self.levels[:-1]:
            held = set(known)
            missing = (at ^ 1 for at in known if at ^ 1 not in held)
            nodes += [level[at] if at < len(level) else ZERO26 for at in missing]
            known = list(dict.fromkeys(at >> 1 for at in known))
        return nodes


def _check_ascending(positions: Sequence[int]) -> None:
    if not positions or any(one >= two for one, two in pairwise(positions)):
        raise ValueError("positions are at least one, strictly ascending")


def root_from_proof(leaf: Digest26, position: int, proof: Sequence[bytes]) -> Digest26:
    """The root that a proof leads to. Raises InvalidProof for a position outside the tree."""
    if len(proof) > MAX_DEPTH or position >> len(proof):
        raise InvalidProof(f"position {position} is outside a tree of depth {len(proof)}")
    node: Digest26 = leaf
    for sibling in proof:
        node = parent(sibling, node) if position & 1 else parent(node, sibling)
        position >>= 1
    return node


def verify_inclusion(root: bytes, leaf: Digest26, position: int, proof: Sequence[bytes]) -> None:
    """Raises InvalidProof unless the leaf hash is at that position under the root."""
    if any(len(sibling) != 26 for sibling in proof) or leaf == ZERO26:
        raise InvalidProof("a node of the proof has not 26 bytes")
    if root_from_proof(leaf, position, proof) != root:
        raise InvalidProof(f"the proof of position {position} does not lead to the root")


def root_from_multiproof(
    leaves: Sequence[Digest26], positions: Sequence[int], depth: int, nodes: Sequence[bytes]
) -> Digest26:
    """The root over leaf hashes at strictly ascending positions of a tree of that depth, with the
    nodes of `MerkleTree.multiproof`. Every proof has one form only.

    Raises InvalidProof when a node is missing, left over or not of 26 bytes, when a leaf is the
    padding, or when the positions repeat, are unsorted or outside the tree.
    """
    _check_claim(leaves, positions, depth)
    if any(len(node) != 26 for node in nodes):
        raise InvalidProof("a node of the proof has not 26 bytes")
    left_over = iter(nodes)
    level: list[tuple[int, bytes]] = list(zip(positions, leaves, strict=True))
    try:
        for _ in range(depth):
            level = _known_above(level, left_over)
    except StopIteration:
        raise InvalidProof(f"{len(nodes)} nodes are too few to lead to the root") from None
    if next(left_over, None) is not None:
        raise InvalidProof(f"{len(nodes)} nodes are more than lead to the root")
    return Digest26(level[0][1])


def _check_claim(leaves: Sequence[bytes], positions: Sequence[int], depth: int) -> None:
    try:
        _check_ascending(positions)
    except ValueError as error:
        raise InvalidProof(str(error)) from error
    if len(leaves) != len(positions):
        raise InvalidProof(f"{len(leaves)} leaves at {len(positions)} positions")
    if not 0 <= depth <= MAX_DEPTH or positions[0] < 0 or positions[-1] >> depth:
        raise InvalidProof(f"position {positions[-1]} is outside a tree of depth {depth}")
    if ZERO26 in leaves:
        raise InvalidProof("nothing is proven at a padded position")


def _known_above(
    level: Sequence[tuple[int, bytes]], nodes: Iterator[bytes]
) -> list[tuple[int, bytes]]:
    """(index, hash) one level up. Raises StopIteration when a node is missing."""
    above: list[tuple[int, bytes]] = []
    i, last = 0, len(level) - 1
    while i <= last:
        at, node = level[i]
        i += 1
        if at & 1:
            # A known left neighbour would have taken this one with it.
            joined = parent(next(nodes), node)
        elif i <= last and level[i][0] == at + 1:
            joined = parent(node, level[i][1])
            i += 1
        else:
            joined = parent(node, next(nodes))
        above.append((at >> 1, joined))
    return above


def verify_multiproof(
    root: bytes,
    leaves: Sequence[Digest26],
    positions: Sequence[int],
    depth: int,
    nodes: Sequence[bytes],
) -> None:
    """Raises InvalidProof unless all leaf hashes are at their positions under the root."""
    if root_from_multiproof(leaves, positions, depth, nodes) != root:
        raise InvalidProof(f"the proof of {len(positions)} positions does not lead to the root")
