"""What happens to a frame: judged by one call, divided by lane, durable, each request settled."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from corechain.protocol.errors import Overloaded
from corechain.protocol.frame import Columns
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import DeviceId
from corechain.service.tracing import Context
from corechain.service.workers import Workers
from corechain_relayer.gateway.gate import LaneGate, Taken
from corechain_relayer.gateway.gather import Waiting, joined
from corechain_relayer.gateway.intake import Fault, FrameJudge
from corechain_relayer.receipts.desk import Asking, ReceiptDesk
from corechain_relayer.registry.follower import RegistryFollower

INLINE_REPORTS = 4
"""Above this many reports judging goes to a thread: it would hold the event loop too long."""

MOST_CLOSER_LOOKS = 64
"""Frames with reports that need one, at a time. They ask bus and journal one after another: a storm
that sends again what was answered too late would otherwise wait there without an end."""
CLOSER_LOOKS_RETRY_S = 5


@dataclass(slots=True)
class _Frame:
    """Requests that share a frame, and what is known of their reports so far."""

    group: Sequence[Waiting]
    columns: Columns
    faults: list[Fault]
    open: set[int] = field(default_factory=set)
    """Indexes of reports that are not decided yet."""

    def note(self, indexes: Sequence[int], faults: Sequence[Fault]) -> None:
        """What became of these reports, which had no fault so far."""
        if any(faults):  # nearly never: no step a report where nothing is wrong
            for index, fault in zip(indexes, faults, strict=True):
                self.faults[index] = fault

    def settle(self) -> None:
        """Answers every request of which all is known."""
        start = 0
        for waiting in self.group:
            end = start + waiting.count
            if not self.open or self.open.isdisjoint(range(start, end)):
                waiting.settle(self.faults[start:end])
            start = end

    def asking(self) -> list[Asking]:
        """Requests that ask for receipts, of which all is known, and that are not settled yet."""
        found, start = [], 0
        for waiting in self.group:
            end, wish = start + waiting.count, waiting.wish
            is_open = bool(self.open) and not self.open.isdisjoint(range(start, end))
            if wish is not None and not waiting.is_settled and not is_open:
                found.append(Asking(wish, start, end))
            start = end
        return found

    def fail(self, error: Exception) -> None:
        for waiting in self.group:
            waiting.settle(error)


@dataclass(frozen=True, slots=True)
class _Part:
    """A frame's reports of one lane: `indexes` says where in the frame they are."""

    gate: LaneGate
    indexes: Sequence[int]
    columns: Columns

    async def take_new(self, group: Sequence[Waiting]) -> Taken:
        """`group`: the requests of the frame, where some may be sampled."""
        marks = _marks(group, self.indexes)
        return await self.gate.take_new(self.columns, *([marks] if marks else []))


@dataclass(slots=True)
class FrameWork:
    """A gateway's steps from columns to durable frames."""

    judge: FrameJudge
    registry: RegistryFollower
    gates: Sequence[LaneGate]
    workers: Workers
    traced: bool = False
    desk: ReceiptDesk | None = None
    """Of a gateway with a key for receipts."""
    _closer_looks: "set[asyncio.Task[None]]" = field(default_factory=set)

    def has_met(self, devices: Sequence[DeviceId]) -> bool:
        """Whether no device is new to its lane's book, so that the journal need not be asked."""
        if len(self.gates) == 1:
            return self.gates[0].book.has_loaded(devices)
        return all(
            self.gates[self.lane_of(device)].book.has_loaded((device,)) for device in devices
        )

    def lane_of(self, device: DeviceId) -> int:
        return lane_of_device(device, len(self.gates))

    async def run(self, group: Sequence[Waiting]) -> None:
        """Settles the requests. Those with a report that needs a closer look are settled later, by
        a task of their own, so that they hold up neither the others nor the next frame."""
        columns = joined(group)
        frame = _Frame(group, columns, await self._judged(columns))
        parts = self._by_lane(frame)
        sampled = group if self.traced else ()
        taken = await asyncio.gather(*(part.take_new(sampled) for part in parts))
        doubtful: list[_Part] = []
        for part, found in zip(parts, taken, strict=True):
            frame.note(part.indexes, found.faults)
            if found.doubtful:
                indexes = [part.indexes[index] for index in found.doubtful]
                doubtful.append(_Part(part.gate, indexes, part.columns.select(found.doubtful)))
        if len(self._closer_looks) >= MOST_CLOSER_LOOKS:
            _refuse(frame, doubtful)
            doubtful = []
        frame.open.update(index for part in doubtful for index in part.indexes)
        await self._settle(frame)
        if doubtful:
            # Not before the others are settled: it settles what is open, and only that.
            task = asyncio.create_task(self._look_closer(frame, doubtful))
            self._closer_looks.add(task)
            task.add_done_callback(self._closer_looks.discard)

    async def _settle(self, frame: _Frame) -> None:
        """After all that is durable is so: a receipt promises nothing that may still be lost."""
        if self.desk is not None:
            asking = frame.asking()
            if asking:
                await self.desk.serve(frame.columns, frame.faults, asking, self._in_lanes)
        frame.settle()

    async def _judged(self, columns: Columns) -> list[Fault]:
        view, now = self.registry.view, time.time()
        if len(columns) <= INLINE_REPORTS:
            return self.judge.faults(columns, view, now)
        return await self.workers.run(self.judge.faults, columns, view, now)

    def _by_lane(self, frame: _Frame) -> list[_Part]:
        """The good reports. A lane that fails refuses its own, and only those: sending the whole
        request again does no harm."""
        good: Sequence[int] = range(len(frame.faults))
        if any(frame.faults):
            good = [index for index in good if frame.faults[index] is None]
        return [
            _Part(self.gates[lane], indexes, _part(frame.columns, indexes))
            for lane, indexes in self._in_lanes(frame.columns, good).items()
        ]

    def _in_lanes(self, columns: Columns, indexes: Sequence[int]) -> dict[int, Sequence[int]]:
        """Reports by the place of their lane, those without any left out."""
        if len(self.gates) == 1:
            return {self.gates[0].lane: indexes} if indexes else {}
        lanes: dict[int, list[int]] = {}
        for index in indexes:
            lanes.setdefault(self.lane_of(columns.device(index)), []).append(index)
        return dict(lanes)

    async def _look_closer(self, frame: _Frame, parts: Sequence[_Part]) -> None:
        try:
            found = await asyncio.gather(*(p.gate.take_doubtful(p.columns) for p in parts))
        except Exception as error:  # nobody else hears of it: the requests do
            frame.fail(error)
            return
        for part, faults in zip(parts, found, strict=True):
            frame.note(part.indexes, faults)
        frame.open.clear()
        await self._settle(frame)


def _refuse(frame: _Frame, parts: Sequence[_Part]) -> None:
    error = Overloaded("too many reports need a closer look", CLOSER_LOOKS_RETRY_S)
    for part in parts:
        frame.note(part.indexes, [error] * len(part.indexes))


def _part(columns: Columns, indexes: Sequence[int]) -> Columns:
    return columns if len(indexes) == len(columns) else columns.select(indexes)


def _marks(group: Sequence[Waiting], indexes: Sequence[int]) -> list[Context]:
    """Contexts of the sampled requests with a report among these of their frame."""
    marks, first = [], 0
    for waiting in group:
        if waiting.mark is not None:
            at = bisect_left(indexes, first)
            if at < len(indexes) and indexes[at] < first + waiting.count:
                marks.append(waiting.mark)
        first += waiting.count
    return marks
