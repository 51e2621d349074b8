"""The submitter's decisions on a model chain that drops and reorganises, and a process that dies.

given intents in a journal, several in flight, and a key that somebody else uses by hand, too
  when anything happens between any two writes or sends (crash, dropped transaction, reorg, fee
  refusal, foreign transaction, revert, a node that keeps nothing above a missing nonce)
    it never signs two intents with one nonce
    it never sends what is not in the journal
    it never does an intent twice, and signs anew only what can never land any more
    it does them in order, unless somebody meddles
  when the world is quiet again
    every intent ends on chain exactly once, or is given up after so many reverts
"""

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain_relayer.submitter.decide import Look, decide
from corechain_relayer.submitter.memory import (
    WOULD_REVERT,
    Ended,
    Memory,
    NotSigned,
    Outcome,
    PoolHeard,
    Refused,
    Signed,
    Taken,
    learn,
)
from corechain_relayer.submitter.plan import (
    Action,
    Attempt,
    BlockId,
    Confirm,
    Examine,
    Fees,
    Fill,
    GiveUp,
    Intent,
    Policy,
    Renew,
    Send,
    Sign,
    State,
)
from relayer.model_chain import FOREIGN, NOTHING, ModelChain

POLICY = Policy(resend_after_s=5, bump_after_s=20, lost_after_s=3, max_fee=10_000)
TARGET = bytes(20)
CONFIRMATIONS = 4


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
        self.memory = Memory()
        self.now = 1000.0
        self.signed = 0
        self.sealed = 0
        self.foreign = 0
        self.final = 0
        self.has_state = True
        self.losses = 0
        self.unknown: set[bytes] = set()
        self.policy = POLICY
        self.signed_now: list[int] = []
        self.backwards = False

    @initialize(in_flight=st.integers(1, 4))
    def the_operator_sets_the_window(self, in_flight: int) -> None:
        self.policy = replace(POLICY, in_flight=in_flight)

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
        self.forget_what_nobody_has()

    @rule(strict=st.booleans(), backwards=st.booleans())
    def the_node_takes_gaps_or_not_and_a_request_in_any_order(
        self, strict: bool, backwards: bool
    ) -> None:
        self.chain.strict, self.backwards = strict, backwards

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

    @rule(writes=st.integers(0, 9))
    def the_submitter_works_and_dies_after_some_writes(self, writes: int) -> None:
        self.work(writes)
        self.memory = Memory()  # it is lost, the journal is not

    @precondition(lambda self: self.losses < 2 and self.sealed)
    @rule()
    def the_journal_is_lost(self) -> None:
        """A new one has every batch again, from its data file; what was sent is in the pool, in a
        block or nowhere."""
        self.losses += 1
        self.memory = Memory()
        for number in list(self.journal):
            del self.journal[number]
        for number in range(1, self.sealed + 1):
            self.journal[number] = Row(Intent(number, f"batch:{number}", TARGET, b"%d" % number))
        self.unknown |= {attempt.hash for attempt in self.sent}
        self.forget_what_nobody_has()

    def forget_what_nobody_has(self) -> None:
        """What a lost journal had, and no pool and no block: it is as if it had never been."""
        known = {a.hash for row in self.journal.values() for a in row.intent.attempts}
        known |= {tx.hash for tx in self.chain.pool.values()}
        known |= {tx.hash for tx, _ in self.chain.mined}
        self.sent = [a for a in self.sent if a.hash in known or a.hash not in self.unknown]

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
        above = range(view.count, view.count + len(used) + 1 + self.policy.in_flight)
        free = [nonce for nonce in above if nonce not in used][: self.policy.in_flight + 1]
        if self.memory.pool is None:
            self.learn(PoolHeard(self.chain.pool_count))
        look = Look(open_intents, view, free, self.policy)
        self.memory, actions = decide(self.memory, look, self.now)
        left = self.do_what_concerns_one(actions, writes)
        left = self.sign_all([a for a in actions if isinstance(a, Sign)], left)
        sends = [a for a in actions if isinstance(a, Send)]
        self.send_all(sends, self.signed_now, left)

    def do_what_concerns_one(self, actions: list[Action], writes: int) -> int:
        """Writes that are left before the process dies."""
        single = [action for action in actions if not isinstance(action, (Sign, Send))]
        for action in single[:writes]:
            self.act(action)
        return writes - len(single)

    def sign_all(self, actions: list[Sign], writes: int) -> int:
        """In one transaction of the journal: all or none."""
        self.signed_now = []
        if not actions or writes <= 0:
            return writes
        for action in actions:
            first = not action.intent.attempts
            if not self.sign(action.intent, action.nonce, action.fees) and first:
                break  # nothing new is signed behind it
        return writes - 1

    def send_all(self, sends: list[Send], signed: list[int], writes: int) -> None:
        """One request; the process may die with some of it on the network."""
        again = [(action.intent.id, action.attempt) for action in sends]
        new = [(number, self.journal[number].intent.attempts[-1]) for number in signed]
        every = sorted(again + new, key=lambda item: item[1].nonce, reverse=self.backwards)
        for number, attempt in every[: max(0, writes)]:
            answer_is_kept = len(every) < writes
            self.send(self.journal[number].intent, attempt, answer_is_kept)

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

    def learn(self, outcome: Outcome) -> None:
        self.memory = learn(self.memory, outcome, self.now)

    def act(self, action: Action) -> None:
        match action:
            case Confirm(intent, receipt):
                self.confirm(intent, receipt.block)
            case Examine(intent, block):
                if not self.adopt(intent):
                    self.keep(intent, spent=block)
            case Renew(intent, reverted):
                self.renew(intent, reverted)
            case GiveUp(intent):
                assert intent.failures == self.policy.max_failures - 1
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
        self.learn(Ended(intent.id))

    def adopt(self, intent: Intent) -> bool:
        """The contract is asked whether it is done, by whatever transaction."""
        if intent.calldata == NOTHING:
            if not intent.attempts:
                return False  # each fills a nonce of its own, whatever others have filled
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

    def sign(self, intent: Intent, nonce: int, fees: Fees) -> bool:
        """Whether it was signed."""
        if not intent.attempts and self.adopt(intent):
            return False
        if self.chain.refusing and intent.calldata != NOTHING:
            self.learn(NotSigned(intent.id, WOULD_REVERT, "the contract is paused"))
            return False
        if intent.state is State.QUEUED and intent.calldata != NOTHING:
            # What fills a gap is needed whatever the window holds.
            pending = [i for i in self.ours() if i.state is State.PENDING]
            assert len(pending) < self.policy.in_flight, "the window is full"
        self.signed += 1
        attempt = Attempt(self.signed.to_bytes(32, "big"), nonce, intent.calldata, fees, self.now)
        attempts = (*intent.attempts, attempt)
        self.keep(intent, state=State.PENDING, nonce=nonce, attempts=attempts)
        self.signed_now.append(intent.id)
        self.learn(Signed(intent.id, intent.attempts[-1].hash if intent.attempts else None))
        return True

    def send(self, intent: Intent, attempt: Attempt, answer_is_kept: bool) -> None:
        said = self.chain.submit(attempt)
        self.sent.append(attempt)
        failure = None if said == "accepted" else classify_rpc_failure(said)
        if failure in (None, RpcFailure.ALREADY_KNOWN, RpcFailure.NONCE_TOO_LOW):
            self.taken(intent, attempt, answer_is_kept)
        else:
            assert failure is not None
            was_sent = any(a.sent_at for a in intent.attempts)
            self.learn(Refused(intent.id, attempt.hash, failure, said, was_sent))

    def taken(self, intent: Intent, attempt: Attempt, answer_is_kept: bool) -> None:
        self.learn(Taken(intent.id))
        if answer_is_kept:
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
        assert {attempt.hash for attempt in self.sent} - self.unknown <= known

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
        self.chain.refusing = self.chain.strict = False
        for _ in range(60 * max(1, len(self.journal))):
            if self.all_final():
                break
            self.now += 10
            for row in self.journal.values():
                if row.intent.halt is not None:  # the operator
                    self.keep(row.intent, halt=None, failures=0)
            self.work(1000)
            self.a_block_is_mined()
        assert self.all_final()
        assert len(self.chain.done) == len(self.ours())

    def ours(self) -> list[Intent]:
        """All that was ever wanted."""
        return [r.intent for r in self.journal.values() if r.intent.calldata != NOTHING]

    def all_final(self) -> bool:
        return all(intent.state is State.FINAL for intent in self.ours())


TestSubmitter = SubmitterMachine.TestCase
TestSubmitter.settings = settings(max_examples=40)  # the simulator plays the same, and more
