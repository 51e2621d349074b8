"""Which block was the newest at a time.

given a chain of any age and pace
  the block that is found leaves out none of that second, or later
  it is at most a span too early, and found by a few questions
  where the node does not show a block, it is the lowest
"""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.block_times import SPAN_BLOCKS, first_since

YEAR = 126_000_000
"""Blocks of Arbitrum."""


class Chain:
    """Blocks at some pace; `paces`: (how many blocks, blocks a second), oldest first."""

    def __init__(self, paces: list[tuple[int, int]], hidden: int = -1) -> None:
        self.paces, self.hidden, self.asked = paces, hidden, 0
        self.head = sum(blocks for blocks, _ in paces) - 1

    def time(self, number: int) -> int:
        passed = 1_700_000_000
        for blocks, pace in self.paces:
            passed += min(number, blocks) // pace
            number -= min(number, blocks)
        return passed

    def first(self, timestamp: int, lowest: int) -> int:
        questions = first_since(timestamp, lowest, (self.head, self.time(self.head)))
        try:
            number = next(questions)
            while True:
                self.asked += 1
                assert lowest <= number < self.head
                number = questions.send(None if number <= self.hidden else self.time(number))
        except StopIteration as done:
            return int(done.value)


paces = st.lists(st.tuples(st.integers(1, 10**8), st.integers(1, 8)), min_size=1, max_size=4)


@given(paces, st.floats(-0.1, 1.1), st.floats(0, 1))
def test_none_of_that_second_is_left_out(
    paces: list[tuple[int, int]], share: float, begun: float
) -> None:
    chain = Chain(paces)
    begin, end = chain.time(0), chain.time(chain.head)
    timestamp, lowest = begin + int((end - begin) * share), int(chain.head * begun)
    found = chain.first(timestamp, lowest)
    wanted = bisect_left(range(chain.head + 1), timestamp, lowest, key=chain.time)
    assert lowest <= found <= max(wanted, lowest)
    assert wanted - found <= SPAN_BLOCKS
    assert chain.asked <= 60
    assert Chain(paces, hidden=lowest).first(timestamp, lowest) == lowest


@pytest.mark.parametrize("ago_s", [10, 86_400, 200 * 86_400])
def test_on_a_chain_of_even_pace_a_few_questions_are_enough(ago_s: int) -> None:
    chain = Chain([(YEAR, 4)])
    timestamp = chain.time(chain.head) - ago_s
    found = chain.first(timestamp, 1)
    assert chain.time(found) < timestamp <= chain.time(found + SPAN_BLOCKS)
    assert chain.asked <= 6
