"""Proofs from the upper levels of a batch's trees, as kept beside its leaves.

given verified batches of several blocks of leaves
  any range, reading and page is proven as by the whole trees
  no more of the leaves is read than the edges
given batches that an older version has verified
  their levels are filled in once, and are those that verifying would have kept
  until then proofs are the same
given a small cache
  what was asked for last stays, within its bytes
given a batch that a reorg has taken away or changed
  it is gone, whatever the cache holds
"""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
import pytest_asyncio
from support.processes import until

from corechain.protocol.levels import BLOCK, UpperLevels
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.statistics import StatisticsTree, locate
from corechain.protocol.vocabulary import metric
from corechain_indexer.api.rows import hexed, sql_header
from corechain_indexer.api.statistics import Question, StatisticsReader
from corechain_indexer.api.trees import Batch, BatchGone, HeaderCache, Stated, TreeCache
from corechain_indexer.export import split_leaves
from corechain_indexer.store.levels import LevelStore
from corechain_indexer.store.reads import Reads
from indexer.support import HOUR_S, START, Driven, World

HOURS = 110
"""Of two devices and two metrics: 440 leaves a batch, seven blocks."""


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    for _ in range(2):
        world.add(hours=HOURS)
        world.sequence += HOURS // 24 + 1  # its next hours begin after these
    await indexer.settle()
    return indexer


async def names_and_leaves(served: Driven) -> list[tuple[Batch, list[bytes]]]:
    rows = await served.indexer.pool.fetch(
        "select batch_id, commitment, leaves from batch join batch_file using (batch_id)"
        " order by batch_id"
    )
    return [
        (Batch(row["batch_id"], row["commitment"]), split_leaves(row["leaves"])) for row in rows
    ]


async def check_answers(served: Driven, questions: Sequence[Question]) -> None:
    """Statistics over a cache of its own, against the whole trees."""
    pool = served.indexer.pool
    reader = StatisticsReader(pool, TreeCache(pool, 1 << 20))
    trees = {
        batch.batch_id: (leaves, StatisticsTree(leaves))
        for batch, leaves in await names_and_leaves(served)
    }
    for question in questions:
        answer = await reader.answer(question)
        for part in answer.parts:
            leaves, tree = trees[part.batch_id]
            low, high = (bytes.fromhex(key[2:]) for key in (part.low, part.high))
            assert (part.start, part.end) == locate(leaves, low, high)
            proof = tree.range_proof(part.start, part.end)
            assert part.leaves == [hexed(leaf) for leaf in proof.leaves]
            assert part.nodes == [hexed(node.pack()) for node in proof.nodes]
        assert answer.count == sum(part.count for part in answer.parts)


def questions_of(world: World) -> list[Question]:
    """Every device and metric, ranges that end anywhere: in blocks, at their edges, at no key."""
    random = Random(7)
    found = []
    for key in world.keys:
        for code in ("air_temperature", "pressure"):
            for _ in range(6):
                first, last = sorted(random.sample(range(HOURS), 2))
                start = START + first * HOUR_S - random.choice((0, 1))
                end = START + last * HOUR_S + random.choice((0, 1, 24 * HOUR_S))
                found.append(Question(metric(code), key.identity.device, None, start, end))
    return found


async def test_any_range_is_proven_as_by_the_whole_tree(world: World, served: Driven) -> None:
    await check_answers(served, questions_of(world))


