"""One tree for all who ask for the rewards of an epoch, and never another epoch's."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from corechain.protocol.errors import NotFound
from corechain.protocol.rewards import Owner, RewardTree, verify_claim
from corechain.service.database import create_pool, migrate
from corechain_indexer.api.trees import EpochTree
from corechain_indexer.store import MIGRATIONS, SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

OWNERS = [Owner(number.to_bytes(20, "big")) for number in range(1, 40)]
FIRST = {owner: 10 + place for place, owner in enumerate(OWNERS)}
SECOND = {owner: 2 * amount for owner, amount in FIRST.items()}


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator["Database"]:
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as made:
        yield made


async def verified(pool: "Database", epoch: int, amounts: Mapping[Owner, int]) -> None:
    """An epoch whose root came out, as the auditor stores it. Its block is its number."""
    event = "insert into root_event values ($1, 0, 'proposed', $1, $2, $1, 1, 0)"
    await pool.execute(event, epoch, RewardTree(amounts).root)
    await pool.execute("insert into reward_epoch values ($1, 0, $1, 'verified')", epoch)
    leaves = [(epoch, 0, at, owner, amounts[owner]) for at, owner in enumerate(sorted(amounts))]
    await pool.executemany("insert into reward_leaf values ($1, $2, $3, $4, $5)", leaves)


async def claimable(pool: "Database") -> "Record":
    row = await pool.fetchrow(SQL["claimable"], 1)
    assert row is not None
    return row


async def test_an_epoch_is_built_once_for_all_who_ask(pool: "Database") -> None:
    await verified(pool, 1, FIRST)
    held, epoch = EpochTree(pool), await claimable(pool)
    trees = await asyncio.gather(*(held.of(epoch) for _ in range(10)))
    assert len(set(map(id, trees))) == 1
    for owner in OWNERS:
        claim = trees[0].claim(owner)
        assert claim.cumulative == FIRST[owner]
        verify_claim(epoch["root"], claim)


async def test_the_next_epoch_and_another_root_at_its_place_get_trees_of_their_own(
    pool: "Database",
) -> None:
    await verified(pool, 1, FIRST)
    held = EpochTree(pool)
    assert (await held.of(await claimable(pool))).amounts == FIRST
    await verified(pool, 2, SECOND)
    assert (await held.of(await claimable(pool))).amounts == SECOND
    # A reorg: the same block and epoch say something else now.
    await pool.execute("delete from root_event where block_number = 2")
    await verified(pool, 2, FIRST | {OWNERS[0]: 77})
    assert (await held.of(await claimable(pool))).amounts == FIRST | {OWNERS[0]: 77}


async def test_an_epoch_that_a_reorg_has_just_taken_is_not_found(pool: "Database") -> None:
    await verified(pool, 1, FIRST)
    held, epoch = EpochTree(pool), await claimable(pool)
    await pool.execute("delete from root_event")
    with pytest.raises(NotFound, match="epoch 1"):
        await held.of(epoch)
    await verified(pool, 1, FIRST)
    assert (await held.of(await claimable(pool))).amounts == FIRST
