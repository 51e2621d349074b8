"""Where two chains part, found by asking about single blocks.

given the blocks that we know, and a node
  ├── the newest block that both have is found, wherever it is, by few questions
  ├── when the node has none of ours: halt
  └── when the node has no block at a height at all: nothing is concluded
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.service.reconcile import (
    ChainReplaced,
    Extends,
    Heard,
    Ref,
    RollBack,
    Unclear,
    reconcile,
)


def known(count: int) -> list[Ref]:
    """Newest first."""
    return [Ref(number, bytes([number])) for number in range(count)][::-1]


def judged(refs: list[Ref], fork: int, unseen_from: int = 1000) -> tuple[object, int]:
    """Blocks are the same below `fork`; the verdict and the number of questions."""
    questions, asked = reconcile(refs), 0
    try:
        ref = next(questions)
        while True:
            asked += 1
            heard = Heard.SAME if ref.number < fork else Heard.OTHER
            ref = questions.send(Heard.UNSEEN if ref.number >= unseen_from else heard)
    except StopIteration as done:
        return done.value, asked


@given(st.integers(1, 200), st.integers(0, 200))
def test_a_fork_is_found_where_it_is_by_few_questions(count: int, fork: int) -> None:
    refs = known(count)
    if fork == 0:
        with pytest.raises(ChainReplaced, match=f"from 0 to {count - 1} .*rebuild"):
            judged(refs, fork)
        return
    verdict, asked = judged(refs, fork)
    depth = max(0, count - fork)
    assert verdict == (RollBack(Ref(fork - 1, bytes([fork - 1]))) if depth else Extends())
    assert asked <= 1 + 2 * math.ceil(math.log2(depth + 1))


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 199))
def test_a_block_that_was_not_seen_proves_nothing(count: int, fork: int, unseen: int) -> None:
    if unseen >= count:
        return
    verdict, _ = judged(known(count), fork, unseen)
    assert verdict == Unclear(known(count)[0])


def test_nothing_known_is_nothing_to_undo() -> None:
    with pytest.raises(StopIteration) as done:
        next(reconcile([]))
    assert done.value.value == Extends()
