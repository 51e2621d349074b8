"""A node calls the newest transaction of an intent invalid.

given that nobody knows of any of the intent's transactions
  its nonce is free, and it waits for an operator, or is void if one has cancelled it
given that an older one is on its way, as the process that sent it lost its journal
  the nonce stays bound, and what comes of it is followed
"""

from dataclasses import replace

import pytest

from chaos.lane import LaneStory, run
from chaos.rows import Row
from chaos.run import MODULES, TWINS
from chaos.world import World, virtual
from corechain_relayer.submitter.plan import State, Unbind


def cancelled_lane(*, is_sent: bool) -> tuple[LaneStory, Row]:
    """A commit, and its withdrawal that an operator wanted. The journal says of neither that it was
    sent. `is_sent`: whether the commit was, all the same."""
    story = LaneStory(World(1))
    story.policy = story.submitter.policy = replace(story.policy, ordered=False)
    story.tables.insert("batch:1", b"b1")
    story.work(rounds=1)
    row = story.tables.rows[1]
    if not is_sent:
        story.chain.pool.clear()
    (commit,) = row.intent.attempts
    unsent = replace(commit, sent_at=None)
    withdrawal = replace(unsent, hash=b"withdrawal", raw=b"withdrawal", cancels=True)
    row.intent = replace(row.intent, attempts=(unsent, withdrawal), cancel="an operator")
    row.cancelled = True
    return story, row


@pytest.mark.parametrize(("is_sent", "state"), [(True, State.PENDING), (False, State.VOID)])
def test_a_nonce_is_free_only_if_no_transaction_of_its_intent_is_on_its_way(
    is_sent: bool, state: State
) -> None:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story, row = cancelled_lane(is_sent=is_sent)
        run(story.submitter._do(Unbind(row.intent, "refused")))
        assert row.intent.state is state


def test_what_is_mined_though_it_was_cancelled_is_not_void() -> None:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story, row = cancelled_lane(is_sent=True)
        run(story.submitter._do(Unbind(row.intent, "refused")))
        story.mine(1)
        story.work()
        assert row.intent.state is State.CONFIRMED
