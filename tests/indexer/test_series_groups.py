"""Series that are asked for together are one question, and answered one by one.

given many who ask at once for series in buckets of days
  ├── it is one question, and each gets what it would get alone
  ├── who leaves takes the answer from nobody
  └── they are answered by the primary when the replica is away
given a device whose runs, or whose merged days, a bucket cuts
  └── that series is not asked for together again, until nothing is cut
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool, migrate
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.replica import Replica, ReplicaReads
from corechain_indexer.store.series import SegmentSeries
from corechain_indexer.store.series_groups import SeriesGroups
from indexer.asked import AskedPool
from indexer.test_segments import DEVICES, MAX_TIME, keep, kept

if TYPE_CHECKING:
    from corechain.service.database import Database

SINGLE, RUNS, ABSENT = DEVICES
DAY_S, HOUR_S = 86_400, 3_600
DAYS = range(5)


class Counted(AskedPool):
    """How its questions were asked."""

    @property
    def counts(self) -> tuple[int, int]:
        """Questions for series together, and alone."""
        return self.asked.count(SQL["whole_series"]), self.asked.count(SQL["series"])


@asynccontextmanager
async def stored(url: str) -> AsyncIterator[tuple[SeriesGroups, Counted]]:
    """A batch a day: one reading of a device; of another's a run that ends in the next hour."""
    await migrate(url, MIGRATIONS)
    async with create_pool(url) as pool:
        await pool.execute("truncate batch, outbox, stale_device cascade")
        for day in DAYS:
            at = day * DAY_S
            run = [Reading(1, 7, RUNS, at + HOUR_S - 1 + second, second, 1) for second in range(3)]
            await keep(pool, day + 1, [Reading(1, 7, SINGLE, at, day, 1), *run])
        counted = Counted(pool)
        yield SeriesGroups(cast("Database", counted)), counted


async def test_a_crowd_is_one_question(database: str) -> None:
    async with stored(database) as (groups, counted):
        wanted = [
            (device, 1, day * DAY_S, end, DAY_S, limit)
            for device in DEVICES
            for day in DAYS
            for end, limit in ((MAX_TIME, 3), (4 * DAY_S + HOUR_S - 2, 9))
            if (device, end) != (RUNS, 4 * DAY_S + HOUR_S - 2)  # cuts a run
        ]
        found = await asyncio.gather(*(groups.read(*one) for one in wanted * 2))
        assert counted.counts == (1, 0)
        for one, buckets in zip(wanted * 2, found, strict=True):
            assert list(buckets) == list(await SegmentSeries(groups.pool).read(*one))
        assert sum(map(len, found)) > 0


async def test_a_series_whose_runs_are_cut_is_not_asked_for_together_again(database: str) -> None:
    async with stored(database) as (groups, counted):
        hours = (RUNS, 1, 0, MAX_TIME, HOUR_S, 99)
        for alone in (1, 2):
            assert len(await groups.read(*hours)) == 2 * len(DAYS)
            assert counted.counts == (1, alone)
        # In days nothing is cut: that is another series.
        assert len(await groups.read(RUNS, 1, 0, MAX_TIME, DAY_S, 99)) == len(DAYS)
        assert counted.counts == (2, 2)
        # Nor is anything of another time.
        await keep(counted.pool, 6, [Reading(1, 7, RUNS, 9 * DAY_S, 4, 1)])
        later = (RUNS, 1, 8 * DAY_S, MAX_TIME, HOUR_S, 99)
        for together, alone in ((2, 3), (3, 3)):
            assert len(await groups.read(*later)) == 1
            assert counted.counts == (together, alone)


async def test_a_series_whose_merged_days_are_cut_is_not_asked_for_together_again(
    database: str,
) -> None:
    await migrate(database, MIGRATIONS)
    singles = [[Reading(1, 7, SINGLE, HOUR_S * n, n, 1)] for n in range(6)]
    async with kept(database, singles, 0, 6, merged=6) as pool:
        counted = Counted(pool)
        groups = SeriesGroups(cast("Database", counted))
        hours = (SINGLE, 1, 0, DAY_S - 1, HOUR_S, 99)
        for alone in (1, 2):
            assert len(await groups.read(*hours)) == len(singles)
            assert counted.counts == (1, alone)
        # A bucket of a day holds the merged row whole: that is another series.
        assert len(await groups.read(SINGLE, 1, 0, DAY_S - 1, DAY_S, 99)) == 1
        assert counted.counts == (2, 2)


async def test_who_leaves_takes_the_series_from_nobody(database: str) -> None:
    async with stored(database) as (groups, _):
        days = (SINGLE, 1, 0, MAX_TIME, DAY_S, 99)
        leaving, staying = (asyncio.create_task(groups.read(*days)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) == len(DAYS)
        with pytest.raises(asyncio.CancelledError):
            await leaving


async def test_a_crowd_of_series_is_answered_by_the_primary_when_the_replica_is_away(
    database: str,
) -> None:
    async with stored(database) as (groups, counted):
        reasons: list[str] = []
        away = create_pool("postgresql://nobody@127.0.0.1:9/none")
        await away  # connects to nothing yet
        replica = ReplicaReads(groups.pool, [Replica("far", away, 0.0, "")], 60.0, reasons.append)
        crowd = SeriesGroups(groups.pool, replica=replica)

        async def asked() -> int:
            await replica.begin()
            return len(await crowd.read(SINGLE, 1, 0, MAX_TIME, DAY_S, 99))

        assert await asyncio.gather(*(asked() for _ in range(8))) == [len(DAYS)] * 8
        assert reasons == ["away"] * 8
        assert counted.counts == (1, 0)
        await away.close()
