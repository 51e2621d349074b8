"""Downsampled time series: hourly statistics in Postgres, or InfluxDB when a URL is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from corechain.service.database import asked
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

HOUR_S = 3600


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

    async def write(self, batch_id: int, leaves: Sequence[bytes]) -> None:
        """Nothing is left to do: `FileStore.verified` has written the rollup."""

    async def retract(self, batch_id: int) -> None:
        """Nothing is left to do: the rollup went with the batch."""

    async def close(self) -> None:
        """The pool belongs to the process."""

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        first = start - start % HOUR_S
        arguments = (device, metric, first, end, bucket_s, limit)
        rows = await asked(self.pool.fetch(SQL["series"], *arguments))
        return [Bucket(r["bucket"], r["count"], r["sum"], r["min"], r["max"]) for r in rows]
