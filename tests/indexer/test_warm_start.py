"""What the first queries would have to wait for is done before they come."""

import asyncio
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from support.processes import until

from corechain.service.errors import StoreUnavailable
from corechain.service.health import Health
from corechain.service.http_server import Serving, bind, http_server
from corechain.service.readers import Readers
from corechain.service.supervision import Loops
from corechain_indexer.api.trees import Batch
from corechain_indexer.api.warm import Warming
from corechain_indexer.following import Role
from corechain_indexer.serving import _serve
from corechain_indexer.store import SQL
from indexer.support import Driven, World

PREPARED = "select statement from pg_prepared_statements"
ASKED = (
    "cache_state",
    "cache_checks",
    "single_readings",
    "whole_series",
    "whereabouts",
    "segments_near",
    "verified_between",
    "tree_levels",
    "leaf_blocks",
    "change",
)


async def test_every_connection_knows_the_statements_before_the_first_query(
    indexer: Driven, world: World
) -> None:
    for _ in range(3):
        world.add()
    await indexer.until_verified(3)
    readers, api = indexer.indexer.readers, indexer.indexer.api()
    await Warming(api.handlers, readers).run()
    found = await asyncio.gather(
        *(readers.fetch(f"{PREPARED}, pg_sleep(0.05)") for _ in range(readers.size))
    )
    assert len(found) == readers.size
    for rows in found:
        known = {row["statement"] for row in rows}
        assert all(SQL[name] in known for name in ASKED)


async def test_trees_of_the_newest_batches_are_read_before_they_are_asked_for(
    indexer: Driven, world: World
) -> None:
    for _ in range(3):
        world.add()
    await indexer.until_verified(3)
    trees = indexer.indexer.api().handlers.trees
    await trees.preload()
    rows = await indexer.indexer.pool.fetch("select batch_id, commitment from batch")
    trees.pool = cast("Any", Readers("postgresql://nobody@127.0.0.1:1/none"))
    assert len(await trees.upper([Batch(*row) for row in rows])) == 3
    with pytest.raises(StoreUnavailable):  # what was not read has to be asked for
        await trees.upper([Batch(99, b"")])


async def test_a_process_without_its_database_begins_all_the_same(indexer: Driven) -> None:
    api = indexer.indexer.api()
    await indexer.indexer.readers.close()
    await Warming(api.handlers, indexer.indexer.readers).run()


async def test_a_process_is_not_ready_before_its_port_for_requests_is_open() -> None:
    """Whoever sends it requests by its readiness would be refused while it warms up."""
    server, warm, stop = http_server(Starlette(), 8, 5), asyncio.Event(), asyncio.Event()
    health = Health({"serving": Serving(server).probe}, Loops())
    assert "serving" in await Health({"serving": Serving().probe}, Loops()).failing()
    with bind("INDEXER_", "127.0.0.1", 0) as listener:
        work = _serve(server, listener, [], [Role.API], stop, warm.wait)
        running = asyncio.create_task(work)
        await asyncio.sleep(0)
        address = listener.getsockname()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        assert "not open yet" in (await health.failing())["serving"]
        warm.set()
        await until(lambda: server.started)
        assert await health.failing() == {}
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        stop.set()
        await running
