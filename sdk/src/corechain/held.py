"""A server that has asked to be left alone is left alone, for as long as is sensible."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_HELD_S = 60.0
"""Limits of providers are by the second or the minute: whoever says "tomorrow" is asked again."""


@dataclass(slots=True)
class Held:
    """When a server takes questions again. Seconds of a monotonic clock; threads may share it."""

    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _until: float = float("-inf")

    def begin(self, seconds: float) -> float:
        """It asks for so many; the seconds that it is given."""
        given = min(LONGEST_HELD_S, seconds)
        self._until = max(self._until, self.clock() + given)
        return given

    def left_s(self) -> float:
        """0 when it may be asked."""
        return max(0.0, self._until - self.clock())
