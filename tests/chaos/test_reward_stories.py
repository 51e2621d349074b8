"""The reward guard in the simulator: what its stories have found.

given a wrong reward root
  a veto is in a block before its window is over, whatever fees do
  it is found though a node has left its log out when its block was read for good
given a veto on its way, and another root that waits
  it is withdrawn as urgently as it was sent
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chaos.duties import CALM_CAP
from chaos.rewards import RewardStory
from chaos.roots import VETO
from chaos.run import MODULES, TWINS
from chaos.world import World, virtual
from corechain_relayer.challenger.waiting import veto_purpose
from corechain_relayer.submitter.urgency import AT_ONCE


@contextmanager
def quiet_story() -> Iterator[RewardStory]:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        yield RewardStory(world)


def test_a_veto_is_in_a_block_before_its_window_is_over_whatever_fees_do() -> None:
    """The pace of vetoes was that of challenges: patient, where nothing is to be challenged."""
    with quiet_story() as story:
        story.chain.base_fee = 2 * CALM_CAP
        story._propose(story._value("wrong"))
        while story.owed(story.chain.now):
            story._quiet_step()  # Raises Violation: I13


def test_a_root_whose_log_a_node_left_out_once_is_judged_all_the_same() -> None:
    with quiet_story() as story:
        story._propose(story._value("wrong"))
        story.mine(1000)
        real, story.leaves_out = story.leaves_out, lambda: True  # type: ignore[method-assign]
        story._role_round()
        story.leaves_out = real  # type: ignore[method-assign]
        story._propose(story._value("wrong"))
        while story.owed(story.chain.now):
            story._quiet_step()  # Raises Violation: I13


def test_a_veto_whose_root_went_is_withdrawn_as_urgently_as_it_was_sent() -> None:
    """Its call names an epoch alone, and the root that waits there now is right."""
    with quiet_story() as story:
        story.tables.insert(f"{veto_purpose(1, bytes(26))}:1", b"1:%d" % VETO)
        story._propose(story._value("right"))
        story._role_round()
        assert story.role.pace == AT_ONCE
