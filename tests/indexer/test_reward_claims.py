"""Claims from the kept levels of an epoch's reward tree, and never another epoch's.

given an epoch that came out
  any owner's claim is proven, and 64 leaves are read for it
given the next epoch, another root at the same place, or an epoch that a reorg has just taken
  no claim of the one before is served
given an epoch that ends before the last one
  no root is right: the epoch after it would reward data for the second time
given an epoch that an older version has verified
  claims are the same, and its levels are filled in once
"""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio

from corechain.protocol.errors import NotFound
from corechain.protocol.reward_levels import RewardLevels
from corechain.protocol.rewards import Owner, RewardSchedule, RewardTree
from corechain.service.database import create_pool, migrate
from corechain_indexer.api.rewards import MOST_HELD, RewardClaims
from corechain_indexer.errors import Unavailable
from corechain_indexer.rewards import _Snapshot
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.epochs import EpochStore

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

OWNERS = [Owner(number.to_bytes(20, "big")) for number in range(1, 200)]
FIRST = {owner: 10 + place for place, owner in enumerate(OWNERS)}
SECOND = {owner: 2 * amount for owner, amount in FIRST.items()}
STRANGER = Owner(b"\xff" * 20)


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator["Database"]:
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as made:
        yield made


async def verified(
    pool: "Database", epoch: int, amounts: Mapping[Owner, int], *, by_older: bool = False
) -> None:
    """An epoch whose root came out, as the auditor stores it. Its block is its number."""
    tree = RewardTree(amounts)
    event = "insert into root_event values ($1, 0, 'proposed', $1, $2, $1, 1, 0)"
    await pool.execute(event, epoch, tree.root)
    raw = "insert into event values ($1, 0, $2, $2, $2, $2, $2)"
    await pool.execute(raw, epoch, bytes(32))
    row = await pool.fetchrow("select *, $2::bytea as block_hash from root_event"
                              " where block_number = $1", epoch, bytes(32))  # fmt: skip
    assert row is not None
    store = EpochStore(pool)
    assert await store.settle(row, "verified", None if by_older else RewardLevels.of(tree))
    await store.keep(row, amounts)


async def take_away(pool: "Database", epoch: int) -> None:
    """As a rollback does."""
    await pool.execute("delete from root_event where block_number = $1", epoch)
    await pool.execute("delete from event where block_number = $1", epoch)


async def claimable(pool: "Database") -> "Record":
    row = await EpochStore(pool).claimable(1)
    assert row is not None
    return row


async def served(pool: "Database", claims: RewardClaims, owner: Owner) -> int:
    return (await claims.of(await claimable(pool), owner)).cumulative


@pytest.mark.parametrize("by_older", [False, True])
async def test_any_owners_claim_is_the_whole_trees(pool: "Database", by_older: bool) -> None:
    await verified(pool, 1, FIRST, by_older=by_older)
    claims, epoch, tree = RewardClaims(EpochStore(pool)), await claimable(pool), RewardTree(FIRST)
    for owner in OWNERS[::7] + OWNERS[-1:]:
        assert await claims.of(epoch, owner) == tree.claim(owner)
    found = await claims.store.around(epoch, OWNERS[-1])
    assert found is not None
    assert len(found[1]) == len(OWNERS) % 64
    with pytest.raises(NotFound, match="has no rewards in epoch 1"):
        await claims.of(epoch, STRANGER)


async def test_the_next_epoch_and_another_root_at_its_place_have_claims_of_their_own(
    pool: "Database",
) -> None:
    await verified(pool, 1, FIRST)
    claims, owner = RewardClaims(EpochStore(pool)), OWNERS[3]
    assert await served(pool, claims, owner) == FIRST[owner]
    await verified(pool, 2, SECOND)
    assert await served(pool, claims, owner) == SECOND[owner]
    # A reorg: the same block and epoch say something else now.
    await take_away(pool, 2)
    await verified(pool, 2, FIRST | {owner: 77})
    assert await served(pool, claims, owner) == 77


async def test_what_a_reorg_changes_while_it_is_read_is_not_found_or_ask_again(
    pool: "Database",
) -> None:
    await verified(pool, 1, FIRST)
    epoch, store = await claimable(pool), EpochStore(pool)
    warm = RewardClaims(store)
    await warm.of(epoch, OWNERS[0])
    await take_away(pool, 1)
    for claims in (warm, RewardClaims(store)):
        with pytest.raises(NotFound, match="epoch 1"):
            await claims.of(epoch, OWNERS[0])
    # Another root at its place: neither its leaves nor its levels are those of the row.
    await verified(pool, 1, SECOND)
    with pytest.raises(Unavailable, match="ask again"):
        await warm.of(epoch, OWNERS[0])
    with pytest.raises(NotFound, match="not there any more"):
        await RewardClaims(store).of(epoch, OWNERS[0])


async def test_an_older_versions_epochs_get_their_levels_once(pool: "Database") -> None:
    await verified(pool, 1, FIRST, by_older=True)
    await verified(pool, 2, SECOND)
    store = EpochStore(pool)
    assert await store.fill_some()
    assert not await store.fill_some()
    rows = await pool.fetch("select owners, tree_levels from reward_epoch order by block_number")
    for row, amounts in zip(rows, (FIRST, SECOND), strict=True):
        kept = RewardLevels(row["owners"], row["tree_levels"])
        assert kept == RewardLevels.of(RewardTree(amounts))


async def test_the_levels_of_a_few_epochs_are_held(pool: "Database") -> None:
    claims = RewardClaims(EpochStore(pool))
    for epoch in range(1, MOST_HELD + 3):
        await verified(pool, epoch, FIRST | {OWNERS[0]: epoch})
        assert await served(pool, claims, OWNERS[0]) == epoch
    assert len(claims._held) == MOST_HELD


class OneEpoch:
    """A store with one epoch, through block 9."""

    async def is_unsettled_through(self, block: int) -> bool:
        return False

    async def before(self, row: Mapping[str, int]) -> Mapping[str, object]:
        return {"through_block": 9, "state": "verified"}

    async def amounts(self, last: object) -> dict[Owner, int]:
        return dict(FIRST)

    async def leaves_between(self, after: int, through: int) -> AsyncIterator[bytes]:
        for packed in ():
            yield packed

    async def owners_at(self, block: int) -> dict[str, Owner]:
        return {}


@pytest.mark.parametrize(("through", "expected"), [(9, FIRST), (8, {})])
async def test_an_epoch_that_ends_before_the_last_one_has_no_right_root(
    through: int, expected: dict[Owner, int]
) -> None:
    snapshot: Any = _Snapshot(cast(Any, OneEpoch()), RewardSchedule())
    row = {"epoch": 2, "through_block": through, "block_number": 12, "emission": 10}
    assert await snapshot.amounts(row) == expected
