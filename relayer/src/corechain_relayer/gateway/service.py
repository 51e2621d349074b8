"""Accepts reports: body in, verdicts out, durable frames in between."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import Overloaded, SequenceOutOfReach, Unavailable
from corechain.protocol.frame import Columns
from corechain.protocol.reading import U64_MAX, DeviceId
from corechain.service.direct import Answer
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.room import LONGEST_RETRY_S, Refusal
from corechain_relayer.errors import BusNotDurable, BusUnavailable
from corechain_relayer.gateway.frames import FrameWork
from corechain_relayer.gateway.gather import Gatherer, Outcome, Waiting
from corechain_relayer.gateway.intake import PACKED, Fault, Intake, intake_of, is_one_report
from corechain_relayer.gateway.problem import accepted_single, answer
from corechain_relayer.gateway.suspects import Suspects
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.wish import NOT_OFFERED, Wish
from corechain_relayer.registry.follower import RegistryFollower

INLINE_BYTES = 16 << 10
"""A longer body is parsed in a thread: it would hold the event loop too long."""

Done = Callable[[Answer | Exception], None]
Peer = Callable[[], str]
"""The address of a request's sender: asked for where forged reports came lately, and not before."""
Take = Callable[[Columns, Peer, Wish | None], Awaitable[list[Fault]]]


