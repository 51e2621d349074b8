"""Segments onto shards before their batch is verified, and off them after it was undone.

Each step may be repeated, and a process may end between any two. What was written for a batch that
was never verified, or was undone, is there and counts for nothing until the keeper takes it away.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import structlog

from corechain.service.database import asked, outages
from corechain.service.errors import StoreUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.segments import Segments
from corechain_indexer.store.shards import SHARD_SQL
from corechain_indexer.store.shards.databases import Shard, Shards, total_of
from corechain_indexer.store.shards.division import SHARD_COLUMNS, divided

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.segments import Writing

log = structlog.get_logger(__name__)
AT_ONCE = 100
SWEPT_AT_ONCE = 1_000
POLL_S = 5.0


async def write_segments(
    shards: Shards, main: "Writing", batch: tuple[int, int], block_hash: bytes, segments: Segments
) -> bool:
    """Onto all shards, in a transaction of `main` that goes on to make the batch (its id and token)
    verified. False where it does not stand in that block. Raises StoreUnavailable.

    The shards' own transactions are over when this returns: what `main` then says counts.
    """
    batch_id, token = batch
    layout = await kept_layout(shards, main)
    await main.execute(SQL["lock_batch"], batch_id)
    block_number = await main.fetchval(SQL["block_of"], batch_id, block_hash)
    if block_number is None:
        return False
    parts = await asyncio.to_thread(parts_of, segments, token, layout["count"], total_of(layout))

    async def write(number: int, part: bytes) -> None:
        shard = await shards.ready(shards.all[number])
        await shard.answered(_write(shard, (batch_id, token, block_number), part))

    # All of them end before the first error is told: the next try would wait for them.
    done = await asyncio.gather(*(write(*item) for item in parts.items()), return_exceptions=True)
    for error in done:
        if error is not None:
            raise error
    return True


async def kept_layout(shards: Shards, main: "Writing") -> "Record":
    """The layout, which stays so until the end of `main`'s transaction. Raises StoreUnavailable."""
    await main.execute(SQL["keep_layout"])
    return shards.follow(await main.fetchrow(SQL["shard_layout"]))


def parts_of(segments: Segments, token: int, count: int, written: int) -> dict[int, bytes]:
    """As `divided`; while shards are added also what the new ones have of twice as many: questions
    are divided by `count` or by that."""
    parts = divided(segments, token, count)
    if written > count:
        twice = divided(segments, token, written)
        parts |= {number: part for number, part in twice.items() if number >= count}
    return parts


async def _write(shard: Shard, held: tuple[int, int, int], part: bytes) -> None:
    with outages():
        async with shard.pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(SHARD_SQL["hold"], *held):
                await connection.copy_to_table(
                    "segment", source=BytesIO(part), columns=SHARD_COLUMNS, format="binary"
                )


async def settle(shards: Shards, batch_id: int, token: int) -> None:
    """Tells the shards that the batch was verified. What does not get there, the keeper tells."""
    with suppress(StoreUnavailable):
        await shards.every(lambda shard: shard.fetch("settle", batch_id, token))


@dataclass(slots=True)
class ShardKeeper:
    """Takes away what does not stand, and tells the shards what does. Any number may run."""

    main: "Database"
    shards: Shards
    _swept: bool = False

    async def keep_forever(self) -> None:
        """Raises StoreUnavailable, also of one shard: the session begins anew."""
        while True:
            if not await self.step():
                await asyncio.sleep(POLL_S)

    async def step(self) -> bool:
        """Whether there was anything to do. The first one looks through all batches: a restore of
        one database, or a rebuild that was cut off, leaves what nobody has noted."""
        self.shards.follow(await asked(self.main.fetchrow(SQL["shard_layout"])))
        if not self._swept:
            for shard in self.shards.used:
                await self._sweep(shard)
            self._swept = True
        worked = await self._clean_gone()
        # All are asked, also beside one that is away: what is known of each is of now.
        looks = [self._look_at_unsettled(shard) for shard in self.shards.used]
        for found in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found
            worked |= found
        await asked(self.main.execute(SQL["forget_gone"]))
        return worked

    async def _clean_gone(self) -> bool:
        rows = await asked(self.main.fetch(SQL["gone_batches"], AT_ONCE))
        for row in rows:
            await self._clean(row["batch_id"], row["token"])
            await asked(self.main.execute(SQL["note_cleaned"], row["id"]))
        return bool(rows)

    async def _look_at_unsettled(self, shard: Shard) -> bool:
        ready = await self.shards.ready(shard)
        rows = await ready.fetch("unsettled", AT_ONCE)
        for row in rows:
            if not await self._clean(row["batch_id"], row["token"]):
                await ready.fetch("settle", row["batch_id"], row["token"])
        return bool(rows)

    async def _sweep(self, shard: Shard) -> None:
        ready, after = await self.shards.ready(shard), (-1, -(1 << 63))
        while rows := await ready.fetch("held_after", *after, SWEPT_AT_ONCE):
            batches = [row["batch_id"] for row in rows], [row["token"] for row in rows]
            for gone in await asked(self.main.fetch(SQL["fallen"], *batches)):
                await self._clean(gone["batch_id"], gone["token"])
            after = rows[-1]["batch_id"], rows[-1]["token"]

    async def _clean(self, batch_id: int, token: int) -> bool:
        """Takes a batch off the shards; False, and nothing changes, where it stands."""
        with outages():
            async with self.main.acquire() as connection, connection.transaction():
                count = total_of(await kept_layout(self.shards, connection))
                # It waits until a verdict that is under way is there, or has failed.
                await connection.execute(SQL["lock_batch"], batch_id)
                if not await connection.fetch(SQL["fallen"], [batch_id], [token]):
                    return False
                # Kept whatever becomes of this: later nothing says any more whose values the cache
                # must not serve on.
                held = await self.shards.every(
                    lambda shard: shard.fetch("devices_of", batch_id, token), count
                )
                devices = {row["device"] for part in held for row in part}
                await self.main.execute(SQL["mark_devices_stale"], list(devices))
                await self.shards.every(lambda shard: _drop(shard, batch_id, token), count)
        log.info("batch taken off the shards", batch=batch_id)
        return True


async def _drop(shard: Shard, batch_id: int, token: int) -> None:
    version = await shard.fetchval("held_version", batch_id, token)
    if version is not None:
        await shard.fetch("drop_held", batch_id, token, version)
