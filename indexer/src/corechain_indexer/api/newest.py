"""The newest piece of the log of batch events, as a process of the API follows it.

Redis is how new events come fast. Postgres is asked where Redis is away, where a number is missing,
and every now and then when nothing came: an answer of Redis is never believed to be all there is.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from corechain.protocol.errors import CursorUnknown, TransportError
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.relay import FIELD
from corechain_indexer.store.events import BatchEvent, Cursor, EventLog
from corechain_indexer.store.latest import told

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

KEPT = 1_024
"""Newest events that are kept encoded, 1.5 kB each: eight minutes at a batch a second, its `final`
included. Who comes back sooner costs Postgres nothing."""
PAGE = 500
BLOCK_MS = 2_000
"""Redis answers an empty read after so long; then Postgres is asked whether it has missed any."""
AWAY_S, POLL_S = 5.0, 0.5
"""After a failure Redis is left alone so long, and Postgres asked so often."""

Encode = Callable[[BatchEvent], bytes | None]


class Encoded:
    """An event and its frames, each made once: when the first subscriber of its kind needs it."""

    __slots__ = ("_made", "event")

    def __init__(self, event: BatchEvent) -> None:
        self.event = event
        self._made: dict[Encode, bytes | None] = {}

    def by(self, encode: Encode) -> bytes | None:
        if encode not in self._made:
            self._made[encode] = encode(self.event)
        return self._made[encode]


@dataclass(slots=True)
class Newest:
    """`position` is the newest event that was taken, `cursor` its name; `kept` ends with it, where
    any are kept. `ready` while they are of the log that there is."""

    redis: "Redis"
    log: EventLog
    key: str
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    position: int = 0
    cursor: str = ""
    kept: list[Encoded] = field(default_factory=list)
    _generation: bytes = b""
    _away_until: float = 0.0

    async def open(self) -> bool:
        """True when it began anew, at the end of the log. Raises StoreUnavailable."""
        head = await self.log.head()
        if self.ready.is_set() and head.generation == self._generation:
            return False
        self.ready.clear()
        kept = await self.log.after(max(head.pruned, head.newest - KEPT), KEPT)
        self.kept = [Encoded(event) for event in kept]
        self.position = kept[-1].id if kept else head.newest
        self.cursor = (await self.log.cursor(self.position)).text
        self._generation = head.generation
        self.ready.set()
        return True

    async def next(self) -> Sequence[BatchEvent] | None:
        """Events after the newest one, without a gap; none after a while without any; None when
        the log is another one, or has run away from us. Raises StoreUnavailable."""
        if time.monotonic() < self._away_until:
            await asyncio.sleep(POLL_S)
            return await self._stored()
        try:
            found = await self._passed_on()
        except CacheUnavailable as error:
            log.info("events come from Postgres", error=str(error))
            self._away_until = time.monotonic() + AWAY_S
            return await self._stored()
        if self._is_next(found):
            return found
        if found:
            return await self._stored()
        # Nothing came by Redis: then Postgres is asked, but not needed.
        with contextlib.suppress(TransportError):
            return await self._stored()
        return ()

    async def _passed_on(self) -> list[BatchEvent]:
        after: Any = {self.key: f"{self.position}-0"}
        answer: Any = await told(self.redis.xread(after, count=PAGE, block=BLOCK_MS))
        if not answer:
            return []
        (entries,) = answer.values() if isinstance(answer, dict) else (answer[0][1],)
        if entries and isinstance(entries[0], list):  # by RESP3 they are in one more list
            (entries,) = entries
        try:
            return [msgspec.json.decode(fields[FIELD], type=BatchEvent) for _, fields in entries]
        except (KeyError, msgspec.DecodeError) as error:
            raise CacheUnavailable(f"an entry is none of ours: {error!r}") from error

    def _is_next(self, events: Sequence[BatchEvent]) -> bool:
        """Whether they are of this log, and none is missing."""
        numbers = range(self.position + 1, self.position + 1 + len(events))
        return bool(events) and all(
            event.id == number and self._is_of_this_log(event)
            for event, number in zip(events, numbers, strict=True)
        )

    def _is_of_this_log(self, event: BatchEvent) -> bool:
        try:
            return Cursor.parse(event.cursor).generation == self._generation
        except CursorUnknown:
            return False

    async def _stored(self) -> Sequence[BatchEvent] | None:
        events = await self.log.after(self.position, PAGE)
        if self._is_next(events):
            return events
        if not events and (await self.log.head()).generation == self._generation:
            return events
        self._generation = b""
        return None

    def take(self, event: BatchEvent) -> Encoded:
        """The next event of all."""
        encoded = Encoded(event)
        self.kept.append(encoded)
        if len(self.kept) >= 2 * KEPT:
            del self.kept[:KEPT]
        self.position, self.cursor = event.id, event.cursor
        return encoded

    def knows(self, since: Cursor) -> bool:
        """Whether a place is among the newest events, by its very name."""
        if since.text == self.cursor:
            return True
        if not self.kept:
            return False
        at = since.number - self.kept[0].event.id
        return 0 <= at < len(self.kept) and self.kept[at].event.cursor == since.text

    def after(self, position: int) -> list[Encoded] | None:
        """All events after a place; None where some of them are not kept."""
        first = self.kept[0].event.id if self.kept else self.position + 1
        if position < first - 1:
            return None
        return self.kept[position + 1 - first :]
