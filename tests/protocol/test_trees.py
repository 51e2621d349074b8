"""Inclusion and range proofs: every true claim is proven, no false one is."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidProof, RangeIncomplete
from corechain.protocol.hashing import ZERO26, Digest26, hash26
from corechain.protocol.merkle import MerkleTree, root_from_proof, verify_inclusion
from corechain.protocol.reading import DeviceId, Reading, pack_key
from corechain.protocol.statistics import (
    NOTHING,
    Node,
    RangeProof,
    Statistics,
    StatisticsTree,
    leaf_node,
    locate,
    verify_range,
)

DEVICE = DeviceId(b"\x03" * 20)
values = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40)


def leaves_of(numbers):
    return [Reading(1, 2, DEVICE, 1000 + i, n).pack() for i, n in enumerate(numbers)]


def key_at(position):
    return pack_key(1, 2, DEVICE, 1000 + position)


def expected(numbers):
    if not numbers:
        return NOTHING
    return Statistics(len(numbers), sum(numbers), min(numbers), max(numbers))


@given(values, st.data())
def test_every_leaf_is_proven_at_its_position_only(numbers, data):
    tree = MerkleTree.over(leaves_of(numbers))
    position = data.draw(st.integers(0, len(numbers) - 1))
    proof, leaf = tree.proof(position), tree.leaves[position]
    verify_inclusion(tree.root, leaf, position, proof)
    for other in range(2 ** len(proof) + 2):
        if other != position:
            with pytest.raises(InvalidProof):
                verify_inclusion(tree.root, leaf, other, proof)


@given(values, st.integers(0, 2**31), st.data())
def test_a_changed_leaf_or_node_is_not_proven(numbers, noise, data):
    tree = MerkleTree.over(leaves_of(numbers))
    position = data.draw(st.integers(0, len(numbers) - 1))
    proof = tree.proof(position)
    with pytest.raises(InvalidProof):
        verify_inclusion(tree.root, hash26(noise.to_bytes(8, "big")), position, proof)
    if proof:
        chosen = data.draw(st.integers(0, len(proof) - 1))
        proof[chosen] = hash26(noise.to_bytes(8, "big"))
        with pytest.raises(InvalidProof):
            verify_inclusion(tree.root, tree.leaves[position], position, proof)


@given(values.filter(lambda numbers: len(numbers) > 2))
def test_an_inner_node_cannot_pass_as_a_leaf(numbers):
    tree = MerkleTree.over(leaves_of(numbers))
    inner = root_from_proof(tree.leaves[0], 0, tree.proof(0)[:1])
    # As a hash it does lead to the root; but no reading of 40 bytes hashes to it, and a reading is
    # what the verifiers hash.
    verify_inclusion(tree.root, inner, 0, tree.proof(0)[1:])
    preimage = tree.leaves[0] + tree.leaves[1]
    assert hash26(preimage) == inner
    assert len(preimage) == 52 != len(leaves_of([1])[0])


@given(values)
def test_nothing_is_proven_in_the_padding(numbers):
    tree = MerkleTree.over(leaves_of(numbers))
    with pytest.raises(IndexError):
        tree.proof(len(numbers))
    with pytest.raises(InvalidProof):
        verify_inclusion(tree.root, ZERO26, 0, tree.proof(0))


def test_a_duplicated_last_leaf_gives_another_root():
    """CVE-2012-2459: trees that repeat the last leaf cannot tell these two apart."""
    three = leaves_of([1, 2, 3])
    assert MerkleTree.over(three).root != MerkleTree.over([*three, three[-1]]).root


def test_a_node_of_a_wrong_length_is_refused():
    tree = MerkleTree.over(leaves_of([1, 2]))
    with pytest.raises(InvalidProof):
        verify_inclusion(tree.root, tree.leaves[0], 0, [Digest26(tree.leaves[1] + b"\0")])


@given(values, st.data())
def test_statistics_of_any_range_are_proven(numbers, data):
    leaves = leaves_of(numbers)
    tree = StatisticsTree(leaves)
    start = data.draw(st.integers(0, len(numbers) - 1))
    end = data.draw(st.integers(start + 1, len(numbers)))
    low, high = key_at(start), key_at(end - 1)
    assert locate(leaves, low, high) == (start, end)
    proof = tree.range_proof(start, end)
    found = verify_range(tree.root, len(leaves), start, end, low, high, proof)
    assert found == expected(numbers[start:end])


@given(values, st.data())
def test_an_empty_range_is_proven_by_its_neighbours(numbers, data):
    leaves = [Reading(1, 2, DEVICE, 2 * i, n).pack() for i, n in enumerate(numbers)]
    tree = StatisticsTree(leaves)
    gap = data.draw(st.integers(0, len(numbers)))
    low = high = pack_key(1, 2, DEVICE, 2 * gap - 1) if gap else pack_key(1, 1, DEVICE, 0)
    proof = tree.range_proof(gap, gap)
    assert verify_range(tree.root, len(leaves), gap, gap, low, high, proof) == NOTHING


@given(values.filter(lambda numbers: len(numbers) > 1), st.data())
def test_a_range_that_omits_a_reading_is_refused(numbers, data):
    tree = StatisticsTree(leaves_of(numbers))
    start = data.draw(st.integers(1, len(numbers) - 1))
    count = len(numbers)
    proof = tree.range_proof(start, count)
    with pytest.raises(RangeIncomplete):
        verify_range(tree.root, count, start, count, key_at(start - 1), key_at(count - 1), proof)


@given(values, st.integers(1, 2**40), st.data())
def test_value_moved_between_siblings_is_refused(numbers, moved, data):
    assume(len(numbers) >= 8)
    tree = StatisticsTree(leaves_of(numbers))
    end = data.draw(st.integers(1, len(numbers) // 2))
    proof = tree.range_proof(0, end)
    assume(len(proof.nodes) >= 2)
    one, two, *rest = proof.nodes
    forged = RangeProof(
        proof.leaves,
        (one._replace(sum=one.sum + moved), two._replace(sum=two.sum - moved), *rest),
    )
    with pytest.raises(InvalidProof):
        verify_range(tree.root, len(numbers), 0, end, key_at(0), key_at(end - 1), forged)


def test_a_sum_that_leaves_its_type_is_a_forgery():
    node = Node(hash26(b"x"), 2**63, 0, 0)
    with pytest.raises(InvalidProof):
        node.pack()


@given(values)
def test_a_proof_with_something_missing_or_left_over_is_refused(numbers):
    leaves = leaves_of(numbers)
    tree, count = StatisticsTree(leaves), len(numbers)
    proof = tree.range_proof(0, count)
    extra = RangeProof(proof.leaves, (*proof.nodes, leaf_node(leaves[0])))
    missing = RangeProof(proof.leaves[1:], proof.nodes)
    for wrong in (extra, missing):
        with pytest.raises(InvalidProof):
            verify_range(tree.root, count, 0, count, key_at(0), key_at(count - 1), wrong)


def test_positions_outside_the_batch_are_refused():
    tree = StatisticsTree(leaves_of([1, 2, 3]))
    proof = tree.range_proof(0, 3)
    for start, end in ((0, 4), (2, 1), (-1, 2)):
        with pytest.raises(InvalidProof):
            verify_range(tree.root, 3, start, end, key_at(0), key_at(2), proof)
    with pytest.raises(IndexError):
        tree.range_proof(0, 4)


@given(
    st.lists(st.builds(Statistics, st.integers(0, 5), st.integers(), st.integers(), st.integers()))
)
def test_adding_nothing_changes_nothing(parts):
    for part in parts:
        if part.count:
            assert part + NOTHING == part == NOTHING + part
