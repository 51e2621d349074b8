"""What happened when, for the plot at the end."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.devnet.fleet.latency import Latencies

if TYPE_CHECKING:
    from corechain.devnet.fleet.sender import Tally

# Points are merged in pairs beyond that: a run of days takes no more memory than one of minutes.
MAX_POINTS = 2_400
# Fewer answers than a second has would make the p95 of a point a matter of chance.
APART_S = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """Totals at a time (seconds), and the p95 since the point before (milliseconds)."""

    at_s: float
    acknowledged: int
    refused: int
    retried: int
    p95_ms: float


@dataclass(slots=True)
class Timeline:
    """Points in order of time, at least a second apart."""

    points: list[Point] = field(default_factory=list)
    _before: Latencies = field(default_factory=Latencies)

    def add(self, tally: "Tally") -> None:
        if self.points and tally.elapsed_s < self.points[-1].at_s + APART_S:
            return
        self.points.append(
            Point(
                tally.elapsed_s,
                tally.acknowledged,
                sum(tally.refused.values()),
                sum(tally.retries.values()),
                1000 * tally.latencies.since(self._before).percentile(95),
            )
        )
        self._before = tally.latencies.copy()
        if len(self.points) > MAX_POINTS:
            del self.points[1:-1:2]
