"""Sends alerts to an operator's own addresses: signed, in order, until they were taken.

The addresses come from the operator's settings and from nowhere else, so private ones are as good
as any: the receiver is mostly next door. Redirections are not followed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import structlog

from corechain.http import put_off_s
from corechain.service.alerting.book import Webhooks
from corechain.webhooks import DELIVERY, SIGNATURE, signature_of

if TYPE_CHECKING:
    import httpx
    from asyncpg import Record

log = structlog.get_logger(__name__)

ANSWER_LIMIT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 600.0
KEPT_S = 86_400.0
"""A message that nobody took for a day holds up newer ones for nothing."""


def target_of(url: str, sender: str = "") -> bytes:
    """What a receiver is known by in the database, which must not hold its token. `sender`: whose
    messages, where several send to one receiver and must not wait for each other."""
    return sha256(f"{sender} {url}".lstrip().encode()).digest()[:16]


def delivery_of(row_id: int, body: bytes) -> str:
    """The same for each attempt: by it a receiver knows what it has taken already. Not the row's
    number alone: an indexer and the guards of several lanes may post to one receiver."""
    return sha256(b"%d " % row_id + body).hexdigest()[:32]


class Failure(NamedTuple):
    """Why a receiver did not take a message, and for how long it asks to be left alone."""

    why: str
    wait_s: float = 0.0


@dataclass(slots=True)
class Sender:
    """One receiver. Another one that hangs or refuses delays it in nothing."""

    webhooks: Webhooks
    url: str
    name: str
    """In logs and metrics: the URL may hold a token."""
    secret: Callable[[], bytes]
    http: "httpx.AsyncClient"
    count: Callable[[str], None]
    """Is called with what came of a message: `taken`, `failed`, `given up`."""
    clock: Callable[[], float] = time.time

    async def step(self) -> bool:
        """True when a message was taken, or given up. Raises StoreUnavailable."""
        row = await self.webhooks.next(KEPT_S)
        if row is None:
            return False
        failure = await self._failure(row)
        if failure and not row["expired"]:
            pause_s = max(failure.wait_s, FIRST_PAUSE_S * 2 ** min(row["attempts"], 16))
            pause_s = min(LONGEST_PAUSE_S, pause_s)
            await self.webhooks.failed(row["id"], pause_s)
            log.warning("webhook not taken", receiver=self.name, why=failure.why, retry_s=pause_s)
            self.count("failed")
            return False
        await self.webhooks.done(row["id"])
        self.count("given up" if failure else "taken")
        return True

    async def _failure(self, row: "Record") -> Failure | None:
        """Why the receiver did not take it; None when it did."""
        import httpx

        body = row["body"]
        headers = {
            "content-type": "application/json",
            DELIVERY: delivery_of(row["id"], body),
            SIGNATURE: signature_of(self.secret(), int(self.clock()), body),
        }
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                options = {"content": body, "headers": headers, "timeout": None}
                request = self.http.stream("POST", self.url, follow_redirects=False, **options)
                # Its status is all that counts: what follows may never end.
                async with request as response:
                    status = response.status_code
                    wait_s = put_off_s(status, response.headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            return Failure(type(error).__name__)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        return Failure(f"HTTP {status}", wait_s)
