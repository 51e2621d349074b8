"""What a submitter does in a queue that an operator has paused.

given a paused queue
  no call is sent again, also one that is to be cancelled and cannot be replaced
  a transfer of nothing that cancels is signed, and sent again
"""

from dataclasses import replace

import pytest

from corechain_relayer.errors import NotLaneSubmitter
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.memory import Memory
from corechain_relayer.submitter.plan import Action, Fees, Intent, Policy, Send, Sign
from relayer.plans import WINDOW, look, pending

LATER = 100.0
CALL = pending().attempts[0]
WANTED_RID_OF = pending(cancel="wrong root")
NOTHING = replace(CALL, hash=b"\2" * 32, fees=Fees(113, 2), cancels=True)
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


@pytest.mark.parametrize(("policy", "memory"), HELD_BACK)
def test_a_call_to_be_cancelled_that_cannot_be_replaced_is_not_sent_in_a_pause(
    policy: Policy, memory: Memory
) -> None:
    (action,) = decided(WANTED_RID_OF, policy, memory, is_paused=False)
    assert isinstance(action, Send)
    assert not action.attempt.cancels
    assert decided(WANTED_RID_OF, policy, memory) == []


def test_what_is_to_be_cancelled_is_signed_for_in_a_pause() -> None:
    (action,) = decided(WANTED_RID_OF, WINDOW)
    assert isinstance(action, Sign)


@pytest.mark.parametrize(("policy", "memory"), HELD_BACK)
def test_a_transfer_of_nothing_is_sent_again_in_a_pause(policy: Policy, memory: Memory) -> None:
    (action,) = decided(CANCELLED, policy, memory)
    assert isinstance(action, Send)
    assert action.attempt == NOTHING


@pytest.mark.parametrize("policy", [WINDOW, NO_ROOM])
def test_what_is_in_flight_is_not_sent_again_in_a_pause(policy: Policy) -> None:
    assert decided(pending(), policy, is_paused=False) != []
    assert decided(pending(), policy) == []
