"""Passes the log of batch events on to Redis: to workers of the API, and to whoever else reads it.

The entry of event 7 has the id `7-0`, so that Redis itself refuses a double. Everything in the
stream follows from Postgres: what Redis has lost (FLUSHALL, a restart, an eviction) is filled in
again, and what is not of this log is thrown away. No command names two keys: any node of a cluster
serves it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from redis.exceptions import ResponseError

from corechain.service.bell import until_woken
from corechain.service.database import writer
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.maintenance import WRITER
from corechain_indexer.store.events import BatchEvent, Cursor, EventLog, EventNumbers, LogHead
from corechain_indexer.store.latest import told

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

AT_ONCE = 500
FIELD = b"event"


def stream_key(chain_id: int) -> str:
    """One stream a chain: two chains may share a Redis."""
    return f"corechain:events:{chain_id}"


def entry_number(entry_id: bytes) -> int:
    """The number of an event from the id of its entry."""
    return int(entry_id.partition(b"-")[0])


@dataclass(slots=True)
class EventRelay:
    """One session: the only one that writes the stream. `length` entries are kept, or a few more.

    `_base` is the event before the first entry, `_position` the one of the last.
    """

    redis: "Redis"
    log: EventLog
    key: str
    length: int
    _position: int | None = None
    _base: int = 0
    _encoder: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)

    async def step(self) -> bool:
        """True when there was anything to pass on. Raises StoreUnavailable, CacheUnavailable."""
        if self._position is None:
            await self._begin()
        assert self._position is not None
        events = await self.log.after(self._position, AT_ONCE)
        held = await self._held_with(events)
        if events and held:
            self._position = events[-1].id
        if held < min(self.length, self._position - self._base):
            log.warning("the stream in Redis has lost entries", held=held)
            await self._refill(await self.log.head())
            return True
        return bool(events)

    async def _begin(self) -> None:
        """Goes on after the last entry, if the stream is a piece of this log."""
        head = await self.log.head()
        first = await told(self.redis.xrange(self.key, count=1))
        last = await told(self.redis.xrevrange(self.key, count=1))
        if not first or not last:
            await self._refill(head)
            return
        self._base, position = entry_number(first[0][0]) - 1, entry_number(last[0][0])
        if not await self._is_ours(last[0][1], position, head):
            await self._refill(await self.log.head())
        elif head.newest - self._base < min(self.length, head.newest - head.pruned):
            await self._refill(head)  # it may be longer now than it was
        else:
            self._position = position

    async def _is_ours(self, entry: Any, position: int, head: LogHead) -> bool:
        try:
            cursor = Cursor.parse(msgspec.json.decode(entry[FIELD], type=BatchEvent).cursor)
        except (KeyError, msgspec.DecodeError):
            return False
        if cursor.generation != head.generation or cursor.number != position:
            return False
        if position <= head.newest and cursor == await self.log.cursor(position):
            return True
        if position > head.pruned:
            # The database knows less than what it has told: it was restored, and numbers anew.
            log.error("the log of events was set back", told=position, newest=head.newest)
            await self.log.renew()
        return False

    async def _refill(self, head: LogHead) -> None:
        """Empties the stream; the next steps fill it."""
        await told(self.redis.delete(self.key))
        self._base = self._position = max(head.pruned, head.newest - self.length)

    async def _held_with(self, events: Sequence[BatchEvent]) -> int:
        """As `_add`; 0 where the stream has had entries that are none of this log."""
        try:
            return await self._add(events)
        except CacheUnavailable as error:
            # Not again right after it was emptied: then it has another reason, as a full memory.
            if isinstance(error.__cause__, ResponseError) and self._position != self._base:
                return 0
            raise

    async def _add(self, events: Sequence[BatchEvent]) -> int:
        """How many entries the stream has afterwards."""
        pipe = self.redis.pipeline(transaction=False)
        for event in events:
            fields: Any = {FIELD: self._encoder.encode(event)}
            pipe.xadd(self.key, fields, id=f"{event.id}-0", maxlen=self.length, approximate=True)
        pipe.xlen(self.key)
        return int((await told(pipe.execute()))[-1])


@dataclass(slots=True)
class EventSessions:
    """The two loops that write the log and the stream, each with a lock of its own: an outage of
    Redis does not keep events from being numbered. `keep` and `length` in events; `wake` is set
    when something happened to a batch."""

    database_url: str
    redis: "Redis"
    key: str
    keep: int
    length: int
    poll_s: float
    wake: asyncio.Event
    _numbered: asyncio.Event = field(default_factory=asyncio.Event)

    def by_name(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"events": self.number, "relay": self.pass_on}

    async def number(self) -> None:
        async with writer(self.database_url, f"{WRITER} events") as connection:
            numbers = EventNumbers(connection, self.keep)

            async def step() -> bool:
                happened = await numbers.step()
                if happened:
                    self._numbered.set()
                return happened

            await connection.hold(until_woken(step, self.wake, self.poll_s))

    async def pass_on(self) -> None:
        async with writer(self.database_url, f"{WRITER} relay") as connection:
            relay = EventRelay(self.redis, EventLog(connection), self.key, self.length)
            await connection.hold(until_woken(relay.step, self._numbered, self.poll_s))
