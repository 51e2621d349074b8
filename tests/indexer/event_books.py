"""Batches in Postgres as mirror and verifier leave them, and the log of what happened to them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from support.processes import PATIENCE_S

from corechain.service.database import create_pool, migrate
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.relay import EventRelay, stream_key
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.events import BatchEvent, EventLog, EventNumbers
from corechain_indexer.store.latest import connect_cache

CHAIN_ID, KEEP = 31337, 1_000
KEY = stream_key(CHAIN_ID)
Held = tuple[bytes, int, int]
"""A reading's device, metric (code) and cell."""


@dataclass
class Books:
    """One batch a block; block and batch have the same number."""

    pool: Any
    redis: Redis
    keep: int = KEEP
    length: int = 100
    head: int = 0
    _salt: int = 0
    relay: EventRelay = field(init=False)

    def __post_init__(self) -> None:
        self.restart_relay()

    def restart_relay(self) -> None:
        """As another process: it remembers nothing."""
        self.relay = EventRelay(self.redis, self.log, KEY, self.length)

    @property
    def log(self) -> EventLog:
        return EventLog(self.pool)

    async def verify(self, number: int | None = None, holds: Sequence[Held] = ()) -> None:
        """The next batch. Every branch has another block. A batch that `holds` nothing is one whose
        segments are gone."""
        self.head = self.head + 1 if number is None else number
        self._salt += 1
        block_hash = self.head.to_bytes(28, "big") + self._salt.to_bytes(4, "big")
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into batch (block_number, log_index, batch_id, commitment, block_hash, "
                "transaction) values ($1, 0, $1, $2, $3, $3)",
                self.head, self.head.to_bytes(26, "big"), block_hash,
            )  # fmt: skip
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, rejected_count, "
                "window_start, window_end) values ($1, 'verified', '', 7, 1, 100, 200)", self.head,
            )  # fmt: skip
            await connection.executemany(
                "insert into segment values ($1, $2, 100, 200, 9, $3, 1, $4, 9, 9, 9, 0, $5)",
                [(self.head, cell, at, metric, device)
                 for at, (device, metric, cell) in enumerate(holds)],
            )  # fmt: skip

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)
        self.head = min(self.head, after)

    async def finalise(self, block: int) -> None:
        await self.pool.execute("update chain_mark set safe = $1, final = $1", block)

    async def number(self) -> None:
        async with self.pool.acquire() as connection:
            while await EventNumbers(connection, self.keep).step():
                pass

    async def pass_on(self) -> None:
        while await self.relay.step():
            pass

    async def pass_on_after_outage(self) -> None:
        """As sessions of the service: one that meets what is left of the outage ends, and the next
        begins anew."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.restart_relay()
                with suppress(CacheUnavailable):
                    return await self.pass_on()
                await asyncio.sleep(0.02)

    async def tell(self) -> None:
        """Everything that happened reaches Redis."""
        await self.number()
        await self.pass_on()

    async def events(self) -> list[BatchEvent]:
        return await self.log.after(0, 10_000)

    async def story(self) -> list[tuple[str, int]]:
        return [(event.type, event.batch_id) for event in await self.events()]


@asynccontextmanager
async def opened(database: str, redis_url: str, **changes: Any) -> AsyncIterator[Books]:
    """With whatever tables there are."""
    pool = create_pool(database)
    await pool
    redis = connect_cache(redis_url)
    try:
        yield Books(pool, redis, **changes)
    finally:
        await redis.aclose()
        await pool.close()


@asynccontextmanager
async def books_on(database: str, redis_url: str, **changes: Any) -> AsyncIterator[Books]:
    await migrate(database, MIGRATIONS)
    async with opened(database, redis_url, **changes) as books:
        yield books
