"""Whether one of several nodes is asked like the others, or left out for a while. Pure."""

from dataclasses import dataclass

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""An honest node that was on another branch for a moment misses a second; one that lies for hours
is asked once a minute."""
CALM_AFTER_S = 600.0
"""Whoever agreed for so long begins with a short pause again."""
STRAY_AFTER_S = 30.0
"""Nodes of one chain differ by some blocks for moments: that is how blocks travel."""


@dataclass(slots=True)
class Standing:
    """How a node has done lately. Nothing is believed for a good standing: what counts is how many
    say the same. It decides whom to ask first, and what to tell an operator. Times are monotonic
    seconds."""

    reason: str = ""
    """Why it is left out; empty while it is not."""
    until: float = 0.0
    _pause: float = FIRST_PAUSE_S
    _calm_from: float = 0.0
    _straying_since: float | None = None

    @property
    def is_trusted(self) -> bool:
        return not self.reason

    def is_due(self, now: float) -> bool:
        """Whether one that is left out may show that it is well again."""
        return bool(self.reason) and now >= self.until

    def blame(self, reason: str, now: float, least_s: float = 0.0) -> bool:
        """Leaves it out, longer from time to time, and for `least_s` at least. False when it was
        left out already."""
        if self.reason and now < self.until:
            self.until = max(self.until, now + least_s)
            return False
        if not self.reason and now - self._calm_from > CALM_AFTER_S:
            self._pause = FIRST_PAUSE_S
        self.reason, self.until = reason, now + max(self._pause, least_s)
        self._pause = min(LONGEST_PAUSE_S, 2 * self._pause)
        return True

    def agreed(self, now: float) -> None:
        """It said what a quorum says. Who strays is let in by its height alone."""
        if self.reason and self._straying_since is None:
            self.reason, self._calm_from = "", now

    def strayed(self, now: float) -> bool:
        """Its head is far from the others'. True when that has lasted."""
        if self._straying_since is None:
            self._straying_since = now
        return now - self._straying_since >= STRAY_AFTER_S

    def kept_up(self) -> None:
        """Its head is near the others'."""
        self._straying_since = None
