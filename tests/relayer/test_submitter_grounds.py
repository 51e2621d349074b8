"""What a submitter does with transactions that rest on something a reorg has taken away.

given an intent whose grounds are gone
  nothing is signed for it, and in an ordered queue for nothing behind it
  what is signed for it is replaced by a transfer of nothing, and never sent again
  when they are back it is signed as if nothing had been, and no revert is counted
given grounds that cannot be asked for
  nothing is signed or sent, and nothing is withdrawn
"""

from dataclasses import replace

import pytest

from corechain_relayer.errors import OTHER_COMMITMENT
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.grounds import CHAINED_TO_ANOTHER, Weak
from corechain_relayer.submitter.memory import Halted, Memory, Taken, learn
from corechain_relayer.submitter.outgoing import _payload
from corechain_relayer.submitter.plan import (
    Action,
    Confirm,
    Examine,
    Fees,
    Intent,
    Policy,
    Renew,
    Send,
    Sign,
)
from relayer.plans import POLICY, TARGET, WINDOW, look, pending, queued, receipt

GONE = Weak("RegistrationGone", "the registration of 0x01 is gone")
UNREAD = Weak("RegistryUnread", "the node is away", is_gone=False)
LATER = 100.0
SENDER = bytes([9]) * 20
UNSENT = pending(attempts=(replace(pending().attempts[0], sent_at=None),))
NOTHING = replace(pending().attempts[0], hash=b"\2" * 32, fees=Fees(113, 2), cancels=True)
WITHDRAWN = pending(attempts=(*pending().attempts, NOTHING))


def decided(
    intents: list[Intent],
    weak: dict[int, Weak],
    now: float = LATER,
    policy: Policy = WINDOW,
    memory: Memory | None = None,
    **changes: object,
) -> list[Action]:
    seen = Look(intents, look(**changes), [4, 5, 6, 7], policy, weak=weak)
    return decide(memory or Memory(), seen, now)[1]


@pytest.mark.parametrize("weak", [GONE, UNREAD])
def test_nothing_is_signed_for_what_rests_on_nothing_nor_behind_it(weak: Weak) -> None:
    assert [a.intent.id for a in decided([queued(1), queued(2)], {})] == [1, 2]
    assert decided([queued(1), queued(2)], {1: weak}) == []


def test_what_goes_on_from_a_batch_that_another_stands_in_the_place_of_is_withdrawn() -> None:
    """In a block its header would name a batch that is not there: that costs the bond."""
    intents = [pending(1, 4, halt=OTHER_COMMITMENT), pending(2, 5), queued(3)]
    seen = Look(intents, look(), [6, 7], WINDOW)
    memory, actions = decide(learn(Memory(), Halted(1), LATER), seen, LATER)
    assert [(type(a), a.intent.id) for a in actions] == [(Sign, 2)]
    assert _payload(actions[0].intent, SENDER).target == SENDER
    assert {n: weak.reason for n, weak in memory.weak.items()} == dict.fromkeys(
        (2, 3), CHAINED_TO_ANOTHER
    )
    fills = replace(seen, intents=[intents[0], pending(4, 3, key="nothing:00:3")])
    assert decide(memory, fills, 1.0)[0].weak == {}  # a nonce that is filled is chained to nothing
    unordered = replace(seen, policy=replace(WINDOW, ordered=False))
    assert decide(Memory(), unordered, LATER)[0].weak == {}


def test_what_is_not_ordered_goes_on_beside_it() -> None:
    unordered = replace(WINDOW, ordered=False)
    actions = decided([queued(1), queued(2)], {1: GONE}, policy=unordered)
    assert [a.intent.id for a in actions] == [2]


@pytest.mark.parametrize("intent", [pending(), UNSENT])
def test_what_is_signed_for_it_is_replaced_by_a_transfer_of_nothing(intent: Intent) -> None:
    (action,) = decided([intent, queued(2)], {1: GONE}, now=1.0)
    assert isinstance(action, Sign)
    assert action.nonce == intent.nonce
    assert action.fees.max_fee > intent.attempts[-1].fees.max_fee
    assert _payload(action.intent, SENDER).target == SENDER
    assert _payload(action.intent, SENDER).calldata == b""


@pytest.mark.parametrize("intent", [pending(), UNSENT])
def test_no_fee_cap_sends_again_what_must_not_land(intent: Intent) -> None:
    capped = replace(WINDOW, max_fee=100)
    assert [type(action) for action in decided([intent], {}, policy=capped)] == [Send]
    (nothing,) = decided([intent], {1: GONE}, policy=capped)
    assert isinstance(nothing, Sign)
    assert nothing.fees == Fees(100, 2)


def test_the_transfer_of_nothing_is_chased_as_any_other() -> None:
    (action,) = decided([WITHDRAWN], {1: GONE}, policy=replace(WINDOW, bump_after_s=1_000))
    assert isinstance(action, Send)
    assert action.attempt == NOTHING


@pytest.mark.parametrize("intent", [pending(), UNSENT])
def test_while_the_chain_cannot_be_asked_nothing_is_sent_and_nothing_withdrawn(
    intent: Intent,
) -> None:
    assert decided([intent], {1: UNREAD}) == []


def test_where_nothing_waits_in_a_pool_it_is_withdrawn_as_well() -> None:
    rollup = replace(POLICY, replaces=False, nonce_at_send=True)
    (action,) = decided([pending()], {1: GONE}, policy=rollup)
    assert isinstance(action, Sign)


def test_what_is_in_a_block_all_the_same_is_confirmed() -> None:
    seen = look(4, receipt())
    _, (action,) = decide(Memory(), Look([pending()], seen, [4], WINDOW, weak={1: GONE}), LATER)
    assert isinstance(action, Confirm)


def test_when_it_is_back_the_call_takes_the_place_of_nothing() -> None:
    (action,) = decided([WITHDRAWN], {}, now=1.0)
    assert isinstance(action, Sign)
    assert _payload(action.intent, SENDER).target == TARGET


def test_a_nonce_that_was_spent_on_nothing_is_no_revert() -> None:
    mined = replace(receipt(9, succeeded=False), hash=NOTHING.hash)
    patient = replace(WINDOW, max_failures=1)
    seen = look(4, mined, final_block=8)
    _, (action,) = decide(Memory(), Look([WITHDRAWN], seen, [4], patient), LATER)
    assert isinstance(action, Examine)
    assert "took its nonce" in action.why
    seen = look(4, mined, final_block=9)
    _, (action,) = decide(Memory(), Look([WITHDRAWN], seen, [4], patient), LATER)
    assert action == Renew(WITHDRAWN, reverted=False)


def test_a_paused_queue_withdraws_and_signs_nothing_else() -> None:
    seen = Look([pending(), queued(2)], look(), [4], WINDOW, is_paused=True, weak={1: GONE})
    _, (action,) = decide(Memory(), seen, LATER)
    assert isinstance(action, Sign)
    assert action.intent.id == 1
    assert decide(Memory(), replace(seen, weak={}), LATER)[1] == []


def test_it_is_shown_until_it_is_over() -> None:
    memory, _ = decide(Memory(), Look([queued()], look(), [4], WINDOW, weak={1: GONE}), LATER)
    assert memory.weak == {1: GONE}
    memory = learn(memory, Taken(1), LATER)
    memory, _ = decide(memory, Look([queued()], look(), [4], WINDOW), LATER)
    assert memory.weak == {}
