"""An index whose segments are divided over several databases answers as one that has them all.

given batches of any readings, some undone and verified again, some written and never verified
  └── pages, series, newest values, cells and batches are those of a plain list, from two shards
given the same chain, mirrored by an index with four shards and by one without
  ├── both answer every query alike, before and after a reorg
  ├── the audit of the divided one is clean, and finds what was tampered with on a shard
  └── a rebuild empties the shards, and what comes next may be divided otherwise
given a process that is killed between any two steps
  ├── what was written and never verified counts for nothing, and is taken away
  ├── what was undone counts for nothing at once, its devices are told to the cache, and it goes
  ├── what stands again before it was taken away stays
  └── a deletion that comes late takes nothing that was written since
given a shard that is away
  ├── its devices' queries are refused with 503, all others are answered
  ├── the query API says which one, and serves newest values from the cache on
  └── no batch is verified without it, and all are when it is back
given settings that do not say how the index is divided
  └── the process is refused before it answers anything
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.databases import Databases

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.audit import Auditor
from corechain_indexer.errors import ShardUnavailable
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.opened import routed
from corechain_indexer.store.packing import PackStore
from corechain_indexer.store.pages import PageOf, readings_page
from corechain_indexer.store.segments import Segments
from corechain_indexer.store.shards import MIGRATIONS as SHARD_MIGRATIONS
from corechain_indexer.store.shards.databases import Shards, lay_out, owner_of, token_of
from corechain_indexer.store.shards.keeping import ShardKeeper, settle, write_segments
from corechain_indexer.store.shards.routing import EXECUTED, FETCHED
from corechain_indexer.store.shards.status import status_of
from indexer.conftest import OTHER_LIFE
from indexer.support import CELL, HOUR_S, START, Driven, World, driven, get, more_keys, settings_of
from indexer.test_segments import (
    DEVICES,
    MAX_TIME,
    METRICS,
    TIMES,
    batches,
    listed,
    newest_agree,
    pages_agree,
    places_agree,
    series_agree,
)

BLOCK = bytes(32)
EVERYTHING = PageOf(DEVICES[0], None, 0, MAX_TIME)


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    urls = [databases.migrated("shard", SHARD_MIGRATIONS) for _ in range(4)]
    yield urls
    for url in urls:
        databases.drop(url)


class Divided:
    """An index without a chain: batches are put into its tables."""

    def __init__(self, url: str, pool: Any, shards: Shards) -> None:
        self.url, self.pool, self.shards = url, pool, shards
        self.database: Any = routed(pool, shards)
        self.keeper = ShardKeeper(pool, shards)

    async def write(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> Any:
        """Commits a batch, and writes its segments to the shards; what makes it verified then."""
        leaves = b"".join(sorted(item.pack() for item in items))
        commitment = batch_id.to_bytes(7) + bytes([content]) + bytes(18)
        insert = "insert into batch values ($1, 0, $1, $2, $3, $3) on conflict do nothing"
        await self.pool.execute(insert, batch_id, commitment, BLOCK)
        batch, segments = (batch_id, token_of(commitment)), Segments.of(batch_id, leaves)

        async def verdict(connection: Any) -> None:
            assert await write_segments(self.shards, connection, batch, BLOCK, segments)
            await connection.execute(
                "insert into batch_file (batch_id, state, leaves, reading_count, readings_root, "
                "tree_levels, window_end) values ($1, 'verified', $2, $3, '', '', 0)",
                batch_id, leaves, len(items),
            )  # fmt: skip

        return verdict

    async def keep(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> None:
        verdict = await self.write(batch_id, items, content)
        async with self.pool.acquire() as connection, connection.transaction():
            await verdict(connection)

    async def give_up(self, batch_id: int, items: Sequence[Reading], content: int = 0) -> None:
        """As a process that is killed when the shards have everything, and before it counts."""
        verdict = await self.write(batch_id, items, content)
        async with self.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await verdict(connection)
            await transaction.rollback()

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)

    async def held(self) -> list[int]:
        rows = await self.shards.fetch_all("held_after", -1, 0, 1_000)
        return sorted({row["batch_id"] for row in rows})


@asynccontextmanager
async def divided_index(url: str, shard_urls: Sequence[str]) -> AsyncIterator[Divided]:
    shards = Shards.at(shard_urls)
    async with create_pool(url) as pool:
        await shards.prepare(pool)
        try:
            yield Divided(url, pool, shards)
        finally:
            await shards.close()


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
    beside = {SQL["lay_out"]}  # asks whether this very database has any
    # Nothing is merged on shards.
    beside |= {SQL[name] for name in ("devices_behind", "merge_runs", "audit_merged_runs")}
    assert named - beside == FETCHED.keys() | EXECUTED.keys()


def readings_of(device: bytes, *times: int) -> list[Reading]:
    return [Reading(1, 7, device, at, at, 1) for at in times]  # type: ignore[arg-type]


async def times_of(index: Divided, device: bytes) -> list[int]:
    page = replace(EVERYTHING, device=device)
    return [row.observed_at for row in await readings_page(index.database, page, 100)]


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
    assert await index.shards.fetch_all("unsettled", 10) == []


async def test_a_deletion_that_comes_late_takes_nothing_that_was_written_since(
    index: Divided,
) -> None:
    device = DEVICES[0]
    await index.keep(1, readings_of(device, 10))
    shard, batch = await index.shards.of(device), (1, token_of((1).to_bytes(7) + bytes(19)))
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


async def rename(admin: str, url: str, name: str) -> None:
    """Nobody can reach a database under the name that it had."""
    own = url.rpartition("/")[2]
    connection = await asyncpg.connect(admin)
    try:
        terminate = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
        await connection.fetch(terminate, own)
        await connection.execute(f'alter database "{own}" rename to "{name}"')
    finally:
        await connection.close()


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


# ------------------------------------------------------------------------------ a whole index


@pytest.fixture
def other_database(databases: Databases) -> Iterator[str]:
    url = databases.migrated("indexer", MIGRATIONS, OTHER_LIFE)
    yield url
    databases.drop(url)


@pytest_asyncio.fixture
async def divided(
    world: World, bus_url: str, shard_urls: list[str], database: str, other_database: str
) -> AsyncIterator[tuple[Driven, Driven]]:
    """Two indexes of one chain: one with shards, one without."""
    redis = bus_url.rpartition("/")[0] + "/9"
    parted = settings_of(world, other_database, redis, shard_urls=" ".join(shard_urls))
    whole = settings_of(world, database, bus_url)
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(driven(one, world)) for one in (parted, whole)]
        yield made[0], made[1]


def spread(world: World) -> None:
    """Gives it a device of another shard than the others'."""
    known = {owner_of(key.identity.device, 4) for key in world.keys}
    more = next(k for k in more_keys(0, 50) if owner_of(k.identity.device, 4) not in known)
    world.register([more])
    world.keys = [*world.keys, more]


