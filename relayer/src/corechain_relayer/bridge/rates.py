"""How fast each station may upload. Pure: who asks brings the time."""

import math
from dataclasses import dataclass, field

from corechain_relayer.bridge.errors import TooManyUploads


@dataclass(slots=True)
class Rates:
    """A bucket of tokens a station: full at first, an upload takes one, `per_minute` come back. So
    a station may send at once what it has kept while it was away, but not go on like that."""

    per_minute: int
    burst: int
    _buckets: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Tokens, and when they were counted, by station: as many entries as there are stations."""

    def take(self, station: int, now: float) -> None:
        """`now` in seconds of any clock. Raises TooManyUploads; that takes no token."""
        tokens, at = self._buckets.get(station, (float(self.burst), now))
        # A clock that is set back gives nothing, and takes nothing away.
        tokens = min(float(self.burst), tokens + max(0.0, now - at) * self.per_minute / 60)
        if tokens < 1:
            raise TooManyUploads(math.ceil((1 - tokens) * 60 / self.per_minute))
        self._buckets[station] = (tokens - 1, now)
