"""A lane's entrance: which of the reports for it are new, and that those are durable."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import structlog

from corechain.protocol.columns import Places
from corechain.protocol.errors import (
    ConflictingSequence,
    Overloaded,
    ProtocolError,
    ReplayedSequence,
)
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import SignedReport
from corechain.service.seldom import Seldom
from corechain.service.tracing import Context, Span
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.frame import FrameKeys, Place, frame_of_columns, pack_frame
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.errors import (
    BusFull,
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    LanesMismatch,
    SequenceInUse,
)
from corechain_relayer.gateway.book import Key, SequenceBook, SequenceStore, Verdict
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

_BUS_OUTAGES = (BusFull, BusNotDurable, BusRestarted, BusUnavailable, LanesMismatch)


@dataclass(slots=True)
class Taken:
    """`faults`: one a report, None for what is durable. `doubtful`: those that are not decided."""

    faults: list[Fault]
    doubtful: list[int]


def overloaded(error: Exception) -> Overloaded:
    return Overloaded(str(error))


def _key(signed: SignedReport) -> Key:
    return signed.report.device, signed.report.sequence


@dataclass(slots=True)
class LaneGate:
    """Takes verified reports of one lane; each is durable afterwards, or has an error."""

    place: Place
    keys: FrameKeys
    bus: Bus
    watch: BusWatch
    store: SequenceStore
    metrics: Metrics
    book: SequenceBook = field(init=False)
    seldom: Seldom = field(default_factory=Seldom)

    def __post_init__(self) -> None:
        self.forget()

    @property
    def lane(self) -> int:
        return self.place.lane

    def forget(self) -> None:
        """The bus has lost frames: what was marked for them must be accepted again."""
        self.book = SequenceBook(self.store)

    async def take(self, columns: Columns) -> list[Fault]:
        """One verdict a report, in order: None for those that are durable on the bus."""
        taken = await self.take_new(columns)
        if taken.doubtful:
            part = columns.select(taken.doubtful)
            for index, fault in zip(taken.doubtful, await self.take_doubtful(part), strict=True):
                taken.faults[index] = fault
        return taken.faults

    async def take_new(self, columns: Columns, marks: Sequence[Context] = ()) -> Taken:
        """The way of nearly every report: it is new, and the bus agrees. The others are doubtful,
        and nothing is known of them yet. `marks`: contexts of sampled requests among theirs."""
        faults: list[Fault] = [None] * len(columns)
        new: Sequence[int] = []
        try:
            await self.book.load(columns.device_ids())
            rows = self.book.rows_of(columns)
            new = self._new(columns, rows)
            if len(new) == len(columns):
                await self._append(columns, True, rows, marks)
            elif new:
                await self._append(columns.select(new), True, marks=marks)
        except SequenceInUse:
            new = []
        except _BUS_OUTAGES as error:
            # Nothing is known of the others either: what we remember may be lost with the bus.
            return Taken([overloaded(error)] * len(columns), [])
        if len(new) == len(columns):
            return Taken(faults, [])
        return Taken(faults, sorted(set(range(len(columns))).difference(new)))

    def _new(self, columns: Columns, rows: Places) -> Sequence[int]:
        """Those that are new for certain. What stands twice in a frame is not."""
        newest, devices = self.book.are_newest(columns, rows), columns.device_ids()
        if len(set(devices)) < len(devices):
            keys = list(zip(devices, columns.sequences, strict=True))
            times = Counter(keys)
            newest &= np.fromiter((times[key] == 1 for key in keys), np.bool_, len(keys))
        if newest.all():
            return range(len(newest))
        new: list[int] = np.flatnonzero(newest).tolist()
        return new

    async def take_doubtful(self, columns: Columns) -> list[Fault]:
        """Looks closely: asks the bus whether it still has what we remember, reads what others have
        appended, asks the journal. What is accepted then is durable when this returns."""
        reports = list(columns.reports())
        firsts: dict[Key, SignedReport] = {}
        for signed in reports:
            firsts.setdefault(_key(signed), signed)
        try:
            verdicts = await self._take_doubtful(firsts)
        except _BUS_OUTAGES as error:
            return [overloaded(error)] * len(reports)
        return [
            verdicts[_key(signed)]
            if firsts[_key(signed)] is signed
            else await self._repeated(signed, firsts[_key(signed)], verdicts[_key(signed)])
            for signed in reports
        ]

    async def _repeated(self, signed: SignedReport, first: SignedReport, fault: Fault) -> Fault:
        """Of a sequence that stands twice in one frame: only what is durable may be forgotten."""
        if first.report != signed.report:
            return await self._conflict(signed)
        return ReplayedSequence(*_key(signed)) if fault is None else fault

    async def _take_doubtful(self, firsts: Mapping[Key, SignedReport]) -> Mapping[Key, Fault]:
        """In this order: a frame goes from the bus to the journal, so it is seen in one of them."""
        await self.watch.enter(self.lane)
        book = self.book
        await book.read_on(partial(self.bus.backlog, self.lane))
        sealed = await book.look_up(list(firsts))
        verdicts = {key: await self._verdict(book, item, sealed) for key, item in firsts.items()}
        accepted = [firsts[key].pack() for key, fault in verdicts.items() if fault is None]
        if accepted:
            await self._append(columns_of(b"".join(accepted)), False)
        return verdicts

    async def _verdict(
        self, book: SequenceBook, signed: SignedReport, sealed: Mapping[Key, bytes]
    ) -> Fault:
        try:
            verdict = book.look(signed.report, sealed)
        except ProtocolError as error:
            return error
        if verdict is Verdict.SAME:
            return ReplayedSequence(*_key(signed))
        # Unsure: the aggregator compares, and nothing that was acknowledged vanishes there.
        return await self._conflict(signed) if verdict is Verdict.OTHER else None

    async def _conflict(self, signed: SignedReport) -> ConflictingSequence:
        """The device is told, and its owner can see what was not counted."""
        error = ConflictingSequence(*_key(signed))
        self.metrics.reports_conflicting.inc()
        # Whoever holds a key of a device may send as many as it likes.
        what, whose = "conflicting report refused", signed.report.device
        self.seldom.say(log.warning, what, whose, error=str(error))
        try:
            await self.bus.dead_letter(self.lane, pack_frame(0, [signed]), error.name)
        except _BUS_OUTAGES as outage:
            what = "conflicting report not kept"
            self.seldom.say(log.warning, what, None, error=str(outage))
        else:
            self.metrics.dead_letters.labels(error.name).inc()
        return error

    def _trace(self, mark: Context, began: float, reports: int) -> None:
        facts: dict[str, str | int] = {
            "corechain.lane": self.lane,
            "corechain.frame.reports": reports,
        }
        span = Span("bus", "append frame", mark.child(), began, time.time(), mark.span, (), facts)
        self.metrics.traces.emit(span)

    async def _append(
        self,
        columns: Columns,
        fresh: bool,
        rows: Places | None = None,
        marks: Sequence[Context] = (),
    ) -> None:
        """Returns when the reports are durable. Only then are they marked as seen: whoever is told
        ReplayedSequence may forget the report. `rows` are those of the book that we have now."""
        # Sealed here, after every check: whoever opens it need not check again.
        began, book = time.time(), self.book
        frame = frame_of_columns(int(began * 1000), columns, self.keys, self.place, marks)
        try:
            await self.bus.append(self.lane, frame, fresh)
        except BusRestarted:
            await self.watch.enter(self.lane)
            if book is not self.book:  # the bus has lost frames: another book, with other rows
                book, rows = self.book, None
            await self.bus.append(self.lane, frame, fresh)
        # The book from before the append: if the bus has lost frames since, nobody reads it.
        book.mark(columns, rows)
        for mark in marks:
            self._trace(mark, began, len(columns))
        self.metrics.reports_accepted.inc(len(columns))
        self.metrics.observations_accepted.inc(len(columns.values))
