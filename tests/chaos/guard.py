"""The guard in the world: demands, data files that come and go, answers by others."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.chain import Fork
from chaos.duties import SUBJECTS, DutyStory, Standing, Told, Work, newer
from chaos.node import SENDER
from chaos.store import fenced
from chaos.world import Counted, Violation, World
from corechain.protocol.evidence import Demand
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Block
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.answers import Unanswerable
from corechain_relayer.guard.chain import OnChain
from corechain_relayer.guard.demands import Closing, DemandsView, OpenDemand
from corechain_relayer.guard.service import Guard
from corechain_relayer.guard.standing import moot
from corechain_relayer.guard.store import Answer, AnswerStore, Wanted, demand_of
from corechain_relayer.guard.trials import Outcome
from corechain_relayer.submitter.plan import Intent, State
from corechain_relayer.submitter.settled import Found

DEMANDED = "80 a demand"
STRANGER = b"\x5e" * 20


def demand_id(subject: int) -> bytes:
    return bytes([subject]) * 32


@dataclass(slots=True)
class ModelFollower:
    """As the tower's, for demands."""

    story: "GuardStory"
    view: DemandsView = field(default_factory=lambda: DemandsView(0))
    seen: Block | None = None

    async def refresh_or_log(self) -> None:
        story = self.story
        fork = newer(story, self.seen)
        if fork is None:
            return  # as it does: the view stays as it was
        self.seen = story.node._block(fork, fork.head)
        self.view = DemandsView(0)
        for subject, demand, transaction in story.history(fork):
            if demand is not None:
                self.view._demanded(demand)
            else:
                by = STRANGER if transaction == b"others" else SENDER
                self.view._closed(demand_id(subject), Closing(transaction, by))


@dataclass(frozen=True, slots=True)
class ModelTrials:
    """What the contract says to answers, where the data file is there."""

    story: "GuardStory"

    async def of(self, demands: Collection[OpenDemand]) -> AsyncIterator[list[Outcome]]:
        yield [self._tried(demand) for demand in demands]

    def _tried(self, demand: OpenDemand) -> Outcome:
        story, subject = self.story, demand.id[0]
        if subject in story.missing:
            story.world.fault("62 a demanded data file is missing")
            return Outcome(demand, error=Unanswerable("no file", "of a demanded batch"))
        try:
            fork = story.node._reach()
        except NodeUnavailable as error:
            return Outcome(demand, error=error)
        is_open = story.is_open(story.standings(fork).get(subject))
        return Outcome(demand, call=b"evidence" if is_open else None)


class ModelAnswers(AnswerStore):
    """Answers in the journal, as `answers_to` and `want_in_time` have them."""

    def __init__(self, story: "GuardStory") -> None:
        object.__setattr__(self, "pool", story)
        object.__setattr__(self, "seen", set())

    async def answers(self, demands: Iterable[OpenDemand]) -> Mapping[bytes, list[Answer]]:
        story: GuardStory = self.pool  # type: ignore[assignment]
        found: dict[bytes, list[Answer]] = {demand.id: [] for demand in demands}
        seen: set[str] = self.seen  # type: ignore[attr-defined]
        seen.clear()
        seen.update(
            key for key, number in story.tables.by_key.items() if story.is_under_way(number)
        )
        for row in story.tables.rows.values():
            if row.intent.key.startswith("demand:") and demand_of(row.intent.key) in found:
                mined = row.intent.state in (State.CONFIRMED, State.FINAL)
                block = row.confirmed.number if mined and row.confirmed else None
                answer = Answer(row.intent.state, row.transaction if mined else None, block)
                found[demand_of(row.intent.key)].append(answer)
        return found

    async def record(self, target: bytes, answers: Sequence[Wanted]) -> set[str]:
        story: GuardStory = self.pool  # type: ignore[assignment]
        if not answers:
            return set()
        with fenced(story.world, "record an answer"):
            seen: set[str] = self.seen  # type: ignore[attr-defined]
            return {answer.key for answer in answers if story.want(answer, seen)}


@dataclass(frozen=True, slots=True)
class ModelContract:
    address: bytes = b"\xdb" * 20
    sender: bytes = SENDER


class NoReceipts:
    def keep(self, open_demands: Collection[bytes]) -> None:
        pass


