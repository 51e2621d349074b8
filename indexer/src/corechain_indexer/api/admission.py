"""Who may ask how often: by API key, or by address for who has none.

Counted in Redis, for all worker processes together. While it is away each process counts for itself
and lets through its share, so that an outage neither stops the API nor opens it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.requests import HTTPConnection

from corechain.service.peers import source_of
from corechain_indexer.api.keys import KeyRing
from corechain_indexer.errors import CacheUnavailable, TooManyRequests, UnknownApiKey
from corechain_indexer.limits import Allowance, Buckets, Taken
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import latest
from corechain_indexer.store.breaker import Breaker
from corechain_indexer.store.quotas import Quotas

AUTHORIZATION, API_KEY = "authorization", "x-api-key"
ANONYMOUS = "anonymous"
UNLIMITED: Mapping[str, str] = {}


class Asker(NamedTuple):
    """`label` names the key in metrics; addresses share one, there are too many of them."""

    name: str
    label: str
    allowance: Allowance


@dataclass(slots=True)
class Admission:
    """Without keys and without a limit for others everybody is let through, uncounted."""

    quotas: Quotas
    metrics: Metrics
    keys: KeyRing | None = None
    anonymous: Allowance | None = None
    burst_s: int = 10
    processes: int = 1
    clock: Callable[[], float] = time.time
    _alone: Buckets = field(default_factory=Buckets)
    breaker: Breaker = field(default_factory=Breaker)

    def asker(self, connection: HTTPConnection) -> Asker | None:
        """None for who is not limited. Raises UnknownApiKey."""
        # Without keys nothing that is sent can be one: two fields less to look for.
        if self.keys is not None and (secret := _secret_of(connection)) is not None:
            key = self.keys.find(secret)
            if key is None:
                raise UnknownApiKey("the API key is not one of this server")
            burst = max(1, key.per_second * self.burst_s)
            allowance = Allowance(key.per_second, burst, key.per_day)
            return Asker(f"key:{key.name}", key.name, allowance)
        if self.anonymous is None:
            return None
        peer = connection.client.host if connection.client else ""
        return Asker(f"address:{source_of(peer)}", ANONYMOUS, self.anonymous)

    async def admit(self, connection: HTTPConnection) -> Mapping[str, str]:
        """Header fields of the answer. Raises UnknownApiKey, TooManyRequests (with its fields)."""
        asker = self.asker(connection)
        if asker is None:
            return UNLIMITED
        self.metrics.requests_by_key.labels(asker.label).inc()
        allowance = asker.allowance
        if not allowance.per_second and not allowance.per_day:
            return UNLIMITED
        taken, allowance = await self._take(asker)
        headers = taken.headers(allowance)
        if not taken.is_allowed:
            self.metrics.limited.labels(asker.label).inc()
            raise TooManyRequests(asker.label, taken.wait_s(allowance), headers)
        return headers

    async def _take(self, asker: Asker) -> tuple[Taken, Allowance]:
        now, allowance = self.clock(), asker.allowance
        if self.breaker.lets_ask():
            try:
                async with asyncio.timeout(latest.READ_LIMIT_S):
                    taken = await self.quotas.take(asker.name, allowance, int(now * 1000))
                self.breaker.answered()
                return taken, allowance
            except (CacheUnavailable, TimeoutError):
                self.breaker.failed()
        self.metrics.bypassed.labels("quotas", "away").inc()
        share = allowance.shared_by(self.processes)
        return self._alone.take(asker.name, share, int(now * 1000)), share


def _secret_of(connection: HTTPConnection) -> str | None:
    """`Authorization: Bearer …` (RFC 6750) or `X-API-Key: …`."""
    scheme, _, secret = connection.headers.get(AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return connection.headers.get(API_KEY)
