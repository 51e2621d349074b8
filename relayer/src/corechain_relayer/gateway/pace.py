"""How long a request will wait for its frame. Pure: the clock is an argument."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

FRAMES = 64
"""So many frames back the pace is taken from: a few seconds under load, and soon another."""
LEAST_S = 1.0
"""Less time than that says nothing: one frame may have met a pause of the machine."""
LEAST_REPORTS = 4_000
"""Fewer that wait are four full frames at most: a second of a slow machine's work. An estimate for
them would only say that the machine had paused, and refuse whom a moment would have served."""


@dataclass(slots=True)
class Pace:
    """Reports that were settled, and in what time; only while there was always something to do."""

    clock: Callable[[], float] = time.monotonic
    _ended: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=FRAMES))

    def began_after_idling(self) -> None:
        """The time before this says nothing about how fast frames are."""
        self._ended.clear()
        self._ended.append((self.clock(), 0))

    def ended(self, reports: int) -> None:
        self._ended.append((self.clock(), reports))

    def wait_s(self, waiting: int) -> float:
        """Estimated seconds until so many reports that wait are settled; 0 where nothing is known.
        A frame that hangs makes it grow with the clock."""
        if waiting < LEAST_REPORTS or not self._ended:
            return 0.0
        span_s = self.clock() - self._ended[0][0]
        settled = sum(reports for _, reports in self._ended) - self._ended[0][1]
        if span_s < LEAST_S:
            return 0.0
        return waiting * span_s / settled if settled else span_s
