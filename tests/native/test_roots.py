"""Native hashes of rows and native roots are those of the trees that give the proofs."""

from array import array
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.hashing import hash26
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.statistics import StatisticsTree
from corechain_native import (
    hash26_rows,
    hash26_slices,
    merkle_paths,
    merkle_root,
    statistics_root,
)

# Around the widths of vectors, the levels of trees, and the groups that the C code works in.
COUNTS = [*range(1, 20), 63, 64, 65, 127, 128, 129, 130, 257]
leaves_of = st.lists(st.binary(min_size=40, max_size=40), min_size=1, max_size=70)


def _leaves(count: int) -> list[bytes]:
    """Values at both ends of 32 bits among them."""
    values = [0x7FFFFFFF, -0x80000000, -1, 0, 5]
    return [
        at.to_bytes(35, "big") + values[at % 5].to_bytes(4, "big", signed=True) + b"\1"
        for at in range(count)
    ]


@given(st.binary(max_size=3000), st.sampled_from([1, 40, 52, 84, 113, 135, 136, 137, 272, 273]))
def test_every_row_hashes_as_alone(data: bytes, size: int) -> None:
    packed = data[: len(data) - len(data) % size]
    rows = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert hash26_rows(packed, size) == b"".join(map(hash26, rows))


@given(st.lists(st.binary(max_size=300) | st.binary(min_size=113, max_size=113), max_size=20))
def test_every_slice_hashes_as_alone(parts: list[bytes]) -> None:
    offsets = array("I", accumulate(map(len, parts), initial=0))
    assert hash26_slices(b"".join(parts), offsets) == b"".join(map(hash26, parts))


@given(leaves_of)
def test_roots_are_those_of_the_reference(leaves: list[bytes]) -> None:
    _agree(leaves)


@pytest.mark.parametrize("count", COUNTS)
def test_trees_of_every_shape_have_the_reference_root(count: int) -> None:
    _agree(_leaves(count))


def _agree(leaves: list[bytes]) -> None:
    packed = b"".join(leaves)
    hashes = hash26_rows(packed, 40)
    assert merkle_root(hashes) == MerkleTree.over(leaves).root
    assert statistics_root(packed, hashes) == StatisticsTree(leaves).root
    tree = MerkleTree.over(leaves)
    ways = [at.to_bytes(4, "big") + b"".join(tree.proof(at)) for at in range(len(leaves))]
    assert merkle_paths(hashes) == (tree.root, b"".join(ways))


def test_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of 40"):
        hash26_rows(bytes(41), 40)
    for wrong in (array("I"), array("I", [0, 5]), array("I", [3, 2]), array("H", [0])):
        with pytest.raises(ValueError, match="offsets"):
            hash26_slices(bytes(4), wrong)
    for length in (0, 25):
        with pytest.raises(ValueError, match="one or more of 26"):
            merkle_root(bytes(length))
        with pytest.raises(ValueError, match="one or more of 26"):
            merkle_paths(bytes(length))
    with pytest.raises(ValueError, match="other hashes"):
        statistics_root(bytes(80), bytes(26))
