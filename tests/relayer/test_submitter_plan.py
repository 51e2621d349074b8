"""The submitter's plan against a model chain that drops and reorganises, and a process that dies.

given intents in a journal, and a key that somebody else uses by hand, too
  when anything happens between any two writes (crash, dropped transaction, reorg, fee refusal,
  foreign transaction, revert)
    it never signs two intents with one nonce
    it never sends what is not in the journal
    it never does an intent twice, and signs anew only what can never land any more
  when the world is quiet again
    every intent ends on chain exactly once, or is given up after so many reverts
"""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
TARGET = bytes(20)
CONFIRMATIONS = 4
FOREIGN, NOTHING = b"foreign", b"nothing"


@dataclass
class ModelChain:
    """One sender. A block holds transactions in nonce order, each with whether it succeeded. As on
    our contracts, a thing that is done already reverts when it is done again."""

    base_fee: int = 10
    blocks: list[list[tuple[Attempt, bool]]] = field(default_factory=lambda: [[]])
    fork: int = 0
    pool: dict[int, Attempt] = field(default_factory=dict)
    refusing: bool = False

    @property
    def mined(self) -> list[tuple[Attempt, bool]]:
        return [entry for block in self.blocks for entry in block]

    @property
    def done(self) -> list[bytes]:
        """What our contract has taken, in order."""
        return [tx.raw for tx, good in self.mined if good and tx.raw not in (FOREIGN, NOTHING)]

    def submit(self, tx: Attempt) -> str:
        if tx.nonce < len(self.mined):
            return "nonce too low"
        held = self.pool.get(tx.nonce)
        if held is not None and held.hash == tx.hash:
            return "already known"
        if held is not None and tx.fees.max_fee * 10 < held.fees.max_fee * 11:
            return "replacement transaction underpriced"
        if tx.fees.max_fee < self.base_fee:
            return "max fee per gas less than block base fee"
        self.pool[tx.nonce] = tx
        return "accepted"

    def mine(self) -> None:
        self.blocks.append([])
        following = len(self.mined)
        while (tx := self.pool.get(following)) and tx.fees.max_fee >= self.base_fee:
            del self.pool[following]
            self.include(tx)
            following += 1

    def include(self, tx: Attempt) -> None:
        good = tx.raw in (FOREIGN, NOTHING) or (tx.raw not in self.done and not self.refusing)
        self.blocks[-1].append((tx, good))

    def reorganise(self, depth: int, keep: bool) -> None:
        lost = [tx for block in self.blocks[-depth:] for tx, _ in block]
        del self.blocks[-depth:]
        self.fork += 1
        self.pool = {tx.nonce: tx for tx in lost} if keep else {}
        self.blocks += [[] for _ in range(depth)]

    def count_at(self, number: int) -> int:
        return sum(len(block) for block in self.blocks[: number + 1])

    def id(self, number: int) -> BlockId:
        return BlockId(number, self.hashes[number])

    @property
    def hashes(self) -> list[bytes]:
        """A block's hash says all that is before it."""
        found: list[bytes] = []
        for number, block in enumerate(self.blocks):
            content = (number, self.fork if number else 0, tuple(tx.hash for tx, _ in block))
            parent = found[-1] if found else b""
            found.append(str(hash((parent, content))).encode())
        return found

    def view(self, final: int, intents: list[Intent], has_state: bool) -> ChainView:
        hashes = self.hashes
        receipts = {
            tx.hash: Receipt(tx.hash, number, hashes[number], good, 1)
            for number, block in enumerate(self.blocks)
            for tx, good in block
        }
        head = BlockId(len(self.blocks) - 1, hashes[-1])
        marks = [i.spent for i in intents if i.spent is not None and i.spent.number <= head.number]
        standing = {mark: hashes[mark.number] == mark.hash for mark in marks}
        suggested = Fees(2 * self.base_fee + 1, 1)
        final_count = self.count_at(final) if has_state else None
        count = len(self.mined)
        return ChainView(head, final, count, receipts, suggested, final_count, standing)

    def stands(self, block: BlockId) -> bool:
        hashes = self.hashes
        return block.number < len(hashes) and hashes[block.number] == block.hash


@dataclass
class Row:
    """An intent with what the journal keeps beside it."""

    intent: Intent
    old: list[Attempt] = field(default_factory=list)
    confirmed: BlockId | None = None


class SubmitterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.chain = ModelChain()
        self.journal: dict[int, Row] = {}
        self.sent: list[Attempt] = []
        self.urgent: set[bytes] = set()
        self.now = 1000.0
        self.signed = 0
        self.sealed = 0
        self.foreign = 0
        self.final = 0
        self.has_state = True
        self.given_up: set[int] = set()

    # -------------------------------------------------------------- the world

    @precondition(lambda self: self.sealed < 8)
    @rule()
    def a_batch_is_sealed(self) -> None:
        number = self.sealed = self.sealed + 1
        self.journal[number] = Row(Intent(number, f"batch:{number}", TARGET, b"%d" % number))

    @rule()
    def a_block_is_mined(self) -> None:
        self.chain.mine()
        self.final = max(self.final, len(self.chain.blocks) - CONFIRMATIONS)

    @precondition(lambda self: self.foreign < 4)
    @rule()
    def somebody_uses_the_key_by_hand(self) -> None:
        """With a fee that beats ours: in the next block."""
        self.foreign += 1
        nonce = len(self.chain.mined)
        tx = Attempt(b"foreign %d" % self.foreign, nonce, FOREIGN, Fees(10**9, 10**9), self.now)
        self.chain.pool.pop(nonce, None)
        self.chain.blocks.append([])
        self.chain.include(tx)
        self.final = max(self.final, len(self.chain.blocks) - CONFIRMATIONS)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(fee=st.integers(1, 200))
    def the_base_fee_moves(self, fee: int) -> None:
        self.chain.base_fee = fee

    @rule()
    def the_node_forgets_its_pool(self) -> None:
        self.chain.pool.clear()

    @rule(has_state=st.booleans())
    def the_node_keeps_old_state_or_not(self, has_state: bool) -> None:
        self.has_state = has_state

    @rule(refusing=st.booleans())
    def the_contract_is_paused_or_not(self, refusing: bool) -> None:
        self.chain.refusing = refusing

    @rule(depth=st.integers(1, 3), keep=st.booleans())
    def the_chain_is_reorganised(self, depth: int, keep: bool) -> None:
        unfinal = len(self.chain.blocks) - 1 - self.final
        if depth <= unfinal:
            self.chain.reorganise(depth, keep)

    # ---------------------------------------------------------- the submitter

    @rule(writes=st.integers(0, 4))
    def the_submitter_works_and_dies_after_some_writes(self, writes: int) -> None:
        self.work(writes)
        self.urgent.clear()  # memory is lost, the journal is not

    @rule()
    def the_submitter_works(self) -> None:
        self.work(1000)

    def work(self, writes: int) -> None:
        self.follow_the_chain()
        rows = self.journal.values()
        open_intents = [r.intent for r in rows if r.intent.state in (State.QUEUED, State.PENDING)]
        view = self.chain.view(self.final, open_intents, self.has_state)
        taken = [row for row in rows if row.intent.state is not State.VOID]
        used = {a.nonce for row in taken for a in (*row.old, *row.intent.attempts)}
        free = next(n for n in range(view.count, view.count + len(used) + 1) if n not in used)
        actions = plan(open_intents, view, POLICY, self.now, free, set(self.urgent))
        for action in actions[:writes]:
            self.act(action, answer_is_kept=len(actions) <= writes)

    def follow_the_chain(self) -> None:
        """What the watch does with confirmed intents before each plan."""
        for row in self.journal.values():
            if row.intent.state is not State.CONFIRMED:
                continue
            assert row.confirmed is not None
            if not self.chain.stands(row.confirmed):
                state = State.QUEUED if row.intent.nonce is None else State.PENDING
                self.keep(row.intent, state=state)
            elif row.confirmed.number <= self.final:
                self.keep(row.intent, state=State.FINAL)

    def act(self, action: Action, answer_is_kept: bool) -> None:
        match action:
            case Sign(intent, nonce, fees):
                self.sign(intent, nonce, fees)
            case Send(intent, attempt):
                self.send(intent, attempt, answer_is_kept)
            case Confirm(intent, receipt):
                self.confirm(intent, receipt.block)
            case Examine(intent, block):
                if not self.adopt(intent):
                    self.keep(intent, spent=block)
            case Renew(intent, reverted):
                self.renew(intent, reverted)
            case GiveUp(intent):
                assert intent.failures == POLICY.max_failures - 1
                self.renew(intent, reverted=True)
                if self.journal[intent.id].intent.state is State.QUEUED:
                    self.keep(intent, halt="KeepsReverting")
            case Fill(_, nonce, fees):
                number = 100 + len(self.journal)
                self.journal[number] = Row(Intent(number, f"nothing:{nonce}", TARGET, NOTHING))
                self.sign(self.journal[number].intent, nonce, fees)

    def keep(self, intent: Intent, **changes: object) -> None:
        row = self.journal[intent.id]
        row.intent = replace(row.intent, **changes)  # type: ignore[arg-type]

    def confirm(self, intent: Intent, block: BlockId) -> None:
        self.keep(intent, state=State.CONFIRMED, spent=None)
        self.journal[intent.id].confirmed = block

    def adopt(self, intent: Intent) -> bool:
        """The contract is asked whether it is done, by whatever transaction."""
        if intent.calldata == NOTHING and intent.attempts:
            row = self.journal[intent.id]
            row.old += row.intent.attempts
            row.intent = replace(intent, state=State.VOID, nonce=None, attempts=())
            return True
        for number, block in enumerate(self.chain.blocks):
            if any(good and tx.raw == intent.calldata for tx, good in block):
                self.confirm(intent, self.chain.id(number))
                return True
        return False

    def renew(self, intent: Intent, reverted: bool) -> None:
        for attempt in intent.attempts:
            assert attempt.nonce < self.chain.count_at(self.final), "it could still land"
        if self.adopt(intent):
            return
        row = self.journal[intent.id]
        row.old += row.intent.attempts
        failures = row.intent.failures + reverted
        self.keep(
            intent, state=State.QUEUED, nonce=None, attempts=(), spent=None, failures=failures
        )

    def sign(self, intent: Intent, nonce: int, fees: Fees) -> None:
        if not intent.attempts and self.adopt(intent):
            return
        if self.chain.refusing and intent.calldata != NOTHING:
            return  # the estimate fails: nothing is signed
        self.signed += 1
        attempt = Attempt(self.signed.to_bytes(32, "big"), nonce, intent.calldata, fees, self.now)
        attempts = (*intent.attempts, attempt)
        self.keep(intent, state=State.PENDING, nonce=nonce, attempts=attempts)

    def send(self, intent: Intent, attempt: Attempt, answer_is_kept: bool) -> None:
        said = self.chain.submit(attempt)
        self.sent.append(attempt)
        if "underpriced" in said or "base fee" in said:
            self.urgent.add(attempt.hash)
        elif answer_is_kept:
            sent = replace(attempt, sent_at=self.now)
            others = [sent if a.hash == attempt.hash else a for a in intent.attempts]
            self.keep(intent, attempts=tuple(others))

    # ------------------------------------------------------------- invariants

    @invariant()
    def a_nonce_belongs_to_one_intent(self) -> None:
        payloads: dict[int, set[bytes]] = {}
        for attempt in self.sent:
            payloads.setdefault(attempt.nonce, set()).add(attempt.raw)
        # What was to fill a gap may turn out not to be needed: then the nonce is anybody's.
        assert all(len(found - {NOTHING}) <= 1 for found in payloads.values())

    @invariant()
    def only_what_is_in_the_journal_was_sent(self) -> None:
        rows = self.journal.values()
        known = {a.hash for row in rows for a in (*row.old, *row.intent.attempts)}
        assert {attempt.hash for attempt in self.sent} <= known

    @invariant()
    def nothing_is_done_twice(self) -> None:
        assert len(set(self.chain.done)) == len(self.chain.done)

    @invariant()
    def nothing_but_a_revert_of_ours_reverts(self) -> None:
        """Never does a transaction of ours revert because the thing was done already."""
        done: set[bytes] = set()
        for tx, good in self.chain.mined:
            assert good or tx.raw not in done
            if good:
                done.add(tx.raw)

    @invariant()
    def in_order_as_long_as_nobody_meddles(self) -> None:
        if self.foreign or any(not good for _, good in self.chain.mined):
            return
        if any(row.intent.failures for row in self.journal.values()):
            return
        done = [int(raw) for raw in self.chain.done]
        assert done == list(range(1, len(done) + 1))

    def teardown(self) -> None:
        self.chain.base_fee = 10
        self.chain.refusing = False
        for _ in range(60 * max(1, len(self.journal))):
            self.now += 10
            for row in self.journal.values():
                if row.intent.halt is not None:  # the operator
                    self.keep(row.intent, halt=None, failures=0)
            self.work(1000)
            self.a_block_is_mined()
        ours = [r.intent for r in self.journal.values() if r.intent.calldata != NOTHING]
        assert all(intent.state is State.FINAL for intent in ours)
        assert len(self.chain.done) == len(ours)


TestSubmitter = SubmitterMachine.TestCase

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
    how = {"policy": POLICY, "now": 4.0, "free_nonce": 4} | changes
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
    (action,) = planned([queued()], look(count=9), free_nonce=9)
    assert isinstance(action, Sign)
    assert action.nonce == 9


def test_a_nonce_of_nobody_below_a_pending_one_is_filled_once_that_is_sure() -> None:
    blocked = pending(nonce=5)
    early = planned([blocked, queued(2)], look(4), now=19.9, free_nonce=4)
    assert not any(isinstance(action, Fill) for action in early)
    actions = planned([blocked, queued(2)], look(4), now=20.0, free_nonce=4)
    assert actions[0] == Fill(blocked, 4, Fees(100, 1))
    assert not any(isinstance(action, Sign) and action.nonce == 4 for action in actions)
    unpaid = planned([blocked], look(4), now=20.0, free_nonce=4, may_sign=False)
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
        actions = planned([pending(nonce=5)], look(4), now=100.0, free_nonce=free)
        assert not any(isinstance(action, Fill) for action in actions)
