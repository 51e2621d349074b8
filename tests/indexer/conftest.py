"""A small world on the session's chain, and an indexer over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.processes import PATIENCE_S

from corechain.service import database as databases
from corechain_indexer.store import latest
from indexer.support import Driven, World, driven, settings_of, world_of


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are there are never taken for away because the machine paused for a moment. A
    test of how long is waited for one that hangs sets the limit that it is about."""
    monkeypatch.setattr(latest, "READ_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(latest, "CONNECT_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(latest, "ANSWER_LIMIT_S", PATIENCE_S)
    monkeypatch.setattr(databases, "CONNECT_TIMEOUT_S", PATIENCE_S)


@pytest.fixture
def world(anvil: str, deployment: Path, chain_state: None, tmp_path: Path) -> World:
    made = world_of(anvil, deployment, tmp_path)
    made.register()
    return made


@pytest_asyncio.fixture
async def indexer(world: World, database: str, bus_url: str) -> AsyncIterator[Driven]:
    async with driven(settings_of(world, database, bus_url), world) as running:
        yield running
