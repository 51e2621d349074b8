"""Queries while a store of the API stands still and holds its connections."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from support.processes import PATIENCE_S, stopped, until

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.settings import PAYEE_KEY
from corechain.payments import PAYMENT_SIGNATURE, parse_price
from corechain.service import database as postgres
from corechain.service import health
from corechain_indexer import doubt
from corechain_indexer.errors import ShardUnavailable
from corechain_indexer.store.shards.databases import Shard
from indexer.site import served
from indexer.support import World, device_of, driven, get, settings_of

SILENT = "Postgres does not answer"


async def is_answered(api: httpx.AsyncClient, path: str) -> bool:
    return (await api.get(path)).status_code == 200


@pytest.fixture(autouse=True)
def patient_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it would wait for ever."""
    monkeypatch.setattr(postgres, "COMMAND_TIMEOUT_S", 86_400.0)


@contextmanager
def hung(server: PostgresServer) -> Iterator[None]:
    """Stands still, and is doubted at once: only then, as on a busy machine it may be late."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "RELEASE_TIMEOUT_S", 0.1)
        patch.setattr(doubt, "DOUBT_S", 0.1)
        patch.setattr(doubt, "SILENT_S", 0.2)
        patch.setattr(health, "TIMEOUT_S", 0.2)
        patch.setattr(health, "KEPT_S", 0.0)
        with stopped(server.pid):
            yield


async def test_a_query_to_a_hung_postgres_ends_and_says_why(
    world: World, database: str, bus_url: str, postgres_server: PostgresServer
) -> None:
    async with (
        driven(settings_of(world, database, bus_url), world) as indexer,
        asyncio.timeout(PATIENCE_S),
        indexer.api() as api,
    ):
        world.add()
        await indexer.settle()
        with hung(postgres_server):
            refused = await get(api, "/v1/epochs", 503)
            assert refused["detail"] == SILENT
            unready = await get(api, "/ready", 503)
            assert "database" in unready["failing"]
        await until(lambda: is_answered(api, "/v1/epochs"))
        assert (await get(api, "/v1/status"))["batches"]["verified"] == 1


async def test_a_question_to_a_hung_shard_ends_and_names_it(
    postgres_server: PostgresServer,
) -> None:
    shard = Shard(3, postgres_server.url)
    await shard.pool
    async with asyncio.timeout(PATIENCE_S):
        assert await shard.answered(shard.readers.fetchval("select 1")) == 1
        with hung(postgres_server):
            for _ in range(2):
                with pytest.raises(ShardUnavailable, match=f"^shard 3: {SILENT}$"):
                    await shard.answered(shard.readers.fetchval("select 1"))
        await until(lambda: is_back(shard))
    await shard.readers.close()
    await shard.pool.close()


async def is_back(shard: Shard) -> bool:
    with suppress(ShardUnavailable):
        return bool(await shard.answered(shard.readers.fetchval("select 1")))
    return False


async def test_a_query_that_is_paid_or_waits_for_a_block_ends_as_soon(
    world: World, database: str, bus_url: str, postgres_server: PostgresServer
) -> None:
    world.add()
    settings = settings_of(world, database, bus_url, price_per_query=1_000, payee_key=PAYEE_KEY)
    async with (
        served(world, settings) as site,
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(base_url=site.url, timeout=PATIENCE_S) as api,
    ):
        channel, path = await site.opened(5), f"/v1/readings?device={device_of(world)}"
        price = parse_price((await api.get(path)).headers, world.chain.deployment.chain_id)
        paid = {PAYMENT_SIGNATURE: channel.pay(price)}
        with hung(postgres_server):
            for asked, headers in ((path, paid), ("/v1/batches?min_block=1", {})):
                refused = await api.get(asked, headers=headers)
                assert (refused.status_code, refused.json()["detail"]) == (503, SILENT), asked
        await until(lambda: is_answered(api, "/v1/epochs"))
        again = await api.get(path, headers=paid)
        assert again.status_code == 200  # it was not charged
