"""What a submitter remembers between two rounds, and what it makes of it.

given what came of a round's actions
  a refusal keeps its intent at rest for as long as the policy of the moment says
  what no node takes is unbound and halts; what was ever taken is not
  what is needed no more is void once that is final, and not when a reorg undoes it
  a key that may not sign signs nothing, and is asked about again
given a journal that was lost
  nothing is signed while what it had signed may land; then its nonce is spent on nothing
given a clock that is set back
  nothing waits until the clock is there again
given the same memory, look and time
  the same comes out, and nothing that went in has changed
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.rpc_errors import INVALID, TOO_CHEAP, RpcFailure
from corechain_relayer.errors import OTHER_COMMITMENT, NotLaneSubmitter
from corechain_relayer.submitter.decide import MOST_IN_POOL, Look, decide, must_hear_pool
from corechain_relayer.submitter.memory import (
    WAITS_FOR_FINALITY,
    WOULD_REVERT,
    Ended,
    Halted,
    KeyHeard,
    Memory,
    Needed,
    Needless,
    NotSigned,
    Outcome,
    Pool,
    PoolHeard,
    Refused,
    Signed,
    Taken,
    awake,
    learn,
)
from corechain_relayer.submitter.plan import (
    Action,
    Fees,
    Fill,
    Intent,
    Policy,
    Recheck,
    Send,
    Sign,
    Unbind,
    Void,
)
from relayer.plans import HEAD, POLICY, TX, WINDOW, look, pending, queued

HOUR_S = 3_600.0
NOT_OURS = NotLaneSubmitter(0, b"\1" * 20, b"\2" * 20, "another key is its submitter")


def learned(*outcomes: Outcome, now: float = 1.0, memory: Memory | None = None) -> Memory:
    memory = memory or Memory()
    for outcome in outcomes:
        memory = learn(memory, outcome, now)
    return memory


def decided(
    memory: Memory,
    intents: list[Intent],
    now: float = 1.0,
    policy: Policy = POLICY,
    **changes: object,
) -> tuple[Memory, list[Action]]:
    return decide(memory, Look(intents, look(**changes), [4, 5, 6, 7], policy), now)


def refused(failure: RpcFailure, was_sent: bool = False, number: int = 1) -> Refused:
    return Refused(number, TX, failure, "its words", was_sent)


UNSENT = pending(attempts=(replace(pending().attempts[0], sent_at=None),))

# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "failure",
    [
        RpcFailure.INSUFFICIENT_FUNDS,
        RpcFailure.POOL_FULL,
        RpcFailure.FEE_CAP_EXCEEDED,
        RpcFailure.REVERTED,
        RpcFailure.UNKNOWN,
    ],
)
def test_what_only_time_cures_rests_and_then_goes_again(failure: RpcFailure) -> None:
    memory, actions = decided(learned(refused(failure)), [UNSENT, queued(2)], now=5.9)
    assert actions == []
    _, actions = decided(memory, [UNSENT, queued(2)], now=6.0)
    assert actions == [Send(UNSENT, UNSENT.attempts[0])]


@pytest.mark.parametrize("failure", [RpcFailure.POOL_FULL, RpcFailure.UNKNOWN])
def test_what_no_pool_has_room_for_is_replaced_in_time_as_what_waits_in_one(
    failure: RpcFailure,
) -> None:
    memory, late = learned(refused(failure)), POLICY.bump_after_s
    assert decided(memory, [UNSENT], now=late - 0.1)[1] == [Send(UNSENT, UNSENT.attempts[0])]
    memory, (action,) = decided(memory, [UNSENT], now=late)
    assert isinstance(action, Sign)
    assert action.fees.max_fee > UNSENT.attempts[0].fees.max_fee
    assert learned(Taken(1, TX), memory=memory).unplaced == frozenset()


@pytest.mark.parametrize("failure", [RpcFailure.NONCE_TOO_HIGH, RpcFailure.UNAVAILABLE])
def test_what_the_next_block_or_node_cures_is_tried_again_soon(failure: RpcFailure) -> None:
    memory = learned(refused(failure))
    assert decided(memory, [UNSENT], now=1.9)[1] == []
    assert decided(memory, [UNSENT], now=2.0)[1] == [Send(UNSENT, UNSENT.attempts[0])]


def test_a_deadline_that_comes_near_shortens_the_rest() -> None:
    memory = learned(refused(RpcFailure.INSUFFICIENT_FUNDS))
    hurried = replace(POLICY, refused_pause_s=0.5)
    assert decided(memory, [UNSENT], now=2.0)[1] == []
    assert decided(memory, [UNSENT], now=2.0, policy=hurried)[1] != []


@pytest.mark.parametrize("failure", TOO_CHEAP)
def test_what_the_node_found_too_cheap_is_replaced_once_its_rest_is_over(
    failure: RpcFailure,
) -> None:
    memory, actions = decided(learned(refused(failure)), [UNSENT], now=2.0)
    assert actions == []
    memory, (action,) = decided(memory, [UNSENT], now=6.0)
    assert isinstance(action, Sign)
    memory = learned(Signed(1, TX), memory=memory)
    assert memory.urgent == frozenset()
    assert memory.pauses == {}


def test_what_is_dearer_than_a_node_forwards_goes_again_but_never_dearer() -> None:
    memory = learned(refused(RpcFailure.FEE_CAP_EXCEEDED))
    memory = learned(refused(RpcFailure.UNKNOWN), memory=memory)  # whatever comes besides
    _, actions = decided(memory, [pending()], now=100.0)
    assert actions == [Send(pending(), pending().attempts[0], capped=True)]
    assert decided(memory, [queued(2)], now=100.0)[0].too_dear == frozenset()


def test_what_a_node_forwards_and_has_no_room_for_is_too_dear_no_more() -> None:
    memory = learned(refused(RpcFailure.FEE_CAP_EXCEEDED), refused(RpcFailure.POOL_FULL))
    (action,) = decided(memory, [UNSENT], now=100.0)[1]
    assert isinstance(action, Sign)


def test_what_ended_elsewhere_is_shown_as_held_no_longer_than_its_rest_takes() -> None:
    memory, rest = learned(refused(RpcFailure.INSUFFICIENT_FUNDS)), POLICY.refused_pause_s
    assert awake(memory, [UNSENT], POLICY, 1.0 + 9 * rest) == memory
    assert awake(memory, [], POLICY, 1.0 + rest) == memory  # it may be tried in this very round
    assert awake(memory, [], POLICY, 1.0 + 2 * rest).pauses == {}


def test_what_would_revert_at_once_puts_the_key_in_doubt() -> None:
    memory = learned(KeyHeard(None), refused(RpcFailure.REVERTED))
    assert memory.asks_for_key(POLICY, 1.0)


@pytest.mark.parametrize("failure", INVALID)
def test_what_no_node_takes_is_unbound_and_halts(failure: RpcFailure) -> None:
    memory, actions = decided(learned(refused(failure)), [UNSENT, queued(2)])
    assert actions == [Unbind(UNSENT, "the node refuses its transaction: its words")]
    assert memory.invalid == {}


def test_what_a_node_once_took_keeps_its_nonce_whatever_another_says() -> None:
    memory, actions = decided(learned(refused(RpcFailure.FATAL, was_sent=True)), [pending()])
    assert actions == []
    assert memory.pauses[1].reason == "Fatal"


def test_a_refusal_is_forgotten_when_a_node_takes_it() -> None:
    memory = learned(refused(RpcFailure.UNKNOWN), Taken(1))
    assert memory.pauses == {}
    assert decided(memory, [pending()], now=5.0)[1] != []


def test_what_another_transaction_has_done_spends_its_nonce_on_nothing() -> None:
    memory = learned(NotSigned(1, WOULD_REVERT, "done", is_done=True))
    memory, (nothing,) = decided(memory, [pending()], now=2.0)
    assert isinstance(nothing, Sign)
    assert (nothing.nonce, nothing.intent.cancel) == (pending().nonce, "done")
    signed = replace(pending().attempts[-1], hash=b"nothing", cancels=True)
    withdrawn = replace(pending(), attempts=(*pending().attempts, signed))
    assert decided(memory, [withdrawn], now=3.0)[1] == []
    # A reorg may have taken what was done: then the call is wanted again, in the place of nothing.
    _, (again,) = decided(memory, [withdrawn], now=60.0)
    assert isinstance(again, Sign)
    assert again.intent.cancel is None


# ------------------------------------------------------------------ needed no more


def test_what_is_needed_no_more_is_void_once_that_is_final() -> None:
    memory, actions = decided(learned(Needless(1, "closed", head=18)), [queued()], final_block=17)
    assert actions == []
    assert memory.pauses[1].reason == WAITS_FOR_FINALITY
    memory = learned(Needless(1, "closed", head=30), memory=memory, now=20.0)
    _, actions = decided(memory, [queued()], now=20.0, final_block=18)
    assert actions == [Void(queued(), "closed")]


def test_what_was_needed_no_more_is_not_void_on_hearsay_of_before() -> None:
    memory, _ = decided(learned(Needless(1, "closed", head=18)), [queued()], final_block=17)
    _, actions = decided(memory, [queued()], now=20.0, final_block=30)
    assert [type(action) for action in actions] == [Sign]  # and with that it is asked again


def test_a_reorg_that_makes_it_needed_again_starts_the_wait_anew() -> None:
    memory = learned(Needless(1, "closed", head=18), Needed(1), Needless(1, "closed", head=25))
    assert decided(memory, [queued()], final_block=20)[1] == []


def test_what_its_owner_would_want_anew_is_void_at_once() -> None:
    memory = learned(Needless(1, "answered", head=20, at_once=True))
    assert decided(memory, [queued()])[1] == [Void(queued(), "answered")]


# ------------------------------------------------------------------ key and halts


def test_nothing_is_signed_by_a_key_that_may_not_and_what_was_signed_goes_again() -> None:
    memory = learned(KeyHeard(NOT_OURS))
    assert decided(memory, [queued()])[1] == []
    _, actions = decided(memory, [pending(), queued(2)], now=100.0)
    assert [type(action) for action in actions] == [Send]


def test_a_key_is_asked_about_at_start_in_doubt_and_until_it_may_sign() -> None:
    assert Memory().asks_for_key(POLICY, 1.0)
    allowed, refused = learned(KeyHeard(None)), learned(KeyHeard(NOT_OURS))
    assert not allowed.asks_for_key(POLICY, HOUR_S)
    assert not refused.asks_for_key(POLICY, 5.9)
    assert refused.asks_for_key(POLICY, 6.0)
    in_doubt = learned(NotSigned(1, WOULD_REVERT, "no"), memory=allowed)
    assert in_doubt.asks_for_key(POLICY, 1.0)


def test_a_halt_that_a_reorg_may_cure_is_asked_about_now_and_then() -> None:
    halted = queued(halt=OTHER_COMMITMENT)
    assert decided(Memory(), [halted])[1] == [Recheck(halted)]
    memory = learned(Halted(1))
    assert decided(memory, [halted], now=5.9)[1] == []
    assert decided(memory, [halted], now=6.0)[1] == [Recheck(halted)]
    assert decided(Memory(), [queued(halt="KeepsReverting")])[1] == []


# ------------------------------------------------------------------ a journal that was lost


def test_nothing_is_signed_while_a_transaction_that_nobody_knows_may_land() -> None:
    memory = learned(PoolHeard(end=6))  # nonces 4 and 5 are free, as far as the journal knows
    assert decided(memory, [queued()], count=4)[1] == []
    assert [type(a) for a in decided(memory, [pending()], now=50.0)[1]] == [Sign]  # ours is chased
    landed = learned(PoolHeard(end=4))
    assert [type(a) for a in decided(landed, [queued()], count=4)[1]] == [Sign]


def test_a_nonce_of_an_unknown_transaction_that_never_lands_is_spent_on_nothing() -> None:
    memory = learned(PoolHeard(end=5))
    assert decided(memory, [queued()], now=80.9, count=4)[1] == []
    assert decided(memory, [queued()], now=81.0, count=4)[1] == [Fill(queued(), 4, Fees(100, 1))]
    not_ours = learned(KeyHeard(NOT_OURS), memory=memory)
    assert decided(not_ours, [queued()], now=81.0, count=4)[1] == []


def test_an_unknown_nonce_is_asked_after_until_no_pool_has_it() -> None:
    """A reorg may give it back: not every node keeps the transactions of the blocks it left."""
    policy = POLICY
    memory = learned(PoolHeard(end=5))
    assert must_hear_pool(Memory(), 4, policy, 1.0)
    assert not must_hear_pool(memory, 5, policy, 1e6), "nothing is unknown"
    assert not must_hear_pool(memory, 4, policy, 1.0)
    later = 1.0 + policy.resend_after_s
    assert must_hear_pool(memory, 4, policy, later)
    again = learn(memory, PoolHeard(end=5), later)
    assert again.pool == Pool(5, 1.0, later), "its patience is not begun anew"
    gone = learn(memory, PoolHeard(end=4), later)
    assert not must_hear_pool(gone, 4, policy, later + 1e6)


def test_a_node_that_claims_a_pool_without_end_is_not_believed() -> None:
    memory = learned(PoolHeard(end=10**9))
    seen = Look([queued()], look(count=4), [4 + MOST_IN_POOL], POLICY)
    assert [type(a) for a in decide(memory, seen, 1.0)[1]] == [Sign]


# ------------------------------------------------------------------ a full window


def test_a_full_window_is_looked_at_again_with_the_next_block_or_in_time() -> None:
    full = [pending(n, 2 + n) for n in range(1, 5)]
    memory, actions = decided(Memory(), full, policy=WINDOW)
    assert actions == []
    assert memory.is_full(HEAD.hash, 2.2)
    assert not memory.is_full(HEAD.hash, 2.25)  # a quarter of the time to a resend
    assert not memory.is_full(b"another", 1.1)
    assert decided(Memory(), full[:3], policy=WINDOW)[0].full is None
    resting = learned(refused(RpcFailure.UNKNOWN))
    assert decided(resting, full, policy=WINDOW)[0].full is None


# ------------------------------------------------------------------ clocks, and the whole


def test_a_clock_that_is_set_back_lets_nothing_wait_for_it() -> None:
    late = replace(pending().attempts[0], signed_at=HOUR_S, sent_at=HOUR_S)
    before = pending(attempts=(late,))
    (action,) = decided(Memory(), [before], now=10.0)[1]
    assert isinstance(action, Sign)
    memory = learned(refused(RpcFailure.UNKNOWN), now=HOUR_S)
    assert memory.paused(POLICY, 10.0) == set()


def test_every_meaning_of_a_refusal_has_a_behaviour() -> None:
    """None halts what a node may have, none leaves an intent without a rest."""
    for failure in RpcFailure:
        memory = learned(refused(failure, was_sent=True))
        assert memory.paused(POLICY, 1.5) == {1}
        assert memory.invalid == {}


OUTCOMES = st.one_of(
    st.builds(Signed, st.integers(1, 3), st.just(TX)),
    st.builds(Taken, st.integers(1, 3)),
    st.builds(
        Refused,
        st.integers(1, 3),
        st.just(TX),
        st.sampled_from(RpcFailure),
        st.just("no"),
        st.booleans(),
    ),
    st.builds(NotSigned, st.integers(1, 3), st.just(WOULD_REVERT), st.just("no"), st.booleans()),
    st.builds(Needed, st.integers(1, 3)),
    st.builds(Needless, st.integers(1, 3), st.just("no"), st.integers(0, 30), st.booleans()),
    st.builds(Halted, st.integers(1, 3)),
    st.builds(Ended, st.integers(1, 3)),
    st.builds(PoolHeard, st.integers(0, 9)),
    st.builds(KeyHeard, st.sampled_from([None, NOT_OURS])),
)


@given(st.lists(OUTCOMES, max_size=8), st.floats(0, 100), st.integers(0, 25))
def test_the_same_comes_of_the_same_and_an_end_leaves_nothing(
    outcomes: list[Outcome], now: float, final: int
) -> None:
    intents = [UNSENT, queued(2), queued(3, halt=OTHER_COMMITMENT)]
    memory = learned(*outcomes)
    before = repr(memory)
    first = decided(memory, intents, now, final_block=final)
    assert first == decided(memory, intents, now, final_block=final)
    assert repr(memory) == before
    ended = learned(*(Ended(number) for number in (1, 2, 3)), KeyHeard(None), memory=first[0])
    nothing: frozenset[bytes] = frozenset()  # of attempts the next round forgets
    rest = {"urgent": nothing, "too_dear": nothing, "unplaced": nothing}
    assert replace(ended, **rest, key_asked=None, full=None, pool=None) == Memory()
