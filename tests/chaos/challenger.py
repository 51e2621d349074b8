"""The challenger in the world: lanes that cheat, hide their data, or are honest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from chaos.chain import Fork, Mined, Other
from chaos.chances import CHALLENGES, chances
from chaos.disputes import (
    ANSWER,
    CHALLENGE,
    CHEATS,
    DEMAND,
    EXPIRE,
    FEE,
    FRAUD,
    GRACE,
    HIDDEN,
    HIDDEN_FRAUD,
    HIDES,
    HONEST,
    MOVED,
    NOBODY,
    PATIENCE_S,
    REGISTRY,
    REJUDGED,
    REVOCATIONS,
    REVOKED,
    STAKE,
    YOUNG,
    Act,
    ModelCalls,
    ModelExaminer,
    ModelFollower,
    ModelStore,
    Suspect,
    batch_of,
    commitment,
    demand_of,
    subject_of,
)
from chaos.duties import SUBJECTS, DutyStory, Standing, Told, Work
from chaos.private import Private, PrivateModel
from chaos.world import Counted, Violation, World
from corechain.protocol.archive import Place
from corechain.protocol.evidence import Demand
from corechain.protocol.suspects import Slot
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.calls import Terms
from corechain_relayer.challenger.lanes import Answer, Commit, LanesView
from corechain_relayer.challenger.limits import Limits
from corechain_relayer.challenger.sending import StillTaken
from corechain_relayer.challenger.service import Challenger
from corechain_relayer.challenger.store import OPEN
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Found, one_by_one

QUIET_STEPS = 60
"""As long as the longest pause between two examinations."""
KINDS = (HONEST, FRAUD, FRAUD, HIDDEN, HIDDEN_FRAUD, YOUNG, YOUNG, REVOKED, REVOKED)
"""Of which one is drawn."""


class ChallengerStory(DutyStory):
    """Subjects are batches, each of a lane of its own."""

    NODE = PrivateModel
    CHANCES = chances(CHALLENGES)
    node: PrivateModel

    def __init__(self, world: World) -> None:
        self.missing: set[int] = set()
        """Subjects whose data file no source has now."""
        self.young: dict[int, int] = {}
        """What subjects are that were committed with a device which was registered or revoked right
        before."""
        self.heard: dict[int, int] = {}
        """Block in which the reports of a batch were made, wherever it is committed then."""
        self.answer_s = 0
        self.others_after_s = world.rng.choice((0, 30))
        """So long after it has run out somebody else's demand is expired; 0: never."""
        super().__init__(world)
        self.node.pace = lambda: self.role.pace
        self.node.private = world.rng.choice((Private.NONE, Private.GOOD))

    def new_role(self) -> Challenger:
        metrics: Any = Counted(self.world)
        self.answer_s = self.window_s // 2
        terms = Terms(self.window_s, self.answer_s, FEE, b"\xc0" * 20)
        limits = Limits(PATIENCE_S, STAKE, 2, 5.0, self.others_after_s)
        parts: Any = (ModelFollower(self), ModelExaminer(self), ModelStore(self), ModelCalls(self))
        return Challenger(*parts, terms, limits, ChallengerAlerts(metrics), metrics, Work())  # type: ignore[arg-type]

    # ------------------------------------------------------------------ the contract

    def suspects(self, fork: Fork) -> dict[int, Suspect]:
        found: dict[int, Suspect] = self.told(fork).kept("suspects", self._suspects)
        return found

    def _suspects(self, told: Told) -> dict[int, Suspect]:
        return {n: one for n, one in told.standings.items() if isinstance(one, Suspect)}

    def _step(
        self, held: Mapping[int, Standing], entry: Mined | Other
    ) -> tuple[int, Standing | None]:
        if isinstance(entry, Mined):
            subject, step, _ = Act.of(entry.payload)
            by = entry.tx.hash
        elif entry.due:
            return entry.subject, Suspect(entry.block, entry.due, entry.value)
        else:
            subject, step, by = entry.subject, entry.value, b"others"
        if subject == NOBODY or subject > REGISTRY:
            return subject, Standing(entry.block, 0, step, 1)
        before = held.get(subject)
        time = self.chain.timestamp(entry.block)
        # A reorg may have taken what somebody else's step was about.
        if not isinstance(before, Suspect) or self.refusal(held, subject, step, time):
            return subject, None
        return subject, self._after(before, step, by, time)

    def _after(self, before: Suspect, step: int, by: bytes, time: int) -> Suspect:
        match step:
            case _ if step == DEMAND:
                return replace(before, demanded=time + self.answer_s, asker=by)
            case _ if step == ANSWER:
                return replace(before, demanded=0, shown=True)
        return replace(before, demanded=0, answered=step, by=by)

    def refusal(self, held: Mapping[int, Standing], subject: int, step: int, time: int) -> str:
        """What the contract says to a step in a block of that time; empty when it takes it."""
        if subject == NOBODY:
            return ""
        found = held.get(subject)
        if not isinstance(found, Suspect):
            return "UnknownBatch"
        if found.answered:
            return "NoBond"
        if step in (CHALLENGE, DEMAND) and time > found.due:
            return "WindowOver"
        if step == CHALLENGE:
            return "" if self.is_fraud(held, subject, found) else "NotFraud"
        if step == DEMAND:
            return "AlreadyDemanded" if found.demanded else ""
        if not found.demanded:
            return "UnknownDemand"
        is_late = time > found.demanded
        return "" if is_late == (step == EXPIRE) else "AnswerPending"

    def is_fraud(self, held: Mapping[int, Standing], subject: int, one: Suspect) -> bool:
        if one.value in (YOUNG, REVOKED):
            return self.is_wrong(one.value, subject, one.since, self._slot_in(held, subject))
        return one.value in (FRAUD, HIDDEN_FRAUD)

    def is_wrong(self, kind: int, subject: int, since: int, slot: Slot) -> bool:
        """Of a batch that stands since a block, by what the registry has of its device."""
        if kind == YOUNG:
            return not 0 < slot.registered_at < since
        return 0 < slot.revoked_at < self.heard[subject] - GRACE

    def slot(self, fork: Fork, subject: int) -> Slot:
        return self._slot_in(self.standings(fork), subject)

    def _slot_in(self, held: Mapping[int, Standing], subject: int) -> Slot:
        """The device of a batch. One that is revoked was registered long ago."""
        device, revoked = held.get(REGISTRY + subject), held.get(REVOCATIONS + subject)
        of_old = self.young.get(subject) == REVOKED
        return Slot(
            1, 1 if of_old else device.since if device else 0, revoked.since if revoked else 0
        )

    def _takes(self, fork: Fork, mined: Sequence[Mined], payload: bytes, time: int) -> bool:
        return not self.said_to(self._fold(fork, mined), payload, time)

    def said_to(self, held: Mapping[int, Standing], call: bytes, time: int) -> str:
        """As `refusal`, of a call: it names a commitment, and pays from an allowance."""
        act = Act.of(call)
        found = held.get(act.subject)
        if isinstance(found, Suspect) and found.value != act.kind:
            return "UnknownDemand" if act.step == EXPIRE else "UnknownBatch"
        said = self.refusal(held, act.subject, act.step, time)
        is_unpaid = act.step == DEMAND and NOBODY not in held
        return "TransferFailed" if is_unpaid and not said else said

    def lanes(self, fork: Fork) -> LanesView:
        """What the logs tell of."""
        view = LanesView()
        for block, subject, one in self.told(fork).steps:
            if not isinstance(one, Suspect):
                continue
            batch, number = batch_of(subject), demand_of(subject, one.value)
            name = commitment(subject, one.value)
            if block == one.since:
                view.commits[batch] = [Commit(batch, name, Place.alone(batch), block)]
                continue
            before = view.open.pop(number, None)
            if one.demanded:
                what = (batch, int(Demand.REPORT), name, bytes(32), one.demanded, block)
                view.open[number] = OpenDemand(number, *what)
            elif one.shown and before is not None and not one.answered:
                view.answers.setdefault(batch, []).append(Answer(before, b""))
        return view

    def owed(self, fork: Fork) -> dict[int, Standing]:
        found: dict[int, Standing] = self.told(fork).kept("owed", self._owed)
        return found

    def _owed(self, told: Told) -> dict[int, Standing]:
        held = told.standings
        found = {n: (one, self._due(held, n, one)) for n, one in self._suspects(told).items()}
        return {subject: replace(one, due=due) for subject, (one, due) in found.items() if due}

    def _due(self, held: Mapping[int, Standing], subject: int, one: Suspect) -> int:
        """By when something is to be done about it; 0: nothing is."""
        is_wrong = one.value in HIDES or self.is_fraud(held, subject, one)
        if one.answered or not is_wrong:
            return 0
        if one.demanded and not one.shown:
            is_left_to_them = one.asker == b"others" and not self.others_after_s
            # It waits for cheap blocks, as the bond cannot go while something is demanded.
            return 0 if is_left_to_them else self._over_at(one) + 4 * self.window_s
        return 0 if one.shown and one.value == HIDDEN else one.due

    def _over_at(self, one: Suspect) -> int:
        """From when on an open demand is for us to expire."""
        return one.demanded + (self.others_after_s if one.asker == b"others" else 0)

    async def settled(self, intents: Sequence[Intent]) -> list[Found]:
        return await one_by_one(StillTaken(ModelCalls(self)))(intents)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ what happens

    def somebody_acts(self) -> None:
        """A lane commits a batch; or commits one again that a reorg took, as it was."""
        known, rng = self.suspects(self.chain.now), self.world.rng
        free = [n for n in range(1, SUBJECTS + 1) if n not in known]
        if not free or self.chain.stalled:
            return
        again = sorted(self.young.keys() & set(free))
        if again:
            self._commit_again(again[0])
            return
        subject, kind = rng.choice(free), rng.choice(KINDS)
        if kind in (YOUNG, REVOKED):
            self.young[subject] = kind
            self.chain.include_other((REGISTRY if kind == YOUNG else REVOCATIONS) + subject, 1, 0)
            self.mine(rng.choice((0, 1, GRACE, 2 * GRACE)) if kind == REVOKED else 0)
            self.heard[subject] = self.chain.now.head + 1
        elif kind != HONEST:
            self.world.fault(CHEATS)
        self._commit(subject, kind)

    def _commit_again(self, subject: int) -> None:
        """On another chain, with the registration or the revocation elsewhere, or without it."""
        kind, old = self.young[subject], self.chain.abandoned or self.chain.now
        before, there = self.slot(old, subject), self.slot(self.chain.now, subject)
        if kind == REVOKED and not there.revoked_at and self.world.rng.random() < 0.5:
            self.chain.include_other(REVOCATIONS + subject, 1, 0)
        self._commit(subject, kind)
        after = self.slot(self.chain.now, subject)
        if kind == YOUNG and not after.registered_at:
            self.world.fault(REJUDGED)
        if kind == REVOKED and after.revoked_at != before.revoked_at:
            self.world.fault(MOVED)

    def _commit(self, subject: int, kind: int) -> None:
        due = self.chain.timestamp(self.chain.now.head + 1) + self.window_s
        self.chain.include_other(subject, kind, due)

    seal = somebody_acts

    def something_is_left(self) -> None:
        """A data file goes, and comes back from a backup."""
        self.missing ^= {self.world.rng.randint(1, SUBJECTS)}

    def private_rpc_changes(self) -> None:
        """Some have none."""
        if self.node.private is not Private.NONE:
            self.node.private = self.world.rng.choice((Private.GOOD, Private.KEEPS, Private.DOWN))

    def heal(self) -> None:
        self._private_rpc_returns()
        super().heal()

    def _private_rpc_returns(self) -> None:
        if self.node.private is not Private.NONE:
            self.node.private = Private.GOOD

    def _calm_down(self) -> None:
        super()._calm_down()
        self.missing.clear()
        self._name_another()

    def _name_another(self) -> None:
        """A private RPC stays as it is while a window runs: there is the public one. A bond that is
        there to be taken waits: there an operator has the time to name another."""
        if all(one.demanded for one in self._near()):
            self._private_rpc_returns()

    def _near(self) -> list[Suspect]:
        fork = self.chain.now
        found = self.suspects(fork)
        owed = self.owed(fork).items()
        return [found[n] for n, one in owed if self.left_s(one, fork) < self.reserve_s]

    def somebody_else_answers(self) -> None:
        """Another challenger is first, or the lane shows a part of its data in the last moment that
        leaves time for what that shows."""
        if self.chain.stalled:
            return
        fork = self.chain.now
        time, held = self.chain.timestamp(fork.head + 1), self.standings(fork)
        refused = partial(self.refusal, held, time=time)
        steps = [
            (subject, step)
            for subject, one in self.suspects(fork).items()
            for step in (CHALLENGE, DEMAND, EXPIRE, ANSWER)
            if not refused(subject, step)
            and (step != ANSWER or self.left_s(one, fork) > 2 * self.reserve_s)
            and (step != DEMAND or one.value in HIDES)
        ]
        if steps:
            self.chain.include_other(*self.world.rng.choice(steps), 0)
            self.world.fault("78 another one answers")

    def _quiet_step(self) -> None:
        self._name_another()
        super()._quiet_step()
        self._wait_for_deadline()

    def check_end(self) -> None:
        """Nothing stays accused that shows no fraud: what a node has misled to is judged anew."""
        super().check_end()
        for _ in range(QUIET_STEPS):
            if not self._wrongly_charged():
                return
            self._quiet_step()
        raise Violation("honest", f"{self._wrongly_charged()} are accused, and show no fraud")

    def _wrongly_charged(self) -> list[int]:
        held = self.standings(self.chain.now)
        charged = {subject_of(batch) for batch, _ in self.role._charges}
        found = self.suspects(self.chain.now)
        return [
            n for n in charged & found.keys() if self.refusal(held, n, CHALLENGE, 0) == "NotFraud"
        ]

    def _wait_for_deadline(self) -> None:
        """Of a demand, while nothing else is to be done."""
        fork = self.chain.now
        now = self.chain.timestamp(fork.head)
        left = [self._over_at(one) - now for one in self._waiting(fork)]
        # A bond that is there to be taken waits for cheap blocks.
        if len(left) == len(self.owed(fork)) or any(s < -3 * self.window_s for s in left):
            self.chain.base_fee = min(self.chain.base_fee, 100)
        idle = not any(row.intent.state in OPEN for row in self.tables.rows.values())
        if left and len(left) == len(self.owed(fork)) and idle and min(left) > 0:
            self.mine(int(min(left) / self.chain.profile.block_s) + 1)

    def _waiting(self, fork: Fork) -> list[Suspect]:
        owed = self.owed(fork)
        return [one for n, one in self.suspects(fork).items() if n in owed and one.demanded]
