"""Reward trees of which only the upper levels are kept claim what the whole trees claim."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidProof
from corechain.protocol.reward_levels import BLOCK, RewardLevels
from corechain.protocol.rewards import Owner, RewardTree

COUNTS = [1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 4 * BLOCK + 1, 9 * BLOCK]


def tree_of(count: int) -> RewardTree:
    return RewardTree({Owner((7 * n).to_bytes(20, "big")): n * n for n in range(count)})


def around(tree: RewardTree, position: int) -> Sequence[tuple[Owner, int]]:
    first = position - position % BLOCK
    return sorted(tree.amounts.items())[first : first + BLOCK]


@pytest.mark.parametrize("count", COUNTS)
@given(st.data())
def test_a_claim_is_the_whole_trees(count: int, data: st.DataObject) -> None:
    tree = tree_of(count)
    levels = RewardLevels.of(tree)
    again = RewardLevels(count, bytes(levels.packed))
    position = data.draw(st.integers(0, count - 1))
    leaves = around(tree, position)
    owner, _ = leaves[position % BLOCK]
    assert again.claim(tree.root, position, leaves) == tree.claim(owner)


def test_what_does_not_lead_to_the_root_is_no_claim() -> None:
    tree = tree_of(200)
    levels, leaves = RewardLevels.of(tree), list(around(tree, 70))
    with pytest.raises(InvalidProof):
        levels.claim(bytes(26), 70, leaves)
    with pytest.raises(InvalidProof):
        levels.claim(tree.root, 71 + BLOCK, leaves)
    for wrong in (leaves[:6], []):
        with pytest.raises(InvalidProof, match="leaves around"):
            levels.claim(tree.root, 70, wrong)
    leaves[0] = (leaves[0][0], leaves[0][1] + 1)
    with pytest.raises(InvalidProof):
        levels.claim(tree.root, 70, leaves)


def test_levels_of_another_number_of_owners_are_refused() -> None:
    packed = RewardLevels.of(tree_of(200)).packed
    assert len(packed) == (4 + 2 + 1) * 26
    for owners, kept in ((300, packed), (200, packed[1:]), (0, b"")):
        with pytest.raises(ValueError, match="levels of"):
            RewardLevels(owners, kept)
