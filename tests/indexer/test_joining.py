"""A contract that comes into the deployment later, without mirroring anything anew.

given an index of a deployment, and the same with a contract more
  ├── it is as an index that knew all contracts from the start; rows that were there are the same
  ├── also when the process ends after any step of it
  ├── also when the chain forks while it catches up, below and above what it has read
  ├── what happens afterwards is mirrored for all of them
  └── after a rebuild nothing is behind
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.balancer import balancer

from corechain.chain import Chain
from corechain.deployment import Deployment
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.settings import Settings
from indexer.support import Driven, NewDatabase, World, driven, settings_of
from indexer.test_reorgs import grow

CONFIRMATIONS = 8
LATE = "DataBatches"
Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def node(anvil: str) -> Iterator[str]:
    """A node without the tag `finalized`: blocks are final by depth."""
    with balancer(anvil, finalizes=False) as running:
        yield running.url


@pytest.fixture
def settings(world: World, node: str, database: str, bus_url: str) -> Settings:
    """Ranges of three blocks, so that it takes several steps to catch up."""
    return settings_of(world, database, bus_url, rpc_url=node, confirmations=CONFIRMATIONS)


def without(world: World, name: str) -> World:
    """The same world to somebody whose manifest lacks a contract."""
    whole = world.chain.deployment
    contracts = {n: found for n, found in whole.contracts.items() if n != name}
    return replace(world, chain=Chain(world.chain.rpc_url, Deployment(whole.chain_id, contracts)))


@pytest.fixture
def fresh(
    world: World, settings: Settings, new_database: NewDatabase
) -> Callable[[], Awaitable[Tables]]:
    """The tables of an index that knew all contracts from the start."""

    async def tables() -> Tables:
        chosen = settings_of(
            world, await new_database(), settings.redis_url.get_secret_value(),
            rpc_url=settings.rpc_url.get_secret_value(), confirmations=CONFIRMATIONS,
        )  # fmt: skip
        async with driven(chosen, world) as index:
            await index.settle()
            return await index.tables()

    return tables


async def events(index: Driven) -> list[tuple[Any, ...]]:
    """Raw logs with the transaction that wrote each row."""
    query = "select xmin::text, * from event order by block_number, log_index"
    return [tuple(row.values()) for row in await index.indexer.pool.fetch(query)]


@asynccontextmanager
async def mirrored_without(world: World, settings: Settings, blocks: int) -> AsyncIterator[Driven]:
    grow(world, blocks)
    async with driven(settings, without(world, LATE)) as index:
        await index.settle()
        yield index


async def test_a_late_contract_is_caught_up_beside_the_others(
    world: World, settings: Settings, fresh: Callable[[], Awaitable[Tables]]
) -> None:
    async with mirrored_without(world, settings, 24) as index:
        before = await events(index)
        assert not (await index.tables())["batch"]
    async with driven(settings, world) as index:
        await index.settle()
        found = await index.tables()
        assert found["batch"]
        assert found == await fresh()
        assert set(before) <= set(await events(index))
        grow(world, 5, kind=3)
        await index.settle()
        assert await index.tables() == await fresh()


@pytest.mark.parametrize("steps", [3])
async def test_a_process_that_ends_while_it_catches_up_goes_on_with_it(
    world: World, settings: Settings, fresh: Callable[[], Awaitable[Tables]], steps: int
) -> None:
    async with mirrored_without(world, settings, 24):
        pass
    query, reached = "select joined, through from source order by joined limit 1", [-1]
    for _ in range(40):
        async with driven(settings, world) as index:
            for _ in range(steps):
                await index.mirror.step()
            joined, through = await index.indexer.pool.fetchrow(query)
            if joined:
                break
            reached.append(-1 if through is None else through)
        # What is final is not read again: else a process that is killed often never gets there.
        if max(reached) + CONFIRMATIONS >= world.head - 3:
            break
    assert reached == sorted(reached)
    async with driven(settings, world) as index:
        await index.settle()
        assert await index.tables() == await fresh()


@pytest.mark.parametrize("steps", [2, 10, 13])
async def test_a_fork_while_it_catches_up_is_followed(
    world: World, settings: Settings, fresh: Callable[[], Awaitable[Tables]], steps: int
) -> None:
    grow(world, 16)
    fork = world.fork_here()
    async with mirrored_without(world, settings, CONFIRMATIONS - 2):
        pass
    async with driven(settings, world) as index:
        for _ in range(steps):
            await index.mirror.step()
        fork.return_to()
        grow(world, CONFIRMATIONS, kind=1)
        await index.settle()
        assert await index.tables() == await fresh()


async def test_after_a_rebuild_nothing_is_behind(world: World, settings: Settings) -> None:
    async with mirrored_without(world, settings, 4):
        pass
    async with driven(settings, world) as index:
        await index.settle()
        found = await index.tables()
    await forget_everything(settings)
    async with driven(settings, world) as index:
        assert await index.mirror.step()
        states = await index.indexer.pool.fetch("select joined, through from source")
        assert {tuple(row.values()) for row in states} == {(True, None)}
        await index.settle()
        assert await index.tables() == found
