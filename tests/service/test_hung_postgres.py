"""A Postgres that hangs holds nobody longer than the caller's own limit."""

import asyncio

import pytest
from support.limits import within
from support.processes import PATIENCE_S, stopped, until

from corechain.devnet.postgres import PostgresServer
from corechain.service import database, health, supervision, waking
from corechain.service.database import POOL_SIZE, asked, create_pool
from corechain.service.errors import StoreUnavailable
from corechain.service.health import Health
from corechain.service.supervision import Loops, LoopState, sessions, stop_all
from corechain_indexer.store.shards.databases import Shard

pytestmark = pytest.mark.usefixtures("never")


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's own limit comes too late to help anybody."""
    monkeypatch.setattr(database, "COMMAND_TIMEOUT_S", 86_400.0)
    monkeypatch.setattr(database, "RELEASE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(health, "TIMEOUT_S", 0.2)


async def is_ready(probed: Health) -> bool:
    return not await probed.failing()


async def test_the_limit_of_who_asks_a_hung_postgres_holds(
    postgres_server: PostgresServer,
) -> None:
    async with create_pool(postgres_server.url) as pool:
        await asked(pool.fetchval("select 1"))
        runs_out_s = 0.2  # nothing comes: Postgres stands still
        async with asyncio.timeout(PATIENCE_S):
            said = "Postgres does not answer"
            with stopped(postgres_server.pid), pytest.raises(StoreUnavailable, match=said):
                await asked(within(runs_out_s, pool.fetchval("select 1")))
            assert await asked(pool.fetchval("select 2")) == 2


async def test_a_shard_all_of_whose_connections_are_slow_does_not_hang(
    postgres_server: PostgresServer,
) -> None:
    shard = Shard(0, postgres_server.url)
    pool = await shard.pool
    asking = (pool.fetchval("select pg_sleep(3600)") for _ in range(POOL_SIZE))
    slow = [asyncio.create_task(asked(one)) for one in asking]
    await until(lambda: pool.get_size() == POOL_SIZE)
    assert not await shard._is_silent(20.0), "in which no connection of its pool comes free"
    await stop_all(slow)
    pool.terminate()


async def test_a_process_whose_postgres_hangs_is_unready_until_it_goes_on(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "RELEASE_TIMEOUT_S", 86_400.0)  # a driver that will not let go
    monkeypatch.setattr(health, "KEPT_S", 0.0)
    pool = create_pool(postgres_server.url)
    await pool
    await pool.fetchval("select 1")
    probed = Health({"database": lambda: pool.fetchval("select 1")})
    async with asyncio.timeout(PATIENCE_S):
        with stopped(postgres_server.pid):
            ready, document = await probed.report()
            assert not ready
            assert document["reasons"] == {"database": "no answer within 0.2 s"}
        await until(lambda: is_ready(probed))
    pool.terminate()


async def test_a_loop_goes_on_when_its_postgres_does(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(supervision, name, 86_400.0)
    monkeypatch.setattr(waking, "FLOOR_S", 0.01)
    pool, loops, limit_s = create_pool(postgres_server.url), Loops(), 0.2
    await pool
    probed = Health({"database": lambda: asked(pool.fetchval("select 1"))}, loops)

    async def session() -> None:
        while True:
            await asked(within(limit_s, pool.fetchval("select 1")))
            await asyncio.sleep(0.01)

    def is_(state: LoopState) -> bool:
        return loops.reports["verifier"].state is state

    async with asyncio.timeout(PATIENCE_S):
        with stopped(postgres_server.pid):
            loop = asyncio.create_task(sessions("verifier", session, lambda: None, loops))
            await until(lambda: "verifier" in loops.reports and is_(LoopState.WAITING))
            await until(lambda: bool(probed._away))
            limit_s = PATIENCE_S  # on a loaded machine an honest answer takes its time
        await until(lambda: is_(LoopState.RUNNING))
    await stop_all([loop])
    pool.terminate()


async def test_a_postgres_that_is_not_there_is_named_without_its_address() -> None:
    pool = create_pool("postgresql://nobody@127.0.0.1:1/none")
    await pool
    said = r"^Postgres is not there \(connection refused\)$"
    with pytest.raises(StoreUnavailable, match=said):
        await asked(pool.fetchval("select 1"))
    pool.terminate()
