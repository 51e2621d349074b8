"""Downsampled time series from the segments in Postgres. `backed` asks InfluxDB before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from corechain.protocol.sealing import LEAF_ROWS
from corechain.service.database import asked
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive, run_in
from corechain_indexer.store.packing import slice_of
from corechain_indexer.store.segments import leaf_times

if TYPE_CHECKING:
    from corechain.service.database import Database


class Bucket(msgspec.Struct, frozen=True):
    """Statistics of a bucket that begins at `start` (seconds); values scaled."""

    start: int
    count: int
    sum: int
    min: int
    max: int

    def __add__(self, other: "Bucket") -> "Bucket":
        least, most = min(self.min, other.min), max(self.max, other.max)
        return Bucket(self.start, self.count + other.count, self.sum + other.sum, least, most)


class Series(Protocol):
    """A store of time series."""

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        """The first `limit` buckets, ascending, of what was observed in [start, end] seconds;
        `bucket_s` is a multiple of a minute."""


@dataclass(frozen=True, slots=True)
class SegmentSeries:
    """The segments, written with the batch itself, in the same transaction: exact after every reorg
    and however late data comes, because nothing is kept but what the batches hold."""

    pool: "Database"
    archive: Archive = NO_ARCHIVE

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
        """`read`, of batches up to a block. Raises StoreUnavailable, ArchiveUnavailable."""
        question = (device, metric, start, end, bucket_s, limit)
        return (await self.opened(newest_block, *question))[0]

    async def opened(
        self,
        newest_block: int | None,
        device: bytes,
        metric: int,
        start: int,
        end: int,
        bucket_s: int,
        limit: int,
    ) -> tuple[Sequence[Bucket], bool]:
        """As `up_to`, and whether a bucket or the window cut a segment: leaves were read for it, or
        the readings of a merged row. Not known, so False, where nothing is there."""
        arguments = (device, metric, start, end, bucket_s, limit, newest_block)
        rows = await asked(self.pool.fetch(SQL["series"], *arguments))
        whole = [
            Bucket(row["bucket"], row["count"], row["sum"], row["min"], row["max"])
            for row in rows
            if row["whole"]
        ]
        if len(whole) == len(rows):  # as for buckets of days: no segment crosses one
            # Merged rows that are cut were added up by Postgres; shards, whose rows do not say
            # `cut`, have none.
            is_cut = bool(rows) and bool(rows[0].get("cut"))
            return sorted(whole, key=lambda bucket: bucket.start)[:limit], is_cut
        opened = await self.archive.opened([row for row in rows if not row["whole"]], run_in)
        cut = b"".join(slice_of(row, *run_in(row)) for row in opened)
        return _joined(whole, opened_buckets(cut, start, end, bucket_s))[:limit], True


def opened_buckets(leaves: bytes, start: int, end: int, bucket_s: int) -> list[Bucket]:
    """Statistics of leaves observed in [start, end], in any order. Pure."""
    rows = np.frombuffer(leaves, LEAF_ROWS)
    times = leaf_times(rows)
    places = np.flatnonzero((times >= start) & (times <= end))
    if not len(places):
        return []
    buckets = times[places] - times[places] % bucket_s
    order = np.argsort(buckets, kind="stable")
    values = rows["value"].astype(np.int64)[places[order]]
    starts, firsts, counts = np.unique(buckets[order], return_index=True, return_counts=True)
    columns = (
        starts,
        counts,
        np.add.reduceat(values, firsts),
        np.minimum.reduceat(values, firsts),
        np.maximum.reduceat(values, firsts),
    )
    return [Bucket(*numbers) for numbers in zip(*(c.tolist() for c in columns), strict=True)]


def _joined(*parts: Sequence[Bucket]) -> list[Bucket]:
    """By start, those of one start added up."""
    found: dict[int, Bucket] = {}
    for bucket in (bucket for part in parts for bucket in part):
        held = found.get(bucket.start)
        found[bucket.start] = bucket if held is None else held + bucket
    return [found[start] for start in sorted(found)]
