"""Tries with the contract what may answer some demands, a hundred of them in a request."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from corechain.protocol.evidence import Demand, Evidence
from corechain.protocol.keys import DeviceIdentity
from corechain.service.errors import NodeRefused
from corechain_relayer.guard.alerts import TOO_LATE
from corechain_relayer.guard.answers import (
    Unanswerable,
    answer_call,
    device_of,
    evidence_for,
    registrations,
)
from corechain_relayer.guard.chain import DisputesContract, Said
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.library import BatchDemands, Library
from corechain_relayer.guard.receipts import ReceiptAnswers
from corechain_relayer.registry.fleets import Fleets
from corechain_relayer.registry.follower import RegistryFollower

TRIED_AT_ONCE = 100
"""Demands whose answers are tried, and recorded, before the next are looked at: the first are sent
before the last are known."""
LOST = "the deadline has passed: anyone may expire it"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a demand: `call`, an answer that the contract would take now; or `error`, why there is
    none: Unanswerable, a TransportError, or what nobody expected. Neither: it is closed already."""

    demand: OpenDemand
    call: bytes | None = None
    error: Exception | None = None


@dataclass(slots=True)
class Trial:
    """A demand with what may answer it, the likeliest first, and what was said to the last."""

    demand: OpenDemand
    candidates: AsyncIterator[Evidence]
    call: bytes = b""
    said: str = "nothing"
    outcome: Outcome | None = None

    async def advance(self) -> None:
        """To the next candidate, or to the end."""
        try:
            self.call = answer_call(self.demand, await anext(self.candidates))
        except StopAsyncIteration:
            self._fail(Unanswerable("refused", f"the contract says {self.said} to what we have"))
        except Exception as error:  # nothing odd in one demand keeps us from the next
            self._fail(error)

    def judge(self, said: Said) -> None:
        """By what the contract, or the node, says to the candidate."""
        if isinstance(said, NodeRefused):  # it may refuse this very call only: the others go on
            self._fail(Unanswerable("node refuses", str(said)))
        elif isinstance(said, Exception):
            self._fail(said)
        elif said == "AnswerLate":
            self._fail(Unanswerable(TOO_LATE, LOST))
        elif said in ("", "UnknownDemand"):
            self.outcome = Outcome(self.demand, None if said else self.call)
        else:
            self.said = said

    def _fail(self, error: Exception) -> None:
        self.outcome = Outcome(self.demand, error=error)


@dataclass(frozen=True, slots=True)
class Trials:
    """Of one lane. Evidence comes from files, registry and receipts."""

    contract: DisputesContract
    registry: RegistryFollower
    library: Library
    receipts: ReceiptAnswers
    fleets: Fleets = field(default_factory=Fleets)

    async def of(self, demands: Collection[OpenDemand]) -> AsyncIterator[list[Outcome]]:
        """What became of each, in parts. Demands of one batch come together, where the most urgent
        of them stands: its file is opened once, whatever their deadlines are."""
        if any(demand.kind == Demand.REGISTRATION for demand in demands):
            await self.registry.refresh_or_log()
        await self.receipts.look(demands)
        part: list[Trial] = []
        for group in by_batch(demands, self.receipts.place_of):
            batch = BatchDemands(self.library, group)
            for demand in group:
                part.append(Trial(demand, self._candidates(demand, batch)))
                if len(part) == TRIED_AT_ONCE:
                    yield await self._tried(part)
                    part = []
        if part:
            yield await self._tried(part)

    async def _tried(self, trials: Sequence[Trial]) -> list[Outcome]:
        running = list(trials)
        while running:
            for trial in running:
                await trial.advance()
            running = [trial for trial in running if trial.outcome is None]
            said = await self.contract.try_answers([trial.call for trial in running])
            for trial, answer in zip(running, said, strict=True):
                trial.judge(answer)
            running = [trial for trial in running if trial.outcome is None]
        return [trial.outcome for trial in trials if trial.outcome is not None]

    async def _candidates(self, demand: OpenDemand, batch: BatchDemands) -> AsyncIterator[Evidence]:
        if demand.kind == Demand.RECEIPT:
            async for evidence in self.receipts.candidates(demand):
                yield evidence
        elif demand.kind == Demand.REGISTRATION:
            known = await self._written(demand, batch)
            for evidence in self._registrations(demand, known):
                yield evidence
        else:
            data, sources = await batch.searched()
            yield evidence_for(demand, data, sources)

    async def _written(self, demand: OpenDemand, batch: BatchDemands) -> list[DeviceIdentity]:
        """What the data file knows of a device's key. The registry's word will do without it."""
        try:
            data = await batch.data()
        except Unanswerable:
            return []
        found = data.written.identities.get(device_of(demand))
        return [found] if found else []

    def _registrations(
        self, demand: OpenDemand, written: list[DeviceIdentity]
    ) -> Iterator[Evidence]:
        device, view = device_of(demand), self.registry.view
        known = view.devices.get(device)
        identities = ([known.identity] if known else []) + written
        self.fleets.read(view)
        return registrations(identities, self.fleets.of(device), device)


def by_batch(
    demands: Collection[OpenDemand], place_of: Callable[[OpenDemand], bytes]
) -> list[list[OpenDemand]]:
    """Those of a batch together, in the order of the first of each."""
    found: dict[bytes, list[OpenDemand]] = {}
    for demand in demands:
        found.setdefault(place_of(demand), []).append(demand)
    return list(found.values())
