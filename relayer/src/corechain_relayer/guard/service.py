"""Follows the demands of our lane and sees to it that each has an answer in the journal."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import TransportError
from corechain.protocol.evidence import Demand, Evidence
from corechain.protocol.keys import DeviceIdentity
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Log
from corechain_relayer.following import Follower
from corechain_relayer.guard.alerts import TOO_LATE, Alerts
from corechain_relayer.guard.answers import (
    Unanswerable,
    answer_call,
    device_of,
    evidence_for,
    registrations,
)
from corechain_relayer.guard.chain import DisputesContract
from corechain_relayer.guard.demands import DemandsView, OpenDemand
from corechain_relayer.guard.library import Library
from corechain_relayer.guard.receipts import ReceiptAnswers
from corechain_relayer.guard.store import Answer, AnswerStore, demand_of
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.submitter.plan import Intent, Receipt, State
from corechain_relayer.submitter.settled import Moot
from corechain_relayer.submitter.urgency import BUMPS_LEFT, NO_DEADLINE, Pace

log = structlog.get_logger(__name__)

LATE_SHARE = 4
"""With less than a fourth of the window left, an answer that is in no block is an alert."""
SHORTEST_RETRY_S = 0.5
LOST = "the deadline has passed: anyone may expire it"


class DemandsFollower(Follower[DemandsView]):
    """`view` holds the open demands; it needs to know in which blocks they were made."""

    def fold(self, view: DemandsView, logs: Sequence[Log]) -> None:
        view.take(logs)


@dataclass(frozen=True, slots=True)
class Look:
    """An open demand with what the journal has about it: how many answers were recorded for its id,
    and those that answer this very demand."""

    demand: OpenDemand
    recorded: int
    covering: Sequence[Answer]

    @classmethod
    def at(cls, demand: OpenDemand, answers: Sequence[Answer], view: DemandsView) -> "Look":
        covering = [answer for answer in answers if answer.covers(demand, view)]
        return cls(demand, len(answers), covering)

    @property
    def is_mined(self) -> bool:
        """An answer is in a block, though the view has not come so far."""
        return any(a.state in (State.CONFIRMED, State.FINAL) for a in self.covering)


@dataclass(slots=True)
class Guard:
    """Level-triggered: each round looks at every open demand again, as chain, journal and files are
    then. So a restart, a reorg, a file that comes back need nothing of their own."""

    follower: DemandsFollower
    registry: RegistryFollower
    library: Library
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
        while True:
            await self.round()
            await asyncio.sleep(poll_s)

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
        outages = [await self._attend(look, head) for look in looks]
        self.alerts.looked()
        for outage in filter(None, outages):
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

    async def _attend(self, look: Look, head: Block) -> TransportError | None:
        """Nothing odd in one demand keeps us from the next: an outage is handed back."""
        demand, left_s = look.demand, look.demand.deadline - head.timestamp
        try:
            await self._see_to(look, left_s)
        except Unanswerable as error:
            self.alerts.demand(demand, left_s, error.reason, error.detail)
        except TransportError as error:
            self.alerts.demand(demand, left_s, "outage", str(error))
            return error
        except Exception as error:
            log.error("demand not understood", exc_info=error, **demand.fields())
            detail = f"{type(error).__name__}: {error}"
            self.alerts.demand(demand, left_s, "internal error", detail)
        return None

    async def _see_to(self, look: Look, left_s: int) -> None:
        demand = look.demand
        if look.covering:
            self._expect(look, left_s)
        elif left_s < 0:
            raise Unanswerable(TOO_LATE, LOST)
        elif self._not_before.get(demand.id, 0.0) <= time.monotonic():
            pause_s = min(self.retry_s, max(SHORTEST_RETRY_S, left_s / BUMPS_LEFT))
            self._not_before[demand.id] = time.monotonic() + pause_s
            await self._answer(demand, look.recorded + 1)

    def _expect(self, look: Look, left_s: int) -> None:
        """An answer is recorded; it has to be in a block in time."""
        if look.is_mined or left_s * LATE_SHARE >= self.window_s:
            self.alerts.clear(look.demand.id.hex())
        else:
            detail = f"its answer is {look.covering[-1].state} and in no block"
            raise Unanswerable("window nearly over" if left_s >= 0 else TOO_LATE, detail)

    async def _answer(self, demand: OpenDemand, number: int) -> None:
        call = await self.accepted_call(demand)
        if call is None:
            return
        self.alerts.clear(demand.id.hex())
        if await self.store.record(demand, number, self.contract.address, call):
            log.warning("demand will be answered", answer=number, **demand.fields())
        self.work.set()

    async def accepted_call(self, demand: OpenDemand) -> bytes | None:
        """An answer that the contract would take now, None when the demand is closed already.

        Raises Unanswerable, NodeUnavailable.
        """
        said = "nothing"
        async for evidence in self._candidates(demand):
            call = answer_call(demand, evidence)
            said = await self._said_to(call)
            if not said:
                return call
            if said == "UnknownDemand":
                return None
            if said == "AnswerLate":
                raise Unanswerable(TOO_LATE, LOST)
        raise Unanswerable("refused", f"the contract says {said} to what we have")

    async def _said_to(self, call: bytes) -> str:
        try:
            return await self.contract.try_answer(call)
        except NodeRefused as error:  # it may refuse this very call only: the others go on
            raise Unanswerable("node refuses", str(error)) from error

    async def _candidates(self, demand: OpenDemand) -> AsyncIterator[Evidence]:
        if demand.kind == Demand.RECEIPT:
            async for evidence in self.receipts.candidates(demand):
                yield evidence
            return
        if demand.kind != Demand.REGISTRATION:
            data = await self.library.batch(demand.commitment)
            # Trees over a million leaves take seconds, and the loop has other demands.
            yield await asyncio.to_thread(evidence_for, demand, data)
            return
        await self.registry.refresh_or_log()
        device, view = device_of(demand), self.registry.view
        known = view.devices.get(device)
        identities = ([known.identity] if known else []) + await self._written(demand)
        for evidence in registrations(identities, view.fleets_of(device), device):
            yield evidence

    async def _written(self, demand: OpenDemand) -> list[DeviceIdentity]:
        """What the data file knows of a device's key. The registry's word will do without it."""
        try:
            data = await self.library.batch(demand.commitment)
        except Unanswerable:
            return []
        found = data.written.identities.get(device_of(demand))
        return [found] if found else []

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


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """Whether an answer is still to be sent. What was signed and came to nothing (it reverted, its
    nonce was used by hand) is void: the guard records a new one if the demand is still open."""

    contract: DisputesContract

    async def __call__(self, intent: Intent) -> Receipt | Moot | None:
        found = await self.contract.demand(demand_of(intent.key))
        head = await self.contract.rpc.head()
        if not found.is_open:
            return Moot("the demand is closed", at_once=True)
        if found.deadline < head.timestamp:
            return Moot("the deadline has passed", at_once=True)
        if intent.attempts:
            why = "its transaction came to nothing: the demand is answered anew"
            return Moot(why, at_once=True)
        return None
