"""When somebody who was refused should come again: not all in the same second."""

import random
from math import ceil

LONGEST_RETRY_S = 120
"""A device that is told to wait longer would rather be restarted by its owner."""


def spread_s(seconds: float) -> int:
    """Between once and twice so many seconds, whole ones, as `Retry-After` has them (RFC 9110,
    section 10.2.3). A storm that is refused at once and comes back at once is the same storm."""
    # Not predictable by intent, but no secret either: a plain generator is enough.
    drawn = ceil(max(1.0, seconds) * random.uniform(1.0, 2.0))
    return min(LONGEST_RETRY_S, drawn)
