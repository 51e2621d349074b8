"""One proof for neighbouring reports is as good as a path for each of them.

given the tree of a frame, and some neighbours in it
  the span's nodes are the multiproof of their positions, and lead to the root
  each leaf's path out of the span is its path in the tree; a span of one is that path
  a node too few, too many or of another length is refused; so are positions beyond the tree
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol import roots
from corechain.protocol.columns import rows_of
from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import Digest26, hash26
from corechain.protocol.merkle import MerkleTree, root_from_proof
from corechain.protocol.receipt_spans import span_nodes, span_of


def tree_of(count: int) -> tuple[MerkleTree, list[bytes]]:
    leaves = [hash26(b"%d" % number) for number in range(count)]
    return MerkleTree(leaves), roots.merkle_levels(rows_of(b"".join(leaves), 26))


def cut(nodes: bytes) -> list[bytes]:
    return [nodes[at : at + 26] for at in range(0, len(nodes), 26)]


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int, int]:
    count = draw(st.integers(1, 70))
    first = draw(st.integers(0, count - 1))
    return count, first, draw(st.integers(first + 1, count))


@settings(max_examples=60)
@given(spans())
def test_a_span_holds_the_path_of_each_of_its_leaves(drawn: tuple[int, int, int]) -> None:
    count, first, end = drawn
    tree, levels = tree_of(count)
    nodes = cut(span_nodes(levels, first, end))
    assert nodes == tree.multiproof(range(first, end))
    span = span_of(tree.leaves[first:end], first, count, nodes)
    assert span.root == tree.root
    for position in range(first, end):
        assert span.path(position) == tree.proof(position)


@given(st.integers(1, 70), st.data())
@settings(max_examples=20)
def test_a_span_of_one_report_is_its_path(count: int, data: st.DataObject) -> None:
    tree, levels = tree_of(count)
    position = data.draw(st.integers(0, count - 1))
    nodes = cut(span_nodes(levels, position, position + 1))
    assert nodes == tree.proof(position)
    assert root_from_proof(tree.leaves[position], position, nodes) == tree.root


@pytest.mark.parametrize("wrong", [lambda n: n[:-1], lambda n: [*n, n[0]], lambda n: [n[0][:25]]])
def test_nodes_that_do_not_fit_are_refused(wrong: object) -> None:
    tree, levels = tree_of(13)
    nodes = cut(span_nodes(levels, 3, 7))
    with pytest.raises(InvalidProof):
        span_of(tree.leaves[3:7], 3, 13, wrong(nodes))  # type: ignore[operator]


@pytest.mark.parametrize(("first", "leaves"), [(-1, 1), (3, 2), (4, 1), (0, 0), (0, 5)])
def test_positions_beyond_the_tree_are_refused(first: int, leaves: int) -> None:
    with pytest.raises(InvalidProof):
        span_of([Digest26(bytes([7]) * 26)] * leaves, first, 4, [bytes(26)] * 2)


def test_levels_are_the_same_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.frombuffer(b"".join(hash26(b"%d" % n) for n in range(29)), np.uint8).reshape(-1, 26)
    fast = roots.merkle_levels(rows)
    monkeypatch.setattr(roots, "_native_rows", None)
    assert roots.merkle_levels(rows) == fast
    assert [len(level) // 26 for level in fast] == [29, 15, 8, 4, 2, 1]
