"""An index whose segments are divided over several databases answers as one that has them all.

given batches of any readings, some undone and verified again, some written and never verified
  └── pages, series, newest values, cells and batches are those of a plain list, from two shards
given a process that is killed between any two steps
  ├── what was written and never verified counts for nothing, and is taken away
  ├── what was undone counts for nothing at once, its devices are told to the cache, and it goes
  ├── what stands again before it was taken away stays
  └── a deletion that comes late takes nothing that was written since
given a shard that is away
  ├── its devices' queries are refused with 503, all others are answered
  └── no batch is verified without it, and all are when it is back
given settings that do not say how the index is divided
  └── the process is refused before it answers anything
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.databases import Databases

from corechain.protocol.reading import Reading
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.errors import ShardUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import SQL
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.packing import PackStore
from corechain_indexer.store.pages import PageOf
from corechain_indexer.store.shards.databases import Shards, lay_out, owner_of, token_of
from corechain_indexer.store.shards.keeping import ShardKeeper, settle
from corechain_indexer.store.shards.routing import EXECUTED, FETCHED
from corechain_indexer.store.shards.status import status_of
from indexer.shards_without_chain import (
    Divided,
    divided_index,
    four_shards,
    readings_of,
    rename,
    times_of,
)
from indexer.support import Driven, World, settings_of
from indexer.test_segments import (
    DEVICES,
    METRICS,
    TIMES,
    batches,
    listed,
    newest_agree,
    pages_agree,
    places_agree,
    series_agree,
)


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    with four_shards(databases) as urls:
        yield urls


@pytest_asyncio.fixture
async def index(database: str, shard_urls: list[str]) -> AsyncIterator[Divided]:
    async with divided_index(database, shard_urls) as made:
        yield made


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches, st.data())
def test_shards_answer_as_a_list_of_the_readings_would(
    database: str, shard_urls: list[str], contents: list[list[Reading]], data: st.DataObject
) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.sampled_from([*TIMES, 30_000, 50_000])] * 2)))
    newest = data.draw(st.none() | st.integers(0, 5))
    page = PageOf(DEVICES[0], data.draw(st.sampled_from(METRICS)), start, end, newest_block=newest)
    some = st.integers(0, len(contents))
    undone, packed, limit = data.draw(some), data.draw(some), data.draw(st.integers(1, 7))
    bucket_s, is_cleaned = data.draw(st.sampled_from([60, 3_600, 86_400])), data.draw(st.booleans())

    async def run() -> None:
        held = listed(contents)
        async with divided_index(database, shard_urls[:2]) as index:
            await index.pool.execute("truncate batch, outbox, stale_device, gone_batch cascade")
            await index.shards.every(lambda shard: shard.fetch("empty_shard"))
            for batch_id in range(1, len(contents) + 1):
                # Another one of the same id came first, and was taken back.
                await index.keep(batch_id, contents[0], content=1)
            await index.undo(0)
            for batch_id, items in enumerate(contents, 1):
                await index.keep(batch_id, items)
            await index.undo(len(contents) - undone)
            if is_cleaned:
                while await index.keeper.step():
                    pass
            for batch_id, items in list(enumerate(contents, 1))[len(contents) - undone :]:
                await index.keep(batch_id, items)
            await index.give_up(99, contents[0])
            await index.undo(98)
            await index.pool.execute("update chain_mark set final = $1", packed)
            while await PackStore(index.pool).pack_some(0.0):
                pass
            for device in DEVICES:
                of_device = replace(page, device=device)
                await pages_agree(index.database, held, of_device, limit)
                await pages_agree(index.database, held, replace(of_device, metric=None), limit)
                await series_agree(index.database, held, of_device, bucket_s, limit)
                await newest_agree(index.database, held, of_device)
                await places_agree(index.database, held, of_device)
            await index.pool.execute("update chain_mark set final = -1")

    asyncio.run(run())


def test_every_query_about_segments_goes_by_the_shards() -> None:
    named = {query for query in SQL.values() if re.search(r"\bfrom segment\b", query)}
    # They ask whether this very database has any.
    beside = {SQL["lay_out"], SQL["has_segments"]}
    # Nothing is merged on shards.
    beside |= {SQL[name] for name in ("devices_behind", "merge_runs", "audit_merged_runs")}
    assert named - beside == FETCHED.keys() | EXECUTED.keys()


async def test_what_was_written_and_never_verified_counts_for_nothing(index: Divided) -> None:
    one, other = DEVICES[0], DEVICES[2]
    assert owner_of(one, 4) != owner_of(other, 4)
    await index.keep(1, readings_of(one, 10) + readings_of(other, 10))
    await index.give_up(2, readings_of(one, 20) + readings_of(other, 20))
    for device in (one, other):
        assert await times_of(index, device) == [10]
        assert [n.observed_at for n in (await newest_in(index.database, [device]))[device]] == [10]
    assert await index.held() == [1, 2]
    while await index.keeper.step():
        pass
    assert await index.held() == [1]
    await index.keep(2, readings_of(one, 20))
    assert await times_of(index, one) == [10, 20]


async def test_what_was_undone_counts_for_nothing_at_once_and_is_told_to_the_cache(
    index: Divided,
) -> None:
    device = DEVICES[2]
    await index.keep(1, readings_of(device, 10))
    await index.keep(2, readings_of(device, 20))
    await settle(index.shards, 2, token_of((2).to_bytes(7) + bytes(19)))
    await index.undo(1)
    assert await times_of(index, device) == [10]
    checks = await index.pool.fetchrow(SQL["cache_checks"], [device], [])
    assert checks["behind"]
    while await index.keeper.step():
        pass
    checks = await index.pool.fetchrow(SQL["cache_checks"], [device], [])
    assert (checks["stale"], await index.held()) == ([device], [1])


async def test_what_stands_again_before_it_was_taken_away_stays(index: Divided) -> None:
    device = DEVICES[0]
    await index.keep(1, readings_of(device, 10))
    await index.undo(0)
    await index.keep(1, readings_of(device, 10))
    while await index.keeper.step():
        pass
    assert await times_of(index, device) == [10]
    assert await index.rows("unsettled", 10) == []


async def test_a_deletion_that_comes_late_takes_nothing_that_was_written_since(
    index: Divided,
) -> None:
    device = DEVICES[0]
    await index.keep(1, readings_of(device, 10))
    shard, batch = (
        await index.shards.ready(index.shards.all[owner_of(device, 4)]),
        (1, token_of((1).to_bytes(7) + bytes(19))),
    )
    seen = await shard.fetchval("held_version", *batch)
    await index.undo(0)
    await index.keep(1, readings_of(device, 10))
    await shard.fetch("drop_held", *batch, seen)
    assert await times_of(index, device) == [10]


async def test_a_sweep_takes_away_what_nobody_has_noted(index: Divided) -> None:
    device = DEVICES[0]
    await index.keep(1, readings_of(device, 10))
    while await index.keeper.step():
        pass
    await index.undo(0)
    await index.pool.execute("truncate gone_batch")  # as when an older state is restored
    assert await times_of(index, device) == []
    await ShardKeeper(index.pool, index.shards).step()
    assert await index.held() == []


# ------------------------------------------------------------------------ a shard is away


async def test_a_shard_that_is_away_refuses_its_own_devices_and_no_others(
    index: Divided, shard_urls: list[str], postgres: str
) -> None:
    one, other = DEVICES[0], DEVICES[2]
    await index.keep(1, readings_of(one, 10) + readings_of(other, 10))
    url = shard_urls[owner_of(one, 4)]
    base, _, name = url.rpartition("/")
    await rename(postgres, url, f"{name}_away")
    with pytest.raises(ShardUnavailable):
        await times_of(index, one)
    assert await times_of(index, other) == [10]
    assert len(index.shards.sentences()) == 1
    status = await status_of(index.url, Shards.at(shard_urls))
    assert [said.get("batches", 0) for said in status] == [
        0 if shard_url == url else shard_url == shard_urls[owner_of(other, 4)]
        for shard_url in shard_urls
    ]
    assert [said["shard"] for said in status if "away" in said] == [owner_of(one, 4)]
    with pytest.raises(StoreUnavailable):
        await index.keep(2, readings_of(one, 20) + readings_of(other, 20))
    assert await times_of(index, other) == [10]
    await rename(postgres, f"{base}/{name}_away", name)
    await index.keep(2, readings_of(one, 20) + readings_of(other, 20))
    assert await times_of(index, one) == await times_of(index, other) == [10, 20]
    assert index.shards.sentences() == []


async def test_a_shard_that_is_back_is_known_to_be_without_a_question_about_its_devices(
    index: Divided, shard_urls: list[str], postgres: str
) -> None:
    """A process that answers few questions warned of it until the next one."""
    base, _, name = shard_urls[2].rpartition("/")
    await rename(postgres, shard_urls[2], f"{name}_away")
    with pytest.raises(StoreUnavailable):
        await index.shards.fetch_all("held_after", -1, 0, 1)
    await index.shards.look()
    assert [said.partition(":")[0] for said in index.shards.sentences()] == ["shard 2 is away"]
    await rename(postgres, f"{base}/{name}_away", name)
    await index.shards.look()
    assert index.shards.sentences() == []


async def test_of_each_shard_it_is_known_whether_it_is_away_also_beside_another_one(
    index: Divided, shard_urls: list[str], postgres: str
) -> None:
    metrics = Metrics()
    index.shards.shown_in(metrics.shard_away)

    def away() -> set[int]:
        shown = [metrics.shard_away.labels(number).collect() for number in range(4)]
        return {number for number, (found,) in enumerate(shown) if found.samples[0].value}

    def places(number: int) -> tuple[str, str]:
        base, _, name = shard_urls[number].rpartition("/")
        return f"{base}/{name}_away", name

    while await index.keeper.step():
        pass
    assert away() == set()
    for number in (0, 3):
        await rename(postgres, shard_urls[number], places(number)[1] + "_away")
    for number, left in ((3, {0}), (0, set())):
        with pytest.raises(ShardUnavailable):
            await index.keeper.step()
        assert away() == left | {number}
        await rename(postgres, *places(number))
    await index.keeper.step()
    assert away() == set()


# ---------------------------------------------------------------------------- how it is divided


async def test_a_process_that_does_not_know_the_shards_is_refused(
    database: str, shard_urls: list[str]
) -> None:
    async with divided_index(database, shard_urls) as index:
        await index.keep(1, readings_of(DEVICES[0], 10))
    for urls in ([], shard_urls[:2]):
        with pytest.raises(WrongDatabase, match="is divided over 4"):
            await lay_out(database, Shards.at(urls) if urls else None)
    turned = Shards.at(shard_urls[::-1])
    with pytest.raises(WrongDatabase, match="is another one"):
        await lay_out(database, turned)
    await turned.close()


async def test_an_index_with_readings_is_not_divided_unasked(
    served: Driven, database: str, shard_urls: list[str]
) -> None:
    with pytest.raises(WrongDatabase, match="rebuild"):
        await lay_out(database, Shards.at(shard_urls))


async def test_a_shard_is_no_database_of_another_service(
    database: str, shard_urls: list[str]
) -> None:
    shards = Shards.at([database, *shard_urls[1:]])
    with pytest.raises(WrongDatabase, match="shard 0: this database is not a shard's"):
        await lay_out(database, shards)
    await shards.close()


@pytest.mark.parametrize("urls", ["", "postgresql://a/x postgresql://b/x postgresql://c/x",
                                  "http://a/x", "postgresql://a/x postgresql://a/x"])  # fmt: skip
def test_shards_are_a_power_of_two_of_databases(world: World, urls: str) -> None:
    with pytest.raises(ValidationError):
        settings_of(world, "postgresql://a/m", "redis://a", shard_urls=urls)
