"""What is kept of readings answers as a plain list of them would.

given batches of any readings, late ones and several at a time too, some undone by a reorg
  ├── pages, in any size, of any window, metric and block, are the list's, and so is each next page
  ├── the same pages, asked for by a crowd at once, are the list's
  ├── series of any bucket, newest values, cells and batches are the list's
  ├── what is kept is what a fresh index of the same batches keeps
  ├── a run that surrounds others begins before them, though it ends last
  └── and all that with the final ones packed, the oldest of them moved into archive files too
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import create_pool, migrate
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.archive import NO_ARCHIVE, Archive, ArchiveStore
from corechain_indexer.store.files import to_signed, to_unsigned
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.merging import MergeStore
from corechain_indexer.store.packing import PackStore, pack_leaves, unpack_leaves
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.pages import (
    BEGINNING,
    PageOf,
    Place,
    ReadingRow,
    StoredReading,
    cursor_of,
    readings_page,
)
from corechain_indexer.store.readings import Readings, Wanted
from corechain_indexer.store.segments import SEGMENT_COLUMNS, Segments
from corechain_indexer.store.series import Bucket, SegmentSeries
from corechain_indexer.store.series_groups import SeriesGroups

DAY_S, MAX_TIME = 86_400, 2**40 - 1
DEVICES = [DeviceId(device) for device in (bytes(20), b"\x01" + bytes(19), b"\xff" * 20)]
CELLS = [7, 2**64 - 1]
METRICS = [1, 4]
# Around two borders of days, of hours and of minutes, and far from them.
TIMES = [0, 59, 60, 3_599, 3_600, 40_000, DAY_S - 1, DAY_S, DAY_S + 60, 9 * DAY_S, MAX_TIME]
EVERY_SEGMENT = f"""
select {", ".join(SEGMENT_COLUMNS)} from segment where count > 0 union all
select r.batch_id, s.cell, r.observed_at, r.observed_at, r.value, r.position, 1, s.metric, r.value,
       r.value, r.value, r.flag, s.device
  from segment s cross join lateral entries_of(s) r where s.count < 0
