"""Of two nodes behind one address one is still on the fork before: there all stands that is gone.

given a look at our own chain, and later answers of that node
  nothing is seen of the chain, so nothing is confirmed or signed anew
  nothing becomes final, nothing is taken back
"""

from chaos.lane import LaneStory, run
from chaos.quiet import quiet_lane
from corechain_relayer.submitter.look import Reviewed
from corechain_relayer.submitter.node import NodeLook


def forked_behind(story: LaneStory) -> NodeLook:
    """A look at our chain. Whatever is asked after it is answered of the one before."""
    old = story.chain.now
    story.chain.reorganise(1, keep=False)
    look = run(story.submitter.watch.look())
    assert isinstance(look, NodeLook)
    story.node._reach = lambda: old  # type: ignore[method-assign]
    return look


def test_a_receipt_of_another_fork_is_not_seen() -> None:
    with quiet_lane(2) as story:
        look = forked_behind(story)
        intents = [row.intent for row in story.tables.rows.values()]
        assert run(story.submitter.watch.view(intents, look)) is None


def test_what_stands_on_another_fork_is_not_final() -> None:
    with quiet_lane(2) as story:
        look, watch = forked_behind(story), story.submitter.watch
        assert run(watch._finalize(look.head, look.head.number)) == (False, False)
        assert run(watch.review(look)) == Reviewed(doubtful=True)
