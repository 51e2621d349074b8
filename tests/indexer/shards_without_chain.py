"""An index with shards and without a chain: batches are put into its tables."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import asyncpg
from support.databases import Databases

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool
from corechain_indexer.store.opened import routed
from corechain_indexer.store.pages import PageOf, readings_page
from corechain_indexer.store.segments import Segments
from corechain_indexer.store.shards import MIGRATIONS as SHARD_MIGRATIONS
from corechain_indexer.store.shards.databases import Shards, token_of
from corechain_indexer.store.shards.keeping import ShardKeeper, write_segments
from indexer.test_segments import (
    DEVICES,
    MAX_TIME,
)

BLOCK = bytes(32)
EVERYTHING = PageOf(DEVICES[0], None, 0, MAX_TIME)


class Divided:
    """An index without a chain: batches are put into its tables."""

    def __init__(self, url: str, pool: Any, shards: Shards) -> None:
        self.url, self.pool, self.shards = url, pool, shards
        self.database: Any = routed(pool, shards)
        self.keeper = ShardKeeper(pool, shards)

    async def write(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> Any:
        """Commits a batch, and writes its segments to the shards; what makes it verified then."""
        leaves = b"".join(sorted(item.pack() for item in items))
        commitment = batch_id.to_bytes(7) + bytes([content]) + bytes(18)
        insert = "insert into batch values ($1, 0, $1, $2, $3, $3) on conflict do nothing"
        await self.pool.execute(insert, batch_id, commitment, BLOCK)
        batch, segments = (batch_id, token_of(commitment)), Segments.of(batch_id, leaves)

        async def verdict(connection: Any) -> None:
            assert await write_segments(self.shards, connection, batch, BLOCK, segments)
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, readings_root, "
                "tree_levels, window_end) values ($1, 'verified', $2, $3, '', '', 0)",
                batch_id, leaves, len(items),
            )  # fmt: skip

        return verdict

    async def keep(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> None:
        verdict = await self.write(batch_id, items, content)
        async with self.pool.acquire() as connection, connection.transaction():
            await verdict(connection)

    async def give_up(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> None:
        """As a process that is killed when the shards have everything, and before it counts."""
        verdict = await self.write(batch_id, items, content)
        async with self.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await verdict(connection)
            await transaction.rollback()

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)

    async def held(self) -> list[int]:
        rows = await self.rows("held_after", -1, 0, 1_000)
        return sorted({row["batch_id"] for row in rows})

    async def rows(self, name: str, *arguments: Any) -> list[Any]:
        """Of all shards."""
        parts = await self.shards.every(lambda shard: shard.fetch(name, *arguments))
        return [row for part in parts for row in part]


@asynccontextmanager
async def divided_index(url: str, shard_urls: Sequence[str]) -> AsyncIterator[Divided]:
    shards = Shards.at(shard_urls)
    async with create_pool(url) as pool:
        await shards.prepare(pool)
        try:
            yield Divided(url, pool, shards)
        finally:
            await shards.close()


def readings_of(device: bytes, *times: int) -> list[Reading]:
    return [Reading(1, 7, device, at, at, 1) for at in times]  # type: ignore[arg-type]


async def times_of(index: Divided, device: bytes) -> list[int]:
    page = replace(EVERYTHING, device=device)
    return [row.observed_at for row in await readings_page(index.database, page, 100)]


async def rename(admin: str, url: str, name: str) -> None:
    """Nobody can reach a database under the name that it had."""
    own = url.rpartition("/")[2]
    connection = await asyncpg.connect(admin)
    try:
        terminate = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
        await connection.fetch(terminate, own)
        await connection.execute(f'alter database "{own}" rename to "{name}"')
    finally:
        await connection.close()


@contextmanager
def four_shards(databases: Databases) -> Iterator[list[str]]:
    urls = [databases.migrated("shard", SHARD_MIGRATIONS) for _ in range(4)]
    yield urls
    for url in urls:
        databases.drop(url)
