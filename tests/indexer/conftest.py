"""A small world on the session's chain, and an indexer over it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.databases import Databases
from support.processes import PATIENCE_S

from corechain.devnet.postgres import PostgresServer
from corechain.service import database as databases
from corechain_indexer.store import MIGRATIONS, archive, latest
from indexer.kept_tables import as_new
from indexer.support import Driven, NewDatabase, World, driven, settings_of, world_of

OTHER_LIFE = """
update sink set generation = default;
update change set life = default;
update batch_event_log set generation = default;
"""
"""What the migrations draw at random, so that no index takes another one's entries for its own."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are there are never taken for away because the machine paused for a moment. A
    test of how long is waited for one that hangs sets the limit that it is about."""
    monkeypatch.setattr(latest, "READ_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(latest, "CONNECT_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(latest, "ANSWER_LIMIT_S", PATIENCE_S)
    for what in archive.LIMITS_S:
        monkeypatch.setitem(archive.LIMITS_S, what, PATIENCE_S)
    monkeypatch.setattr(databases, "CONNECT_TIMEOUT_S", PATIENCE_S)


@pytest.fixture(scope="session")
def kept_database(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"kept_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest_asyncio.fixture
async def tables(kept_database: str) -> str:
    """The URL of a database with the indexer's tables, as they are after its migrations. For tests
    that change no table's form."""
    await as_new(kept_database)
    return kept_database


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a new database with the indexer's tables; `empty_database` is for tests of the
    migrations themselves."""
    url = databases.migrated("indexer", MIGRATIONS, OTHER_LIFE)
    yield url
    databases.drop(url)


@pytest_asyncio.fixture
async def new_database(databases: Databases) -> AsyncIterator[NewDatabase]:
    """Makes the URL of one more database with the indexer's tables; all are gone after the test."""
    made: list[str] = []

    async def new() -> str:
        # `databases` blocks, on an event loop of its own.
        tables = "indexer", MIGRATIONS, OTHER_LIFE
        made.append(await asyncio.to_thread(databases.migrated, *tables))
        return made[-1]

    yield new
    for url in made:
        await asyncio.to_thread(databases.drop, url)


@pytest.fixture
def world(anvil: str, deployment: Path, chain_state: None, tmp_path: Path) -> World:
    made = world_of(anvil, deployment, tmp_path)
    made.register()
    return made


@pytest_asyncio.fixture
async def indexer(world: World, database: str, bus_url: str) -> AsyncIterator[Driven]:
    async with driven(settings_of(world, database, bus_url), world) as running:
        yield running


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    """Three verified batches of four hours each."""
    for _ in range(3):
        world.add(hours=4)
    await indexer.settle()
    return indexer
