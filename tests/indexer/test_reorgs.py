"""An index after a reorg is the index of somebody who never saw the old branch.

given an index that was built in one go a second ago, or block by block
  ├── after a reorg of every depth down to the final block: as a fresh one
  ├── after two reorgs in a row, and by way of a shorter chain: as a fresh one
  ├── when the reorg comes while it is still being built: as a fresh one
  ├── when the chain was set back and nothing took the place of its blocks: after a while
  └── after a reorg of more than that: it halts and says how to go on
It keeps the blocks that can still be undone, the newest that cannot, and the oldest: no more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from support.balancer import balancer

from corechain.account import account_from_key
from corechain.devnet.settings import ADMIN_KEY
from corechain.service.reconcile import ChainReplaced
from indexer.support import Driven, NewDatabase, World, driven, settings_of

CONFIRMATIONS = 8
OWNER = "0x" + "09" * 20
Index = Callable[[], Awaitable[Driven]]


@pytest.fixture
def node(anvil: str) -> Iterator[str]:
    """A node without the tag `finalized`: blocks are final by depth."""
    with balancer(anvil, finalizes=False) as running:
        yield running.url


@pytest_asyncio.fixture
async def index(
    world: World, node: str, new_database: NewDatabase, bus_url: str
) -> AsyncIterator[Index]:
    """Makes another index of the chain, with nothing in it."""
    async with AsyncExitStack() as stack:

        async def new() -> Driven:
            url = await new_database()
            settings = settings_of(
                world, url, bus_url, rpc_url=node, confirmations=CONFIRMATIONS, log_range_blocks=50
            )
            return await stack.enter_async_context(driven(settings, world))

        yield new


def one_block(world: World, kind: int) -> None:
    """Something of every kind that is derived from, one transaction and block each."""
    admin, device = account_from_key(ADMIN_KEY), world.keys[0].identity.device
    if kind % 4 == 0:
        world.add(hours=1 + kind % 3)
    elif kind % 4 == 1:
        world.register_more()
    elif kind % 4 == 2:
        world.chain.send(admin, "DeviceRegistry", "transfer", device, admin.address)
    else:
        world.pass_time(1 + kind)


def grow(world: World, blocks: int, kind: int = 0) -> None:
    for number in range(blocks):
        one_block(world, kind + number)


async def dump(indexer: Driven) -> dict[str, Any]:
    """All that follows from the chain, with the blocks that are kept."""
    await indexer.settle()
    rows = await indexer.indexer.pool.fetch("select number, hash from block order by number")
    return await indexer.tables() | {"block": [tuple(row.values()) for row in rows]}


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 1))
async def test_after_a_reorg_of_any_depth_it_is_as_a_fresh_one(
    world: World, index: Index, depth: int
) -> None:
    grow(world, 4)
    old = await index()
    await old.settle()
    grow(world, CONFIRMATIONS - 4)
    fork = world.fork_here()
    for number in range(depth):
        one_block(world, number)
        await old.settle()
    young = await index()
    await young.settle()
    fork.return_to()
    grow(world, depth + 1, kind=depth + 1)
    expected = await dump(await index())
    assert await dump(young) == expected
    assert await dump(old) == expected
    assert len(expected["block"]) == CONFIRMATIONS + 2


async def test_two_reorgs_in_a_row_and_a_shorter_chain_leave_no_trace(
    world: World, index: Index
) -> None:
    grow(world, 6)
    old = await index()
    first = world.fork_here()
    grow(world, 5)
    await old.settle()
    first.return_to()
    grow(world, 2, kind=3)  # shorter than what it was
    await old.settle()
    second = world.fork_here()
    grow(world, 3, kind=1)
    await old.settle()
    second.return_to()
    grow(world, 4, kind=2)
    assert await dump(old) == await dump(await index())
    assert old.metric("corechain_reorgs_total") == 2


async def test_a_reorg_while_it_is_built_leaves_no_trace(world: World, index: Index) -> None:
    grow(world, 4)
    fork = world.fork_here()
    grow(world, 6)
    slow = await index()
    slow.mirror.reader.max_range = 3
    await slow.until_block(fork.number + 3)
    fork.return_to()
    grow(world, 8, kind=2)
    assert await dump(slow) == await dump(await index())


async def test_a_chain_set_back_is_believed_after_a_while(world: World, index: Index) -> None:
    grow(world, 6)
    old = await index()
    fork = world.fork_here()
    await old.settle()
    kept = await old.tables()
    grow(world, 3)
    await old.settle()
    after = await old.tables()
    fork.return_to()
    await old.settle()
    assert await old.tables() == after  # perhaps the node is only behind
    assert old.metric("corechain_reorgs_total") == 0
    old.mirror.reader._forks.set_back_after_s = 0.0
    await old.settle()
    assert await old.tables() == kept


async def test_a_reorg_beyond_finality_halts_and_says_how_to_go_on(
    world: World, index: Index
) -> None:
    old = await index()
    fork = world.fork_here()
    grow(world, CONFIRMATIONS + 2)
    await old.settle()
    fork.return_to()
    grow(world, CONFIRMATIONS + 3, kind=1)
    with pytest.raises(ChainReplaced, match="corechain indexer rebuild"):
        await old.settle()


async def test_another_chain_is_known_by_the_oldest_block(world: World, index: Index) -> None:
    """A devnet that began anew is far behind: below all that could fork only the oldest tells."""
    old = await index()
    await old.settle()
    connection = old.mirror.store.connection
    await connection.execute("delete from block where number > (select min(number) from block)")
    await connection.execute("insert into block values (1000000, $1, true)", bytes(32))
    old.restart_mirror()
    assert await old.mirror.step() is False  # the same chain, only behind
    await connection.execute("update block set hash = $1 where number < 1000000", bytes(32))
    old.restart_mirror()
    with pytest.raises(ChainReplaced, match="rebuild"):
        await old.mirror.step()
