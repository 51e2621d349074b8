"""Follows the demands of our lane and sees to it that each has an answer in the journal."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import TransportError
from corechain.service.rpc import Block, Log
from corechain_relayer.behind import rounds_forever
from corechain_relayer.following import Follower
from corechain_relayer.guard.alerts import TOO_LATE, Alerts
from corechain_relayer.guard.answers import Unanswerable
from corechain_relayer.guard.chain import DisputesContract
from corechain_relayer.guard.demands import DemandsView, OpenDemand
from corechain_relayer.guard.receipts import ReceiptAnswers
from corechain_relayer.guard.store import Answer, AnswerStore, Wanted
from corechain_relayer.guard.trials import LOST, Trials
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.plan import State
from corechain_relayer.submitter.urgency import BUMPS_LEFT, NO_DEADLINE, Pace

log = structlog.get_logger(__name__)

LATE_SHARE = 4
"""With less than a fourth of the window left, an answer that is in no block is an alert."""
WITHDRAWN = "cancelled"
UNTIL = "an operator cancelled its answer; with a fourth of the window left it is answered anew"
SHORTEST_RETRY_S = 0.5


class DemandsFollower(Follower[DemandsView]):
    """`view` holds the open demands; it needs to know in which blocks they were made."""

    def fold(self, view: DemandsView, logs: Sequence[Log]) -> None:
        view.take(logs)


@dataclass(frozen=True, slots=True)
class Look:
    """An open demand with what the journal has about it: how many answers were recorded for its id,
    and those that answer this very demand. `withdrawn`: an operator has cancelled the newest."""

    demand: OpenDemand
    recorded: int
    covering: Sequence[Answer]
    withdrawn: bool = False

    @classmethod
    def at(cls, demand: OpenDemand, answers: Sequence[Answer], view: DemandsView) -> "Look":
        covering = [answer for answer in answers if answer.covers(demand, view)]
        withdrawn = bool(answers) and answers[-1].is_given_up
        return cls(demand, len(answers), covering, withdrawn and not covering)

    @property
    def is_mined(self) -> bool:
        """An answer is in a block, though the view has not come so far."""
        return any(a.state in (State.CONFIRMED, State.FINAL) for a in self.covering)


@dataclass(slots=True)
class Guard:
    """Level-triggered: each round looks at every open demand again, as chain, journal and files are
    then. So a restart, a reorg, a file that comes back need nothing of their own."""

    follower: DemandsFollower
    trials: Trials
    store: AnswerStore
    contract: DisputesContract
    alerts: Alerts
    metrics: Metrics
    work: asyncio.Event
    receipts: ReceiptAnswers
    window_s: int
    retry_s: float
    pace: Pace = field(default_factory=Pace)
    """Of the demands that have no answer in a block."""
    waiting: int = 0
    """Demands that have no answer in a block."""
    _open: Mapping[bytes, OpenDemand] = field(default_factory=dict)
    _not_before: dict[bytes, float] = field(default_factory=dict)

    async def watch_forever(self, poll_s: float) -> None:
        await rounds_forever(self.round, poll_s)

    async def round(self) -> None:
        """One look at every open demand. Raises the outage that kept it from one, after the others
        have been looked at."""
        await self.follower.refresh_or_log()
        head = self.follower.seen
        if head is None:
            return
        self._note_closed()
        looks = await self.look()
        self._measure(looks, head)
        outage = await self._attend(looks, head)
        self.alerts.looked()
        if outage is not None:
            raise outage

    async def look(self) -> list[Look]:
        """The open demands, the most urgent first, with their answers in the journal."""
        view = self.follower.view
        demands = view.by_urgency()
        recorded = await self.store.answers(demands) if demands else {}
        return [Look.at(demand, recorded.get(demand.id, []), view) for demand in demands]

    def _measure(self, looks: Sequence[Look], head: Block) -> None:
        """How much is to be done, and how urgently."""
        left = [look.demand.deadline - head.timestamp for look in looks]
        self.metrics.guard_demands_open.set(len(looks))
        self.metrics.guard_deadline.set(min(left, default=NO_DEADLINE))
        todo = [s for look, s in zip(looks, left, strict=True) if not look.is_mined and s >= 0]
        self.waiting = len(todo)
        self.pace = Pace(min(todo, default=NO_DEADLINE), self.window_s)

    async def _attend(self, looks: Sequence[Look], head: Block) -> TransportError | None:
        """Nothing odd in one demand keeps us from the next: the first outage is handed back."""
        todo = []
        for look in looks:
            left_s = look.demand.deadline - head.timestamp
            if look.covering:
                self._expect(look, left_s)
            elif left_s < 0:
                self.alerts.demand(look.demand, left_s, TOO_LATE, LOST)
            elif look.withdrawn and not self._is_late(left_s):
                self.alerts.demand(look.demand, left_s, WITHDRAWN, UNTIL)
            elif self._is_due(look.demand, left_s):
                todo.append(look)
        return await self._answer(todo, head)

    def _is_late(self, left_s: int) -> bool:
        return left_s * LATE_SHARE < self.window_s

    def _is_due(self, demand: OpenDemand, left_s: int) -> bool:
        """Whether to try it now. What cannot be answered is tried again after a pause."""
        now = time.monotonic()
        if self._not_before.get(demand.id, 0.0) > now:
            return False
        pause_s = min(self.retry_s, max(SHORTEST_RETRY_S, left_s / BUMPS_LEFT))
        self._not_before[demand.id] = now + pause_s
        return True

    def _expect(self, look: Look, left_s: int) -> None:
        """An answer is recorded; it has to be in a block in time."""
        if look.is_mined or not self._is_late(left_s):
            self.alerts.clear(look.demand.id.hex())
        else:
            reason = "window nearly over" if left_s >= 0 else TOO_LATE
            detail = f"its answer is {look.covering[-1].state} and in no block"
            self.alerts.demand(look.demand, left_s, reason, detail)

    async def _answer(self, looks: Sequence[Look], head: Block) -> TransportError | None:
        outage: TransportError | None = None
        numbers = {look.demand.id: look.recorded + 1 for look in looks}
        async for outcomes in self.trials.of([look.demand for look in looks]):
            for outcome in outcomes:
                if outcome.error is not None:
                    failed = self._failed(outcome.demand, outcome.error, head)
                    outage = outage or failed
            taken = [(o.demand, o.call) for o in outcomes if o.call is not None]
            unkept = await self._record(taken, numbers, head)
            outage = outage or unkept
        return outage

    def _failed(self, demand: OpenDemand, error: Exception, head: Block) -> TransportError | None:
        """Says so; the error if it is an outage."""
        left_s = demand.deadline - head.timestamp
        if isinstance(error, Unanswerable):
            self.alerts.demand(demand, left_s, error.reason, error.detail)
            return None
        if isinstance(error, TransportError):
            self.alerts.demand(demand, left_s, "outage", str(error))
            return error
        log.error("demand not understood", exc_info=error, **demand.fields())
        detail = f"{type(error).__name__}: {error}"
        self.alerts.demand(demand, left_s, "internal error", detail)
        return None

    async def _record(
        self, taken: Sequence[tuple[OpenDemand, bytes]], numbers: Mapping[bytes, int], head: Block
    ) -> TransportError | None:
        """Answers that the contract would take; an outage of the journal is handed back."""
        wanted = [Wanted(demand, numbers[demand.id], call) for demand, call in taken]
        try:
            new = await self.store.record(self.contract.address, wanted)
        except TransportError as error:
            for demand, _ in taken:
                self._failed(demand, error, head)
            return error
        for answer in wanted:
            self.alerts.clear(answer.demand.id.hex())
            if answer.key in new:
                fields = answer.demand.fields()
                log.warning("demand will be answered", answer=answer.number, **fields)
        if wanted:
            self.work.set()
        return None

    def ending(self, demand_id: bytes) -> str:
        """How a demand that was in danger is no more, in a word or two for an operator."""
        if demand_id in self.follower.view.open:
            return "will be answered"
        closings = self.follower.view.closings.get(demand_id)
        if not closings:
            return "gone"
        return "expired" if closings[-1].answerer is None else "answered"

    def _note_closed(self) -> None:
        """Says what became of the demands that were open before and are no more."""
        view = self.follower.view
        for demand_id in self._open.keys() - view.open.keys():
            self._gone(self._open[demand_id], view)
            self._not_before.pop(demand_id, None)
        # Also of those that an earlier session knew: an outage may lie between alert and end.
        self.alerts.keep(view.open)
        self.receipts.keep(view.open)
        self._open = dict(view.open)

    def _gone(self, demand: OpenDemand, view: DemandsView) -> None:
        closings = view.closings.get(demand.id)
        if not closings:
            log.warning("demand is gone: by a reorg, or with its bond", **demand.fields())
        elif closings[-1].answerer is None:
            log.critical("demand expired unanswered: the bond is lost", **demand.fields())
        else:
            ours = closings[-1].answerer == self.contract.sender
            log.info("demand answered", by="us" if ours else "somebody else", **demand.fields())
            if ours:
                self.metrics.guard_answered.labels(demand.kind_name).inc()
