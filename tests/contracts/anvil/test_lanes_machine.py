"""A lane's life in any order, against a model of a few lines.

The model is the oracle: after every step the contract holds what the model says, and what the model
allows is done while what it does not is refused by the name it gives.
"""

import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.chain import reverted_after
from support.drafts import draft
from support.stage import ANSWER_S, BOND, FEE, WINDOW_S, Stage, readings

from corechain.protocol.archive import Group, Place
from corechain.protocol.batch import RING_SIZE
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud, position_of
from corechain.protocol.keys import Secp256k1Key

LANE = 7
SCALE = int(os.environ.get("CORECHAIN_DIFFERENTIAL", "1"))
KEY = Secp256k1Key(bytes(31) + b"\x61")
BURN = "0x000000000000000000000000000000000000dEaD"
NUMBERS = st.integers(1, 5) | st.sampled_from([RING_SIZE + n for n in range(1, 6)])


@dataclass
class Word:
    """What a slot of the ring holds: the number of its word, when, and whose batches."""

    number: int
    at: int
    dossiers: dict[int, Dossier]


@dataclass
class Model:
    """What must be true of the lane, in Python only."""

    assignee: bool = False
    bonded_at: int | None = None
    exit_at: int | None = None
    vacated_at: int = 0
    slots: dict[int, Word] = field(default_factory=dict)
    demands: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Demand → deadline, and the bond (its second) that answers for it."""
    burnt: int = 0
    held: int = 0

    def active(self) -> bool:
        return self.bonded_at is not None and self.exit_at is None

    def open_demands(self) -> int:
        return sum(1 for _, since in self.demands.values() if since == self.bonded_at)

    def commit_refusal(self, number: int, now: int) -> str | None:
        if not self.active():
            return "NotSubmitter"
        word = self.slots.get(number % RING_SIZE)
        if word is None:
            return None
        if word.number // RING_SIZE >= number // RING_SIZE:
            return "AlreadyCommitted"
        return "RingFull" if now <= word.at + WINDOW_S else None

    def challenge_refusal(self, word: Word, now: int) -> str | None:
        if now > word.at + WINDOW_S:
            return "WindowOver"
        if self.bonded_at is None or word.at < self.bonded_at:
            return "NoBond"
        return None

    def vacate(self, now: int) -> None:
        self.bonded_at = self.exit_at = None
        self.assignee, self.vacated_at = False, now


class LaneMachine(RuleBasedStateMachine):
    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self._snapshot = reverted_after(self.stage.bench.url)
        self._snapshot.__enter__()
        self.model = Model(held=self._held(), burnt=self.stage.balance(BURN))
        self.serial = 0

    def teardown(self) -> None:
        self._snapshot.__exit__(None, None, None)

    # ------------------------------------------------------------------------------------- helpers

    def _held(self) -> int:
        return self.stage.balance(self.stage.batches.address)

    def _next(self) -> int:
        """The second of the next transaction: a call is judged at it, and then sent in it."""
        return self.stage.bench.now + 1

    def _try(self, sender, call, refusal: str | None) -> bool:
        """Sends the call at the next second, or sees it refused by that name."""
        self.stage.bench.next_at(self._next())
        if refusal is None:
            self.stage.bench.send(sender, call)
            return True
        self.stage.bench.mine_at(self._next())
        assert self.stage.refused(sender, call) == refusal
        return False

    def _dossier(self, number: int, honest: bool) -> Dossier:
        """A batch of its own; a dishonest one has two reports in the wrong order."""
        self.serial += 2
        reports = self.stage.reports(KEY, [self.serial, self.serial + 1])
        leaves = readings(KEY, [self.serial, self.serial + 1])
        ordered = reports if honest else reports[::-1]
        return draft(LANE << 32 | number, leaves, ordered)

    # --------------------------------------------------------------------------------------- rules

    @rule()
    def the_admin_names_the_submitter(self) -> None:
        call = self.stage.batches.functions.assignLane(LANE, self.stage.submitter.address)
        refusal = None if self.model.bonded_at is None else "AlreadyBonded"
        if self._try(self.stage.submitter, call, refusal):
            self.model.assignee = True

    @rule(concerned=st.booleans())
    def somebody_pays_the_bond(self, concerned: bool) -> None:
        """The submitter, who is the admin too, or a stranger."""
        refusal = None if self.model.assignee else "Unassigned"
        if refusal is None and not concerned:
            refusal = "NotConcerned"
        elif refusal is None and self.model.bonded_at is not None:
            refusal = "AlreadyBonded"
        elif refusal is None and self._next() == self.model.vacated_at:
            refusal = "JustVacated"
        payer = self.stage.submitter if concerned else self.stage.challenger
        if self._try(payer, self.stage.batches.functions.bondLane(LANE), refusal):
            self.model.bonded_at = self.stage.bench.now
            self.model.held += BOND

    @rule(number=NUMBERS, honest=st.booleans())
    def the_submitter_commits(self, number: int, honest: bool) -> None:
        dossier = self._dossier(number, honest)
        commitment = dossier.revealed.commitment
        call = self.stage.batches.functions.commit(dossier.header.batch_id, commitment)
        refusal = self.model.commit_refusal(number, self._next())
        if self._try(self.stage.submitter, call, refusal):
            word = Word(number, self.stage.bench.now, {number: dossier})
            self.model.slots[number % RING_SIZE] = word

    @rule(first=NUMBERS, size=st.integers(2, 4), honest=st.booleans())
    def the_submitter_commits_several_together(self, first: int, size: int, honest: bool) -> None:
        dossiers = {n: self._dossier(n, honest) for n in range(first, first + size)}
        group = Group(LANE << 32 | first, [d.revealed.commitment for d in dossiers.values()])
        call = self.stage.batches.functions.commitMany(group.first_batch_id, group.packed)
        last = first + size - 1
        if self._try(self.stage.submitter, call, self.model.commit_refusal(last, self._next())):
            word = Word(last, self.stage.bench.now, dossiers)
            self.model.slots[last % RING_SIZE] = word

    @rule(seconds=st.sampled_from([1, 60, ANSWER_S, WINDOW_S, WINDOW_S + 1]))
    def time_passes(self, seconds: int) -> None:
        self.stage.bench.mine_at(self.stage.bench.now + seconds)

    @rule()
    def the_lane_is_closed(self) -> None:
        refusal = None if self.model.active() else "NotBonded"
        if self._try(self.stage.submitter, self.stage.batches.functions.closeLane(LANE), refusal):
            self.model.exit_at = self.stage.bench.now + WINDOW_S + 1

    @rule()
    def the_bond_is_withdrawn(self) -> None:
        refusal = "NotBonded" if self.model.exit_at is None else None
        if refusal is None and self.model.exit_at is not None:
            early = self._next() < self.model.exit_at
            refusal = "BondLocked" if early or self.model.open_demands() else None
        call = self.stage.batches.functions.withdrawBond(LANE)
        if self._try(self.stage.submitter, call, refusal):
            self.model.held -= BOND
            self.model.vacate(self.stage.bench.now)

    def _pick(self, pick: int) -> tuple[Word, int, Dossier]:
        words = sorted(self.model.slots.values(), key=lambda word: word.number)
        word = words[pick % len(words)]
        number = sorted(word.dossiers)[pick % len(word.dossiers)]
        return word, number, word.dossiers[number]

    def _place(self, word: Word, number: int) -> Place:
        if len(word.dossiers) == 1:
            return Place.alone(LANE << 32 | number)
        first = min(word.dossiers)
        commitments = [d.revealed.commitment for _, d in sorted(word.dossiers.items())]
        return Group(LANE << 32 | first, commitments).place(LANE << 32 | number)

    @precondition(lambda self: self.model.slots)
    @rule(pick=st.integers(0, 50))
    def somebody_challenges(self, pick: int) -> None:
        word, number, dossier = self._pick(pick)
        evidence = Evidence([dossier.report(0), dossier.report(1)])
        place = self._place(word, number)
        call = self.stage.challenge(Fraud.UNSORTED_REPORTS, dossier, evidence, place)
        refusal = self.model.challenge_refusal(word, self._next())
        honest = dossier.reports[0] < dossier.reports[1]
        if self._try(self.stage.challenger, call, refusal or ("NotFraud" if honest else None)):
            self.model.held -= BOND
            self.model.burnt += BOND // 2
            self.model.vacate(self.stage.bench.now)

    @precondition(lambda self: any(len(w.dossiers) == 1 for w in self.model.slots.values()))
    @rule(pick=st.integers(0, 50), position=st.integers(0, 9))
    def somebody_demands_a_reading(self, pick: int, position: int) -> None:
        word, _, dossier = self._pick(pick)
        if len(word.dossiers) > 1:
            return
        call = self.stage.demand(Demand.READING, dossier, position_of(position))
        refusal = self.model.challenge_refusal(word, self._next())
        demand_id = self._demand_id(dossier, position)
        if refusal is None and demand_id in self.model.demands:
            refusal = "AlreadyDemanded"
        if self._try(self.stage.challenger, call, refusal):
            assert self.model.bonded_at is not None
            deadline = self.stage.bench.now + ANSWER_S
            self.model.demands[demand_id] = deadline, self.model.bonded_at
            self.model.held += FEE

    def _demand_id(self, dossier: Dossier, position: int) -> bytes:
        words = (
            Demand.READING.to_bytes(32, "big")
            + dossier.header.batch_id.to_bytes(32, "big")
            + dossier.revealed.commitment + bytes(6)
            + position.to_bytes(32, "big")
        )  # fmt: skip
        return bytes(self.stage.bench.web3.keccak(words))

    @precondition(lambda self: self.model.slots)
    @rule(pick=st.integers(0, 50), position=st.integers(0, 9))
    def the_submitter_answers(self, pick: int, position: int) -> None:
        _, _, dossier = self._pick(pick)
        known = self.model.demands.get(self._demand_id(dossier, position))
        refusal = None if known else "UnknownDemand"
        if known and self._next() > known[0]:
            refusal = "AnswerLate"
        shown = [dossier.reading(position)] if position < len(dossier.leaves) else []
        evidence = Evidence(shown, [dossier.witness()])
        subject = position.to_bytes(32, "big")
        call = self.stage.answer(Demand.READING, dossier, subject, evidence)
        if self._try(self.stage.submitter, call, refusal):
            del self.model.demands[self._demand_id(dossier, position)]
            self.model.held -= FEE

    @precondition(lambda self: self.model.demands)
    @rule(pick=st.integers(0, 50))
    def a_demand_expires(self, pick: int) -> None:
        demand_id = sorted(self.model.demands)[pick % len(self.model.demands)]
        deadline, since = self.model.demands[demand_id]
        refusal = "AnswerPending" if self._next() <= deadline else None
        call = self.stage.batches.functions.expire(demand_id)
        if self._try(self.stage.submitter, call, refusal):
            del self.model.demands[demand_id]
            self.model.held -= FEE
            if since == self.model.bonded_at:
                self.model.held -= BOND
                self.model.burnt += BOND // 2
                self.model.vacate(self.stage.bench.now)

    # ---------------------------------------------------------------------------------- invariants

    @invariant()
    def the_contract_holds_its_bonds_and_fees_and_nothing_else(self) -> None:
        assert self._held() == self.model.held
        assert self.stage.balance(BURN) == self.model.burnt

    @invariant()
    def the_submitter_commits_exactly_while_the_lane_is_bonded(self) -> None:
        submitter = int(self.stage.batches.functions.submitterOf(LANE).call(), 16)
        assert bool(submitter) == self.model.active()

    @invariant()
    def the_ring_holds_what_was_committed_last(self) -> None:
        for word in self.model.slots.values():
            number, dossier = max(word.dossiers.items())
            place = tuple(self._place(word, number))
            commitment = dossier.revealed.commitment
            call = self.stage.batches.functions.requireCommitted(
                LANE << 32 | number, commitment, place
            )
            assert call.call() == word.at


@pytest.mark.usefixtures("stage")
def test_a_lane_does_what_its_model_says(stage: Stage) -> None:
    stage.register(KEY)
    machine = type("Machine", (LaneMachine,), {"stage": stage})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25 * SCALE,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
