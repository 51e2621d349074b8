"""A reward tree of which the upper levels are kept: a claim hashes the 64 leaves around its own.

The oracle: RewardTree over all amounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import DIGEST_BYTES, ZERO26, Digest26
from corechain.protocol.merkle import MerkleTree, depth_of
from corechain.protocol.rewards import Owner, RewardClaim, RewardTree, reward_leaf, verify_claim

BLOCK_LEVEL = 6
"""As of a batch's trees: 127 hashes a claim, less than a byte kept for each owner."""
BLOCK = 1 << BLOCK_LEVEL


def _widths(owners: int) -> list[int]:
    """Nodes of each kept level; what lies beyond them is the zero node."""
    return [-(-owners >> level) for level in range(BLOCK_LEVEL, depth_of(owners) + 1)]


@dataclass(frozen=True, slots=True)
class RewardLevels:
    """Of the tree over so many `owners`: the nodes from BLOCK_LEVEL up, 26 bytes each, level by
    level. Raises ValueError when `packed` is not of the length that the count asks for."""

    owners: int
    packed: bytes

    def __post_init__(self) -> None:
        if self.owners < 1 or len(self.packed) != DIGEST_BYTES * sum(_widths(self.owners)):
            raise ValueError(f"{len(self.packed)} bytes are not the levels of {self.owners} owners")

    @classmethod
    def of(cls, tree: RewardTree) -> "RewardLevels":
        kept = [node for level in tree.levels[BLOCK_LEVEL:] for node in level]
        return cls(len(tree.amounts), b"".join(kept))

    def claim(self, root: bytes, position: int, around: Sequence[tuple[Owner, int]]) -> RewardClaim:
        """The claim of the leaf at a position; `around` are the leaves of its block.

        Raises InvalidProof when they, or what is kept, do not lead to the root.
        """
        if not 0 <= position % BLOCK < len(around) <= BLOCK:
            raise InvalidProof(f"{len(around)} leaves around position {position}")
        owner, cumulative = around[position % BLOCK]
        block = MerkleTree([reward_leaf(*leaf) for leaf in around])
        proof = block.proof(position % BLOCK)
        if depth_of(self.owners) >= BLOCK_LEVEL:
            # A last block of few leaves has no real node beside it below the kept levels.
            proof += [ZERO26] * (BLOCK_LEVEL - len(proof))
        claim = RewardClaim(owner, cumulative, position, (*proof, *self._siblings(position)))
        verify_claim(root, claim)
        return claim

    def _siblings(self, position: int) -> list[Digest26]:
        """From BLOCK_LEVEL up, without the root."""
        found, start, at = [], 0, position >> BLOCK_LEVEL
        for width in _widths(self.owners)[:-1]:
            node = start + DIGEST_BYTES * (at ^ 1)
            inside = at ^ 1 < width
            found.append(Digest26(self.packed[node : node + DIGEST_BYTES]) if inside else ZERO26)
            start, at = start + DIGEST_BYTES * width, at >> 1
        return found
