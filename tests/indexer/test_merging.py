"""Readings that came singly are merged into one row a day, and nobody can tell by the answers.

given batches of single readings, some of them late, the final ones merged
  ├── pages, series, newest values, cells and batches are those of a plain list
  ├── a batch that goes after all takes its readings out, and the others are what they were
  ├── whoever merges again, or at the same time, changes nothing
  └── what is not final, and a day that is not over, is left as it is
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corechain.protocol.reading import Reading
from corechain.service.database import migrate
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.audited import Audited
from corechain_indexer.store.contents import BatchContents, Filter
from corechain_indexer.store.events import BatchEvent
from corechain_indexer.store.merging import MergeStore
from corechain_indexer.store.pages import PageOf
from indexer.test_segments import (
    CELLS,
    DAY_S,
    DEVICES,
    EVERY_SEGMENT,
    MAX_TIME,
    METRICS,
    everything_agrees,
    keep,
    kept,
)

MERGED = (
    "select count(*)::integer as rows, coalesce(-sum(count), 0)::integer as readings "
    "from segment where count < 0"
)
singles = st.builds(
    Reading,
    st.sampled_from([METRICS[0], METRICS[0], METRICS[1]]),
    st.sampled_from([CELLS[0], CELLS[0], CELLS[1]]),
    st.sampled_from(DEVICES[:2]),
    st.sampled_from([0, 59, 60, 3_600, 40_000, DAY_S - 1, DAY_S, DAY_S + 60]),
    st.sampled_from([-(2**31), -1, 0, 5, 2**31 - 1]),
    st.sampled_from([1, 3]),
)
few = st.lists(st.lists(singles, min_size=1, max_size=3), min_size=4, max_size=9)


def single(batch: int, at: int, value: int = 0, cell: int = 0) -> list[Reading]:
    return [Reading(1, CELLS[cell], DEVICES[batch % 2], at, value, 1)]


HOURS = [single(n, 600 * n, n) for n in range(12)]
"""Twelve batches of a reading each, from two devices in turn, on one day."""


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(few, st.data())
def test_merged_readings_answer_as_a_list_of_them_would(
    database: str, contents: list[list[Reading]], data: st.DataObject
) -> None:
    times = st.sampled_from([0, 30, 60, 3_600, 30_000, DAY_S - 1, DAY_S, DAY_S + 30, MAX_TIME])
    start, end = sorted(data.draw(st.tuples(times, times)))
    block = data.draw(st.none() | st.integers(0, len(contents)))
    page = PageOf(DEVICES[0], METRICS[0], start, end, newest_block=block)
    merged = data.draw(st.integers(2, len(contents)))
    packed = data.draw(st.integers(merged, len(contents)))
    turns = 0, packed, data.draw(st.integers(0, packed)), merged

    async def run() -> None:
        await migrate(database, MIGRATIONS)
        limit = data.draw(st.integers(1, 7))
        await everything_agrees(database, contents, turns, page, limit, Archive(Path(folder)))

    with TemporaryDirectory() as folder:
        asyncio.run(run())


async def merged_of(pool: Any) -> tuple[int, int]:
    row = await pool.fetchrow(MERGED)
    return row["rows"], row["readings"]


async def test_a_batch_that_goes_after_all_leaves_the_others_what_they_were(database: str) -> None:
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 12, merged=12) as pool:
        assert await merged_of(pool) == (2, 12)
        before = await pool.fetch(EVERY_SEGMENT)
        await pool.execute("delete from batch where batch_id = 5")
        assert await pool.fetch(EVERY_SEGMENT) == [r for r in before if r["batch_id"] != 5]
        stale = await pool.fetch("select distinct device from stale_device")
        assert [row["device"] for row in stale] == [DEVICES[1 - 5 % 2]]
        # It comes back, as after a rebuild, and the day is merged again.
        await keep(pool, 5, HOURS[4])
        while await MergeStore(pool).merge_some(0.0):
            pass
        assert await merged_of(pool) == (2, 12)
        assert await pool.fetch(EVERY_SEGMENT) == before
        await pool.execute("update batch_file set state = 'mismatch' where batch_id = 7")
        assert await pool.fetch(EVERY_SEGMENT) == [r for r in before if r["batch_id"] != 7]


async def test_several_that_merge_at_once_do_each_day_once(database: str) -> None:
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 12) as pool:
        before = await pool.fetch(EVERY_SEGMENT)

        async def merge() -> None:
            while await MergeStore(pool).merge_some(0.0):
                pass

        await asyncio.gather(*(merge() for _ in range(3)))
        assert await merged_of(pool) == (2, 12)
        assert await pool.fetch(EVERY_SEGMENT) == before
        assert not await MergeStore(pool).merge_some(0.0)


async def test_what_is_not_final_or_not_over_is_left_as_it_is(database: str) -> None:
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 11) as pool:
        # The last batch may still be undone: its day waits for it.
        assert not await MergeStore(pool).merge_some(0.0)
        await pool.execute("update chain_mark set final = 12")
        assert not await MergeStore(pool).merge_some(1e12)
        assert await merged_of(pool) == (0, 0)
        assert await MergeStore(pool).merge_some(0.0)
        assert await merged_of(pool) == (2, 12)


async def test_who_was_killed_between_two_steps_goes_on_where_he_was(database: str) -> None:
    """Fifty devices are several steps; each is whole."""
    fleet = [bytes([n]) * 20 for n in range(50)]
    contents = [[Reading(1, 7, device, 60 * n, n, 1) for device in fleet] for n in range(2)]
    await migrate(database, MIGRATIONS)
    async with kept(database, contents, 0, 2) as pool:
        before, steps = await pool.fetch(EVERY_SEGMENT), 0
        while await MergeStore(pool).merge_some(0.0):
            steps += 1
            assert await pool.fetch(EVERY_SEGMENT) == before
        assert steps > 3
        assert await merged_of(pool) == (50, 100)


async def test_an_audit_sees_the_segments_that_were_merged_and_finds_what_is_wrong(
    database: str,
) -> None:
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 12, merged=12) as pool:
        kept_rows, store = await pool.fetch(EVERY_SEGMENT), Audited(pool)
        for batch_id, row in enumerate(kept_rows, 1):
            assert [tuple(found) for found in await store.segments(batch_id)] == [tuple(row)]
        assert (await store.wrong_merges(), await store.stray_segments()) == ([], [])
        for damage in (
            "sum = sum + 1",
            "last = last + 1",
            "count = count - 1",
            "flag = 3, flags = null",
            "scaled[2] = 77",
            "seconds[1] = 1",
            "batch_steps[3] = -9000",
        ):
            damaged = f"update segment set {damage} where batch_id = 12"
            with suppress(Rolled):
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(damaged)
                    found = await Audited(connection).wrong_merges()
                    same = [tuple(r) for r in await connection.fetch(EVERY_SEGMENT)]
                    # Aggregates that lie, or readings that are not those of the leaves.
                    assert found or same != [tuple(row) for row in kept_rows], damage
                    raise Rolled


class Rolled(Exception):
    """Takes a transaction back."""


async def test_verdicts_are_taken_back_of_merged_batches_too(database: str) -> None:
    """An event of a device that is decoded later may change what was judged."""
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 12, merged=12) as pool:
        before = await pool.fetch(EVERY_SEGMENT)
        await pool.execute(SQL["unsettle_verdicts"], 4, [DEVICES[0]])
        gone = [5, 7, 9, 11]
        assert await pool.fetch(EVERY_SEGMENT) == [r for r in before if r["batch_id"] not in gone]
        left = await pool.fetch("select batch_id from batch_file order by batch_id")
        assert [row["batch_id"] for row in left] == [n for n in range(1, 13) if n not in gone]


async def test_filters_know_what_is_in_a_batch_that_is_merged(database: str) -> None:
    await migrate(database, MIGRATIONS)
    async with kept(database, HOURS, 0, 12, merged=12) as pool:
        events = [event(n) for n in range(1, 13)]
        wanted = [
            Filter(devices=frozenset([DEVICES[0]])),
            Filter(cells=frozenset([CELLS[0]])),
            Filter(metrics=frozenset([METRICS[1]])),
        ]
        contents = await BatchContents(pool).of(events, wanted)
        of_device, of_cell, of_metric = (
            [e.batch_id for e in events if contents.may_concern(e, one)] for one in wanted
        )
        assert of_device == [1, 3, 5, 7, 9, 11]
        assert (len(of_cell), len(of_metric)) == (12, 0)


def event(batch: int) -> BatchEvent:
    commitment = "0x" + batch.to_bytes(26).hex()
    counts = 1, 0, 0, 0
    return BatchEvent("new", "", batch, batch, commitment, batch, "", "", *counts, "finalised")
