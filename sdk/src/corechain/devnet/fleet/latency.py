"""Percentiles of very many durations in bounded memory."""

import math
from dataclasses import dataclass, field

# Classes grow by 2 %: so exact is a percentile, from 10 µs to an hour in 1,000 classes.
_GROWTH = math.log(1.02)
_SMALLEST_S = 1e-5


@dataclass(slots=True)
class Latencies:
    """A histogram with classes that grow by 2 %. Seconds."""

    count: int = 0
    longest_s: float = 0.0
    _classes: dict[int, int] = field(default_factory=dict)

    def add(self, duration_s: float) -> None:
        place = max(0, math.ceil(math.log(max(duration_s, _SMALLEST_S) / _SMALLEST_S) / _GROWTH))
        self._classes[place] = self._classes.get(place, 0) + 1
        self.count += 1
        self.longest_s = max(self.longest_s, duration_s)

    def copy(self) -> "Latencies":
        return Latencies(self.count, self.longest_s, dict(self._classes))

    def since(self, earlier: "Latencies") -> "Latencies":
        """Of what was added after a copy was made; `longest_s` is of all."""
        grown = {
            place: count - earlier._classes.get(place, 0) for place, count in self._classes.items()
        }
        return Latencies(self.count - earlier.count, self.longest_s, grown)

    def percentile(self, percent: float) -> float:
        """At most 2 % above the exact one; 0 when nothing was added."""
        rank, seen = percent / 100 * self.count, 0
        for place in sorted(self._classes):
            seen += self._classes[place]
            if seen >= rank:
                return min(_SMALLEST_S * math.exp(place * _GROWTH), self.longest_s)
        return 0.0
