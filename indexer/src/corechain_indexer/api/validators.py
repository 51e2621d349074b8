"""Validators of answers (RFC 9110, section 8.8), and how long they may be kept.

A validator is of the query and of the number that Postgres gives to every transaction that may
change an answer (table `change`). It is read before the answer is: an answer may be newer than its
validator says, never older, so one that still stands is of an answer that still stands, whatever a
reorg did in between. Weak: the bytes may differ by their coding.
"""

import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.service.fields import holds
from corechain_indexer.api.known import Mark
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.replica import one_source

if TYPE_CHECKING:
    from corechain.service.database import Database

LABEL_S = 0.25
"""How long a change that was seen may label answers without asking again: it costs a question for
every answer otherwise. An answer with an old label is only asked for once more."""
TAG_BYTES = 15
UNKEPT, CHECKED = "no-store", "no-cache"
FOREVER = "public, max-age=31536000, immutable"
NEVER = "", float("-inf")


@dataclass(slots=True)
class Validators:
    """Labels answers and checks labels."""

    pool: "Database"
    mark: Mark
    version: str
    """Of the API: another version shapes answers in another way."""
    source: Callable[[], str] = one_source
    """Who answers the request that runs now: a label of the primary is too new for the replica."""
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By source: the change, and when it was asked for."""

    async def label(self, query: bytes) -> str:
        """The ETag of an answer that is read after this call."""
        _, seen_at = self._seen.get(self.source(), NEVER)
        if self.clock() - seen_at > LABEL_S:
            await self._look()
        return self._tag(query)

    async def stands(self, query: bytes, if_none_match: str) -> str | None:
        """The ETag, when it is one of those that the client holds."""
        await self._look()
        tag = self._tag(query)
        return tag if holds(if_none_match, tag) else None

    async def _look(self) -> None:
        # The time of the question, not of the answer: that is when it was true.
        asked_at = self.clock()
        change = await self.mark.now()
        # Asked anew: a replica that went away in between has left the request to the primary.
        self._seen[self.source()] = change, asked_at

    def _tag(self, query: bytes) -> str:
        change, _ = self._seen.get(self.source(), NEVER)
        digest = hashlib.sha256(f"{self.version} {change} ".encode() + query).digest()
        return f'W/"{urlsafe_b64encode(digest[:TAG_BYTES]).decode()}"'

    async def lifetime(self, as_of: int | None) -> str:
        """Cache-Control of an answer that is read after this call."""
        if as_of is not None and await Reads(self.pool).is_settled(as_of):
            return FOREVER
        return CHECKED
