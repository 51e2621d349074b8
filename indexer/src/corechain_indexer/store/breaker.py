"""Whether Redis is asked at all: after a failure it is left alone for a while."""

import time
from collections.abc import Callable
from dataclasses import dataclass

AWAY_S = 5.0
"""One that hangs costs a request the whole limit of its answer: one request in so long, not all."""


@dataclass(slots=True)
class Breaker:
    """One for all that ask the same server. `clock`: monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    away_until: float = 0.0
    """0 while it answers."""

    def lets_ask(self) -> bool:
        """Of all who come when the time is over one tries, and the others wait for what it finds:
        so whoever is let through must say `failed` or `answered`, or it counts as failed."""
        if not self.away_until:
            return True
        now = self.clock()
        if now < self.away_until:
            return False
        self.away_until = now + AWAY_S
        return True

    def failed(self) -> None:
        self.away_until = self.clock() + AWAY_S

    def answered(self) -> None:
        self.away_until = 0.0
