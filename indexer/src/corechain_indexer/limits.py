"""How many requests somebody may send: a bucket of tokens, and a count a day. Pure."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DAY_MS = 86_400_000
TOKEN = 1_000
MOST_BUCKETS = 50_000
"""Held by a process while Redis is away, 20 MB; beyond that the one that was used longest ago is
forgotten, which gives its owner a full bucket."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` requests at once and `per_second` in the long run, `per_day` until midnight UTC; 0 is
    without that limit."""

    per_second: int
    burst: int
    per_day: int = 0

    def shared_by(self, processes: int) -> "Allowance":
        """What one of so many processes may let through when none knows of the others."""

        def part(limit: int) -> int:
            return math.ceil(limit / processes)

        return Allowance(part(self.per_second), part(self.burst), part(self.per_day))


class Taken(NamedTuple):
    """What a bucket holds after a request, in thousandths of a token: so many come back in a
    millisecond as the limit has requests a second. `at` is its time in milliseconds since 1970."""

    is_allowed: bool
    thousandths: int
    used_today: int
    at: int

    def wait_s(self, allowance: Allowance) -> int:
        """Whole seconds until the next request is allowed, at least one."""
        waits = [1.0]
        if allowance.per_second and self.thousandths < TOKEN:
            waits.append((TOKEN - self.thousandths) / (TOKEN * allowance.per_second))
        if allowance.per_day and self.used_today >= allowance.per_day:
            waits.append((DAY_MS - self.at % DAY_MS) / 1000)
        return math.ceil(max(waits))

    def headers(self, allowance: Allowance) -> Mapping[str, str]:
        """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)."""
        policies, states = [], []
        if allowance.per_second:
            window = math.ceil(allowance.burst / allowance.per_second)
            missing = allowance.burst * TOKEN - self.thousandths
            full = math.ceil(missing / (TOKEN * allowance.per_second))
            policies.append(f'"burst";q={allowance.burst};w={window}')
            states.append(f'"burst";r={self.thousandths // TOKEN};t={full}')
        if allowance.per_day:
            left = max(0, allowance.per_day - self.used_today)
            midnight = math.ceil((DAY_MS - self.at % DAY_MS) / 1000)
            policies.append(f'"daily";q={allowance.per_day};w=86400')
            states.append(f'"daily";r={left};t={midnight}')
        return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}


@dataclass(slots=True)
class Bucket:
    """Whole numbers, so that it agrees with the one in Redis to the last request."""

    thousandths: int
    at: int
    day: int = 0
    used: int = 0

    def take(self, allowance: Allowance, now_ms: int) -> Taken:
        """One request; one that is refused takes nothing."""
        at, rate = max(self.at, now_ms), allowance.per_second
        most = allowance.burst * TOKEN
        self.thousandths = min(most, self.thousandths + (at - self.at) * rate)
        if self.day != at // DAY_MS:
            self.day, self.used = at // DAY_MS, 0
        self.at = at
        is_spent = allowance.per_day > 0 and self.used >= allowance.per_day
        is_allowed = not is_spent and (rate == 0 or self.thousandths >= TOKEN)
        if is_allowed:
            self.thousandths -= TOKEN if rate else 0
            self.used += 1
        return Taken(is_allowed, self.thousandths, self.used, at)


@dataclass(slots=True)
class Buckets:
    """Of one process, by name."""

    most: int = MOST_BUCKETS
    _held: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def take(self, name: str, allowance: Allowance, now_ms: int) -> Taken:
        bucket = self._held.pop(name, None) or Bucket(allowance.burst * TOKEN, now_ms)
        self._held[name] = bucket
        if len(self._held) > self.most:
            self._held.popitem(last=False)
        return bucket.take(allowance, now_ms)
