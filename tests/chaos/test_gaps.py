"""A nonce that is nobody's, below transactions of ours.

given a node that calls what fills it invalid
  it is signed anew until a node takes it, and nothing stands still
given a node that will not estimate what fills it
  it is asked again after a pause, not in every round
"""

from collections.abc import Iterator

import pytest

from chaos.lane import LaneStory
from chaos.quiet import quiet_lane
from corechain_relayer.submitter.plan import Attempt, Fees, State

BROKE = "21 the sender cannot pay"


@pytest.fixture
def story() -> Iterator[LaneStory]:
    """A batch with nonce 1, where a reorg has taken what had nonce 0."""
    with quiet_lane() as story:
        story.chain.include_foreign(Attempt(b"foreign", 0, b"", Fees(9, 9), 0.0))
        story.tables.insert("batch:1", b"b1")
        story.work()
        story.chain.reorganise(1, keep=False)
        assert list(story.chain.pool) == [1]
        story.world.now += story.policy.bump_after_s
        yield story


def test_what_fills_a_nonce_is_signed_anew_until_a_node_takes_it(story: LaneStory) -> None:
    """Halted as other calls are, it kept its key: nothing could fill the nonce any more."""
    story.work(rounds=1)  # signs it
    story.node.faults.refusal = "oversized data"
    for _ in range(12):
        story.work()
        story.mine(1)
        story.world.now += 6
        assert not [row for row in story.tables.rows.values() if row.intent.halt is not None]
    assert story.world.reached["23 a node calls the transaction invalid"]
    assert {row.intent.state for row in story.tables.rows.values()} == {State.CONFIRMED}


def test_a_nonce_that_cannot_be_filled_is_not_asked_for_in_every_round(story: LaneStory) -> None:
    story.node.faults.broke = True
    story.work(rounds=1)
    asked = story.world.reached[BROKE]
    story.work(rounds=20)
    assert story.world.reached[BROKE] == asked
    story.world.now += story.policy.refused_pause_s
    story.work(rounds=1)
    assert story.world.reached[BROKE] == 2 * asked
