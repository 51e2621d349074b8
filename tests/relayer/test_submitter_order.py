"""In which order the submitter's plan signs; `test_submitter_plan.py` has the decisions on each.

given an intent that is halted, paused or not in a block yet
  an ordered queue waits behind it; a gap among the nonces is filled
given several in flight
  nonces go in the queue's order, up to the window, and stop behind what stands still
  a queue without an order moves up where one does not go on, and fills gaps
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.submitter.moving_up import going_on
from corechain_relayer.submitter.plan import (
    Action,
    Attempt,
    ChainView,
    Confirm,
    Fees,
    Fill,
    Intent,
    Send,
    Sign,
)
from relayer.plans import HEAD, MARK, POLICY, WINDOW, look, pending, planned, queued, receipt


def test_the_next_intent_waits_until_the_one_before_it_is_in_a_block() -> None:
    actions = planned([pending(), queued(2)], look())
    assert not any(isinstance(action, Sign) for action in actions)


def test_the_next_intent_is_signed_as_soon_as_the_one_before_it_is_in_a_block() -> None:
    actions = planned([pending(), queued(2)], look(4, receipt()))
    assert [type(action) for action in actions] == [Confirm, Sign]


def test_one_fresh_nonce_in_a_window_of_two() -> None:
    free = replace(POLICY, ordered=False, in_flight=2)
    actions = planned([pending(), queued(2), queued(3)], look(), policy=free)
    assert [a.intent.id for a in actions if isinstance(a, Sign)] == [2]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("first", [queued(halt="x"), pending(halt="x")])
def test_a_halted_intent_holds_up_an_ordered_queue_only(first: Intent, ordered: bool) -> None:
    policy = replace(WINDOW, ordered=ordered)
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


UNORDERED = replace(WINDOW, ordered=False)


def test_an_unordered_queue_fills_its_window_and_no_more() -> None:
    flying = [pending(n, nonce=n) for n in range(3, 5)]
    actions = planned([*flying, *waiting(9)], look(), policy=UNORDERED, free=[5, 6, 7, 8, 9])
    assert fresh(actions) == [(9, 5), (10, 6)]


def test_an_unordered_queue_uses_a_gap_for_what_is_next() -> None:
    flying = [pending(3, nonce=5)]
    actions = planned([*flying, *waiting(9)], look(4), policy=UNORDERED, free=[4, 6, 7])
    assert fresh(actions) == [(9, 4), (10, 6), (11, 7)]


@given(st.lists(st.booleans(), max_size=6), st.booleans())
def test_what_does_not_go_on_leaves_no_nonce_below_what_does(goes: list[bool], order: bool) -> None:
    signs = [Sign(queued(n), nonce, Fees(1, 1)) for n, nonce in enumerate([4, 6, 7, 8, 9, 12])]
    kept = going_on(signs[: len(goes)], goes, order)
    assert [action.nonce for action in kept] == [a.nonce for a in signs[: len(kept)]]
    allowed = [a.intent.id for a, does in zip(signs, goes, strict=False) if does]
    expected = allowed if not order else [n for n in allowed if all(goes[:n])]
    assert [action.intent.id for action in kept] == expected
