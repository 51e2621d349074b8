"""The API reads from a replica of Postgres while that is near enough, and never goes back in time
within an answer.

given a streaming replica that has everything
  └── it answers, and the primary is asked for nothing but where its log is
given one that has stopped replaying
  ├── a plain query is answered as of what it has, until that is too old; then the primary answers
  ├── a query with `min_block` or `as_of` is answered by the primary, exactly
  └── labels of the two are not mixed: no stale answer passes for a new one
given one that is killed, or that is no replica
  └── the primary answers, `/ready` stays 200 and names it; it answers again when it is back
given shards beside a replica
  └── what they hold of a batch that the replica has not heard of is in no answer of the replica
given a process that reads from none, with the settings of those that do
  └── it says nothing of a replica, neither in `/ready` nor in its metrics
given all members of a cluster, primary included
  ├── one that follows answers, and that another one leads is nothing to warn of
  ├── while the primary is away it goes on for a while, `/ready` says so, and what must be new waits
  ├── a question that meets an outage of the one that answered is asked again, of another
  └── when it leads itself, it is no replica any more; one on an older line of the log is none yet
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.databases import Databases
from support.processes import PATIENCE_S, until
from support.replica import ReplicaServer

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.service.database import asked, connect, create_pool
from corechain.service.errors import StoreUnavailable
from corechain_indexer.following import Role
from corechain_indexer.store import opened, replica
from corechain_indexer.store.replica import ReplicaReads
from indexer.shards_without_chain import four_shards
from indexer.support import Driven, World, device_of, driven, get, settings_of


@pytest.fixture(scope="module")
def replica_server(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReplicaServer]:
    with ReplicaServer(tmp_path_factory.mktemp("replica"), postgres_server) as server:
        yield server


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    with four_shards(databases) as urls:
        yield urls


def url_on(server: PostgresServer, database: str) -> str:
    return server.database_url(database.rpartition("/")[2])


@pytest_asyncio.fixture
async def followed(
    world: World, database: str, bus_url: str, replica_server: ReplicaServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Driven]:  # fmt: skip
    """An indexer with a batch, whose replica has all of it."""
    monkeypatch.setattr(replica, "LOOK_LIMIT_S", PATIENCE_S)
    url = url_on(replica_server, database)
    settings = settings_of(world, database, bus_url, replica_url=url, replica_max_lag_s=3_600)
    world.add(hours=1)
    async with driven(settings, world) as driving:
        await driving.settle()
        await until(lambda: has_all(driving))
        try:
            yield driving
        finally:
            if replica_server.running:
                await replaying(replica_server, on=True)


def replica_of(driving: Driven) -> ReplicaReads:
    assert driving.indexer.replica is not None
    return driving.indexer.replica


async def has_all(driving: Driven) -> bool:
    reads = replica_of(driving)
    await reads.look()
    # Near, too: the look may have been a moment before the last of it was replayed.
    return reads.goes_on and await reads._has_all(reads.replicas[0])


async def replaying(server: ReplicaServer, *, on: bool) -> None:
    connection = await connect(server.url)
    try:
        await connection.execute(f"select pg_wal_replay_{'resume' if on else 'pause'}()")
        wanted = "not paused" if on else "paused"
        query = "select pg_get_wal_replay_pause_state()"

        async def so() -> bool:
            return bool(await connection.fetchval(query) == wanted)

        await until(so)
    finally:
        await connection.close()


def bypassed(driving: Driven) -> dict[str, float]:
    reasons = ("away", "behind", "block")
    counted = {r: driving.metric("corechain_bypassed_total", store="replica", reason=r)
               for r in reasons}  # fmt: skip
    return {reason: count for reason, count in counted.items() if count}


async def batches(api: httpx.AsyncClient, **params: Any) -> int:
    return len((await get(api, "/v1/batches", **params))["items"])


async def add_unseen(world: World, driving: Driven) -> None:
    """A batch that the replica does not get to know."""
    world.add(hours=1)
    await driving.settle()
    await replica_of(driving).look()


async def test_a_replica_that_has_everything_answers(
    world: World, followed: Driven, replica_server: ReplicaServer
) -> None:
    async with followed.api() as api:
        assert await batches(api) == 1
        await replaying(replica_server, on=False)
        await add_unseen(world, followed)
        assert await batches(api) == 1, "it is the replica that answers"
        await replaying(replica_server, on=True)
        await until(lambda: has_all(followed))
        assert await batches(api) == 2
        assert bypassed(followed) == {}
        assert "warnings" not in await get(api, "/ready")


async def test_who_has_seen_a_block_sees_it_in_the_answer(
    world: World, followed: Driven, replica_server: ReplicaServer
) -> None:
    async with followed.api() as api:

        async def answers() -> bool:
            before = bypassed(followed)
            assert await batches(api, min_block=world.head) == 1
            return bypassed(followed) == before

        # Postgres writes to its log by itself, too: the replica may lack that for a moment.
        await until(answers)
        before = bypassed(followed).get("block", 0)
        await replaying(replica_server, on=False)
        await add_unseen(world, followed)
        assert await batches(api, min_block=world.head) == 2
        assert await batches(api, as_of=world.head) == 2
        assert await batches(api) == 1
        assert bypassed(followed) == {"block": before + 2}


async def test_an_answer_of_the_replica_has_no_label_of_the_primary(
    world: World, followed: Driven, replica_server: ReplicaServer
) -> None:
    """Else a client would keep an old answer under a new label, and hear that it still stands."""
    async with followed.api() as api:
        await replaying(replica_server, on=False)
        await add_unseen(world, followed)
        new = await api.get("/v1/batches", params={"min_block": world.head})
        old = await api.get("/v1/batches")
        assert (len(new.json()["items"]), len(old.json()["items"])) == (2, 1)
        await replaying(replica_server, on=True)
        await until(lambda: has_all(followed))
        again = await api.get("/v1/batches", headers={"if-none-match": old.headers["etag"]})
        assert again.status_code == 200
        assert len(again.json()["items"]) == 2


async def test_a_replica_too_far_behind_is_not_asked(
    world: World, followed: Driven, replica_server: ReplicaServer
) -> None:
    reads = replica_of(followed)
    now = reads.clock()
    reads.clock = lambda: now
    await reads.look()
    await replaying(replica_server, on=False)
    now += 5
    await add_unseen(world, followed)
    async with followed.api() as api:
        assert await batches(api) == 1
        now += reads.max_lag_s
        await reads.look()
        assert await batches(api) == 2
        assert bypassed(followed) == {"behind": 1}
        ready = await get(api, "/ready")
        assert "s behind, more than 3600 s" in ready["warnings"][0]
        await replaying(replica_server, on=True)
        await until(lambda: has_all(followed))
        assert await batches(api) == 2
        assert bypassed(followed) == {"behind": 1}


async def test_the_primary_answers_while_the_replica_is_away(
    followed: Driven, replica_server: ReplicaServer
) -> None:
    async with followed.api() as api:
        assert await batches(api) == 1
        replica_server.kill()
        try:
            assert await batches(api) == 1, "the query that meets the outage is answered too"
            assert await batches(api, min_block=1) == 1
            await replica_of(followed).look()
            assert bypassed(followed)["away"] >= 2
            ready = await get(api, "/ready")
            assert "the replica answers nobody" in ready["warnings"][0]
        finally:
            replica_server.start()
        await until(lambda: has_all(followed))
        before = bypassed(followed)
        assert await batches(api) == 1
        assert bypassed(followed) == before


async def test_a_server_that_is_no_replica_answers_nobody(
    world: World, database: str, bus_url: str
) -> None:
    """The primary itself, given twice, or another cluster."""
    settings = settings_of(world, database, bus_url, replica_url=database)
    world.add(hours=1)
    async with driven(settings, world) as driving:
        await driving.settle()
        await replica_of(driving).look()
        async with driving.api() as api:
            assert await batches(api) == 1
            ready = await get(api, "/ready")
        assert "no streaming replica of the primary" in ready["warnings"][0]
        assert bypassed(driving) == {"away": 1}


async def test_a_replica_goes_on_without_the_primary(
    world: World, database: str, bus_url: str, replica_server: ReplicaServer,
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As in a failover: nobody leads, and only what must be new cannot be said."""
    monkeypatch.setattr(replica, "LOOK_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(opened.random, "shuffle", lambda found: None)
    monkeypatch.setattr(replica, "LOOKS", 1)
    name = database.rpartition("/")[2]
    places = f"127.0.0.1:{replica_server.port},127.0.0.1:{postgres_server.port}"
    url = f"postgresql://postgres@{places}/{name}"
    limits = {"replica_max_lag_s": 3_600, "replica_alone_s": 3_600}
    settings = settings_of(world, database, bus_url, replica_url=url, **limits)
    world.add(hours=1)
    async with driven(settings, world) as driving, driving.api() as api:
        await driving.settle()
        await until(lambda: has_all(driving))
        ready = await get(api, "/ready")
        assert "warnings" not in ready, "that the other one leads is as it should be"
        reads = replica_of(driving)
        away = create_pool(f"postgresql://postgres@127.0.0.1:{free_port()}/{name}")
        kept = driving.indexer.pool
        async with away:
            reads.primary = driving.indexer.pool = away
            now = reads.clock() + 3_599
            reads.clock = lambda: now
            await reads.look()
            assert await batches(api) == 1
            assert await newest(api, world) == 200, "asked of the primary by who can"
            follows, led = reads.replicas
            answers, led.pool = led.pool, away
            led.is_well(0.0)
            reads.replicas = [led, follows]
            assert await batches(api) == 1, "asked again as a whole, of the other one"
            assert led.unwell
            reads.replicas, led.pool = [follows, led], answers
            await reads.look()
            assert (await api.get("/v1/batches", params={"as_of": 1})).status_code == 503
            ready = await get(api, "/ready")
            assert ready["warnings"] == [
                "the primary is away: a replica answers, as of what it has"
            ]
            now += 3_600
            await reads.look()
            assert (await api.get("/v1/batches")).status_code == 503, "too old for anybody"
            reads.primary = driving.indexer.pool = kept


async def newest(api: httpx.AsyncClient, world: World) -> int:
    found = await api.get("/v1/latest", params={"device": device_of(world)})
    return found.status_code


async def test_a_replica_on_an_older_line_of_the_log_answers_nobody(followed: Driven) -> None:
    """It may hold what the new leader does not, at the same positions."""
    reads = replica_of(followed)
    assert reads.goes_on
    reads._line += 1
    monkeyed = reads.primary
    reads.primary = reads.replicas[0].pool  # no leader: the line stays what it was
    await reads.look()
    assert reads.replicas[0].unwell == "it has not followed the last failover yet"
    reads.primary = monkeyed
    await reads.look()
    assert reads.goes_on


async def test_what_shards_hold_counts_as_the_replica_says(
    world: World, database: str, bus_url: str, replica_server: ReplicaServer,
    shard_urls: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Shards have no replica of their own: they hold a batch that the replica has not heard of."""
    monkeypatch.setattr(replica, "LOOK_LIMIT_S", PATIENCE_S)
    url = url_on(replica_server, database)
    world.add(hours=1)
    settings = settings_of(
        world, database, bus_url,
        replica_url=url, replica_max_lag_s=3_600, shard_urls=" ".join(shard_urls),
    )  # fmt: skip
    async with driven(settings, world) as driving, driving.api() as api:

        async def times(**params: Any) -> list[int]:
            page = await get(api, "/v1/readings", device=device_of(world), **params)
            return [item["observed_at"] for item in page["items"]]

        await driving.settle()
        await until(lambda: has_all(driving))
        first = await times()
        assert first
        await replaying(replica_server, on=False)
        try:
            await add_unseen(world, driving)
            assert await times() == first
            both = await times(min_block=world.head)
            assert set(first) < set(both)
        finally:
            await replaying(replica_server, on=True)
        await until(lambda: has_all(driving))
        assert await times() == both
        assert bypassed(driving).keys() <= {"block"}


async def test_a_process_that_reads_from_no_replica_says_nothing_of_it(
    world: World, database: str, bus_url: str
) -> None:
    """A mirror has the same settings as the API, and looks at nobody."""
    nobody = f"postgresql://127.0.0.1:{free_port()}/nobody"
    settings = settings_of(world, database, bus_url, replica_url=nobody)
    async with driven(settings, world) as driving:
        indexer, lag = driving.indexer, "corechain_replica_lag_seconds"
        for roles, known in (([Role.MIRROR], 0.0), ([Role.API], float("inf"))):
            assert indexer.loops(roles, indexer.api(roles=roles))
            assert driving.metric(lag) == known
        assert not [one for one in indexer.warnings() if "replica" in one]
        await replica_of(driving).look()
        (said,) = (one for one in indexer.warnings() if "replica" in one)
        assert said.startswith("the replica answers nobody")


async def test_locks_and_migrations_go_past_a_pooler(
    world: World, database: str, bus_url: str
) -> None:
    """It would give the connection that holds them to others; nobody listens where it should be."""
    pooler = "postgresql://postgres@127.0.0.1:9/nowhere"
    settings = settings_of(world, pooler, bus_url, database_direct_url=database)
    async with driven(settings, world) as driving:  # migrates, and takes the writers' locks
        assert await driving.mirror.step()
        with pytest.raises(StoreUnavailable):
            await asked(driving.indexer.pool.fetchval("select 1"))
