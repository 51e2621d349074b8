"""Rows of intents and signed transactions end; what came of a batch stays.

given intents that are final
  they are dropped once they have been final for the retention, with their transactions
  the batch says the same of itself as before
  the lane goes on as if nothing had happened
given intents that are not final, not old, or not yet accounted for by the search for commitments
  they stay
"""

from corechain.protocol.batch import batch_id
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.retention import Retention
from relayer.lane import Lane

FINALITY = 64
"""Blocks behind anvil's head that it calls final."""
HOUR_S = 3_600.0


def pruning(lane: Lane, keep_s: float) -> Retention:
    return Retention(lane.pool, 0, keep_s, Metrics())


async def sealed(lane: Lane, number: int) -> None:
    """As the aggregator leaves it."""
    await lane.want(number)
    await lane.journal.connection.execute(
        """insert into batch (batch_id, commitment, reading_count, report_count, failed_count,
                              window_start, window_end)
           select $1, substring(calldata from 5 for 26), 1, 1, 0, 0, 1
           from intent where key = $2""",
        batch_id(0, number),
        f"batch:{number}",
    )


async def made_final(lane: Lane, *numbers: int) -> None:
    for number in numbers:
        await sealed(lane, number)
    for number in numbers:
        await lane.until_confirmed(f"batch:{number}")
    lane.mine(FINALITY + 1)

    async def final() -> bool:
        return not await lane.counts()

    await lane.until(final)


async def read_on(lane: Lane) -> None:
    """The search for commitments reads up to the final block."""
    store = CommitStore(lane.pool, 0)
    await CommitSearch(lane.submitter.node, lane.chain.deployment, store, 1_000).refresh()


async def rows(lane: Lane) -> tuple[int, int]:
    """Intents, attempts."""
    query = "select (select count(*) from intent), (select count(*) from attempt)"
    intents, attempts = await lane.journal.connection.fetchrow(query)
    return intents, attempts


async def test_what_is_final_for_long_is_dropped_and_its_batch_says_the_same(lane: Lane) -> None:
    await made_final(lane, 1, 2)
    await read_on(lane)
    reader = JournalReader(lane.pool)
    before = [await reader.batch(number) for number in (1, 2)]
    assert await rows(lane) == (2, 2)
    assert await pruning(lane, 0.0).prune() == 2
    assert await rows(lane) == (0, 0)
    assert [await reader.batch(number) for number in (1, 2)] == before
    assert all(status and status["state"] == "final" for status in before)
    assert all(status and status["transaction"] for status in before)

    # The lane goes on, in a new process too, and finds nothing that is nobody's.
    lane.restart()
    await sealed(lane, 3)
    await lane.until_confirmed("batch:3")
    assert list(lane.chain.commitments()) == [1, 2, 3]
    assert await CommitStore(lane.pool, 0).unaccounted() == {}
    assert await pruning(lane, 0.0).prune() == 0  # confirmed is not final


async def test_what_became_final_lately_stays(lane: Lane) -> None:
    await made_final(lane, 1)
    await read_on(lane)
    assert await pruning(lane, HOUR_S).prune() == 0
    assert await rows(lane) == (1, 1)


async def test_what_the_search_has_not_read_yet_stays(lane: Lane) -> None:
    """It will ask whether an intent of ours accounts for the commitment."""
    await made_final(lane, 1)
    assert await pruning(lane, 0.0).prune() == 0
    await read_on(lane)
    assert await pruning(lane, 0.0).prune() == 1


async def test_a_lane_that_never_read_a_block_drops_nothing(lane: Lane) -> None:
    assert await pruning(lane, 0.0).prune() == 0


async def test_two_processes_drop_at_once_without_a_quarrel(lane: Lane) -> None:
    await made_final(lane, 1, 2)
    await read_on(lane)
    async with lane.pool.acquire() as connection, connection.transaction():
        # Another process has the older one in hand.
        await connection.fetch("select 1 from intent where key = 'batch:1' for update")
        assert await pruning(lane, 0.0).prune() == 1
    assert await pruning(lane, 0.0).prune() == 1
