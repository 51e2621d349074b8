"""Series for all who ask at about the same time: one question to Postgres for many.

Only where a bucket holds every segment whole, as with buckets of days: Postgres answers those by
columns. What has runs or merged rows to cut is asked for alone (docs/decisions/0047).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from corechain.service.database import asked
from corechain.service.gathering import Gathering
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.replica import PRIMARY
from corechain_indexer.store.series import Bucket, SegmentSeries

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.replica import ReplicaReads

MOST = 32
"""Series of a group: an answer waits for the whole of its group."""
PAUSE_S = 0.010
"""Between the beginnings of two groups, as for pages."""
CUT = 65_536
"""Remembered, 120 bytes each: asking for these together first would be in vain."""
Buckets = Sequence[Bucket]


class Wanted(NamedTuple):
    """The arguments of `Series.read`."""

    device: bytes
    metric: int
    start: int
    end: int
    bucket_s: int
    limit: int


def _buckets_of(row: "Record") -> Buckets | None:
    """None where the series has to be asked for alone."""
    if row["starts"] is None:
        return None
    if not row["starts"]:
        return ()
    columns = (row[name] for name in ("starts", "counts", "sums", "least", "greatest"))
    return list(map(Bucket, *columns))


@dataclass(slots=True)
class SeriesGroups:
    """A `Series`; exactly what `SegmentSeries` says, however it is asked."""

    pool: "Database"
    archive: Archive = NO_ARCHIVE
    replica: "ReplicaReads | None" = None
    pause_s: float = PAUSE_S
    _together: dict[str, Gathering[Wanted, Buckets | None]] = field(default_factory=dict)
    """By source, so that an outage of one is told to nobody who asks the other."""
    _cut: dict[tuple[bytes, int], None] = field(default_factory=dict)
    """Devices and buckets that cut a run of theirs, or a merged row."""

    def __post_init__(self) -> None:
        for source in self.replica.sources if self.replica else (PRIMARY,):
            ask = partial(whole_series, self._of(source))
            self._together[source] = Gathering(ask, MOST, self.pause_s)

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Buckets:
        """Raises StoreUnavailable, ArchiveUnavailable."""
        wanted = Wanted(device, metric, start, end, bucket_s, limit)
        if (device, bucket_s) not in self._cut:
            found = await self._asked_together(wanted)
            if found is not None:
                return found
        return await self._alone(wanted)

    async def _asked_together(self, wanted: Wanted) -> Buckets | None:
        async def by(source: str) -> Buckets | None:
            return await self._together[source].get(wanted)

        return await (by(PRIMARY) if self.replica is None else self.replica.either(by))

    async def _alone(self, wanted: Wanted) -> Buckets:
        database = cast("Database", self.replica) if self.replica else self.pool
        buckets, is_cut = await SegmentSeries(database, self.archive).opened(None, *wanted)
        name = wanted.device, wanted.bucket_s
        self._cut.pop(name, None)
        if is_cut:
            self._cut[name] = None
            if len(self._cut) > CUT:
                del self._cut[next(iter(self._cut))]
        return buckets

    def _of(self, source: str) -> "Database":
        return self.pool if self.replica is None else self.replica.pool_of(source)


async def whole_series(
    pool: "Database", wanted: Sequence[Wanted]
) -> Mapping[Wanted, Buckets | None]:
    """One question for several series. Raises StoreUnavailable."""
    columns = [list(column) for column in zip(*wanted, strict=True)]
    found = await asked(pool.fetch(SQL["whole_series"], *columns))
    return {wanted[row["n"] - 1]: _buckets_of(row) for row in found}
