"""What the submitter's plan decides, case by case; `test_submitter_machine.py` has the whole, and
`test_submitter_order.py` what waits behind what.

given pending intents
  the same bytes, a replacement or nothing, by time, fee and the node's words
given a nonce that somebody used, or a transaction that reverted
  nothing is signed anew before that is final
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.submitter.plan import (
    Attempt,
    BlockId,
    Confirm,
    Examine,
    Fees,
    GiveUp,
    Receipt,
    Renew,
    Send,
    Sign,
    bumped,
)
from relayer.plans import HEAD, MARK, POLICY, TX, look, pending, planned, receipt

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
