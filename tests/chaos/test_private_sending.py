"""A challenger that sends by a private RPC.

given one that is away, or keeps what it takes for itself
  a fraud is challenged before its window is over all the same, in public
"""

import pytest

from chaos.challenger import ChallengerStory
from chaos.disputes import FRAUD
from chaos.private import Private
from chaos.run import MODULES, TWINS
from chaos.world import World, virtual


@pytest.mark.parametrize("private", [Private.KEEPS, Private.DOWN])
def test_no_private_rpc_lets_a_fraud_go_free(private: Private) -> None:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story.node.private = private
        story._commit(1, FRAUD)
        while not story.suspects(story.chain.now)[1].answered:
            world.now += 6
            story.work()
            story.mine(story._blocks())
            story.check_over()  # Raises Violation: I13


def test_evidence_is_shown_to_nobody_while_there_is_time() -> None:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story.node.private = Private.KEEPS
        story._commit(1, FRAUD)
        one = story.suspects(story.chain.now)[1]
        while 4 * story.left_s(one, story.chain.now) >= story.window_s:
            world.now += 6
            story.work()
            assert not story.chain.pool
            story.mine(story._blocks())
        assert story.tables.rows
