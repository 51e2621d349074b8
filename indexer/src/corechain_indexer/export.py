"""Emits what cache and series must learn: from an outbox, until acknowledged.

A row of the outbox is written in the transaction that changes Postgres (migration 0007), and goes
once its sink has taken it. A crash between the two emits it again: every step may be repeated.
Each sink has a loop and a lock of its own, so that an outage of one does not hold up the others.
"""

from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import structlog

from corechain.protocol.reading import READING_BYTES
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store.latest import LatestWriter, newest_of, refreshed
from corechain_indexer.store.lives import lives_of
from corechain_indexer.store.outbox import Outbox

if TYPE_CHECKING:
    from asyncpg import Record
    from redis.asyncio import Redis

    from corechain.service.database import Conn

log = structlog.get_logger(__name__)
AT_ONCE = 16
DEVICES_AT_ONCE = 1_000


def split_leaves(packed: bytes) -> list[bytes]:
    """The packed readings of a batch, 40 bytes each."""
    return [packed[i : i + READING_BYTES] for i in range(0, len(packed), READING_BYTES)]


async def _leaves(connection: "Conn", row: "Record") -> list[bytes]:
    """The readings of a batch; none when it has gone meanwhile."""
    return split_leaves(await Outbox(connection).leaves(row["batch_id"], row["commitment"]))


class Sink(Protocol):
    """Somebody who must learn what changes in Postgres."""

    @property
    def name(self) -> str:
        """Of its rows in the outbox."""

    async def begin(self, connection: "Conn") -> None:
        """Called once, with the lock held, before anything is emitted."""

    async def correct(self, connection: "Conn") -> bool:
        """Work that goes before the outbox; True when there was any."""

    async def emit(self, connection: "Conn", row: "Record") -> None:
        """Takes one row of the outbox. Raises TransportError; then the row comes again."""


@dataclass(slots=True)
class CacheSink:
    """Newest values in Redis. What a rollback made doubtful is corrected before anything is added;
    until then `Latest` does not trust it."""

    name: ClassVar[str] = "cache"
    redis: "Redis"
    chain_id: int = 0
    writer: LatestWriter = field(init=False)
    _lives: AbstractSet[str] = field(init=False)

    async def begin(self, connection: "Conn") -> None:
        # A new generation: whatever happened to the cache while nobody wrote it is not trusted,
        # and every device is written anew. Asked before: what is lost after that is noticed.
        self._lives = await lives_of(self.redis)
        generation = await Outbox(connection).distrust_cache(self._lives)
        self.writer = LatestWriter(self.redis, str(generation), self.chain_id)

    async def correct(self, connection: "Conn") -> bool:
        with suppress(CacheUnavailable):  # it says when it is back whether it is the same
            if await lives_of(self.redis) != self._lives:
                log.warning("cache may be older than it was: every device is written anew")
                await self.begin(connection)
        outbox = Outbox(connection)
        rows = await outbox.stale_devices(DEVICES_AT_ONCE)
        if rows:
            await refreshed(self.writer, connection, [row["device"] for row in rows])
            await outbox.refreshed([row["id"] for row in rows])
        return bool(rows)

    async def emit(self, connection: "Conn", row: "Record") -> None:
        if row["standing"]:
            leaves = await _leaves(connection, row)
            missing = await self.writer.add(newest_of(row["batch_id"], leaves))
            await refreshed(self.writer, connection, missing)


@dataclass(slots=True)
class Exporter:
    """One session of one sink. The connection holds the sink's lock: who lost it cannot
    acknowledge anything either."""

    connection: "Conn"
    sink: Sink
    _begun: bool = False

    async def step(self) -> bool:
        """True when there was anything to emit."""
        if not self._begun:
            await self.sink.begin(self.connection)
            self._begun = True
        corrected = await self.sink.correct(self.connection)
        outbox = Outbox(self.connection)
        rows = await outbox.next(self.sink.name, AT_ONCE)
        for row in rows:
            await self.sink.emit(self.connection, row)
            await outbox.emitted(row["id"])
        return corrected or bool(rows)
