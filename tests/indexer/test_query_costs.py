"""What a query costs goes with its answer, not with all that is stored.

given ten times the devices, some of a slot of their own, some of a fleet, some of both
  └── a page of devices is the same as a search through everything finds, and reads no more pages
given readings of many devices, stored side by side
  ├── a page of one device's is read from the index alone
  └── the hourly statistics of one batch are found without those of the others
given many who ask for the status
  └── the node is asked once, and again when its word is old
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.fake_chain import fake_chain

from corechain.service.database import create_pool, migrate
from corechain.service.rpc import Rpc
from corechain_indexer.api.head import NodeHead
from corechain_indexer.store import MIGRATIONS, SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

EVERY_DEVICE = """
select device, owner, key_type, revoked, revoked_at, block_number, 'pending' as finality from device
 where device > $1 order by device limit $2"""
DEVICE = "sha256(n::text::bytea)"
REGISTERED = f"""
insert into device_event (block_number, log_index, kind, device, owner, key_type)
select n, 0, 'registered', substr({DEVICE}, 1, 20), $3, 0 from generate_series($1::int, $2) n
 where n % 3 <> 0"""
ENROLLED = f"""
insert into fleet_device (block_number, log_index, position, fleet, device, owner, key_type)
select n, 1, 0, substr({DEVICE}, 1, 26), substr({DEVICE}, 1, 20), $3, 0
  from generate_series($1::int, $2) n where n % 3 <> 1"""
REVOKED = f"""
insert into device_event (block_number, log_index, kind, device, revoked_at)
select n, 2, 'revoked', substr({DEVICE}, 1, 20), 7 from generate_series($1::int, $2) n
 where n % 10 = 1"""
BATCH = "insert into batch select n, 0, n, $2, $3, $3 from generate_series(1, $1::int) n"
FILE = "insert into batch_file (batch_id, state) select batch_id, 'verified' from batch"
READING = f"""
insert into reading (batch_id, position, metric, cell, device, observed_at, value, flag)
select b, n, 1, 1, substr({DEVICE}, 1, 20), b, n, 0
  from generate_series(1, $1::int) b, generate_series(1, $2::int) n"""
ROLLUP = f"""
insert into rollup (batch_id, device, metric, hour, count, sum, min, max)
select b, substr({DEVICE}, 1, 20), 1, 0, 1, n, n, n
  from generate_series(1, $1::int) b, generate_series(1, $2::int) n"""


@asynccontextmanager
async def emptied(database: str) -> AsyncIterator["Database"]:
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as pool:
        await pool.execute("delete from batch")
        await pool.execute("delete from device_event")
        await pool.execute("delete from fleet_device")
        yield pool


async def pages(pool: "Database", query: str, *arguments: object) -> int:
    """How many pages a statement touches, planning aside."""
    plan = await pool.fetchval("explain (analyze, buffers, format json) " + query, *arguments)
    top = json.loads(plan)[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


async def test_a_page_of_devices_costs_with_the_page(database: str) -> None:
    async with emptied(database) as pool:
        read: dict[int, int] = {}
        for first, last in ((1, 400), (401, 4_000)):
            for statement in (REGISTERED, ENROLLED, REVOKED):
                owner = () if statement is REVOKED else (bytes(20),)
                await pool.execute(statement, first, last, *owner)
            await pool.execute("vacuum analyze device_event, fleet_device")
            for after in (b"", b"\x80", b"\xff" * 20):
                expected = await pool.fetch(EVERY_DEVICE, after, 51)
                assert await pool.fetch(SQL["devices_page"], after, 51) == expected
                assert len(expected) == (0 if after[:1] == b"\xff" else 51)
            read[last] = await pages(pool, SQL["devices_page"], b"", 51)
        # A page of the table for each device, and a few of the indexes; looked up one by one in the
        # view, each device touches sixteen.
        assert max(read.values()) < 2 * 51, read


async def test_a_page_of_readings_is_read_from_the_index_alone(database: str) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 200, bytes(26), bytes(32))
        await pool.execute(FILE)
        await pool.execute(READING, 200, 100)
        await pool.execute("vacuum analyze reading")
        device = await pool.fetchval("select device from reading limit 1")
        start = (b"", -1, -1, -1, -1)
        asked = (device, 1, 0, 10**9, *start, 101, None)
        assert len(await pool.fetch(SQL["readings_page"], *asked)) == 101
        # A page of the table for each reading would be 101, besides two for the block of each.
        page = SQL["readings_page"]
        inner = page[page.index("from (") + 6 : page.index(") r")]
        assert await pages(pool, inner, *asked) < 40


async def test_a_rollback_does_not_look_through_the_rollups_of_all_batches(database: str) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 200, bytes(26), bytes(32))
        await pool.execute(FILE)
        await pool.execute(ROLLUP, 200, 100)
        await pool.execute("vacuum analyze rollup")
        # The statement of the foreign key.
        gone = "delete from only rollup where $1 operator(pg_catalog.=) batch_id"
        everything = await pages(pool, "select sum(sum) from rollup")
        assert everything > 150
        looked = await pages(pool, "select 1 from only rollup where $1 = batch_id", 100)
        assert looked < 20, everything
        assert await pool.execute(gone, 100) == "DELETE 100"


async def test_many_who_ask_for_the_head_are_one_question_to_the_node() -> None:
    now = [100.0]
    with fake_chain(1) as chain:
        chain.mine()
        chain.catch_up()
        rpc = Rpc(chain.url)
        head = NodeHead(rpc, max_age_s=1.0, clock=lambda: now[0])
        assert set(await asyncio.gather(*(head.number() for _ in range(20)))) == {1}
        assert len(chain.calls) == 1
        assert await head.number(at_least=7) == 7  # the mirror has seen more by now
        chain.mine()
        chain.catch_up()
        now[0] += 1.0
        assert await head.number() == 2
        assert len(chain.calls) == 2
        await rpc.close()