class GuardStory(DutyStory):
    """Subjects are demand ids; a value is the number of an answer to one."""

    def __init__(self, world: World) -> None:
        self.missing: set[int] = set()
        """Subjects whose data file is not there."""
        super().__init__(world)

    def new_role(self) -> Guard:
        metrics: Any = Counted(self.world)
        parts: Any = (ModelFollower(self), ModelTrials(self), ModelAnswers(self), ModelContract())
        times = (self.window_s, 5.0)
        return Guard(*parts, Alerts(metrics), metrics, Work(), NoReceipts(), *times)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ the contract

    def is_open(self, standing: Standing | None) -> bool:
        return standing is not None and not standing.answered

    def would_take(self, standing: Standing, value: int) -> bool:
        return self.is_open(standing)

    def owed(self, fork: Fork) -> dict[int, Standing]:
        found: dict[int, Standing] = self.told(fork).kept("owed", self._owed)
        return found

    def _owed(self, told: Told) -> dict[int, Standing]:
        return {n: s for n, s in told.standings.items() if self.is_open(s)}

    def history(self, fork: Fork) -> list[tuple[int, OpenDemand | None, bytes]]:
        """What demands and answers logs tell of, in order: a demand, or what closed it."""
        history: list[tuple[int, OpenDemand | None, bytes]]
        history = self.told(fork).kept("history", self._history)
        return history

    def _history(self, told: Told) -> list[tuple[int, OpenDemand | None, bytes]]:
        found: list[tuple[int, OpenDemand | None, bytes]] = []
        for block, subject, standing in told.steps:
            if standing.answered:
                found.append((subject, None, standing.by))
            else:
                found.append((subject, self._demand(subject, standing, block), b""))
        return found

    def _demand(self, subject: int, standing: Standing, block: int) -> OpenDemand:
        what = (int(Demand.REPORT), bytes(26), bytes(32))
        return OpenDemand(demand_id(subject), 1, *what, standing.due, block)

    def is_under_way(self, number: int) -> bool:
        return self.tables.rows[number].intent.state in (State.QUEUED, State.PENDING)

    def want(self, wanted: Wanted, seen: Collection[str]) -> bool:
        """One answer on its way at a time. `seen`: those that were when the role looked."""
        subject = wanted.demand.id[0]
        prefix = f"demand:{wanted.demand.id.hex()}:"
        others = {key for key in self.tables.by_key if key.startswith(prefix)} - {wanted.key}
        if beside := others & set(seen):
            raise Violation("one answer", f"{wanted.key} beside {sorted(beside)}")
        # A submitter may have taken one back since, of this process or of one that took over: the
        # statement sees it.
        if any(self.is_under_way(self.tables.by_key[key]) for key in others):
            return False
        payload, due = self.payload(subject, wanted.number), wanted.demand.deadline
        return self.tables.want_in_time(wanted.key, payload, due)

    async def settled(self, intents: Sequence[Intent]) -> list[Found]:
        """As `OpenDemands`, of whatever node answers."""
        fork = self.node._reach()
        head, standings = self.node._block(fork, fork.head), self.standings(fork)
        found: list[Found] = []
        for intent in intents:
            standing = standings.get(demand_of(intent.key)[0])
            due = standing.due if standing is not None else 0
            found.append(moot(intent, OnChain(self.is_open(standing), due), head))
        return found

    # ------------------------------------------------------------------ what happens

    def somebody_acts(self) -> None:
        """Demands what is not demanded now; what was answered may be demanded again."""
        owed = self.owed(self.chain.now)
        free = [n for n in range(1, SUBJECTS + 1) if n not in owed]
        if free and not self.chain.stalled:
            due = self.chain.timestamp(self.chain.now.head + 1) + self.window_s
            self.chain.include_other(self.world.rng.choice(free), 0, due)
            self.world.fault(DEMANDED)

    seal = somebody_acts

    def something_is_left(self) -> None:
        """A data file goes, and comes back from a backup."""
        subject = self.world.rng.randint(1, SUBJECTS)
        self.missing ^= {subject}

    def _calm_down(self) -> None:
        super()._calm_down()
        self.missing.clear()

    def somebody_else_answers(self) -> None:
        owed = self.owed(self.chain.now)
        if owed and not self.chain.stalled:
            self.chain.include_other(self.world.rng.choice(sorted(owed)), 1, 0)
            self.world.fault("78 another one answers")
