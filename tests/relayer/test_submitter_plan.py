"""What the submitter's plan decides, case by case; `test_submitter_machine.py` has the whole.

given pending intents
  the same bytes, a replacement or nothing, by time, fee and the node's words
given a nonce that somebody used, or a transaction that reverted
  nothing is signed anew before that is final
given several in flight
  nonces go in the queue's order, up to the window, and stop behind what stands still
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.submitter.plan import (
    Action,
    Attempt,
    BlockId,
    ChainView,
    Confirm,
    Examine,
    Fees,
    Fill,
    GiveUp,
    Intent,
    Policy,
    Receipt,
    Renew,
    Send,
    Sign,
    State,
    bumped,
    plan,
)

POLICY = Policy(resend_after_s=5, bump_after_s=20, lost_after_s=3, max_fee=10_000)
WINDOW = replace(POLICY, in_flight=4)
TARGET = bytes(20)

FEES = st.builds(Fees, st.integers(1, 10**12), st.integers(0, 10**12))


@given(FEES, FEES, st.integers(1, 10**12))
def test_a_replacement_raises_both_fees_by_a_tenth_and_stays_under_the_cap(
    old: Fees, suggested: Fees, cap: int
) -> None:
    new = bumped(old, suggested, cap)
    if new is None:
        return
    assert new.max_fee <= cap
    assert new.max_fee * 10 >= old.max_fee * 11
    assert new.priority_fee * 10 >= old.priority_fee * 11
    assert new.priority_fee <= new.max_fee


@given(FEES, FEES)
def test_a_replacement_follows_the_market_when_the_cap_allows_it(old: Fees, market: Fees) -> None:
    old = replace(old, priority_fee=min(old.max_fee, old.priority_fee))
    new = bumped(old, market, cap=10**14)
    assert new is not None
    assert new.max_fee >= market.max_fee
    assert new.priority_fee >= min(market.priority_fee, new.max_fee)


TX = b"\1" * 32
HEAD = BlockId(20, b"\7" * 32)
MARK = BlockId(18, b"\6" * 32)


def pending(number: int = 1, nonce: int = 3, **changes: object) -> Intent:
    attempt = Attempt(TX, nonce, b"raw", Fees(100, 1), signed_at=0.0, sent_at=0.0)
    intent = Intent(number, f"batch:{number}", TARGET, b"", State.PENDING, nonce, (attempt,))
    return replace(intent, **changes)  # type: ignore[arg-type]


def queued(number: int = 1, **changes: object) -> Intent:
    return replace(Intent(number, f"batch:{number}", TARGET, b""), **changes)  # type: ignore[arg-type]


def look(count: int = 3, *receipts: Receipt, **changes: object) -> ChainView:
    view = ChainView(HEAD, 0, count, {r.hash: r for r in receipts}, Fees(100, 1))
    return replace(view, **changes)  # type: ignore[arg-type]


def receipt(number: int = 9, succeeded: bool = True) -> Receipt:
    return Receipt(TX, number, b"\2" * 32, succeeded, 1)


def planned(intents: list[Intent], view: ChainView, **changes: object) -> list[Action]:
    how = {"policy": POLICY, "now": 4.0, "free": [4, 5, 6]} | changes
    return plan(intents, view, **how)  # type: ignore[arg-type]


def test_the_fee_cap_keeps_the_same_bytes_on_the_network() -> None:
    poor = replace(POLICY, max_fee=100)
    (action,) = planned([pending()], look(), policy=poor, now=100.0)
    assert isinstance(action, Send)
    assert action.capped


def test_the_same_bytes_are_sent_again_when_nothing_comes_of_them_but_not_before() -> None:
    assert planned([pending()], look(), now=4.9) == []
    (action,) = planned([pending()], look(), now=5.0)
    assert isinstance(action, Send)
    assert not action.capped


def test_a_replacement_comes_when_its_time_has_come_or_the_node_asks_for_it() -> None:
    (late,) = planned([pending()], look(), now=20.0)
    (asked,) = planned([pending()], look(), now=1.0, urgent={TX})
    for action in (late, asked):
        assert isinstance(action, Sign)
        assert action.nonce == 3
        assert action.fees.max_fee > 100


def test_what_is_signed_is_sent_first() -> None:
    attempt = replace(pending().attempts[0], sent_at=None)
    unsent = pending(attempts=(attempt,))
    for now in (0.0, 100.0):  # also after a crash of any length
        assert planned([unsent], look(), now=now) == [Send(unsent, attempt)]


def test_a_replacement_may_cost_the_cap_to_the_last_wei() -> None:
    assert bumped(Fees(8, 0), Fees(1, 0), cap=10) == Fees(10, 1)
    assert bumped(Fees(8, 0), Fees(1, 0), cap=9) is None


def test_what_the_node_found_too_cheap_is_replaced_before_it_is_ever_taken() -> None:
    attempt = replace(pending().attempts[0], sent_at=None)
    (action,) = planned([pending(attempts=(attempt,))], look(), now=0.0, urgent={TX})
    assert isinstance(action, Sign)


def test_what_the_node_found_too_cheap_goes_again_as_it_is_when_the_cap_is_reached() -> None:
    attempt = replace(pending().attempts[0], sent_at=None)
    poor = replace(POLICY, max_fee=100)
    unsent = pending(attempts=(attempt,))
    actions = planned([unsent], look(), policy=poor, now=0.0, urgent={TX})
    assert actions == [Send(unsent, attempt, capped=True)]


def test_the_newest_attempt_counts_for_times_and_fees() -> None:
    first = pending().attempts[0]
    second = Attempt(b"\2" * 32, 3, b"raw", Fees(200, 2), signed_at=50.0, sent_at=50.0)
    twice = pending(attempts=(first, second))
    assert planned([twice], look(), now=54.9) == []
    assert planned([twice], look(), now=55.0) == [Send(twice, second)]
    (action,) = planned([twice], look(), now=70.0)
    assert isinstance(action, Sign)
    assert action.fees.max_fee > 200


# ------------------------------------------------------------------ a nonce that somebody used


def test_a_nonce_that_somebody_else_used_is_examined_not_replaced() -> None:
    (action,) = planned([pending()], look(count=4), now=100.0)
    assert isinstance(action, Examine)
    assert action.block == HEAD


def test_a_nonce_may_look_used_for_moments() -> None:
    assert planned([pending()], look(count=4), now=2.9) == []
    assert planned([pending()], look(count=4), now=3.0) != []


def test_what_was_examined_waits_until_that_is_final() -> None:
    seen = pending(spent=MARK)
    stands = {MARK: True}
    assert planned([seen], look(4, final_block=17, standing=stands)) == []
    assert planned([seen], look(4, final_block=17, final_count=3, standing=stands)) == []
    assert planned([seen], look(4, final_block=18, standing=stands)) == [Renew(seen, False)]
    assert planned([seen], look(4, final_block=17, final_count=4, standing=stands)) == [
        Renew(seen, False)
    ]


def test_a_block_that_the_node_cannot_speak_of_proves_nothing() -> None:
    assert planned([pending(spent=MARK)], look(4, final_block=19)) == []


def test_a_reorg_that_moves_the_foreign_transaction_starts_the_wait_again() -> None:
    seen = pending(spent=MARK)
    (action,) = planned([seen], look(4, final_block=19, standing={MARK: False}))
    assert isinstance(action, Examine)
    assert action.block == HEAD


def test_a_reorg_that_removes_the_foreign_transaction_lets_ours_land() -> None:
    seen = pending(spent=MARK)
    (action,) = planned([seen], look(3, standing={MARK: False}), now=5.0)
    assert isinstance(action, Send)


def test_a_receipt_of_ours_ends_the_wait() -> None:
    view = look(4, receipt(), final_block=19, final_count=4, standing={MARK: True})
    seen = pending(spent=MARK)
    assert planned([seen], view) == [Confirm(seen, receipt())]


# ------------------------------------------------------------------ reverted


def test_a_reverted_transaction_is_examined_once_then_waits_until_it_is_final() -> None:
    failed = receipt(succeeded=False)
    view = look(4, failed, final_block=8)
    (action,) = planned([pending()], view)
    assert isinstance(action, Examine)
    assert action.block == failed.block
    assert planned([pending(spent=failed.block)], view) == []
    (moved,) = planned([pending(spent=BlockId(9, b"\3" * 32))], view)
    assert isinstance(moved, Examine)


@pytest.mark.parametrize("failures", [0, 1])
def test_a_final_revert_is_tried_again_under_a_fresh_nonce(failures: int) -> None:
    tried = pending(failures=failures)
    view = look(4, receipt(succeeded=False), final_block=9)
    assert planned([tried], view) == [Renew(tried, True)]


def test_after_so_many_final_reverts_it_is_given_up() -> None:
    tried = pending(failures=POLICY.max_failures - 1)
    view = look(4, receipt(succeeded=False), final_block=9)
    assert planned([tried], view) == [GiveUp(tried)]


def test_of_two_attempts_the_one_that_did_it_counts() -> None:
    first, second = Attempt(b"\1" * 32, 3, b"", Fees(1, 1), 0.0), b"\2" * 32
    both = pending(attempts=(first, replace(first, hash=second)))
    good = Receipt(second, 9, b"\2" * 32, True, 1)
    assert planned([both], look(4, receipt(succeeded=False), good)) == [Confirm(both, good)]


def test_a_receipt_above_the_head_is_for_the_next_look() -> None:
    assert planned([pending()], look(3, receipt(HEAD.number + 1))) == []
    assert planned([pending()], look(4, receipt(HEAD.number))) == [
        Confirm(pending(), receipt(HEAD.number))
    ]


# ------------------------------------------------------------------ order, pauses, halts


def test_the_next_intent_waits_until_the_one_before_it_is_in_a_block() -> None:
    actions = planned([pending(), queued(2)], look())
    assert not any(isinstance(action, Sign) for action in actions)


def test_the_next_intent_is_signed_as_soon_as_the_one_before_it_is_in_a_block() -> None:
    actions = planned([pending(), queued(2)], look(4, receipt()))
    assert [type(action) for action in actions] == [Confirm, Sign]


def test_one_fresh_nonce_a_round() -> None:
    free = replace(POLICY, ordered=False)
    actions = planned([pending(), queued(2), queued(3)], look(), policy=free)
    assert [a.intent.id for a in actions if isinstance(a, Sign)] == [2]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("first", [queued(halt="x"), pending(halt="x")])
def test_a_halted_intent_holds_up_an_ordered_queue_only(first: Intent, ordered: bool) -> None:
    policy = replace(POLICY, ordered=ordered)
    actions = planned([first, queued(2)], look(), policy=policy, now=100.0)
    assert [action.intent.id for action in actions] == ([] if ordered else [2])


@pytest.mark.parametrize("first", [queued(), pending()])
def test_a_paused_intent_is_left_alone_and_keeps_its_place(first: Intent) -> None:
    assert planned([first, queued(2)], look(), now=100.0, paused={1}) == []


def test_a_halted_intent_that_lands_all_the_same_is_done() -> None:
    halted = pending(halt="x")
    assert planned([halted], look(4, receipt())) == [Confirm(halted, receipt())]


def test_a_key_that_may_not_commit_signs_nothing_but_what_is_signed_stays_on_the_network() -> None:
    assert planned([queued()], look(), may_sign=False) == []
    (action,) = planned([pending()], look(), now=100.0, may_sign=False)
    assert isinstance(action, Send)


def test_a_chain_that_counts_more_than_the_journal_gives_the_next_nonce() -> None:
    (action,) = planned([queued()], look(count=9), free=[9])
    assert isinstance(action, Sign)
    assert action.nonce == 9


def test_a_nonce_of_nobody_below_a_pending_one_is_filled_once_that_is_sure() -> None:
    blocked = pending(nonce=5)
    early = planned([blocked, queued(2)], look(4), now=19.9, free=[4, 6])
    assert not any(isinstance(action, Fill) for action in early)
    actions = planned([blocked, queued(2)], look(4), now=20.0, free=[4, 6])
    assert actions[0] == Fill(blocked, 4, Fees(100, 1))
    assert not any(isinstance(action, Sign) and action.nonce == 4 for action in actions)
    unpaid = planned([blocked], look(4), now=20.0, free=[4, 6], may_sign=False)
    assert not any(isinstance(action, Fill) for action in unpaid)


def test_replacing_what_waits_behind_a_gap_does_not_put_off_filling_it() -> None:
    newer = Attempt(b"\2" * 32, 5, b"raw", Fees(200, 2), signed_at=19.0, sent_at=19.0)
    blocked = pending(nonce=5, attempts=(*pending(nonce=5).attempts, newer))
    assert planned([blocked], look(4), now=20.0) == [Fill(blocked, 4, Fees(100, 1))]


def test_the_nonce_of_a_gap_goes_to_nobody_else_in_the_same_round() -> None:
    free = replace(POLICY, ordered=False)
    actions = planned([pending(nonce=5), queued(2)], look(4), policy=free, now=20.0)
    fresh = [a for a in actions if isinstance(a, (Fill, Sign)) and a.nonce == 4]
    assert [type(action) for action in fresh] == [Fill]


def test_a_nonce_above_the_pending_ones_is_no_gap() -> None:
    for free in (5, 6):
        actions = planned([pending(nonce=5)], look(4), now=100.0, free=[free])
        assert not any(isinstance(action, Fill) for action in actions)


# ------------------------------------------------------------------ several in flight


def fresh(actions: list[Action]) -> list[tuple[int, int]]:
    """Intent and nonce of what is signed for the first time."""
    signs = [a for a in actions if isinstance(a, Sign) and not a.intent.attempts]
    return [(action.intent.id, action.nonce) for action in signs]


def waiting(first: int) -> list[Intent]:
    return [queued(number) for number in range(first, first + 6)]


FREE = [4, 5, 6, 7, 8]


def test_an_ordered_queue_fills_its_window_in_order() -> None:
    actions = planned(waiting(1), look(4), policy=WINDOW, free=FREE)
    assert fresh(actions) == [(1, 4), (2, 5), (3, 6), (4, 7)]
    actions = planned([pending(), *waiting(2)], look(), policy=WINDOW, free=FREE)
    assert fresh(actions) == [(2, 4), (3, 5), (4, 6)]


def test_what_is_in_a_block_makes_room_in_the_window() -> None:
    actions = planned([pending(), *waiting(2)], look(4, receipt()), policy=WINDOW, free=FREE)
    assert fresh(actions) == [(2, 4), (3, 5), (4, 6), (5, 7)]


def test_a_full_window_signs_nothing_new_and_looks_after_what_is_in_it() -> None:
    flying = [pending(n, nonce=n) for n in (3, 4, 5, 6)]
    actions = planned([*flying, *waiting(7)], look(), policy=WINDOW, now=5.0, free=[7, 8])
    assert [type(action) for action in actions] == [Send] * 4


@pytest.mark.parametrize(
    ("first", "view", "paused"),
    [
        (pending(halt="x"), look(), set()),
        (pending(), look(), {1}),
        (queued(), look(), {1}),
        (pending(), look(4), set()),
        (pending(spent=MARK), look(4, standing={MARK: True}), set()),
        (pending(), look(4, receipt(succeeded=False)), set()),
        (pending(), look(4, receipt(HEAD.number + 1)), set()),
    ],
    ids=["halted", "paused", "queued and paused", "spent", "seen spent", "reverted", "ahead of us"],
)
def test_nothing_new_is_signed_behind_what_stands_still(
    first: Intent, view: ChainView, paused: set[int]
) -> None:
    actions = planned([first, *waiting(2)], view, policy=WINDOW, free=FREE, paused=paused)
    assert fresh(actions) == []


def test_a_block_that_comes_while_we_look_is_nobodys_theft() -> None:
    view = look(4, receipt(HEAD.number + 1))
    assert planned([pending()], view, now=100.0) == []


def test_nothing_new_is_signed_above_a_gap() -> None:
    flying = pending(nonce=5)
    assert fresh(planned([flying, *waiting(2)], look(4), policy=WINDOW, free=[4, 6, 7])) == []


def test_an_earlier_intent_goes_into_the_gap_and_is_in_order_again() -> None:
    """One that no node took, and that an operator has released."""
    behind = pending(2, nonce=5)
    actions = planned([queued(1), behind, *waiting(3)], look(4), policy=WINDOW, free=[4, 6, 7, 8])
    assert fresh(actions) == [(1, 4), (3, 6), (4, 7)]


def test_an_intent_that_lost_its_nonce_goes_behind_those_in_flight() -> None:
    flying = pending(2, nonce=4)
    actions = planned([queued(1), flying, *waiting(3)], look(4), policy=WINDOW, free=[5, 6, 7])
    assert fresh(actions) == [(1, 5), (3, 6), (4, 7)]


def test_an_unordered_queue_signs_one_at_a_time_whatever_is_in_flight() -> None:
    policy = replace(WINDOW, ordered=False)
    flying = [pending(n, nonce=n) for n in range(3, 9)]
    actions = planned([*flying, *waiting(9)], look(), policy=policy, free=[9, 10])
    assert fresh(actions) == [(9, 9)]
