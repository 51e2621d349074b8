"""How long a request will wait for its frame. Pure: the clock is an argument."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp

WINDOW_S = 20.0
"""The pace is an average over so much time in which more was there than could be done: long enough
for the disk's pauses, and a machine that gets faster or slower is believed soon."""
LEAST_S = 1.0
"""Less time than that says nothing: one frame may have met a pause of the machine."""
LEAST_REPORTS = 4_000
"""Fewer that wait are four full frames at most: a second of a slow machine's work. An estimate for
them would only say that the machine had paused, and refuse whom a moment would have served."""
ASSUMED_PER_S = 5_000.0
"""Reports a second, until it is known better: half of what one core does without the native module.
Who took everybody until the first second is over would let a storm of 8,000 requests wait half a
minute, and clients give up before that and send them again."""
BELIEVED_S = 60.0
"""A pace of the last crowd is good for the next one so long; it may have been a slow moment's."""


@dataclass(slots=True)
class Pace:
    """What can be done, not what was asked for: reports that were settled, and in what time, only
    while every place for a frame was taken and the next frame was full."""

    clock: Callable[[], float] = time.monotonic
    _full_since: float | None = None
    """Since when more waits than a frame takes; None: it does not."""
    _ended_at: float | None = None
    """The last frame's end since then. The time before the first one's is partly of frames that
    began earlier, so it does not count."""
    _busy_s: float = 0.0
    _settled: float = 0.0
    _left_at: float = field(default=0.0)

    def filled(self) -> None:
        """Every place is taken, and the next frame is full."""
        if self._full_since is None:
            self._full_since = self.clock()
            if self._full_since - self._left_at > BELIEVED_S:
                self._busy_s = self._settled = 0.0

    def caught_up(self) -> None:
        """Nobody waits: what is settled from now on is what was asked for."""
        if self._full_since is not None:
            self._full_since = self._ended_at = None
            self._left_at = self.clock()

    def ended(self, reports: int) -> None:
        """A frame is done."""
        if self._full_since is None:
            return
        now = self.clock()
        if self._ended_at is not None:
            took_s = now - self._ended_at
            kept = exp(-took_s / WINDOW_S)
            self._busy_s = self._busy_s * kept + took_s
            self._settled = self._settled * kept + reports
        self._ended_at = now

    def wait_s(self, waiting: int) -> float:
        """Estimated seconds until so many reports that wait are settled; 0 where they are few. A
        frame that hangs makes it grow with the clock."""
        if waiting < LEAST_REPORTS:
            return 0.0
        busy_s = self._busy_s + self._silent_s()
        if busy_s < LEAST_S or not self._settled:
            return max(waiting / ASSUMED_PER_S, busy_s)
        return waiting * busy_s / self._settled

    def _silent_s(self) -> float:
        """Since the last frame ended, while more waits than a frame takes."""
        if self._full_since is None:
            return 0.0
        return self.clock() - (self._full_since if self._ended_at is None else self._ended_at)
