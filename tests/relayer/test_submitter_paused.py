"""What a submitter does for an operator who cancels a transaction, or pauses its queue.

given a call that is to be cancelled, in a paused queue or in one that is not
  it is never sent again, whatever the fee cap, the budget and the node say
  a transfer of nothing is signed for it, at the fee cap where that leaves no room for a replacement
given a paused queue
  no call is sent again
  a transfer of nothing that cancels is signed, and sent again
"""

from dataclasses import replace

import pytest

from corechain_relayer.errors import NotLaneSubmitter
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.grounds import Weak
from corechain_relayer.submitter.memory import Memory
from corechain_relayer.submitter.plan import Action, Fees, Intent, Policy, Send, Sign
from relayer.plans import WINDOW, look, pending

LATER = 100.0
CALL = pending().attempts[0]
WANTED_RID_OF = pending(cancel="wrong root")
NOTHING = replace(CALL, hash=b"\2" * 32, fees=Fees(113, 2), cancels=True)
UNSENT = replace(WANTED_RID_OF, attempts=(replace(CALL, sent_at=None),))
CANCELLED = pending(cancel="wrong root", attempts=(CALL, NOTHING))
NO_ROOM = replace(WINDOW, max_fee=CALL.fees.max_fee)
"""The fee cap leaves none for a replacement."""
NOT_ENTITLED = Memory(not_ours=NotLaneSubmitter(0, b"\1" * 20, b"\2" * 20, "another key is"))
"""As with a budget that is used up, nothing may be signed."""
HELD_BACK = [(NO_ROOM, Memory()), (WINDOW, NOT_ENTITLED)]


def decided(
    intent: Intent, policy: Policy, memory: Memory | None = None, *, is_paused: bool = True
) -> list[Action]:
    seen = Look([intent], look(), [4], policy, is_paused)
    return decide(memory or Memory(), seen, LATER)[1]


@pytest.mark.parametrize("is_paused", [False, True])
def test_what_is_to_be_cancelled_is_signed_for_and_at_the_cap_where_that_leaves_no_room(
    is_paused: bool,
) -> None:
    for intent in (WANTED_RID_OF, UNSENT):
        (dearer,) = decided(intent, WINDOW, is_paused=is_paused)
        assert isinstance(dearer, Sign)
        assert dearer.fees == Fees(113, 2)
        (capped,) = decided(intent, NO_ROOM, is_paused=is_paused)
        assert isinstance(capped, Sign)
        assert capped.fees == Fees(100, 2)
        (lower,) = decided(intent, replace(WINDOW, max_fee=1), is_paused=is_paused)
        assert isinstance(lower, Sign)
        assert lower.fees == Fees(1, 1)


@pytest.mark.parametrize("is_paused", [False, True])
def test_where_nothing_may_be_signed_what_is_to_be_cancelled_is_not_sent_again(
    is_paused: bool,
) -> None:
    for intent in (WANTED_RID_OF, UNSENT):
        assert decided(intent, WINDOW, NOT_ENTITLED, is_paused=is_paused) == []


def test_what_is_to_be_cancelled_needs_no_grounds() -> None:
    unread = {1: Weak("RegistryUnread", "the node is away", is_gone=False)}
    seen = Look([WANTED_RID_OF], look(), [4], WINDOW, weak=unread)
    _, (action,) = decide(Memory(), seen, LATER)
    assert isinstance(action, Sign)
    assert action.intent.cancel is not None


@pytest.mark.parametrize(("policy", "memory"), HELD_BACK)
def test_a_transfer_of_nothing_is_sent_again_in_a_pause(policy: Policy, memory: Memory) -> None:
    (action,) = decided(CANCELLED, policy, memory)
    assert isinstance(action, Send)
    assert action.attempt == NOTHING


@pytest.mark.parametrize("policy", [WINDOW, NO_ROOM])
def test_what_is_in_flight_is_not_sent_again_in_a_pause(policy: Policy) -> None:
    assert decided(pending(), policy, is_paused=False) != []
    assert decided(pending(), policy) == []