async def answers(index: Driven, world: World) -> dict[str, Any]:
    """What both must say of every device, and what they say of all."""
    window = {"from_": START, "to": START + 200 * HOUR_S, "metric": "air_temperature"}
    found: dict[str, Any] = {}
    async with index.api() as api:
        for key in world.keys:
            device = "0x" + key.identity.device.hex()
            asked = window | {"device": device}
            found[device] = [
                await get(api, "/v1/latest", device=device),
                await get(api, "/v1/readings", device=device, limit=7),
                await get(api, "/v1/readings", proofs=True, **asked),
                await get(api, "/v1/series", bucket=3600, **asked),
                await get(api, "/v1/statistics", **asked),
            ]
        region = {"cell": f"{CELL:015x}", "resolution": 7}
        found["region"] = await get(api, "/v1/statistics", **region, **window)
        found["batches"] = await get(api, "/v1/batches")
    return found


async def test_an_index_with_shards_answers_as_one_without(
    divided: tuple[Driven, Driven], world: World, shard_urls: list[str]
) -> None:
    parted, whole = divided
    spread(world)
    keeper = ShardKeeper(parted.indexer.pool, parted.indexer.shards)  # type: ignore[arg-type]
    world.add(hours=4)
    fork = world.fork_here()
    world.add(hours=5)

    async def agree(batches: int) -> None:
        for index in divided:
            await index.until_verified(batches)
        theirs, ours = await answers(whole, world), await answers(parted, world)
        assert ours == theirs
        assert len(ours["batches"]["items"]) == batches
        assert all(ours["0x" + key.identity.device.hex()][0]["items"] for key in world.keys)

    await agree(2)
    fork.return_to()
    world.add(hours=3)
    world.add(hours=2)
    for index in divided:
        await index.settle()
    await agree(3)
    while await keeper.step():
        pass
    await parted.settle()
    await agree(3)
    assert await parted.indexer.pool.fetchval("select count(*) from segment") == 0
    await audits_are_clean(parted)


async def audits_are_clean(index: Driven) -> None:
    """But for a row that is changed on a shard."""
    made, shards = index.indexer, index.indexer.shards
    assert shards is not None
    addresses = [contract.address for contract in made.deployment.contracts.values()]
    auditor = Auditor(made.pool, made.rpc, addresses, 100)
    newest = await made.pool.fetchval("select max(number) from block")
    report = await auditor.audit(0, newest)
    assert (report.is_clean, report.batches) == (True, 3), report
    for shard in shards.all:
        await shard.pool.execute("update segment set sum = sum + 1 where position = 0")
    assert not (await auditor.audit(0, newest)).is_clean


async def test_a_rebuild_empties_the_shards_and_the_next_index_may_have_others(
    world: World, database: str, bus_url: str, shard_urls: list[str]
) -> None:
    world.add()
    four = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls))
    two = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls[:2]))
    async with driven(four, world) as index:
        await index.until_verified(1)
        before = (await answers(index, world)) | {"batches": None}
    with pytest.raises(WrongDatabase, match="is divided over 4"):
        await forget_everything(two)
    await forget_everything(four)
    async with driven(two, world) as index:
        await index.until_verified(1)
        assert (await answers(index, world)) | {"batches": None} == before


async def test_queries_of_a_shard_that_is_away_are_503_and_say_so(
    world: World, database: str, bus_url: str, shard_urls: list[str], postgres: str
) -> None:
    spread(world)
    devices = [key.identity.device for key in world.keys]
    lost = owner_of(devices[0], 4)
    world.add()
    parted = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls))
    async with driven(parted, world) as index, index.api() as api:
        await index.until_verified(1)
        name = shard_urls[lost].rpartition("/")[2]
        await rename(postgres, shard_urls[lost], f"{name}_away")
        for device in devices:
            said = await api.get("/v1/readings", params={"device": "0x" + device.hex()})
            is_lost = owner_of(device, 4) == lost
            assert said.status_code == (503 if is_lost else 200), said.text
            if is_lost:
                assert said.json()["type"] == "urn:corechain:error:Unavailable"
                assert said.json()["detail"].startswith(f"shard {lost}: ")
        # Newest values are in the cache, whoever has the segments.
        await get(api, "/v1/latest", device="0x" + devices[0].hex())
        assert any(why.startswith(f"shard {lost} is away") for why in index.indexer.warnings())
        await rename(postgres, shard_urls[lost].rpartition("/")[0] + f"/{name}_away", name)
        await get(api, "/v1/readings", device="0x" + devices[0].hex())
