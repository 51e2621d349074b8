"""Ranges proven from kept levels and a few open blocks: as by the whole tree, natively or not.

given a batch of any size and any two keys
  the range, its statistics and its proof are those of the whole tree
  a block that must be open, too, is named
given leaves or levels of another batch
  nothing is proven of them
"""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import native, ranges
from corechain.protocol.errors import InvalidProof
from corechain.protocol.levels import BLOCK, UpperLevels
from corechain.protocol.ranges import KeyRange, MoreBlocks, ProvenRange, edges_of, prove_range
from corechain.protocol.reading import DeviceId, Reading, pack_key
from corechain.protocol.statistics import StatisticsTree, locate, verify_range

CELL, DEVICE = 0x872A1072BFFFFFF, DeviceId(b"\x11" * 20)
SIZES = st.one_of(
    st.integers(1, 3 * BLOCK + 2),
    st.sampled_from([BLOCK * 4 - 1, BLOCK * 4, BLOCK * 5, BLOCK * 16 + 1]),
)
STEP = 3
"""Seconds between two leaves: keys lie on leaves and between them."""


def leaves_of(count: int) -> list[bytes]:
    """Values of both signs, both ends of 32 bits among them."""
    values = (-(2**31), 2**31 - 1, -7, 0, 5, 41)
    return [
        Reading(1, CELL, DEVICE, STEP * at, values[at * 7919 % 6]).pack() for at in range(count)
    ]


def keys_of(first: int, last: int) -> KeyRange:
    return pack_key(1, CELL, DEVICE, first), pack_key(1, CELL, DEVICE, last)


def blocks_of(leaves: Sequence[bytes], numbers: set[int]) -> dict[int, bytes]:
    return {at: b"".join(leaves[at * BLOCK : (at + 1) * BLOCK]) for at in sorted(numbers)}


def proven(leaves: Sequence[bytes], keys: KeyRange, root: bytes) -> ProvenRange:
    """As a service does it: the edges first, then what else is named."""
    upper = UpperLevels.of(b"".join(leaves))
    numbers = set(edges_of(upper, keys))
    try:
        return prove_range(upper, blocks_of(leaves, numbers), keys, root)
    except MoreBlocks as more:
        numbers |= more.blocks
    return prove_range(upper, blocks_of(leaves, numbers), keys, root)


def check(count: int, first: int, last: int) -> ProvenRange:
    leaves, keys = leaves_of(count), keys_of(first, last)
    whole = StatisticsTree(leaves)
    found = proven(leaves, keys, whole.root)
    assert (found.start, found.end) == locate(leaves, *keys)
    assert found.proof == whole.range_proof(found.start, found.end)
    verified = verify_range(whole.root, count, found.start, found.end, *keys, found.proof)
    assert found.statistics == verified
    return found


@given(SIZES, st.data())
def test_any_range_is_proven_as_by_the_whole_tree(count: int, data: st.DataObject) -> None:
    moment = st.integers(0, STEP * count + STEP)
    first, last = sorted((data.draw(moment), data.draw(moment)))
    check(count, first, last)


@given(SIZES, st.data())
def test_pure_python_proves_the_same(count: int, data: st.DataObject) -> None:
    moment = st.integers(0, STEP * count + STEP)
    first, last = sorted((data.draw(moment), data.draw(moment)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_native_proof", None)
        patch.setattr(ranges, "_native_edges", None)
        plain = check(count, first, last)
    assert check(count, first, last) == plain


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 4097])
@pytest.mark.parametrize("edge", [0, 31, 63, 64, 65])
def test_edges_between_blocks_are_proven(count: int, edge: int) -> None:
    at = STEP * edge
    for first, last in ((at, at), (at - 1 if at else 0, at), (at, STEP * count), (at + 1, at + 2)):
        check(count, first, max(first, last))


def test_a_range_between_two_blocks_names_the_other() -> None:
    leaves = leaves_of(3 * BLOCK)
    upper, keys = UpperLevels.of(b"".join(leaves)), keys_of(STEP * BLOCK, STEP * BLOCK)
    root = StatisticsTree(leaves).root
    assert edges_of(upper, keys) == (0, 1)
    between = keys_of(STEP * BLOCK - 1, STEP * BLOCK - 1)
    assert edges_of(upper, between) == (0, 0)
    with pytest.raises(MoreBlocks) as told:
        prove_range(upper, blocks_of(leaves, {0}), between, root)
    assert told.value.blocks == {1}


def changed(blocks: Mapping[int, bytes], number: int) -> dict[int, bytes]:
    leaves = bytearray(blocks[number])
    leaves[38] ^= 1  # the first leaf's value
    return {**blocks, number: bytes(leaves)}


@pytest.mark.parametrize("pure", [False, True])
def test_other_leaves_levels_and_roots_are_refused(
    pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure:
        monkeypatch.setattr(ranges, "_native_proof", None)
    leaves = leaves_of(5 * BLOCK)
    upper, keys = UpperLevels.of(b"".join(leaves)), keys_of(STEP * 70, STEP * 200)
    root, blocks = StatisticsTree(leaves).root, blocks_of(leaves, {1, 3})
    assert prove_range(upper, blocks, keys, root).statistics.count == 131
    with pytest.raises(InvalidProof):
        prove_range(upper, changed(blocks, 1), keys, root)
    with pytest.raises(InvalidProof):
        prove_range(upper, blocks, keys, bytes(26))
    other = bytearray(upper.packed)
    other[5 * 35 + (5 + 3 + 2 + 1) * 26 + 41] ^= 1  # the greatest value of block 0
    with pytest.raises(InvalidProof):
        prove_range(UpperLevels(upper.count, bytes(other)), blocks, keys, root)


@pytest.mark.skipif(native.library is None, reason="the native module is not installed")
def test_lengths_that_cannot_be_are_refused() -> None:
    leaves = leaves_of(5 * BLOCK)
    upper, keys = UpperLevels.of(b"".join(leaves)), keys_of(STEP * 70, STEP * 71)
    root = StatisticsTree(leaves).root
    with pytest.raises(InvalidProof, match=r"blocks \[1\] of 320"):
        prove_range(upper, {1: b"".join(leaves[64:127])}, keys, root)
