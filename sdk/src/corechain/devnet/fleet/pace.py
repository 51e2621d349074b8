"""When each request is due."""

import math
from dataclasses import dataclass
from typing import Protocol


class Pace(Protocol):
    def due_s(self, request: int) -> float:
        """Seconds after the start at which a request, counted from 0, is to be sent."""


@dataclass(frozen=True, slots=True)
class Steady:
    """So many requests a second."""

    per_s: float

    def due_s(self, request: int) -> float:
        return request / self.per_s


@dataclass(frozen=True, slots=True)
class Ramp:
    """From one rate to another within `over_s`, evenly; then on at that rate."""

    first: float
    last: float
    over_s: float

    def due_s(self, request: int) -> float:
        slope = (self.last - self.first) / self.over_s
        in_ramp = (self.first + self.last) / 2 * self.over_s
        if request > in_ramp:
            return self.over_s + (request - in_ramp) / self.last
        if abs(slope) < 1e-12:
            return request / self.first
        # request = first·t + slope·t²/2, solved for t.
        return (math.sqrt(max(0.0, self.first**2 + 2 * slope * request)) - self.first) / slope


@dataclass(frozen=True, slots=True)
class Storm:
    """All at once: as fast as the connections and the gateway's answers let it."""

    def due_s(self, request: int) -> float:
        return 0.0
