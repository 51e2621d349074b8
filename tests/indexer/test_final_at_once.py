"""A batch is told to be final when the mirror learns of it, not at the next poll."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from support.processes import PATIENCE_S, until

from corechain_indexer.service import Indexer
from corechain_indexer.store.events import EventLog
from indexer.support import World, settings_of

NEVER_S = 1_000 * PATIENCE_S


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_mirror_wakes_whoever_tells_of_final_batches(
    world: World, database: str, bus_url: str
) -> None:
    settings = settings_of(world, database, bus_url, poll_s=0.05, log_range_blocks=1_000)
    indexer = Indexer(settings, world.chain.deployment)
    await indexer.prepare()
    log = EventLog(indexer.pool)
    events = replace(indexer.event_sessions(), poll_s=NEVER_S)

    async def told(*kinds: str) -> bool:
        return [event.type for event in await log.after(0, 10)] == list(kinds)

    try:
        async with running(indexer.follower.mirror(), indexer.verify(), events.number()):
            world.add()
            await until(lambda: told("new"))
            world.rpc("anvil_mine", hex(100))
            await until(lambda: told("new", "final"))
    finally:
        await indexer.close()
