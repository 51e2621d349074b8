"""The mirror works before the rest of the process is imported.

given a start of the indexer
  ├── loops that were begun early are the ones that the process then runs
  ├── a process that cannot run ends the loops that it has begun
  └── a wrong file of API keys is refused before a loop begins
"""

import asyncio
from pathlib import Path

import pytest
from support.processes import PATIENCE_S

from corechain.service.settings import InvalidSetting
from corechain.service.supervision import LoopState
from corechain_indexer.following import DATABASE, MIRROR, Follower, Role, run
from corechain_indexer.service import Indexer
from indexer.support import World, settings_of


async def until(follower: Follower, block: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        query = "select coalesce((select max(number) from block), 0)"
        await follower.prepared.wait()
        while await follower.pool.fetchval(query) < block:  # noqa: ASYNC110 (Postgres has none)
            await asyncio.sleep(0.02)


async def test_loops_that_were_begun_go_on_under_the_process(
    world: World, database: str, bus_url: str
) -> None:
    settings = settings_of(world, database, bus_url)
    follower = Follower(settings, world.chain.deployment)
    follower.begin()
    await until(follower, world.head)
    indexer = Indexer(settings, world.chain.deployment, follower)
    tasks = [asyncio.create_task(follower.loop(name)) for name in (DATABASE, MIRROR)]
    try:
        world.add()
        await until(follower, world.head)
        assert indexer.supervised.reports[MIRROR].state in (LoopState.STARTING, LoopState.RUNNING)
        assert indexer.metrics.registry.get_sample_value("corechain_events_total", BATCHES) == 1
        shown = indexer.metrics.registry.get_sample_value
        states = [{"loop": DATABASE, "state": state.value} for state in LoopState]
        assert {shown("corechain_loop_state", one) for one in states} == {0}, "it has no more to do"
        # One writer: a second mirror beside the first one would stand by.
        assert indexer.metrics.registry.get_sample_value(RESTARTS, {"loop": MIRROR}) in (None, 0)
    finally:
        tasks[1].cancel()
        await asyncio.wait(tasks, timeout=PATIENCE_S)
        await indexer.close()
    assert tasks[1].cancelled()


BATCHES = {"event": "BatchCommitted"}
RESTARTS = "corechain_sessions_restarted_total"


async def test_closing_ends_what_was_begun(world: World, database: str, bus_url: str) -> None:
    follower = Follower(settings_of(world, database, bus_url), world.chain.deployment)
    before = asyncio.all_tasks()
    follower.begin()
    await until(follower, world.head)
    await follower.close()
    assert asyncio.all_tasks() == before


async def test_a_file_of_keys_that_is_not_there_is_refused_before_anything_begins(
    world: World, database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Follower] = []
    monkeypatch.setattr(Follower, "begin", begun.append)
    settings = settings_of(world, database, bus_url)
    settings = settings.model_copy(update={"api_keys_file": Path("/nope")})
    with pytest.raises(InvalidSetting, match="INDEXER_API_KEYS_FILE"):
        await run(settings, world.chain.deployment, list(Role))
    assert not begun
