"""How much room a lane of the bus has, in frames, bytes and time. Pure: looks in, refusals out.

The gateway asks before it parses or verifies anything, so the answer lies ready: it is computed
when a look at the server comes in (`ValkeyBus.look_forever`), or an append is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, exp

FRAME_OVERHEAD = 100
"""Bytes that the server spends on a frame beyond its content, about; a bus of single reports would
otherwise take twice its limit."""
BUSY_WINDOW_S = 20.0
"""The rate of draining is an average over so much time in which there was something to drain: long
enough for an aggregator that alternates between reading and sealing."""
LONGEST_PAUSE_S = 30.0
"""An aggregator that reads nothing for longer stands still: that is no rate of draining, and the
limit of bytes bounds what is taken meanwhile."""
LEAST_BUSY_S = 1.0
RETRY_S, LONGEST_RETRY_S = 5, 60
FREED_SHARE = 0.05
"""Who comes again when so much of the limit is free finds room for more than one request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one lane. 0: none."""

    frames: int
    bytes: int = 0
    drain_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """A lane at a moment, in monotonic seconds. All but `frames` count bytes since the lane began:
    those appended, those that are gone from it, those that an aggregator has taken at least."""

    at: float
    frames: int
    appended: int
    removed: int
    read: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a lane takes no more, and after how many seconds it may again."""

    reason: str
    sentence: str
    retry_after_s: int


@dataclass(slots=True)
class LaneRoom:
    """One lane: the last look, what was appended since, and how fast it is drained."""

    limits: Limits
    refusal: Refusal | None = None
    _look: Look | None = None
    _frames: int = 0
    _appended: int = 0
    _busy_s: float = 0.0
    _busy_bytes: float = 0.0
    _pause_s: float = 0.0

    @property
    def frames(self) -> int:
        """On the lane, as far as is known."""
        return 0 if self._look is None else self._frames

    @property
    def bytes_kept(self) -> int:
        """On the lane, whether an aggregator has read them or not."""
        return 0 if self._look is None else max(0, self._appended - self._look.removed)

    @property
    def removed(self) -> int:
        """What of the bytes appended is gone, as far as is known; it only grows."""
        return 0 if self._look is None else self._look.removed

    @property
    def rate(self) -> float | None:
        """Bytes a second that aggregators read while there is something to read."""
        return self._busy_bytes / self._busy_s if self._busy_s >= LEAST_BUSY_S else None

    @property
    def drain_s(self) -> float:
        """Estimated seconds until all that is on the lane now is read; 0 where nothing is known."""
        rate = self.rate
        if self._look is None or not rate:
            return 0.0
        return max(0, self._appended - self._look.read) / rate

    def looked(self, look: Look) -> None:
        before, self._look = self._look, look
        self._frames, self._appended = look.frames, look.appended
        if before is not None:
            self._measure(before, look)
        self._decide()

    def unseen(self) -> None:
        """The server does not answer: whatever was known is too old to refuse anybody."""
        self._look, self.refusal = None, None

    def added(self, appended: int) -> None:
        """A frame was appended; so many bytes were there ever."""
        self._frames += 1
        self._appended = max(self._appended, appended)
        self._decide()

    def _measure(self, before: Look, now: Look) -> None:
        is_busy = before.read < before.appended and now.read < now.appended
        if not is_busy or now.read < before.read:
            self._pause_s = 0.0
            return
        self._pause_s += now.at - before.at
        if now.read == before.read:
            return
        took_s, self._pause_s = self._pause_s, 0.0
        if took_s <= LONGEST_PAUSE_S:
            kept = exp(-took_s / BUSY_WINDOW_S)
            self._busy_s = self._busy_s * kept + took_s
            self._busy_bytes = self._busy_bytes * kept + now.read - before.read

    def _decide(self) -> None:
        if self._look is None:
            return
        limits = self.limits
        if limits.frames and self._frames >= limits.frames:
            self.refusal = self._refused("frames", f"{limits.frames} frames")
        elif limits.bytes and self.bytes_kept >= limits.bytes:
            self.refusal = self._refused("bytes", f"{limits.bytes} bytes")
        elif limits.drain_s and self.drain_s > limits.drain_s:
            self.refusal = self._refused("drain", f"{limits.drain_s:g} s to drain")
        else:
            self.refusal = None

    def _refused(self, reason: str, limit: str) -> Refusal:
        sentence = f"the bus is at its limit of {limit}"
        return Refusal(reason, sentence, self._retry_after_s())

    def _retry_after_s(self) -> int:
        """Until a share of what is on the lane is drained."""
        rate = self.rate
        if not rate:
            return RETRY_S
        too_long = max(0.0, self.drain_s - self.limits.drain_s) if self.limits.drain_s else 0.0
        seconds = too_long + FREED_SHARE * self.bytes_kept / rate
        return min(LONGEST_RETRY_S, max(1, ceil(seconds)))


@dataclass(slots=True)
class Rooms:
    """All lanes of a bus. What a gateway asks costs the same for one lane as for a thousand."""

    lanes: Sequence[LaneRoom]
    full: dict[int, Refusal] = field(default_factory=dict)
    """Lane → why it takes no more."""

    @classmethod
    def of(cls, lanes: int, limits: Limits) -> "Rooms":
        return cls([LaneRoom(limits) for _ in range(lanes)])

    def looked(self, lane: int, look: Look) -> None:
        self.lanes[lane].looked(look)
        self._note(lane)

    def added(self, lane: int, appended: int) -> None:
        self.lanes[lane].added(appended)
        self._note(lane)

    def unseen(self) -> None:
        for room in self.lanes:
            room.unseen()
        self.full.clear()

    def refusal(self) -> Refusal | None:
        """Why nobody's reports can be taken; None while one lane has room."""
        if len(self.full) < len(self.lanes):
            return None
        return min(self.full.values(), key=lambda refusal: refusal.retry_after_s)

    def _note(self, lane: int) -> None:
        refusal = self.lanes[lane].refusal
        if refusal is None:
            self.full.pop(lane, None)
        else:
            self.full[lane] = refusal