async def test_any_reading_is_proven_as_by_the_whole_tree(served: Driven) -> None:
    cache = TreeCache(served.indexer.pool, 1 << 20)
    for batch, leaves in await names_and_leaves(served):
        whole = MerkleTree.over(leaves)
        for position in range(0, len(leaves), 13):
            trees = await cache.of(batch, [position])
            assert trees.leaves[position] == leaves[position]
            assert trees.readings.proof(position) == whole.proof(position)
            assert set(trees.blocks) == {position // BLOCK}
        with pytest.raises(IndexError):
            await cache.of(batch, [len(leaves) + BLOCK])


async def test_levels_that_are_not_there_yet_are_made_then_filled_in_once(
    world: World, served: Driven
) -> None:
    pool = served.indexer.pool
    all_levels = "select batch_id, tree_levels from batch_file order by batch_id"
    kept = await pool.fetch(all_levels)
    await pool.execute("update batch_file set tree_levels = null")
    await check_answers(served, questions_of(world)[::5])
    levels = LevelStore(pool)
    assert await levels.fill_some()
    assert (
        await pool.fetch("select batch_id, tree_levels from batch_file order by batch_id") == kept
    )
    assert not await levels.fill_some()
    for row, (_, leaves) in zip(kept, await names_and_leaves(served), strict=True):
        assert row["tree_levels"] == UpperLevels.of(b"".join(leaves)).packed


async def test_a_running_indexer_fills_in_what_an_older_one_left(served: Driven) -> None:
    """It ends with nothing left to do, and never returns: nobody starts it again."""
    pool = served.indexer.pool
    full = "select not exists (select from batch_file where tree_levels is null)"
    await pool.execute("update batch_file set tree_levels = null where batch_id = 1")
    filling = asyncio.create_task(served.indexer.upkeep().fill_levels())
    await until(lambda: pool.fetchval(full))
    assert not filling.done()
    filling.cancel()


async def test_the_cache_holds_what_was_asked_for_last(served: Driven) -> None:
    (first, _), (second, _) = await names_and_leaves(served)
    pool = served.indexer.pool
    size = len((await TreeCache(pool, 1 << 20).upper([first]))[first].packed)
    cache = TreeCache(pool, size)
    await cache.upper([first])
    await cache.upper([second])
    assert list(cache._held) == [second]
    assert cache._bytes == size
    both = TreeCache(pool, 2 * size)
    for batch in (first, second, first):
        await both.upper([batch])
    assert list(both._held) == [second, first]


async def test_headers_that_are_kept_are_those_of_the_chain_as_it_is_now(served: Driven) -> None:
    """Finality and block are asked for each time; what the commitment binds only once."""
    pool = served.indexer.pool
    headers = HeaderCache(pool, max_held=1)
    found = await headers.between(1, 2, None)
    rows = await Reads(pool).headers_of([1, 2])
    assert [one.stated.header for one in found] == [sql_header(row) for row in rows]
    assert [one.stated.statistics_root for one in found] == [row["statistics_root"] for row in rows]
    assert list(headers._held) == [found[1].name]
    both = HeaderCache(pool)
    assert await both.between(1, 2, None) == found
    again = await both.between(1, 2, None)
    assert all(one.stated is both._held[one.name] for one in again)
    await pool.execute("update chain_mark set safe = $1", found[0].block)
    finalities = ["safe", "pending"]
    assert [one.finality for one in await both.between(1, 2, None)] == finalities
    assert await both.between(1, 2, found[0].block) == [found[0]._replace(finality="safe")]
    # After a reorganisation the number is another batch's.
    await pool.execute("update batch set commitment = $1 where batch_id = 1", bytes(26))
    await pool.execute("update batch_file set report_count = 77 where batch_id = 1")
    other, _ = await both.between(1, 2, None)
    assert other.name == Batch(1, bytes(26))
    assert other.stated.header.report_count == 77
    await pool.execute("delete from batch_file where batch_id = 1")
    assert [one.name.batch_id for one in await both.between(1, 2, None)] == [2]


async def test_a_batch_that_changes_while_headers_are_read_is_gone(served: Driven) -> None:
    class Changing(HeaderCache):
        """A reorganisation between the two questions."""

        async def _stated(self, batches: Sequence[Batch]) -> dict[Batch, Stated]:
            change = "update batch set commitment = $1 where batch_id = 1"
            await self.pool.execute(change, bytes(26))
            return await super()._stated(batches)

    with pytest.raises(BatchGone, match="batch 1 is not verified"):
        await Changing(served.indexer.pool).between(1, 2, None)


async def test_a_batch_that_is_not_there_any_more_is_gone(served: Driven) -> None:
    (first, _), (second, _) = await names_and_leaves(served)
    pool = served.indexer.pool
    cache = TreeCache(pool, 1 << 20)
    with pytest.raises(BatchGone):
        await cache.upper([Batch(first.batch_id, second.commitment)])
    await cache.upper([first])
    await pool.execute("delete from batch_file where batch_id = $1", first.batch_id)
    with pytest.raises(BatchGone, match=f"batch {first.batch_id} is not verified"):
        await cache.of(first, [0])
