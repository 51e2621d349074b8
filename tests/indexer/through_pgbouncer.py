"""The indexer through a real PgBouncer in transaction mode. `make test-pgbouncer` runs this, for it
fetches Debian's package; the plain suite does not collect it.

given a pooler with two connections to the database, and eight clients in each process
  ├── an index that went through it, reorg included, is the one of a fresh index without it
  ├── every path of the API answers
  ├── who asks at the same time gets his own answer, however connections change hands
  ├── the only writer stays the only one
  └── before a shard it is refused at start, by name
"""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from corechain.devnet.pgbouncer import PgBouncerServer
from corechain.devnet.postgres import PostgresServer
from corechain.service.database import create_pool, writer
from corechain.service.errors import WriterLockHeld, WrongDatabase
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.maintenance import WRITER
from corechain_indexer.store.shards.databases import Shard
from corechain_indexer.store.shards.starting import check_shards_at_start
from indexer.support import World, device_of, driven, get, settings_of

CLIENTS = 200


@pytest.fixture(scope="module")
def pooler(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgBouncerServer]:
    folder = tmp_path_factory.mktemp("pgbouncer")
    with PgBouncerServer(folder, postgres_server, size=2) as server:
        yield server


@pytest.fixture
def pooled(pooler: PgBouncerServer, database: str) -> str:
    return pooler.database_url(database.rpartition("/")[2])


async def test_an_index_through_the_pooler_is_the_one_without_it(
    world: World, postgres_server: PostgresServer, database: str, pooled: str, bus_url: str
) -> None:
    settings = settings_of(world, pooled, bus_url, database_direct_url=database)
    world.add(hours=2)
    async with driven(settings, world) as indexer:
        await indexer.settle()
        fork = world.fork_here()
        world.add(hours=1)
        world.add(hours=1)
        await indexer.settle()
        fork.return_to()
        world.register_more()
        world.add(hours=3)
        world.rpc("anvil_mine", "0x4")
        await indexer.settle()
        await indexer.until_verified(2)
        found = await indexer.tables()
    fresh = postgres_server.create_database("without_pooler")
    async with driven(settings_of(world, fresh, bus_url), world) as indexer:
        await indexer.until_verified(2)
        assert await indexer.tables() == found
    postgres_server.drop_database("without_pooler")


async def test_every_path_answers_through_the_pooler(
    world: World, database: str, pooled: str, bus_url: str
) -> None:
    settings = settings_of(world, pooled, bus_url, database_direct_url=database)
    world.add(hours=2)
    async with driven(settings, world) as indexer:
        await indexer.settle()
        async with indexer.api() as api:
            for endpoint in ENDPOINTS:
                path = endpoint.path.replace("{device}", device_of(world))
                path = path.replace("{batch}", "1").replace("{owner}", "0x" + "11" * 20)
                path = path.replace("{id}", "0x" + "22" * 32).replace("{position}", "0")
                path = path.replace("{resource}", "Datastreams")
                for params in ({}, {"device": device_of(world)}, {"metric": "1"},
                               {"device": device_of(world), "metric": "1"}):  # fmt: skip
                    response = await api.get(path, params=params)
                    assert response.status_code < 500, (path, params, response.text)
            assert (await get(api, "/v1/series", metric="1", device=device_of(world)))["items"]


async def test_who_asks_at_the_same_time_gets_his_own_answer(
    world: World, database: str, pooled: str, bus_url: str
) -> None:
    settings = settings_of(world, pooled, bus_url, database_direct_url=database)
    batches = [world.add(hours=1) for _ in range(5)]
    async with driven(settings, world) as indexer:
        await indexer.settle()
        async with indexer.api() as api:
            numbers = [1 + n % len(batches) for n in range(CLIENTS)]
            asked = [get(api, f"/v1/batches/{number}") for number in numbers]
            answers = await asyncio.gather(*asked)
        assert [a["batch_id"] for a in answers] == numbers
        pool = indexer.indexer.pool
        echoes = [pool.fetchval(f"select $1::bigint + {n % 7}", n) for n in range(CLIENTS)]
        assert await asyncio.gather(*echoes) == [n + n % 7 for n in range(CLIENTS)]


async def test_the_writers_lock_is_not_the_poolers_to_give_away(
    world: World, database: str, pooled: str, bus_url: str
) -> None:
    settings = settings_of(world, pooled, bus_url, database_direct_url=database)
    async with driven(settings, world):
        for url in (database, settings.session_url):
            with pytest.raises(WriterLockHeld):
                async with writer(url, WRITER):
                    pass


async def test_a_pooler_before_a_shard_is_refused_at_start(
    database: str, pooler: PgBouncerServer, postgres_server: PostgresServer
) -> None:
    """Some questions would find what they have prepared gone, now and then."""
    said = r"SHARD_URLS, shard 1: a pooler \(PgBouncer\) answers there; name the Postgres behind it"
    shard = postgres_server.create_database("behind_a_pooler")
    pooled = pooler.database_url("behind_a_pooler")
    with pytest.raises(WrongDatabase, match=said):
        await check_shards_at_start(database, [database, pooled])
    # Who was away at the start is asked when it is there.
    late = Shard(1, pooled)
    with pytest.raises(WrongDatabase, match=said):
        await late.prepare(uuid4())
    await late.close()
    await check_shards_at_start(database, [shard])
    postgres_server.drop_database("behind_a_pooler")


async def test_a_pool_that_does_not_know_of_the_pooler_fails_there(pooled: str) -> None:
    """Why `database_direct_url` changes the pool, too: this is what it prevents."""
    knowing, unknowing = create_pool(pooled, pooled=True), create_pool(pooled)
    async with knowing, unknowing:

        async def ask(pool: object) -> list[object]:
            questions = [pool.fetchval(f"select $1::bigint + {n % 7}", n) for n in range(CLIENTS)]
            return await asyncio.gather(*questions, return_exceptions=True)

        assert not [a for a in await ask(knowing) if isinstance(a, BaseException)]
        assert [a for a in await ask(unknowing) if isinstance(a, BaseException)]
