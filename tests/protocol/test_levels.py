"""Trees of which only the upper levels are kept.

given a batch of any size
  what is opened of its trees says what the whole trees say: proofs, multiproofs, ranges, paths
  a range of keys is found in the blocks of its edges
given kept levels of another size, or a block that nobody has opened
  they are refused
"""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.hashing import hash26
from corechain.protocol.levels import (
    BLOCK,
    NotOpened,
    OpenedTrees,
    UpperLevels,
    hash_blocks,
)
from corechain.protocol.merkle import MerkleTree, verify_multiproof
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.statistics import StatisticsTree, locate, revealed_positions, verify_range

SIZES = st.one_of(
    st.integers(1, 3 * BLOCK + 2),
    st.sampled_from([BLOCK * 4 - 1, BLOCK * 4, BLOCK * 4 + 1, BLOCK * 5, BLOCK * 16 + 1]),
)


def leaves_of(count: int, step: int = 3) -> list[bytes]:
    """Readings of one device, `step` seconds apart, with values of both signs."""
    device = DeviceId(b"\x11" * 20)
    return [
        Reading(1, 0x872A1072BFFFFFF, device, step * at, (at * 7919) % 1001 - 500, 0).pack()
        for at in range(count)
    ]


def opened(leaves: Sequence[bytes], blocks: Iterable[int]) -> OpenedTrees:
    packed = b"".join(leaves)
    upper = UpperLevels.of(packed)
    size = BLOCK * 40
    numbers = sorted(set(blocks))
    found = hash_blocks([packed[size * block : size * (block + 1)] for block in numbers])
    again = UpperLevels(len(leaves), bytes(upper.packed))
    return OpenedTrees(again, dict(zip(numbers, found, strict=True)))


@given(SIZES, st.data())
def test_what_is_opened_proves_what_the_whole_tree_proves(count: int, data: st.DataObject) -> None:
    leaves = leaves_of(count)
    whole, statistics = MerkleTree.over(leaves), StatisticsTree(leaves)
    positions = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=5)))
    trees = opened(leaves, {at // BLOCK for at in positions})
    assert trees.readings.root == whole.root
    assert trees.statistics.root == statistics.root
    for at in positions:
        assert trees.leaves[at] == leaves[at]
        assert trees.readings.proof(at) == whole.proof(at)
        assert list(trees.statistics.path(0, at)) == list(statistics.path(0, at))
    nodes = trees.readings.multiproof(positions)
    assert nodes == whole.multiproof(positions)
    depth = len(whole.levels) - 1
    verify_multiproof(whole.root, [hash26(leaves[at]) for at in positions], positions, depth, nodes)


@given(SIZES, st.data())
def test_a_range_is_found_and_proven_by_the_blocks_of_its_edges(
    count: int, data: st.DataObject
) -> None:
    leaves = leaves_of(count)
    # Between keys, on them, before the first and after the last.
    moment = st.integers(0, 3 * count + 3)
    first, last = sorted((data.draw(moment), data.draw(moment)))
    device, cell = DeviceId(b"\x11" * 20), 0x872A1072BFFFFFF
    low, high = (Reading(1, cell, device, at, 0, 0).pack()[:35] for at in (first, last))
    upper = UpperLevels.of(b"".join(leaves))
    edges = upper.edges(low, high)
    start, end = opened(leaves, edges).locate(low, high)
    assert (start, end) == locate(leaves, low, high)
    shown = revealed_positions(start, end, count)
    trees = opened(leaves, [at // BLOCK for at in shown])
    proof = trees.statistics.range_proof(start, end)
    whole = StatisticsTree(leaves)
    assert proof == whole.range_proof(start, end)
    proven = verify_range(whole.root, count, start, end, low, high, proof)
    assert proven.count == end - start


def test_what_is_kept_is_of_the_size_that_the_leaves_ask_for() -> None:
    packed = UpperLevels.of(b"".join(leaves_of(1000))).packed
    assert len(packed) == 16 * 35 + (16 + 8 + 4 + 2 + 1) * (26 + 42)
    with pytest.raises(ValueError, match="upper levels of 1025"):
        UpperLevels(1025, packed)
    with pytest.raises(ValueError, match="upper levels"):
        UpperLevels(1000, packed[:-1])


def test_what_nobody_has_opened_is_not_guessed() -> None:
    trees = opened(leaves_of(1000), [2])
    with pytest.raises(NotOpened, match="block 3 of 16"):
        trees.leaves[3 * BLOCK]
    with pytest.raises(NotOpened):
        trees.readings.proof(0)
    with pytest.raises(IndexError):
        trees.leaves[1000]
    assert hash_blocks([]) == []
