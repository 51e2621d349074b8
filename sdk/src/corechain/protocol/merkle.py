"""Positional Merkle tree, padded to a power of two with the zero node.

Leaf, node and header preimages differ in length, so no node can pass as a leaf; the zero node
cannot be the hash of anything anybody knows, so nothing can be proven at a padded position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """All levels of a tree over leaf hashes; level 0 is the leaves. At least one leaf."""

    leaves: Sequence[Digest26]
    _levels: list[Sequence[Digest26]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.leaves, "a tree has at least one leaf"
        levels: list[Sequence[Digest26]] = [self.leaves]
        while len(levels[-1]) > 1:
            levels.append(_level_above(levels[-1]))
        object.__setattr__(self, "_levels", levels)

    @classmethod
    def over(cls, preimages: Sequence[bytes]) -> "MerkleTree":
        return cls([hash26(item) for item in preimages])

    @property
    def root(self) -> Digest26:
        return self._levels[-1][0]

    def proof(self, position: int) -> list[Digest26]:
        """Sibling hashes from the leaf up. Raises IndexError beyond the leaves."""
        if not 0 <= position < len(self.leaves):
            raise IndexError(f"position {position} of {len(self.leaves)} leaves")
        siblings = []
        for level in self._levels[:-1]:
            sibling = position ^ 1
            siblings.append(level[sibling] if sibling < len(level) else ZERO26)
            position >>= 1
        return siblings


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
