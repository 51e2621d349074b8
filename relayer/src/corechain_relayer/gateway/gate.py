"""A lane's entrance: which of the reports for it are new, and that those are durable."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from corechain.protocol.errors import (
    ConflictingSequence,
    Overloaded,
    ProtocolError,
    ReplayedSequence,
)
from corechain.protocol.reading import SignedReport
from corechain_relayer.bus.frame import FrameKeys, Place, frame_of, pack_frame
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.errors import (
    BusFull,
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    SequenceInUse,
)
from corechain_relayer.gateway.book import Key, SequenceBook, SequenceStore, Verdict
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

Judged = SignedReport | ProtocolError
_BUS_OUTAGES = (BusFull, BusNotDurable, BusRestarted, BusUnavailable)


def _key(signed: SignedReport) -> Key:
    return signed.report.device, signed.report.sequence


@dataclass(slots=True)
class LaneGate:
    """Takes verified reports of one lane; each comes back as it is, or as the error it is told."""

    place: Place
    keys: FrameKeys
    bus: ValkeyBus
    watch: BusWatch
    store: SequenceStore
    metrics: Metrics
    book: SequenceBook = field(init=False)

    def __post_init__(self) -> None:
        self.forget()

    @property
    def lane(self) -> int:
        return self.place.lane

    def forget(self) -> None:
        """The bus has lost frames: what was marked for them must be accepted again."""
        self.book = SequenceBook(self.store)

    async def take(self, reports: Sequence[SignedReport]) -> list[Judged]:
        """One verdict a report, in order. Those accepted are durable on the bus."""
        firsts: dict[Key, SignedReport] = {}
        for signed in reports:
            firsts.setdefault(_key(signed), signed)
        verdicts = await self._take(firsts)
        return [
            verdicts[_key(signed)]
            if firsts[_key(signed)] is signed
            else await self._repeated(signed, firsts[_key(signed)], verdicts[_key(signed)])
            for signed in reports
        ]

    async def _repeated(self, signed: SignedReport, first: SignedReport, verdict: Judged) -> Judged:
        """Of a sequence that stands twice in one request: only what is durable may be forgotten."""
        if first.report != signed.report:
            return await self._conflict(signed)
        return verdict if isinstance(verdict, ProtocolError) else ReplayedSequence(*_key(signed))

    async def _take(self, firsts: Mapping[Key, SignedReport]) -> Mapping[Key, Judged]:
        try:
            return await self._take_new(firsts) or await self._take_doubtful(firsts)
        except _BUS_OUTAGES as error:
            # Nothing is known of the others either: what we remember may be lost with the bus.
            return dict.fromkeys(firsts, Overloaded(str(error)))

    async def _take_new(self, firsts: Mapping[Key, SignedReport]) -> Mapping[Key, Judged] | None:
        """The way of nearly every request: all is new, and the bus agrees. None: look closely."""
        await self.book.load({device for device, _ in firsts})
        try:
            if any(self.book.look(item.report, {}) is not Verdict.NEW for item in firsts.values()):
                return None
            await self._append(list(firsts.values()), fresh=True)
        except (ProtocolError, SequenceInUse):
            return None
        return firsts

    async def _take_doubtful(self, firsts: Mapping[Key, SignedReport]) -> Mapping[Key, Judged]:
        """Asks the bus whether it still has what we remember, then bus and journal for the rest.

        In this order: a frame goes from the bus to the journal, so it is seen in one of them.
        """
        await self.watch.enter(self.lane)
        book = self.book
        await book.read_on(partial(self.bus.backlog, self.lane))
        sealed = await book.look_up(list(firsts))
        verdicts = {key: await self._verdict(book, item, sealed) for key, item in firsts.items()}
        accepted = [item for item in verdicts.values() if isinstance(item, SignedReport)]
        if accepted:
            await self._append(accepted, fresh=False)
        return verdicts

    async def _verdict(
        self, book: SequenceBook, signed: SignedReport, sealed: Mapping[Key, bytes]
    ) -> Judged:
        try:
            verdict = book.look(signed.report, sealed)
        except ProtocolError as error:
            return error
        if verdict is Verdict.SAME:
            return ReplayedSequence(*_key(signed))
        # Unsure: the aggregator compares, and nothing that was acknowledged vanishes there.
        return await self._conflict(signed) if verdict is Verdict.OTHER else signed

    async def _conflict(self, signed: SignedReport) -> ConflictingSequence:
        """The device is told, and its owner can see what was not counted."""
        error = ConflictingSequence(*_key(signed))
        self.metrics.reports_conflicting.inc()
        log.warning("conflicting report refused", error=str(error))
        try:
            await self.bus.dead_letter(self.lane, pack_frame(0, [signed]), error.name)
        except _BUS_OUTAGES as outage:
            log.warning("conflicting report not kept", error=str(outage))
        else:
            self.metrics.dead_letters.labels(error.name).inc()
        return error

    async def _append(self, reports: Sequence[SignedReport], fresh: bool) -> None:
        """Returns when the reports are durable. Only then are they marked as seen: whoever is told
        ReplayedSequence may forget the report."""
        # Sealed here, after every check: whoever opens it need not check again.
        frame = frame_of(int(time.time() * 1000), reports, self.keys, self.place)
        book = self.book
        try:
            await self.bus.append(self.lane, frame, fresh)
        except BusRestarted:
            await self.watch.enter(self.lane)
            book = self.book
            await self.bus.append(self.lane, frame, fresh)
        # The book from before the append: if the bus has lost frames since, nobody reads it.
        book.mark(reports)
        self.metrics.reports_accepted.inc(len(reports))
        self.metrics.observations_accepted.inc(sum(item.report.count for item in reports))
