"""What has to be downsampled anew, and who says what an InfluxDB keeps. (Points: tests/influx.)

given notes of what was written and erased
  ├── neighbouring windows are one, and every note belongs to exactly one of them
  └── late are those whose windows have ended, of every tier
given settings of several servers
  └── a token each, or one for all; what is coarser is kept as long, or longer
given a second server
  ├── each has an outbox of its own, the one that comes later from the beginning
  └── one that is taken out is written for no more
"""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.service.database import writer
from corechain.service.settings import InvalidSetting, load
from corechain_indexer.downsampling import grouped
from corechain_indexer.export import Exporter
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.settings import Settings
from corechain_indexer.store.copied import name_sinks, sink_name
from corechain_indexer.store.stale import StaleSpans
from corechain_indexer.store.tiers import TIERS, pieces, task, within
from indexer.shelves import Shelf, filled, shelf_on
from indexer.test_outbox_series import Notes, points_of

SPANS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.booleans()), max_size=20
)


@given(SPANS, st.sampled_from(TIERS))
def test_windows_of_notes_are_covered_once_and_no_note_is_lost(spans: Any, tier: Any) -> None:
    rows: list[Any] = [
        {"id": number, "first_at": first, "last_at": first + length, "vanished": gone}
        for number, (first, length, gone) in enumerate(spans)
    ]
    groups = grouped(tier, rows)
    assert sorted(i for group in groups for i in group.ids) == [row["id"] for row in rows]
    for before, after in pairwise(groups):
        assert before.stop < after.start
    for group in groups:
        noted = [row for row in rows if row["id"] in group.ids]
        windows = [tier.windows((row["first_at"], row["last_at"])) for row in noted]
        assert group.start == min(start for start, _ in windows)
        assert group.stop == max(stop for _, stop in windows)
        assert group.start % tier.every_s == group.stop % tier.every_s == 0
        assert group.vanished == any(row["vanished"] for row in noted)


def test_pieces_cover_a_span_without_a_gap() -> None:
    assert list(pieces(0, 250, 100)) == [(0, 100), (100, 200), (200, 250)]
    assert within((60, 300), 120) == (120, 300)
    assert within((60, 120), 120) is None


def test_a_name_that_flux_would_read_as_code_is_just_a_name_in_a_task() -> None:
    assert 'bucket: "a\\${b}\\"_1h"' in task(TIERS[2], 'a${b}"')


NEEDED = {
    "INDEXER_RPC_URL": "http://127.0.0.1:1",
    "INDEXER_DEPLOYMENT": "x.json",
    "INDEXER_DATABASE_URL": "postgresql://127.0.0.1/x",
    "INDEXER_REDIS_URL": "redis://127.0.0.1/0",
    "INDEXER_DATA_URLS": "http://127.0.0.1/{commitment}",
    "INDEXER_INFLUX_URL": "http://127.0.0.1:1,http://127.0.0.1:2",
}


def of(**more: str) -> Settings:
    return load(Settings, {**NEEDED, **{f"INDEXER_INFLUX_{k}": v for k, v in more.items()}})


def test_each_server_has_its_token_or_all_have_one() -> None:
    assert of(TOKEN="a,b").influx_tokens == ["a", "b"]
    assert of(TOKEN="a").influx_tokens == ["a", "a"]
    assert of().influx_tokens == ["", ""]
    with pytest.raises(InvalidSetting, match="one for each URL"):
        of(TOKEN="a,b,c")


def test_what_is_coarser_is_kept_as_long_or_longer() -> None:
    assert of(KEEP_DAYS="30, 90,730,0").influx_kept_s == [2_592_000, 7_776_000, 63_072_000, 0]
    for wrong, why in (
        ("90,30,730,0", "as long, or longer"), ("0,30,0,0", "as long, or longer"),
        ("2,30,0,0", "3 days"), ("30,90", "as 30,90,730,0"),
    ):  # fmt: skip
        with pytest.raises(InvalidSetting, match=why):
            of(KEEP_DAYS=wrong)


async def test_an_hour_or_a_day_that_is_still_open_is_not_late(database: str, bus_url: str) -> None:
    async with shelf_on(database, bus_url) as shelf, writer(shelf.url, "notes") as connection:
        await name_sinks(connection, 1)
        stale = StaleSpans(connection, sink_name(0))
        day = 86_400
        for tier in TIERS:
            await stale.mark(tier.every_s, [(day, day + 59)], vanished=False)
        for now, late in ((day + 59, 0), (day + 60, 1), (day + 3_600, 2), (2 * day, 3)):
            assert await stale.left(now) == late
            ended = [await stale.ended(t.every_s, now - now % t.every_s) for t in TIERS]
            assert sum(map(len, ended)) == late


async def exported(shelf: Shelf, notes: Notes, number: int, total: int) -> None:
    sink = SeriesSink(notes, Metrics(), name=sink_name(number), total=total)
    async with writer(shelf.url, f"corechain indexer {sink.name}") as connection:
        exporter = Exporter(connection, sink)
        while await exporter.step():
            pass


async def test_each_of_two_servers_gets_everything_at_its_own_time(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        first, second = Notes("first"), Notes("second")
        await filled(shelf)
        await exported(shelf, first, 0, 2)
        await shelf.undo(2)
        await exported(shelf, first, 0, 2)
        assert first.points == await points_of(shelf)
        assert second.points == set()
        await exported(shelf, second, 1, 2)
        await shelf.undo(1)
        await exported(shelf, second, 1, 2)
        assert second.points == await points_of(shelf) != first.points
        await exported(shelf, first, 0, 2)
        assert second.points == first.points


async def test_a_server_that_is_taken_out_is_written_for_no_more_and_comes_back_whole(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        first, second = Notes("first"), Notes("second")
        await filled(shelf)
        await exported(shelf, second, 1, 2)
        await exported(shelf, first, 0, 1)
        await shelf.undo(2)
        waiting = "select count(*) from outbox where sink = 'series 2'"
        assert await shelf.pool.fetchval(waiting) == 0
        await exported(shelf, second, 1, 2)
        assert second.points == await points_of(shelf)


async def test_a_batch_that_is_verified_while_a_server_comes_is_not_missed(
    database: str, bus_url: str
) -> None:
    async with shelf_on(database, bus_url) as shelf:
        await filled(shelf)
        connection = await shelf.pool.acquire()
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("delete from batch where batch_id = 2")
        async with writer(shelf.url, "corechain indexer series 2") as other:
            naming = asyncio.create_task(name_sinks(other, 2))
            await asyncio.sleep(0.2)  # for who does not wait to be done
            assert not naming.done(), "it waits for who is at work"
            await transaction.commit()
            await naming
        await shelf.pool.release(connection)
        second = Notes("second")
        await exported(shelf, second, 1, 2)
        assert second.points == await points_of(shelf)
