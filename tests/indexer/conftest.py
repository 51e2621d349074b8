"""A small world on the session's chain, and an indexer over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from indexer.support import Driven, World, driven, settings_of, world_of


@pytest.fixture
def world(anvil: str, deployment: Path, chain_state: None, tmp_path: Path) -> World:
    made = world_of(anvil, deployment, tmp_path)
    made.register()
    return made


@pytest_asyncio.fixture
async def indexer(world: World, database: str, bus_url: str) -> AsyncIterator[Driven]:
    async with driven(settings_of(world, database, bus_url), world) as running:
        yield running
