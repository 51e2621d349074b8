"""Pages of readings that are asked for together are one question, and answered one by one.

given many who ask at once for pages of single readings
  ├── it is one question, and each gets what it would get alone
  ├── a wrong value among them is told to its asker alone
  └── who leaves takes the answer from nobody
given a device whose readings come in runs
  └── its pages are not asked for together again, until they hold single ones alone
given a replica that went away
  └── a crowd is answered by the primary
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import asyncpg
import msgspec
import pytest

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool, migrate
from corechain_indexer.api import reading_pages, rows, schemas
from corechain_indexer.api.params import encode_cursor
from corechain_indexer.api.reading_pages import ReadingsPage, encodable
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.archive import NO_ARCHIVE
from corechain_indexer.store.page_columns import PageColumns
from corechain_indexer.store.page_groups import LARGE, Pages
from corechain_indexer.store.pages import PageOf, cursor_of, page_rows
from corechain_indexer.store.replica import Replica, ReplicaReads
from indexer.asked import AskedPool
from indexer.test_segments import DEVICES, MAX_TIME, keep

if TYPE_CHECKING:
    from corechain.service.database import Database

SINGLE, RUNS, ABSENT = DEVICES
DAYS = range(5)


class Counted(AskedPool):
    """How its questions were asked."""

    @property
    def together(self) -> int:
        return self.asked.count(SQL["single_readings"])

    @property
    def alone(self) -> int:
        return self.asked.count(SQL["reading_segments"])


@asynccontextmanager
async def stored(url: str) -> AsyncIterator[tuple[Pages, Counted]]:
    """A batch a day: one reading of a device, a run of another's."""
    await migrate(url, MIGRATIONS)
    async with create_pool(url) as pool:
        await pool.execute("truncate batch, outbox, stale_device cascade")
        for day in DAYS:
            at = day * 86_400
            run = [Reading(1, 7, RUNS, at + second, second, 1) for second in range(3)]
            await keep(pool, day + 1, [Reading(1, 7, SINGLE, at, day, 1), *run])
        counted = Counted(pool)
        yield Pages(cast("Database", counted)), counted


def page_of(device: bytes, start: int = 0) -> PageOf:
    return PageOf(device, 1, start, MAX_TIME)


async def test_a_crowd_is_one_question(database: str) -> None:
    async with stored(database) as (pages, counted):
        # The first goes at once; those who come while it is under way share the second.
        wanted = [page_of(SINGLE, day * 86_400) for day in DAYS] + [page_of(ABSENT)]
        found = await asyncio.gather(*(pages.rows(one, 3) for one in wanted * 4))
        assert (counted.together, counted.alone) == (1, 0)
        for one, page in zip(wanted * 4, found, strict=True):
            expected, _ = await page_rows(pages.pool, one, 3, NO_ARCHIVE)
            assert list(page) == expected
        assert [len(page) for page in found[:6]] == [3, 3, 3, 2, 1, 0]


async def test_a_large_page_goes_by_itself(database: str) -> None:
    async with stored(database) as (pages, counted):
        limits = (LARGE + 1, 5, LARGE + 2, 5)
        found = await asyncio.gather(*(pages.rows(page_of(SINGLE), limit) for limit in limits))
        assert [len(page) for page in found] == [5] * 4
        assert counted.together == 3


async def test_a_wrong_value_is_told_to_its_asker_alone(database: str) -> None:
    async with stored(database) as (pages, counted):
        wanted = [page_of(SINGLE), page_of(SINGLE, 2**63), page_of(ABSENT)]
        found = await asyncio.gather(
            *(pages.rows(one, 9) for one in wanted), return_exceptions=True
        )
        assert isinstance(found[1], asyncpg.DataError)
        assert not isinstance(found[0], BaseException)
        assert [row[1] for row in found[0]] == [day * 86_400 for day in DAYS]
        assert found[2] == []
        assert (counted.together, counted.alone) == (1, 3)


async def test_who_leaves_takes_the_answer_from_nobody(database: str) -> None:
    async with stored(database) as (pages, _):
        leaving, staying = (asyncio.create_task(pages.rows(page_of(SINGLE), 9)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) == len(DAYS)
        with pytest.raises(asyncio.CancelledError):
            await leaving


async def test_a_device_with_runs_is_not_asked_for_together_again(database: str) -> None:
    async with stored(database) as (pages, counted):
        for asked in (1, 2):
            assert len(await pages.rows(page_of(RUNS), 9)) == 9
            assert (counted.together, counted.alone) == (1, asked)
        # Later on it sends single ones.
        await keep(counted.pool, 6, [Reading(1, 7, RUNS, 9 * 86_400, 4, 1)])
        late = page_of(RUNS, 8 * 86_400)
        for together, alone in ((1, 3), (2, 3)):
            assert len(await pages.rows(late, 9)) == 1
            assert (counted.together, counted.alone) == (together, alone)


async def test_a_crowd_is_answered_by_the_primary_when_the_replica_is_away(database: str) -> None:
    async with stored(database) as (pages, counted):
        reasons: list[str] = []
        away = create_pool("postgresql://nobody@127.0.0.1:9/none")
        await away  # connects to nothing yet
        replica = ReplicaReads(pages.pool, [Replica("far", away, 0.0, "")], 60.0, reasons.append)
        crowd = Pages(pages.pool, replica=replica)

        async def asked() -> int:
            await replica.begin()
            return len(await crowd.rows(page_of(SINGLE), 9))

        assert await asyncio.gather(*(asked() for _ in range(8))) == [len(DAYS)] * 8
        assert reasons == ["away"] * 8
        assert counted.together == 1
        await away.close()


EXTREMES = [
    Reading(metric, cell, SINGLE, at, value, flag)
    for metric, cell, at, value, flag in (
        (1, 0x872A1072BFFFFFF, 9 * 86_400, -(2**31), 0),
        (2, 0x8F2A1072BFFFFFFF, MAX_TIME, 2**31 - 1, 255),
        (0xFFFF, 0, 10 * 86_400, -1, 3),
    )
]


@pytest.mark.parametrize("is_native", [True, False])
async def test_the_answer_is_the_same_from_arrays_and_from_rows(
    database: str, monkeypatch: pytest.MonkeyPatch, is_native: bool
) -> None:
    if not is_native:
        monkeypatch.setattr(reading_pages, "_native", None)
    async with stored(database) as (pages, counted):
        for number, reading in enumerate(EXTREMES, 6):
            await keep(counted.pool, number, [reading])
        await counted.pool.execute("update chain_mark set safe = 5, final = 2")
        page = PageOf(SINGLE, None, 0, MAX_TIME)
        expected, _ = await page_rows(pages.pool, page, 99, NO_ARCHIVE)
        assert {row[7] for row in expected} == {"pending", "safe", "finalised"}
        for limit in (1, 4, 8, 9):
            found = await pages.rows(page, limit + 1)
            assert isinstance(found, PageColumns)
            cursor = encode_cursor(cursor_of(SINGLE, expected[limit - 1])) if limit < 8 else None
            whole = schemas.Readings(rows.readings(SINGLE, expected[:limit]), cursor)
            answer = ReadingsPage(SINGLE, found, limit)
            assert answer.json() == msgspec.json.encode(whole)
            assert msgspec.json.encode(answer, enc_hook=encodable) == answer.json()
            assert (answer.items, answer.next_cursor) == (whole.items, whole.next_cursor)


def test_what_is_no_answer_is_not_encoded() -> None:
    with pytest.raises(NotImplementedError):
        msgspec.json.encode(object(), enc_hook=encodable)
