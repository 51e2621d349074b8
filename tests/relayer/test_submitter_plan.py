"""The submitter's plan against a model chain that drops and reorganises, and a process that dies.

given intents in a journal
  when anything happens between any two writes (crash, dropped transaction, reorg, fee refusal)
    it never signs two intents with one nonce
    it never sends what is not in the journal
    it never puts intents on chain out of order
  when the world is quiet again
    every intent ends on chain exactly once
"""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from corechain_relayer.submitter.plan import (
    Attempt,
    ChainView,
    Confirm,
    Examine,
    Fees,
    Finalize,
    Intent,
    Policy,
    Receipt,
    Send,
    Sign,
    State,
    Unconfirm,
    bumped,
    plan,
)

POLICY = Policy(resend_after_s=5, bump_after_s=20, lost_after_s=30, max_fee=10_000)
TARGET = bytes(20)
CONFIRMATIONS = 4


@dataclass
class ModelChain:
    """One sender. A block holds transactions in nonce order; intent n succeeds only after n - 1."""

    base_fee: int = 10
    blocks: list[list[Attempt]] = field(default_factory=lambda: [[]])
    fork: int = 0
    pool: dict[int, Attempt] = field(default_factory=dict)

    @property
    def mined(self) -> list[Attempt]:
        return [tx for block in self.blocks for tx in block]

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
        block: list[Attempt] = []
        following = len(self.mined)
        while (tx := self.pool.get(following)) and tx.fees.max_fee >= self.base_fee:
            block.append(self.pool.pop(following))
            following += 1
        self.blocks.append(block)

    def reorganise(self, depth: int, keep: bool) -> None:
        lost = [tx for block in self.blocks[-depth:] for tx in block]
        del self.blocks[-depth:]
        self.fork += 1
        self.pool = {tx.nonce: tx for tx in lost} if keep else {}
        self.blocks += [[] for _ in range(depth)]

    def view(self, final: int) -> ChainView:
        receipts = {
            tx.hash: Receipt(tx.hash, number, self.hash(number), True, 1)
            for number, block in enumerate(self.blocks)
            for tx in block
        }
        suggested = Fees(2 * self.base_fee + 1, 1)
        return ChainView(final, len(self.mined), receipts, suggested)

    def hash(self, number: int) -> bytes:
        return (self.fork << 32 | number).to_bytes(32, "big")


class SubmitterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.chain = ModelChain()
        self.journal: dict[int, Intent] = {}
        self.sent: list[Attempt] = []
        self.urgent: set[bytes] = set()
        self.now = 1000.0
        self.signed = 0
        self.final = 0

    # -------------------------------------------------------------- the world

    @precondition(lambda self: len(self.journal) < 8)
    @rule()
    def a_batch_is_sealed(self) -> None:
        number = len(self.journal) + 1
        self.journal[number] = Intent(number, f"batch:{number}", TARGET, b"%d" % number)

    @rule()
    def a_block_is_mined(self) -> None:
        self.chain.mine()
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
        unfinished = [i for i in self.journal.values() if i.state is not State.FINAL]
        used = [i.nonce for i in self.journal.values() if i.nonce is not None]
        view = self.chain.view(self.final)
        actions = plan(
            unfinished, view, POLICY, self.now, max(used, default=-1) + 1, set(self.urgent)
        )
        for action in actions[:writes]:
            self.act(action, answer_is_kept=len(actions) <= writes)

    def act(self, action: object, answer_is_kept: bool) -> None:
        match action:
            case Sign(intent, nonce, fees):
                self.sign(intent, nonce, fees)
            case Send(intent, attempt):
                self.send(intent, attempt, answer_is_kept)
            case Confirm(intent, receipt):
                self.keep(
                    intent,
                    state=State.CONFIRMED,
                    transaction=receipt.hash,
                    block_number=receipt.block_number,
                    block_hash=receipt.block_hash,
                )
            case Unconfirm(intent):
                self.keep(
                    intent,
                    state=State.PENDING,
                    transaction=None,
                    block_number=None,
                    block_hash=None,
                )
            case Finalize(intent):
                self.keep(intent, state=State.FINAL)
            case Examine(intent, why):
                raise AssertionError(f"{intent.key} was given up: {why}")

    def keep(self, intent: Intent, **changes: object) -> None:
        self.journal[intent.id] = replace(self.journal[intent.id], **changes)

    def sign(self, intent: Intent, nonce: int, fees: Fees) -> None:
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
        assert all(len(found) == 1 for found in payloads.values())

    @invariant()
    def only_what_is_in_the_journal_was_sent(self) -> None:
        known = {a.hash for intent in self.journal.values() for a in intent.attempts}
        assert {attempt.hash for attempt in self.sent} <= known

    @invariant()
    def the_chain_has_the_intents_in_order_and_once(self) -> None:
        done = [int(tx.raw) for tx in self.chain.mined]
        assert done == list(range(1, len(done) + 1))

    def teardown(self) -> None:
        self.chain.base_fee = 10
        for _ in range(60 * max(1, len(self.journal))):
            self.now += 10
            self.work(1000)
            self.a_block_is_mined()
        assert all(intent.state is State.FINAL for intent in self.journal.values())
        assert len(self.chain.mined) == len(self.journal)


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


