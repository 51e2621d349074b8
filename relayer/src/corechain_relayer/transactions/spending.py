"""How long a key's balance lasts, by what it has spent lately. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

DAY_S = 86_400.0
LEAST_SPAN_S = 3_600.0
"""A pace of minutes is none: one commit after a start would look like a storm."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A balance in wei, so many seconds ago."""

    age_s: float
    balance: int


def spent_a_day(samples: Sequence[Sample]) -> float | None:
    """Wei a day, of samples in order, oldest first; None while they span less than an hour.

    A rise is a top-up, and what was spent beside it is not seen: the pace is then a little low,
    never high.
    """
    if len(samples) < 2 or samples[0].age_s - samples[-1].age_s < LEAST_SPAN_S:
        return None
    spent = sum(max(0, a.balance - b.balance) for a, b in pairwise(samples))
    return spent / (samples[0].age_s - samples[-1].age_s) * DAY_S


def days_left(samples: Sequence[Sample]) -> float | None:
    """How long the newest balance lasts at that pace: infinite where nothing is spent, None while
    nobody can say. Of nothing 0, whatever the pace: an empty key spends nothing either."""
    if samples and samples[-1].balance == 0:
        return 0.0
    pace = spent_a_day(samples)
    if pace is None:
        return None
    return samples[-1].balance / pace if pace > 0 else float("inf")
