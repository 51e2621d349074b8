"""Which batches wait for a verdict is known without a look at all batches, whatever came before.

given batches that come, are judged, lose their verdict or are undone, in any order
  ├── those found open are the ones that a search through everything finds, in the same order
  ├── they hold up the same epochs
  └── as many are counted in each state as there are
given thousands of judged batches
  └── finding the open ones reads a handful of pages
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.processes import PATIENCE_S

from corechain.service.database import create_pool, migrate
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.files import FileStore, OpenBatch

if TYPE_CHECKING:
    from corechain.service.database import Database

# The search that this replaced: right at any size, and slow at a large one.
OPEN = """
select b.batch_id from batch b left join batch_file f using (batch_id)
 where (f.batch_id is null or (f.state = 'withheld' and f.next_attempt_at <= now()))
   and b.batch_id <> all($2::bigint[])
 order by f.batch_id is not null, f.next_attempt_at, b.batch_id limit $1"""
UNSETTLED = """
select count(*) > 0 from batch b left join batch_file f using (batch_id)
 where b.block_number <= $1 and f.state is distinct from 'verified'"""
WAITS = """
select exists (select from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock')"""
# A batch a block, of three lanes: an id says nothing of the block. (Three in a row are of three.)
COMMITTED = """
insert into batch select n, 0, (2 - n % 3)::bigint << 32 | n, $2, $3, $3
  from generate_series($1::int, $4) n"""
JUDGED = """
insert into batch_file (batch_id, state, next_attempt_at, reading_count, rejected_count)
select batch_id, $2, now() - make_interval(secs => $3), $4, $5 from batch where batch_id = $1
    on conflict (batch_id) do update
   set state = excluded.state, next_attempt_at = excluded.next_attempt_at,
       reading_count = excluded.reading_count, rejected_count = excluded.rejected_count"""
COUNTED = """
select coalesce(f.state, 'pending') as state, count(*) as count,
       coalesce(sum(f.reading_count), 0) as readings, coalesce(sum(f.rejected_count), 0) as rejected
  from batch b left join batch_file f using (batch_id) group by 1"""
STATES = ("verified", "mismatch", "withheld")


def id_of(block: int) -> int:
    """Of the batch that was committed in a block."""
    return (2 - block % 3) << 32 | block


@dataclass
class Books:
    """The tables of batches and verdicts, without chain and files."""

    pool: "Database"
    committed: int = 0

    async def commit(self, count: int) -> None:
        first, self.committed = self.committed + 1, self.committed + count
        place = bytes(26), bytes(32), self.committed
        await self.pool.execute(COMMITTED, first, *place)

    async def judge(self, block: int, state: str, due_for_s: float) -> None:
        batch_id = id_of(block)
        held = (block * 10, block) if state == "verified" else (None, None)
        await self.pool.execute(JUDGED, batch_id, state, due_for_s, *held)

    async def forget(self, block: int) -> None:
        await self.pool.execute("delete from batch_file where batch_id = $1", id_of(block))

    async def undo(self, after: int) -> None:
        await self.pool.execute("delete from batch where block_number > $1", after)
        self.committed = min(self.committed, after)

    async def open(self, limit: int, running: list[int]) -> list[OpenBatch]:
        return await FileStore(self.pool).open_batches(limit, running)

    async def step(self, rng: random.Random) -> None:
        """Something that happens to an indexer."""
        block = rng.randint(1, self.committed + 1)
        match rng.randrange(7):
            case 3:
                await self.pool.execute(SQL["fold_tally"])
            case 0:
                await self.commit(rng.randint(1, 5))
            case 1:
                await self.undo(block)
            case 2:
                await self.forget(block)
            case _:
                due_for_s = rng.choice([-3600, 5, rng.randint(10, 1000)])
                await self.judge(block, rng.choice(STATES), due_for_s)

    async def check(self, rng: random.Random) -> None:
        """All that is asked is answered as by a search through everything."""
        limit, running = rng.randint(1, 6), [id_of(block) for block in rng.sample(range(1, 12), 3)]
        searched = await self.pool.fetch(OPEN, limit, running)
        found = await self.open(limit, running)
        assert [entry.batch_id for entry in found] == [row["batch_id"] for row in searched]
        block = rng.randint(0, 12)
        unsettled = await self.pool.fetchval(SQL["unsettled_through"], block)
        assert unsettled == await self.pool.fetchval(UNSETTLED, block)
        assert await self._rows(SQL["state_counts"]) == await self._rows(COUNTED)

    async def _rows(self, query: str) -> set[tuple[object, ...]]:
        return {tuple(row.values()) for row in await self.pool.fetch(query)}


@asynccontextmanager
async def books_on(database: str) -> AsyncIterator[Books]:
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as pool:
        await pool.execute("delete from batch")
        yield Books(pool)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_what_waits_for_a_verdict_is_what_a_search_through_everything_finds(
    database: str, seed: int
) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        async with books_on(database) as books:
            for _ in range(20):
                await books.step(rng)
                await books.check(rng)

    asyncio.run(run())


def pages(plan: str) -> int:
    """How many pages a statement touched, planning aside."""
    top = json.loads(plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


async def test_a_rollback_takes_what_a_verdict_that_goes_has_just_written(database: str) -> None:
    async with books_on(database) as books, books.pool.acquire() as judge:
        await books.commit(1)
        await books.pool.execute(
            "insert into batch_file (batch_id, state) values ($1, 'verified')", id_of(1)
        )
        async with judge.transaction():
            await judge.execute("delete from batch_file")
            rollback = asyncio.create_task(books.pool.execute("delete from batch"))
            async with asyncio.timeout(PATIENCE_S):
                while not await books.pool.fetchval(WAITS):  # noqa: ASYNC110 (Postgres has none)
                    await asyncio.sleep(0.01)
        await rollback
        assert await books.pool.fetchval("select count(*) from unjudged_batch") == 0


async def test_finding_open_batches_does_not_cost_with_those_that_are_judged(database: str) -> None:
    async with books_on(database) as books:
        await books.commit(5_000)
        await books.pool.execute(
            "insert into batch_file (batch_id, state) select batch_id, 'verified' from batch"
        )
        # As autovacuum would: the rows of `unjudged_batch` that are gone are gone from its pages.
        await books.pool.execute("vacuum analyze batch, batch_file, unjudged_batch")
        await books.commit(2)
        await books.pool.execute(SQL["fold_tally"])
        await books.pool.execute("vacuum tally")
        for name, arguments in (
            ("open_batches", (16, [])),
            ("unsettled_through", (10_000,)),
            ("state_counts", ()),
        ):
            explained = "explain (analyze, buffers, format json) " + SQL[name]
            assert pages(await books.pool.fetchval(explained, *arguments)) < 40
            # The search through everything, which grows with the batches, reads many times that.
        explained = "explain (analyze, buffers, format json) " + OPEN
        assert pages(await books.pool.fetchval(explained, 16, [])) > 80
        found = {entry.batch_id for entry in await books.open(16, [])}
        assert found == {id_of(5_001), id_of(5_002)}