def pending(**changes: object) -> Intent:
    attempt = Attempt(b"\1" * 32, 3, b"raw", Fees(100, 1), signed_at=0.0, sent_at=0.0)
    intent = Intent(1, "batch:1", TARGET, b"", State.PENDING, 3, (attempt,))
    return replace(intent, **changes)


def look(count: int = 3, receipts: dict[bytes, Receipt] | None = None) -> ChainView:
    return ChainView(0, count, receipts or {}, Fees(100, 1))


def test_the_fee_cap_keeps_the_same_bytes_on_the_network() -> None:
    poor = replace(POLICY, max_fee=100)
    (action,) = plan([pending()], look(), poor, now=100.0, next_nonce=4)
    assert isinstance(action, Send)
    assert action.capped


def test_a_nonce_that_somebody_else_used_is_examined_not_replaced() -> None:
    (action,) = plan([pending()], look(count=4), POLICY, now=100.0, next_nonce=4)
    assert isinstance(action, Examine)


def test_a_reverted_transaction_is_examined() -> None:
    receipt = Receipt(b"\1" * 32, 9, b"\2" * 32, False, 1)
    view = look(4, {receipt.hash: receipt})
    (action,) = plan([pending()], view, POLICY, now=1.0, next_nonce=4)
    assert isinstance(action, Examine)


def test_an_intent_confirmed_by_another_sender_is_queued_again_after_a_reorg() -> None:
    adopted = Intent(
        1, "batch:1", TARGET, b"", State.CONFIRMED, None, (), b"\7" * 32, 9, b"\2" * 32
    )
    (action,) = plan([adopted], look(), POLICY, now=1.0, next_nonce=4)
    assert isinstance(action, Unconfirm)


def test_nothing_is_read_again_while_the_chain_only_grows() -> None:
    confirmed = pending(
        state=State.CONFIRMED, transaction=b"\1" * 32, block_number=9, block_hash=b"\2" * 32
    )
    view = ChainView(8, 4, {}, Fees(100, 1), extended=True)
    assert plan([confirmed], view, POLICY, 1.0, 4) == []
    final = replace(view, final_block=9)
    assert plan([confirmed], final, POLICY, 1.0, 4) == [Finalize(confirmed)]


def test_the_next_intent_waits_until_the_one_before_it_is_in_a_block() -> None:
    following = Intent(2, "batch:2", TARGET, b"")
    actions = plan([pending(), following], look(), POLICY, now=1.0, next_nonce=4)
    assert not any(isinstance(action, Sign) for action in actions)


def test_a_chain_that_counts_more_than_the_journal_gives_the_next_nonce() -> None:
    (action,) = plan([Intent(1, "batch:1", TARGET, b"")], look(count=9), POLICY, 1.0, 4)
    assert isinstance(action, Sign)
    assert action.nonce == 9
