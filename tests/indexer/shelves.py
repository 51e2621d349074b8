"""Batches in Postgres, the copies of other stores, and exporters that die at any step."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import create_pool, migrate, writer
from corechain_indexer.export import CacheSink, Exporter
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.latest import Latest, connect_cache, newest_in
from corechain_indexer.store.segments import Segments

DEVICES = [bytes([n]) * 20 for n in (1, 2, 3)]
CELL = 0x872A1072BFFFFFF
LOCK = "corechain indexer cache"
Items = Sequence[tuple[int, int, int]]
"""(device, metric, observed_at) of readings."""


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Ends the process at its n-th step into another world; never, if that is never reached."""

    left: int = 1 << 30
    burnt: bool = False

    def step(self) -> None:
        if self.left == 0:
            self.burnt = True
            raise Killed
        self.left -= 1


@dataclass
class Mortal:
    """Passes everything on to what it stands for, and may die before or after each call."""

    behind: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.behind, name)
        if name == "pipeline":
            return lambda **options: Mortal(found(**options), self.fuse)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "publish"):
            return found

        async def call(*arguments: Any) -> Any:
            self.fuse.step()
            answer = await found(*arguments)
            self.fuse.step()
            return answer

        return call


@dataclass
class Shelf:
    """Batches in Postgres as mirror and verifier leave them; the cache; and who reads both."""

    url: str
    pool: Any
    redis: Redis
    latest: Latest
    reasons: list[str] = field(default_factory=list)

    async def verify(self, batch_id: int, items: Items, salt: int = 0) -> None:
        """A batch that was committed and verified; `salt` tells two of one id apart."""
        leaves = sorted(
            Reading(metric, CELL, DeviceId(DEVICES[device]), at, 10 * batch_id + salt).pack()
            for device, metric, at in dict.fromkeys(items)
        )
        commitment = batch_id.to_bytes(25, "big") + bytes([salt])
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into batch (block_number, log_index, batch_id, commitment, block_hash, "
                "transaction) values ($1, 0, $1, $2, $3, $3)", batch_id, commitment, bytes(32),
            )  # fmt: skip
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, window_start, "
                "window_end) values ($1, 'verified', $2, $3, $4, $5)", batch_id, b"".join(leaves),
                len(leaves), min(at for _, _, at in items), max(at for _, _, at in items),
            )  # fmt: skip
            await Segments.of(batch_id, b"".join(leaves)).copy_to(connection)

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)

    @asynccontextmanager
    async def exporter(self, fuse: Fuse | None = None) -> AsyncIterator[Exporter]:
        """A session of the exporter that holds the lock."""
        async with writer(self.url, LOCK) as connection:
            fuse = fuse or Fuse()
            sink = CacheSink(Mortal(self.redis, fuse))  # type: ignore[arg-type]
            yield Exporter(Mortal(connection, fuse), sink)  # type: ignore[arg-type]

    async def export(self, fuse: Fuse | None = None) -> None:
        """One session until nothing is left, or until it is killed."""
        try:
            async with self.exporter(fuse) as exporter:
                while await exporter.step():
                    pass
        except Killed:
            return

    async def truth(self, device: bytes) -> Any:
        return (await newest_in(self.pool, [device]))[device]

    async def is_honest(self) -> None:
        """Whatever the cache holds, queries get what Postgres says."""
        for device in DEVICES:
            assert await self.latest.of(device) == await self.truth(device)

    async def is_settled(self) -> None:
        """The cache itself says what Postgres says: nobody has to be asked twice."""
        for device in DEVICES:
            self.reasons.clear()
            expected = await self.truth(device)
            assert await self.latest.of(device) == expected
            assert self.reasons in ([], ["missing"])
            held = await self.redis.hgetall(f"corechain:latest:0:{device.hex()}")
            assert not held or len(held) == 1 + len(expected)


@asynccontextmanager
async def shelf_on(database: str, redis_url: str) -> AsyncIterator[Shelf]:
    await migrate(database, MIGRATIONS)
    pool = create_pool(database)
    await pool
    redis = connect_cache(redis_url)
    reasons: list[str] = []
    latest = Latest(redis, pool, reasons.append)
    try:
        yield Shelf(database, pool, redis, latest, reasons)
    finally:
        await latest.close()
        await redis.aclose()
        await pool.close()


BATCHES: list[Items] = [
    [(0, 1, 100), (0, 4, 100), (1, 1, 100)],
    [(0, 1, 200), (2, 1, 50)],
    [(0, 1, 150), (1, 1, 300), (1, 1, 300)],
]


async def filled(shelf: Shelf) -> None:
    for number, items in enumerate(BATCHES, start=1):
        await shelf.verify(number, items)
