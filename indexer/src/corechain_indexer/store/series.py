"""Downsampled time series: hourly statistics in Postgres, or InfluxDB when a URL is given."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from corechain.service.database import asked
from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

HOUR_S = 3600
READ_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """Statistics of a bucket that begins at `start` (seconds); values scaled."""

    start: int
    count: int
    sum: int
    min: int
    max: int


class Series(Protocol):
    """A store of time series."""

    @property
    def target(self) -> str:
        """Which store it is, as a digest; empty where nothing has to be exported."""

    async def write(self, batch_id: int, leaves: Sequence[bytes]) -> None:
        """Adds a verified batch; adding it again changes nothing. Raises SeriesUnavailable."""

    async def retract(self, batch_id: int) -> None:
        """Takes a batch out that a reorg has undone. Raises SeriesUnavailable."""

    async def close(self) -> None:
        """Hangs up."""

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        """Buckets in [start, end], ascending; bucket_s is a multiple of an hour."""


@dataclass(frozen=True, slots=True)
class RollupSeries:
    """The rollup table. It is written with the batch itself, in the same transaction."""

    pool: "Database"

    @property
    def target(self) -> str:
        return ""

    async def write(self, batch_id: int, leaves: Sequence[bytes]) -> None:
        """Nothing is left to do: `FileStore.verified` has written the rollup."""

    async def retract(self, batch_id: int) -> None:
        """Nothing is left to do: the rollup went with the batch."""

    async def close(self) -> None:
        """The pool belongs to the process."""

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        return await self.up_to(None, device, metric, start, end, bucket_s, limit)

    async def up_to(
        self,
        newest_block: int | None,
        device: bytes,
        metric: int,
        start: int,
        end: int,
        bucket_s: int,
        limit: int,
    ) -> Sequence[Bucket]:
        """`read`, of batches up to a block."""
        first = start - start % HOUR_S
        arguments = (device, metric, first, end, bucket_s, limit, newest_block)
        rows = await asked(self.pool.fetch(SQL["series"], *arguments))
        return [Bucket(r["bucket"], r["count"], r["sum"], r["min"], r["max"]) for r in rows]


@dataclass(frozen=True, slots=True)
class BackedSeries:
    """A series database, and the rollup that answers whenever it cannot: while it is away or slow,
    and while it has not taken everything, a retraction above all. `bypassed` gets the reason."""

    primary: Series
    rollup: RollupSeries
    bypassed: Callable[[str], None] = lambda reason: None

    @property
    def target(self) -> str:
        return self.primary.target

    async def write(self, batch_id: int, leaves: Sequence[bytes]) -> None:
        await self.primary.write(batch_id, leaves)

    async def retract(self, batch_id: int) -> None:
        await self.primary.retract(batch_id)

    async def close(self) -> None:
        await self.primary.close()

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        question = (device, metric, start, end, bucket_s, limit)
        if await asked(self.rollup.pool.fetchval(SQL["series_behind"], self.target)):
            self.bypassed("behind")
            return await self.rollup.read(*question)
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                return await self.primary.read(*question)
        except (SeriesUnavailable, TimeoutError):
            self.bypassed("away")
            return await self.rollup.read(*question)
