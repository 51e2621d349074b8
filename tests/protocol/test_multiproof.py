"""One proof for many leaves: it says what the single proofs say, and has one form only.

given a tree and some of its leaves
  ├── the multiproof leads to the root, with no more nodes than the single proofs together
  ├── without a node, with one more, two swapped or one changed it proves nothing
  ├── nor does it at other, repeated, unsorted or impossible positions, or in another depth
  └── a leaf that is not there, or padding, is never proven
"""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import ZERO26, hash26
from corechain.protocol.merkle import (
    MAX_DEPTH,
    MerkleTree,
    depth_of,
    root_from_proof,
    verify_multiproof,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "batch.json"


@st.composite
def claims(draw):
    """(tree, positions): a tree of 1 to 40 leaves and some of its positions, ascending."""
    count = draw(st.integers(1, 40))
    tree = MerkleTree.over([b"leaf %d" % i for i in range(count)])
    positions = draw(st.sets(st.integers(0, count - 1), min_size=1))
    return tree, sorted(positions)


def parts_of(tree, positions):
    """What a verifier is given: leaves, positions, depth, nodes."""
    leaves = [tree.leaves[at] for at in positions]
    return leaves, positions, depth_of(len(tree.leaves)), tree.multiproof(positions)


@given(claims())
def test_a_multiproof_says_what_the_single_proofs_say(claim):
    tree, positions = claim
    leaves, _, depth, nodes = parts_of(tree, positions)
    verify_multiproof(tree.root, leaves, positions, depth, nodes)
    singles = [tree.proof(at) for at in positions]
    for at, single in zip(positions, singles, strict=True):
        assert root_from_proof(tree.leaves[at], at, single) == tree.root
    # Every node is a sibling of some single proof, and none is sent twice.
    assert len(nodes) <= sum(map(len, singles))
    assert set(nodes) <= {node for single in singles for node in single}


@given(claims())
def test_a_multiproof_of_one_leaf_is_its_single_proof(claim):
    tree, (position, *_) = claim
    assert tree.multiproof([position]) == tree.proof(position)


def test_a_multiproof_of_all_leaves_has_only_padding():
    for count in range(1, 34):
        tree = MerkleTree.over([bytes([i]) for i in range(count)])
        assert set(tree.multiproof(range(count))) <= {ZERO26}


@given(claims(), st.data())
def test_a_changed_proof_proves_nothing(claim, data):
    tree, positions = claim
    leaves, _, depth, nodes = parts_of(tree, positions)
    assume(nodes)
    chosen = data.draw(st.integers(0, len(nodes) - 1))
    noise = hash26(b"noise")
    other = data.draw(st.integers(0, len(nodes) - 1))
    swapped = list(nodes)
    swapped[chosen], swapped[other] = nodes[other], nodes[chosen]
    forged = [
        nodes[:chosen] + nodes[chosen + 1 :],
        [*nodes[:chosen], noise, *nodes[chosen:]],
        [*nodes, nodes[-1]],
        [*nodes[:chosen], noise, *nodes[chosen + 1 :]],
        [*nodes[:chosen], nodes[chosen][:25], *nodes[chosen + 1 :]],
        [*nodes[:chosen], nodes[chosen] + b"\0", *nodes[chosen + 1 :]],
    ]
    for wrong in [*forged, *([swapped] if swapped != nodes else [])]:
        with pytest.raises(InvalidProof):
            verify_multiproof(tree.root, leaves, positions, depth, wrong)


@given(claims(), st.data())
def test_a_leaf_is_proven_at_its_own_position_only(claim, data):
    tree, positions = claim
    leaves, _, depth, nodes = parts_of(tree, positions)
    chosen = data.draw(st.integers(0, len(positions) - 1))
    moved = data.draw(st.integers(-2, 2**depth + 2))
    assume(moved != positions[chosen])
    elsewhere = [*positions[:chosen], moved, *positions[chosen + 1 :]]
    with pytest.raises(InvalidProof):
        verify_multiproof(tree.root, leaves, elsewhere, depth, nodes)


@given(claims(), st.data())
def test_another_leaf_or_padding_is_not_proven(claim, data):
    tree, positions = claim
    leaves, _, depth, nodes = parts_of(tree, positions)
    chosen = data.draw(st.integers(0, len(positions) - 1))
    for wrong in (hash26(b"another"), ZERO26):
        with pytest.raises(InvalidProof):
            verify_multiproof(
                tree.root, [*leaves[:chosen], wrong, *leaves[chosen + 1 :]], positions, depth, nodes
            )


@given(claims(), st.integers(-1, MAX_DEPTH + 2))
def test_another_depth_proves_nothing(claim, depth):
    tree, positions = claim
    leaves, _, own, nodes = parts_of(tree, positions)
    assume(depth != own)
    with pytest.raises(InvalidProof):
        verify_multiproof(tree.root, leaves, positions, depth, nodes)


@given(claims())
def test_repeated_unsorted_and_missing_positions_are_refused(claim):
    tree, positions = claim
    leaves, _, depth, nodes = parts_of(tree, positions)
    twice = [positions[0], *positions]
    for wrong in ([], twice, *([positions[::-1]] if len(positions) > 1 else [])):
        with pytest.raises(InvalidProof):
            verify_multiproof(tree.root, [hash26(b"x")] * len(wrong), wrong, depth, nodes)
        with pytest.raises(ValueError, match="ascending"):
            tree.multiproof(wrong)
    with pytest.raises(InvalidProof):
        verify_multiproof(tree.root, leaves[:-1], positions, depth, nodes)
    for outside in (-1, len(tree.leaves)):
        with pytest.raises(IndexError):
            tree.multiproof(sorted({*positions, outside}))


def test_an_inner_node_is_no_leaf_of_a_lower_tree():
    """As a hash it leads to the root; but a verifier hashes 40 bytes, a node is made of 52."""
    tree = MerkleTree.over([bytes([i]) * 40 for i in range(4)])
    inner = hash26(tree.leaves[0] + tree.leaves[1])
    verify_multiproof(tree.root, [inner], [0], 1, tree.multiproof([0])[1:])
    assert inner not in [hash26(bytes([i]) * 40) for i in range(4)]


def test_the_golden_multiproofs_verify():
    document = json.loads(VECTORS.read_text())
    raw = {name: bytes.fromhex(document["multiproofs"][name][2:]) for name in ("root",)}
    for row in document["multiproofs"]["proofs"]:
        leaves = [hash26(bytes.fromhex(leaf[2:])) for leaf in row["leaves"]]
        nodes = [bytes.fromhex(node[2:]) for node in row["nodes"]]
        verify_multiproof(raw["root"], leaves, row["positions"], row["depth"], nodes)
        with pytest.raises(InvalidProof):
            verify_multiproof(raw["root"], leaves, row["positions"], row["depth"], nodes[1:])
