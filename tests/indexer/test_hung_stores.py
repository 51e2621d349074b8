"""Queries while a store of the API stands still and holds its connections."""

import asyncio

import httpx
import pytest
from support.processes import PATIENCE_S, stopped, until

from corechain.devnet.postgres import PostgresServer
from corechain.service import database as postgres
from corechain.service import health
from corechain_indexer.api import doubt
from indexer.support import World, driven, get, settings_of


async def is_answered(api: httpx.AsyncClient, path: str) -> bool:
    return (await api.get(path)).status_code == 200


async def test_a_query_to_a_hung_postgres_ends_and_says_why(
    world: World,
    database: str,
    bus_url: str,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "COMMAND_TIMEOUT_S", 86_400.0)
    monkeypatch.setattr(postgres, "RELEASE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(doubt, "DOUBT_S", 0.1)
    monkeypatch.setattr(doubt, "SILENT_S", 0.2)
    monkeypatch.setattr(health, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(health, "LATE_S", 0.0)
    async with (
        driven(settings_of(world, database, bus_url), world) as indexer,
        asyncio.timeout(PATIENCE_S),
        indexer.api() as api,
    ):
        world.add()
        await indexer.settle()
        with stopped(postgres_server.pid):
            refused = await get(api, "/v1/epochs", 503)
            assert refused["detail"] == "Postgres does not answer"
            unready = await get(api, "/ready", 503)
            assert "database" in unready["failing"]
        await until(lambda: is_answered(api, "/v1/epochs"))
        assert (await get(api, "/v1/status"))["batches"]["verified"] == 1
