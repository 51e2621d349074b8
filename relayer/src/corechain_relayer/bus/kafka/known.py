"""What a process knows of all lanes' logs, and how it learns what others have appended.

Blocking, and for one thread at a time, who holds `lock`.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import structlog

from corechain.protocol.reading import DeviceId
from corechain_relayer.bus.base import Position
from corechain_relayer.bus.frame import MalformedFrame, open_frame, spans_of
from corechain_relayer.bus.kafka.index import LaneIndex
from corechain_relayer.bus.kafka.link import Link, Read
from corechain_relayer.bus.kafka.progress import Progress
from corechain_relayer.bus.room import Limits, Look

log = structlog.get_logger(__name__)

PAGE = 50
"""Frames a page, as on Valkey: one may have as many bytes as a request body."""
NEW_LEADER_S = 5.0
"""A new leader knows how much of its log all replicas have within a round or two of fetches, of
half a second each."""


@dataclass(slots=True)
class KnownLanes:
    """Of one run of the topic: another run's log is another one, and nothing of it is known."""

    link: Link
    run: str | None = None
    """The id of the topic that was asked last; None before the first."""
    positions: dict[int, Position] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    """Held by the thread that reads or changes an index."""
    _indexes: dict[int, LaneIndex] = field(default_factory=dict)
    _progress: dict[int, Progress] = field(default_factory=dict)

    @property
    def _topic(self) -> str:
        return self.link.address.reports

    # ------------------------------------------------------------------ which log

    def enter_run(self, run: str) -> None:
        with self.lock:
            if run != self.run:
                # Another log: nothing that was known of the old one is true of it.
                self.run = run
                self._indexes.clear()
                self._progress.clear()

    def enter(self, lane: int) -> Position:
        """Raises BusUnavailable."""
        run = self.run or ""
        end = self._ends([lane])[lane]
        with self.lock:
            index = self._indexes.get(lane)
            if index is not None and end < index.known:
                del self._indexes[lane]  # the log was cut: what was known of its end is wrong
        # An id stands for a topic that began empty, so what a new one has not is lost.
        self.positions[lane] = Position(run, 0, end)
        return self.positions[lane]

    def _is_entered(self, lane: int) -> bool:
        known = self.positions.get(lane)
        return known is not None and known.run == self.run

    # ------------------------------------------------------------------ reading on

    def learn_up_to_now(self, lanes: set[int]) -> set[int]:
        """Reads what others have appended to the lanes. Those of them that were entered, and have
        not lost anything since. Raises BusUnavailable."""
        entered = {lane for lane in lanes if self._is_entered(lane)}
        ends = self._ends(entered) if entered else {}
        for lane, end in ends.items():
            index = self.index(lane)
            if end < index.known:
                entered.discard(lane)
            else:
                self._read_on(lane, index, end)
        return entered

    def _ends(self, lanes: Collection[int]) -> dict[int, int]:
        """Of the lanes' logs. A leader that is new may say less than was acknowledged, until it
        knows what the others have: only what it still says after a while is a loss."""
        deadline = time.monotonic() + NEW_LEADER_S
        while True:
            ends = self.link.ends(self._topic, lanes)
            short = [lane for lane, end in ends.items() if end < self._appended_to(lane)]
            if not short or time.monotonic() > deadline:
                return ends
            time.sleep(0.1)

    def _appended_to(self, lane: int) -> int:
        return self.positions[lane].appended if self._is_entered(lane) else 0

    def index(self, lane: int) -> LaneIndex:
        """From the first frame that is not acknowledged: what is, the journal knows."""
        if lane not in self._indexes:
            self._progress |= self.link.progress([lane])
            self._indexes[lane] = LaneIndex(self._progress[lane].low)
        return self._indexes[lane]

    def _read_on(self, lane: int, index: LaneIndex, end: int) -> None:
        while index.known < end:
            records = self.link.page(self._topic, lane, index.known, end, PAGE)
            for record in records:
                index.skip_to(record.offset)
                index.mark(_spans(record))
                index.learn(record.offset, len(record.value))
            if not records:
                index.skip_to(end)

    # ------------------------------------------------------------------ appending

    def is_full(self, lane: int, limits: Limits) -> bool:
        """Asks how far the aggregator is only where what is known of it would refuse."""
        if not self._exceeds(lane, limits):
            return False
        self._progress |= self.link.progress([lane])
        return self._exceeds(lane, limits)

    def _exceeds(self, lane: int, limits: Limits) -> bool:
        index, progress = self.index(lane), self._progress[lane]
        frames = index.known - progress.low - len(progress.acked)
        kept = index.appended - index.before(progress.low)
        return bool(
            (limits.frames and frames >= limits.frames) or (limits.bytes and kept >= limits.bytes)
        )

    def appended(self, lane: int, offset: int, size: int) -> int | None:
        """After an append of this process: what the lane's log ever had, in bytes; None while a
        frame of somebody else's before it is not known."""
        with self.lock:
            known, index = self.positions[lane], self._indexes.get(lane)
            if offset >= known.appended:
                self.positions[lane] = replace(known, appended=offset + 1)
            if index is None or not index.learn(offset, size):
                return None
            return index.appended

    # ------------------------------------------------------------------ looking

    def look(self, lanes: Sequence[int]) -> dict[int, Look]:
        """Raises BusUnavailable."""
        ends = self.link.ends(self._topic, lanes)
        progress = self.link.progress(lanes)
        with self.lock:
            self._progress |= progress
            return {lane: self._look_at(lane, ends[lane]) for lane in lanes}

    def _look_at(self, lane: int, end: int) -> Look:
        index, progress = self.index(lane), self._progress[lane]
        if end > index.known:
            self._read_on(lane, index, end)
        removed, read = index.before(progress.low), index.before(progress.read)
        index.forget_before(progress.low)
        frames = max(0, index.known - progress.low - len(progress.acked))
        return Look(time.monotonic(), frames, index.appended, removed, read)

    def newest(self, device: DeviceId, lanes: Sequence[int]) -> list[int]:
        """The device's highest sequence on each lane that has one. Raises BusUnavailable."""
        ends = self.link.ends(self._topic, lanes)
        found = []
        with self.lock:
            for lane, end in ends.items():
                index = self.index(lane)
                self._read_on(lane, index, end)
                if device in index.newest:
                    found.append(index.newest[device])
        return found


def _spans(record: Read) -> Mapping[DeviceId, tuple[int, int]]:
    try:
        return spans_of(open_frame(record.value).columns)
    except MalformedFrame as error:
        log.warning("frame on the bus is unreadable", error=str(error))
        return {}