@dataclass(slots=True)
class Gateway:
    """The path of a request, without HTTP."""

    domain: Domain
    registry: RegistryFollower
    work: FrameWork
    bus: Bus
    journal: JournalReader
    metrics: Metrics
    gather_s: float
    max_wait_s: float
    _known: Gatherer = field(init=False)
    _newcomers: Gatherer = field(init=False)
    """Of devices for which the journal has to be asked first: it may be slow, or away."""

    suspects: Suspects = field(default_factory=Suspects)
    _suspected: Gatherer = field(init=False)
    """Of those who sent forged reports lately."""

    def __post_init__(self) -> None:
        self._known, self._newcomers, self._suspected = (
            Gatherer(self.work.run, self.gather_s, self.metrics) for _ in range(3)
        )

    def require_room(self) -> None:
        """Raises Overloaded when no lane takes any more, or requests wait too long for a frame. Ask
        before a body is read."""
        refusal = self.bus.rooms.refusal()
        if refusal is not None:
            raise self._refused(refusal)
        self._require_pace(self._known)

    def _require_pace(self, gatherer: Gatherer) -> None:
        """Who waits until his client gives up sends the same once more, and all of it was in vain:
        he is told at once when to come again."""
        wait_s = gatherer.wait_s()
        if wait_s > self.max_wait_s:
            sentence = f"requests wait {wait_s:.1f} s for a frame"
            raise self._refused(Refusal("wait", sentence, min(LONGEST_RETRY_S, ceil(wait_s))))

    def _refused(self, refusal: Refusal) -> Overloaded:
        self.metrics.refused_early.labels(refusal.reason).inc()
        return Overloaded(refusal.sentence, refusal.retry_after_s)

    def take_straight(
        self, media_type: str, body: bytes, peer: Peer, done: Done, wish: Wish | None = None
    ) -> bool:
        """Hands the reports to a frame, whose end tells `done` the answer. False where something
        has to be asked or decided before that, and `accept` is the way. Short bodies only.
        `wish`: for receipts.

        Raises ProtocolError when the request as a whole is refused.
        """
        if self.registry.seen is None or self.bus.rooms.full:
            return False
        # The columns of a single report are parsed with its frame.
        is_single = wish is None and media_type == PACKED and is_one_report(body)
        reports = body if is_single else intake_of(media_type, body, self.domain)
        columns = None if isinstance(reports, bytes) else reports.columns
        devices = [DeviceId(body[:20])] if columns is None else columns.device_ids()
        if not devices or self.registry.view.unknown(devices):
            return False
        taken = partial(self._taken, reports, time.perf_counter(), peer, done, wish)
        packed = body if columns is None else columns.packed
        self._gatherer(devices, peer).put(Waiting(packed, len(devices), taken, wish=wish))
        return True

    def _taken(
        self,
        reports: Intake | bytes,
        started: float,
        peer: Peer,
        done: Done,
        wish: Wish | None,
        outcome: Outcome,
    ) -> None:
        if isinstance(outcome, Exception):
            done(outcome)
        elif isinstance(reports, Intake) or outcome[0] is not None:
            if isinstance(reports, bytes):
                reports = intake_of(PACKED, reports, self.domain)
            self.suspects.note(peer, outcome)
            done(self._answer(reports, outcome, started, wish))
        else:
            self.metrics.accept_seconds.observe(time.perf_counter() - started)
            done(accepted_single(reports))

    async def accept(
        self, media_type: str, body: bytes, peer: Peer, wish: Wish | None = None
    ) -> Answer:
        """The answer. Raises ProtocolError when the request as a whole is refused."""
        started = time.perf_counter()
        intake = await self._read(media_type, body)
        faults = await self._take(intake.columns, peer, wish) if len(intake.columns) else []
        self.suspects.note(peer, faults)
        return self._answer(intake, faults, started, wish)

    def _answer(
        self, intake: Intake, faults: Sequence[Fault], started: float, wish: Wish | None
    ) -> Answer:
        if None in faults:
            self.metrics.accept_seconds.observe(time.perf_counter() - started)
        for error in filter(None, (*intake.faults.values(), *faults)):
            self.metrics.reports_rejected.labels(error.name).inc()
        if wish is None:
            return answer(intake, faults)
        if self.work.desk is None:
            wish.refuse_all(faults, NOT_OFFERED)
        wish.renumber(intake.places)
        return answer(intake, faults, wish)

    async def _read(self, media_type: str, body: bytes) -> Intake:
        if len(body) <= INLINE_BYTES:
            return intake_of(media_type, body, self.domain)
        return await self.work.workers.run(intake_of, media_type, body, self.domain)

    async def _take(self, columns: Columns, peer: Peer, wish: Wish | None) -> list[Fault]:
        full = self.bus.rooms.full
        if full:
            return await self._take_some(columns, peer, wish, full)
        return await self._take_all(columns, peer, wish)

    async def _take_some(
        self, columns: Columns, peer: Peer, wish: Wish | None, full: Mapping[int, Refusal]
    ) -> list[Fault]:
        """Refuses the reports of lanes that are full, and only them, before they are verified."""
        lanes = [self.work.lane_of(device) for device in columns.device_ids()]
        faults: list[Fault] = [
            self._refused(full[lane]) if lane in full else None for lane in lanes
        ]
        return await self._take_rest(columns, peer, wish, faults, self._take_all)

    async def _take_rest(
        self, columns: Columns, peer: Peer, wish: Wish | None, faults: list[Fault], take: Take
    ) -> list[Fault]:
        """`faults`, with what `take` finds of the reports that have none so far."""
        rest = [index for index, fault in enumerate(faults) if fault is None]
        if rest:
            taken = await take(columns.select(rest), peer, wish)
            for index, fault in zip(rest, taken, strict=True):
                faults[index] = fault
            if wish is not None:
                wish.renumber(rest)
        return faults

    async def _take_all(self, columns: Columns, peer: Peer, wish: Wish | None) -> list[Fault]:
        devices = columns.device_ids()
        # Before the frame is shared: an unknown device may take a look at the chain.
        try:
            await self.registry.refresh_for(devices)
        except Unavailable as error:
            unknown = self.registry.view.unknown
            faults: list[Fault] = [error if unknown((device,)) else None for device in devices]
            # The others go on being taken, however long the node is away.
            return await self._take_rest(columns, peer, wish, faults, self._take_known)
        return await self._take_known(columns, peer, wish)

    async def _take_known(self, columns: Columns, peer: Peer, wish: Wish | None) -> list[Fault]:
        return await self._gatherer(columns.device_ids(), peer).take(columns, wish)

    def _gatherer(self, devices: Sequence[DeviceId], peer: Peer) -> Gatherer:
        """Raises Overloaded when it has too much to do."""
        if self.suspects.has(peer):
            found = self._suspected
        else:
            found = self._known if self.work.has_met(devices) else self._newcomers
        self._require_pace(found)
        return found

    async def take(self, columns: Columns, peer: Peer) -> list[Fault]:
        """One fault a report, None for those that are durable: the way of what is no HTTP request.
        Raises Unavailable, Overloaded."""
        return await self._take(columns, peer, None)

    async def next_sequence(self, device: DeviceId) -> int:
        """The first sequence that the device has never used, as journal and bus know, whichever
        gateway took its reports. Raises Unavailable, UnknownDevice, SequenceOutOfReach."""
        await self.registry.refresh_for([device])
        self.registry.view.identity(device)
        try:
            newest = await self._newest(device)
        except (StoreUnavailable, BusUnavailable, BusNotDurable) as error:
            raise Unavailable(f"the device's sequences are not known: {error}") from error
        if newest + 1 >= U64_MAX:
            raise SequenceOutOfReach(device, newest + 1, U64_MAX - 1)
        return newest + 1

    async def _newest(self, device: DeviceId) -> int:
        if await self.bus.undivided():
            raise Unavailable("frames of an earlier version are still to be divided by lane")
        # The bus first: what a batch takes from it in between is in the journal.
        lanes = max(len(self.work.gates), await self.journal.most_lanes())
        on_bus = await self.bus.newest(device, lanes)
        committed = await self.journal.newest(device)
        return max(-1 if on_bus is None else on_bus, -1 if committed is None else committed)