order by batch_id, position"""
"""As they were before they were merged."""


@dataclass(frozen=True, slots=True)
class Held:
    """A reading that the list holds."""

    batch_id: int
    position: int
    reading: Reading

    @property
    def place(self) -> Place:
        r = self.reading
        return Place(r.metric, r.observed_at, self.batch_id, self.position)

    def served(self, packed: int) -> StoredReading:
        r, finality = self.reading, "finalised" if self.batch_id <= packed else "pending"
        return StoredReading(*self.place, r.value, r.flag, to_signed(r.cell), finality, r.device)


readings = st.builds(
    Reading,
    st.sampled_from(METRICS),
    st.sampled_from(CELLS),
    st.sampled_from(DEVICES),
    st.sampled_from(TIMES),
    st.sampled_from([-(2**31), -1, 0, 5, 2**31 - 1]),
    st.sampled_from([1, 3]),
)
batches = st.lists(st.lists(readings, min_size=1, max_size=12), min_size=1, max_size=5)


def listed(contents: Sequence[Sequence[Reading]]) -> list[Held]:
    """Batch n (from 1) of block n; leaves in their order, alike ones too."""
    return [
        Held(batch_id, position, Reading.unpack(leaf))
        for batch_id, items in enumerate(contents, 1)
        for position, leaf in enumerate(sorted(item.pack() for item in items))
    ]


async def keep(pool: Any, batch_id: int, items: Sequence[Reading]) -> None:
    leaves = b"".join(sorted(item.pack() for item in items))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "insert into batch values ($1, 0, $1, $2, $3, $3)",
            batch_id,
            batch_id.to_bytes(26),
            bytes(32),
        )
        await connection.execute(
            "insert into batch_file (batch_id, state, leaves, reading_count, readings_root, "
            "tree_levels, window_start, window_end) "
            "values ($1, 'verified', $2, $3, '', '', $4, $5)",
            batch_id, leaves, len(items), min(item.observed_at for item in items),
            min(10 * DAY_S, max(item.observed_at for item in items)),
        )  # fmt: skip
        await Segments.of(batch_id, leaves).copy_to(connection)


@asynccontextmanager
async def kept(
    url: str,
    contents: Sequence[Sequence[Reading]],
    undone: int,
    packed: int,
    archived: int = 0,
    merged: int = 0,
    archive: Archive = NO_ARCHIVE,
) -> AsyncIterator[Any]:
    """The batches, after a reorg that took the last few and gave them back; those up to block
    `packed` are final, and packed, those up to `archived` in archive files; what came singly in
    those up to `merged` is merged."""
    async with create_pool(url) as pool:
        await pool.execute("truncate batch, outbox, stale_device cascade")
        for batch_id, items in enumerate(contents, 1):
            await keep(pool, batch_id, items)
        before = await pool.fetch(EVERY_SEGMENT)
        after = len(contents) - undone
        await pool.execute("delete from batch where block_number > $1", after)
        assert await pool.fetch(EVERY_SEGMENT) == [r for r in before if r["batch_id"] <= after]
        for batch_id, items in enumerate(contents[after:], after + 1):
            await keep(pool, batch_id, items)
        assert await pool.fetch(EVERY_SEGMENT) == before
        await merge(pool, contents, min(merged, packed))
        assert await pool.fetch(EVERY_SEGMENT) == before
        await pool.execute("delete from outbox")  # the cache has learned of them
        for final in (min(archived, packed), packed):
            await pool.execute("update chain_mark set final = $1", final)
            while await PackStore(pool).pack_some(0.0):
                pass
            while final == archived and await ArchiveStore(pool, archive).move_some(0):
                pass
        yield pool
        await pool.execute("update chain_mark set final = -1")


async def merge(pool: Any, contents: Sequence[Sequence[Reading]], merged: int) -> None:
    """What came singly in the batches up to `merged`; the others come later, as late data does."""
    await pool.execute("delete from batch where block_number > $1", merged)
    await pool.execute("update chain_mark set final = $1", merged)
    while await MergeStore(pool).merge_some(0.0):
        pass
    for batch_id, items in enumerate(contents[merged:], merged + 1):
        await keep(pool, batch_id, items)


def of_list(held: Sequence[Held], page: PageOf) -> list[Held]:
    found = [
        item
        for item in held
        if item.reading.device == page.device
        and page.metric in (None, item.reading.metric)
        and page.start <= item.reading.observed_at <= page.end
        and (page.newest_block is None or item.batch_id <= page.newest_block)
    ]
    return sorted(found, key=lambda item: item.place)


async def pages_agree(
    pool: Any, held: Sequence[Held], page: PageOf, limit: int, archive: Archive = NO_ARCHIVE
) -> None:
    packed = await pool.fetchval("select final from chain_mark")
    expected = [item.served(packed) for item in of_list(held, page)]
    found: list[StoredReading] = []
    asked: PageOf | None = page
    while asked is not None:
        part = await readings_page(pool, asked, limit, archive)
        assert part == expected[len(found) : len(found) + limit]
        found += part
        asked = page.behind(cursor_of(page.device, part[-1])) if part else None
    assert found == expected


async def crowds_agree(
    pool: Any, held: Sequence[Held], page: PageOf, limit: int, archive: Archive
) -> None:
    """Pages of all devices from every place on, asked for at once."""
    packed = await pool.fetchval("select final from chain_mark")
    expected: dict[PageOf, list[ReadingRow]] = {}
    for device, metric in product(DEVICES, (None, page.metric)):
        whole = replace(page, device=device, metric=metric)
        places = [item.place for item in of_list(held, whole)]
        rows = [tuple(item.served(packed))[:8] for item in of_list(held, whole)]
        for number, place in enumerate([BEGINNING, *places]):
            expected[replace(whole, after=place)] = rows[number : number + limit]
    pages = Pages(pool, archive, pause_s=0.0)
    found = await asyncio.gather(*(pages.rows(one, limit) for one in expected))
    assert [list(rows) for rows in found] == list(expected.values())


def buckets_of(held: Sequence[Held], page: PageOf, bucket_s: int) -> list[Bucket]:
    values: dict[int, list[int]] = {}
    for item in of_list(held, page):
        at = item.reading.observed_at
        values.setdefault(at - at % bucket_s, []).append(item.reading.value)
    return [
        Bucket(start, len(some), sum(some), min(some), max(some))
        for start, some in sorted(values.items())
    ]


async def series_agree(
    pool: Any,
    held: Sequence[Held],
    page: PageOf,
    bucket_s: int,
    limit: int,
    archive: Archive = NO_ARCHIVE,
) -> None:
    assert page.metric is not None
    expected = buckets_of(held, page, bucket_s)[:limit]
    window = page.device, page.metric, page.start, page.end
    found = await SegmentSeries(pool, archive).up_to(page.newest_block, *window, bucket_s, limit)
    assert found == expected


async def series_crowd_agrees(
    pool: Any, held: Sequence[Held], page: PageOf, limit: int, archive: Archive
) -> None:
    """Series of all devices, in buckets that cut runs and in days, asked for at once."""
    assert page.metric is not None
    groups = SeriesGroups(pool, archive, pause_s=0.0)
    wanted = [(device, bucket_s) for device in DEVICES for bucket_s in (3_600, 86_400)]
    found = await asyncio.gather(
        *(
            groups.read(device, page.metric, page.start, page.end, bucket_s, limit)
            for device, bucket_s in wanted
        )
    )
    for (device, bucket_s), buckets in zip(wanted, found, strict=True):
        expected = buckets_of(held, replace(page, device=device), bucket_s)
        assert list(buckets) == expected[:limit]


async def newest_agree(pool: Any, held: Sequence[Held], page: PageOf) -> None:
    every = replace(page, metric=None, start=0, end=MAX_TIME)
    newest: dict[int, Held] = {}
    for item in of_list(held, every):
        newest[item.reading.metric] = item
    found = (await newest_in(pool, [page.device], page.newest_block))[page.device]
    shown = {n.metric: (n.observed_at, n.value, n.flag, n.batch_id, n.position) for n in found}
    assert shown == {
        metric: (i.reading.observed_at, i.reading.value, i.reading.flag, i.batch_id, i.position)
        for metric, i in newest.items()
    }
    cells = {n.metric: int(n.cell, 16) for n in found}
    assert cells == {metric: item.reading.cell for metric, item in newest.items()}


async def places_agree(pool: Any, held: Sequence[Held], page: PageOf) -> None:
    """Cells exactly, where leaves are not packed; of batches none is left out that holds some."""
    assert page.metric is not None
    wanted = Wanted(page.device, page.metric, page.start, page.end, page.newest_block)
    found, around = of_list(held, page), of_list(held, replace(page, start=0, end=MAX_TIME))
    batches, cells = await Readings(pool).whereabouts(wanted, 100, 100)
    holding = sorted({to_signed(item.reading.cell) for item in found})
    if await pool.fetchval("select count(*) from batch_file where leaves is null"):
        near = {item.reading.cell for item in around}
        assert {item.reading.cell for item in found} <= set(cells) <= near
    else:
        assert cells == [to_unsigned(cell) for cell in holding]
    assert await Readings(pool).whereabouts(wanted, 1, 0) == (batches[:1], [])
    near = await Readings(pool).near(wanted, 100)
    if near is not None:
        assert near.where == (batches, cells)
        assert [row["batch_id"] for row in near.batches] == batches
    assert batches == sorted(batches)
    assert {item.batch_id for item in found} <= set(batches) <= {item.batch_id for item in around}


async def everything_agrees(
    url: str,
    contents: Sequence[Sequence[Reading]],
    turns: tuple[int, int, int, int],
    page: PageOf,
    limit: int,
    archive: Archive,
) -> None:
    """`turns`: how many batches a reorg takes away for a while, how many are packed then, and how
    many of those archived, how many of them merged."""
    held = listed(contents)
    async with kept(url, contents, *turns, archive=archive) as pool:
        for device in DEVICES:
            of_device = replace(page, device=device)
            await pages_agree(pool, held, of_device, limit, archive)
            await pages_agree(pool, held, replace(of_device, metric=None), limit, archive)
            for bucket_s in (60, 3_600, 5 * 3_600, DAY_S, 36 * 3_600):
                await series_agree(pool, held, of_device, bucket_s, limit, archive)
            await newest_agree(pool, held, of_device)
            await places_agree(pool, held, of_device)
        await crowds_agree(pool, held, page, limit, archive)
        whole = replace(page, newest_block=None)
        await series_crowd_agrees(pool, held, whole, limit, archive)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches, st.data())
def test_segments_answer_as_a_list_of_the_readings_would(
    database: str, contents: list[list[Reading]], data: st.DataObject
) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.sampled_from([*TIMES, 30_000, 50_000])] * 2)))
    page = PageOf(
        DEVICES[0],
        data.draw(st.sampled_from(METRICS)),
        start,
        end,
        newest_block=data.draw(st.none() | st.integers(0, 5)),
    )
    some = st.integers(0, len(contents))
    turns, limit = data.draw(st.tuples(some, some, some, some)), data.draw(st.integers(1, 7))

    async def run() -> None:
        await migrate(database, MIGRATIONS)
        await everything_agrees(database, contents, turns, page, limit, Archive(Path(folder)))

    with TemporaryDirectory() as folder:
        asyncio.run(run())


@given(st.lists(readings, min_size=1, max_size=40), st.integers(1, 200))
def test_packed_leaves_come_back_byte_for_byte(items: list[Reading], times: int) -> None:
    leaves = b"".join(sorted(item.pack() for item in items * times))
    blocks = pack_leaves(leaves)
    assert unpack_leaves(blocks) == leaves
    assert len(blocks) == -(-len(items) * times // 1_024)


async def test_a_long_run_is_paged_through_from_any_place(database: str, tmp_path: Path) -> None:
    """More leaves in a segment than a page has readings, some at the same second."""
    items = [Reading(1, 7, DEVICES[0], DAY_S + n // 2, n % 9, 1) for n in range(2_100)]
    late = [Reading(1, 7, DEVICES[0], DAY_S + n, -n, 3) for n in range(0, 1_000, 7)]
    contents = [items, late, items]
    await migrate(database, MIGRATIONS)
    archive = Archive(tmp_path)
    for packed, archived, blocks in ((0, 0, 0), (3, 0, 7), (3, 1, 4)):
        async with kept(database, contents, 1, packed, archived, archive=archive) as pool:
            assert await pool.fetchval("select count(*) from segment") == 3
            assert await pool.fetchval("select count(*) from packed_leaves") == blocks
            page = PageOf(DEVICES[0], 1, DAY_S + 3, DAY_S + 540)
            await pages_agree(pool, listed(contents), page, 100, archive)
            await series_agree(pool, listed(contents), page, 60, 3, archive)


async def test_a_run_that_surrounds_others_begins_before_them(database: str) -> None:
    """It ends last, so that whoever looks in the order of ends meets it behind them."""
    around = [Reading(1, 7, DEVICES[0], at, at, 1) for at in (10, 40_000)]
    inside = [[Reading(1, 7, DEVICES[0], at, at, 1)] for at in (20, 30)]
    contents = [*inside, around, inside[0]]
    await migrate(database, MIGRATIONS)
    async with kept(database, contents, 0, 0) as pool:
        for limit in (1, 2, 3, 10):
            for start in (0, 11, 25):
                page = PageOf(DEVICES[0], 1, start, MAX_TIME)
                await pages_agree(pool, listed(contents), page, limit)
                await crowds_agree(pool, listed(contents), page, limit, NO_ARCHIVE)
                await series_agree(pool, listed(contents), page, 60, limit)


# ------------------------------------------------------------------------------ of old versions
