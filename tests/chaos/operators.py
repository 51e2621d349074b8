"""What operators do to a lane in a story, and what must come of it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.rests import batch_of
from chaos.world import Violation
from corechain_relayer.submitter.budget import BUDGET_REACHED
from corechain_relayer.submitter.plan import Intent, State, bumped

if TYPE_CHECKING:
    from chaos.lane import LaneStory

BUDGETS = (30_000_000, 100_000_000, 1_000_000_000)
"""Wei: a transaction of the model may cost from 12 million (fees of 200) up to 600 million."""
WISH_ROUNDS = 2
"""In so many rounds of a quiet world what an operator wants is signed: patience is longer."""
LOST = "63 the journal is lost"
Row = Any


class Operators:
    """Mixed into `LaneStory`."""

    def _pending_rows(self: "LaneStory") -> list[Row]:
        return [r for r in self._ours() if r.intent.state is State.PENDING]

    def operator_bumps(self: "LaneStory") -> None:
        """As `Book.bump`: of what is signed, and not to be cancelled."""
        rows = [r for r in self._pending_rows() if r.intent.cancel is None and r.intent.attempts]
        if rows:
            row = self.world.rng.choice(rows)
            row.intent = replace(row.intent, bump=row.intent.attempts[-1].hash)
            self.tables.wishes += 1
            self.world.fault("an operator wants a transaction replaced")

    def operator_cancels(self: "LaneStory") -> None:
        """As `Book.cancel`: commits are ordered, and none of them may be left out."""
        if self.policy.ordered:
            return
        states = (State.QUEUED, State.PENDING)
        rows = [r for r in self._ours() if r.intent.state in states and r.intent.cancel is None]
        if not rows:
            return
        row = self.world.rng.choice(rows)
        row.cancelled = True
        if row.intent.state is State.QUEUED:
            self.world.fault("an operator cancels what is not signed")
            row.intent = replace(row.intent, state=State.VOID, halt=None)
            return
        self.world.fault("an operator cancels what is on its way")
        row.intent = replace(row.intent, cancel="an operator", halt=None)
        self.tables.wishes += 1

    def operator_pauses(self: "LaneStory") -> None:
        """And resumes: what is paused longer than a story is healed."""
        if self.tables.pause is not None:
            self.tables.pause = None
            return
        self.tables.pause = "an operator"
        self.world.fault("an operator pauses the queue")

    def budget_changes(self: "LaneStory") -> None:
        """A restart with another budget of a day."""
        budget = self.world.rng.choice((None, *BUDGETS))
        self.policy, self.tables.budget = replace(self.policy, budget=budget), budget
        self.restart()

    def note_budget(self: "LaneStory") -> None:
        memory = self.submitter.memory
        used_up = any(pause.reason == BUDGET_REACHED for pause in memory.pauses.values())
        if self.policy.budget is not None and (memory.over_budget or used_up):
            self.world.fault("a budget is used up")

    def journal_is_lost(self: "LaneStory") -> None:
        """All of it, with what it knew of nonces. The batches are made again from their files, as
        intents that nothing is signed for; what stands on chain is found there."""
        world, chain = self.world, self.chain
        if self.lost_journal:
            return
        self.lost_journal = self.meddled = True
        world.fault(LOST)
        if chain.pool:
            world.fault("63 the journal is lost with transactions on their way")
        # Two of one payload can be on their way now: the contract refuses the second, as the real
        # one always does.
        chain.refuses_doubles = True
        rows = self._ours()
        self.tables.forget()
        self.known.forget()
        for row in rows:
            number = self.tables.insert(row.intent.key, row.intent.calldata)
            self.keep_rests(batch_of(row.intent.calldata))
            if row.cancelled:
                self.tables.rows[number].cancelled = True
        self.restart()

    # ------------------------------------------------------------------ what must come of it

    def open_wishes(self: "LaneStory") -> list[Intent]:
        """Those that nothing is in the way of; the fee cap is in that of bumps."""
        quiet = [r.intent for r in self._pending_rows() if r.intent.spent is None]
        wished = [i for i in quiet if i.wished is not None and self._has_room(i)]
        # That a call comes again in the place of nothing is wanted only while it may be done.
        return [i for i in wished if i.wished == i.bump or not self._is_done_by_another(i)]

    def _is_done_by_another(self: "LaneStory", intent: Intent) -> bool:
        done = (e for e in self.chain.now.mined if e.good and e.payload == intent.calldata)
        elsewhere = intent.calldata in self.chain.elsewhere
        is_void = intent.attempts[-1].cancels and intent.cancel is None
        return is_void and (elsewhere or any(e.tx.hash not in intent.hashes for e in done))

    def is_cancelled(self: "LaneStory", transaction: bytes) -> bool:
        """Whether an operator wants the intent given up that this is signed for."""
        rows = (r.intent for r in self._pending_rows() if r.intent.cancel is not None)
        return any(transaction in intent.hashes for intent in rows)

    def _has_room(self: "LaneStory", intent: Intent) -> bool:
        if intent.cancel is not None:
            return True
        fees = intent.attempts[-1].fees
        return bumped(fees, self.node._suggested(), self.policy.max_fee) is not None

    def check_wishes(self: "LaneStory", wished: list[Intent]) -> None:
        """Of those that were open `WISH_ROUNDS` rounds ago."""
        mined = len(self.chain.now.mined)
        for before in wished:
            intent = self.tables.rows[before.id].intent
            is_open = intent.state is State.PENDING and intent.halt is None
            if not is_open or intent.nonce is None or intent.nonce < mined:
                continue
            if intent.wished == before.wished:
                raise Violation("wishes", f"{intent.key}: nothing has come of an operator's wish")

    def check_cancelled(self: "LaneStory", row: Row, times: int) -> None:
        """What is void is never done by us; what was done first is as final as the others."""
        if row.intent.state is State.VOID:
            if times and not self.lost_journal and row.intent.calldata not in self.chain.elsewhere:
                raise Violation("wishes", f"{row.intent.key} was cancelled, and is done")
        elif times != 1:
            raise Violation("I3", f"{row.intent.key} is {row.intent.state}, done {times} times")
        else:
            self.world.fault("a cancelled intent is done all the same")
