"""What a query costs goes with its answer, not with all that is stored.

given ten times the devices, some of a slot of their own, some of a fleet, some of both
  └── a page of devices is the same as a search through everything finds, and reads no more pages
given readings of many devices, stored side by side
  ├── a page of one device's is read from the index alone
  ├── pages that are asked for together are, too, and each entry of it once
  └── the segments of one batch are found without those of the others
given batches, some with a verdict and some without
  ├── a page of all of them is as with filters, and is not planned anew each time
  └── the batches of a history are found from the ends, not by looking at all
given many who ask for the status
  └── the node is asked once, and again when its word is old
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from support.fake_chain import fake_chain
from support.processes import PATIENCE_S

from corechain.service.database import create_pool, migrate
from corechain.service.rpc import Block, Rpc
from corechain_indexer.api.head import NodeHead
from corechain_indexer.store import MIGRATIONS, SQL
from corechain_indexer.store.pages import PageOf, page_arguments, readings_page
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.segments import SEGMENT_COLUMNS

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
WINDOWED = """
update batch_file set window_start = batch_id, window_end = batch_id + 9, previous = $$26 bytes$$,
       data_hash = sha256(batch_id::text::bytea), rules_hash = repeat('.', 500)::bytea"""
"""Rows as wide as those with a tree's upper levels."""
SEGMENT = f"""
insert into segment ({", ".join(SEGMENT_COLUMNS)})
select b, 1, b, b, n, n, 1, 1, n, n, n, 1, substr({DEVICE}, 1, 20)
  from generate_series($1::int, $2::int) b, generate_series(1, $3::int) n"""


@asynccontextmanager
async def emptied(database: str) -> AsyncIterator["Database"]:
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as pool:
        await pool.execute("delete from batch")
        await pool.execute("delete from device_event")
        await pool.execute("delete from fleet_device")
        yield pool


async def explained(pool: "Database", query: str, *arguments: object) -> dict[str, Any]:
    plan = await pool.fetchval("explain (analyze, buffers, format json) " + query, *arguments)
    top: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return top


async def segment_scans(pool: "Database", query: str, *arguments: object) -> list[dict[str, Any]]:
    """The steps of a plan that read segments."""
    nodes = [await explained(pool, query, *arguments)]
    for node in nodes:
        nodes += node.get("Plans", [])
    return [node for node in nodes if node.get("Relation Name") == "segment"]


async def vacuumed(pool: "Database", table: str) -> None:
    """Returns once all pages are known to be visible: an analyze that Postgres has begun by itself
    holds that up as long as it takes."""
    shown = (
        "select relpages > 0 and relallvisible = relpages from pg_class where oid = $1::regclass"
    )
    async with asyncio.timeout(PATIENCE_S):
        await pool.execute(f"vacuum analyze {table}")
        while not await pool.fetchval(shown, table):
            await asyncio.sleep(0.2)
            await pool.execute(f"vacuum analyze {table}")


async def pages(pool: "Database", query: str, *arguments: object) -> int:
    """How many pages a statement touches, planning aside."""
    top = await explained(pool, query, *arguments)
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


async def test_single_readings_and_a_rollback_read_of_segments_what_they_need(
    database: str,
) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 200, bytes(26), bytes(32))
        await pool.execute(FILE)
        await pool.execute(SEGMENT, 1, 200, 100)
        await vacuumed(pool, "segment")
        device = await pool.fetchval("select device from segment limit 1")
        page = PageOf(device, 1, 0, 10**9)
        assert len(await readings_page(pool, page, 101)) == 101
        scans = await segment_scans(pool, SQL["reading_segments"], *page_arguments(page, 101))
        # It is gone through twice: to see how far, and to read so far. (Merged days would be looked
        # up by a third, which is never begun: there are none.)
        scans = [scan for scan in scans if scan["Actual Loops"]]
        assert len(scans) == 2
        for scan in scans:
            assert (scan["Node Type"], scan["Heap Fetches"]) == ("Index Only Scan", 0)
            # A page of the table for each reading would be 101.
            assert scan["Shared Hit Blocks"] + scan["Shared Read Blocks"] < 40
        everything = await pages(pool, "select sum(sum + cell) from segment")
        assert everything > 150
        looked = await pages(pool, "select 1 from segment where batch_id = $1", 100)
        assert looked < 20, everything
        assert await pool.execute("delete from segment where batch_id = $1", 100) == "DELETE 100"


async def test_pages_that_are_asked_for_together_go_through_the_index_once(database: str) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 200, bytes(26), bytes(32))
        await pool.execute(FILE)
        await pool.execute(SEGMENT, 1, 200, 100)
        await vacuumed(pool, "segment")
        devices = await pool.fetch("select distinct device from segment limit 8")
        asked = [page_arguments(PageOf(row["device"], 1, 0, 10**9), 101) for row in devices]
        columns = [list(column) for column in zip(*asked, strict=True)]
        scans = await segment_scans(pool, SQL["single_readings"], *columns)
        # One for the page, and one look whether a run that ends later began before its end.
        assert sorted(scan["Actual Rows"] for scan in scans) == [0, 101]
        for scan in scans:
            assert (scan["Node Type"], scan["Heap Fetches"]) == ("Index Only Scan", 0)
            assert scan["Shared Hit Blocks"] + scan["Shared Read Blocks"] < 40 * len(asked)


async def test_a_page_of_batches_is_not_planned_anew_for_each_question(database: str) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 4_000, bytes(26), bytes(32))
        await pool.execute(FILE + " where batch_id % 3 <> 0")
        await pool.execute("analyze batch, batch_file")
        async with pool.acquire() as connection:
            for after in (*range(0, 2_000, 200), 3_990, 4_000):
                page = await Reads(connection).batches(after, 101)
                expected = await connection.fetch(SQL["batches_page"], after, 101, None, None)
                assert page == expected
                assert len(page) == min(101, 4_000 - after)
            kept = await connection.fetch(
                "select generic_plans from pg_prepared_statements where statement like $1",
                "%left join lateral%from batch_file%",
            )
        # The first five are planned for their arguments, whatever is asked.
        assert [row["generic_plans"] > 0 for row in kept] == [True]


async def test_where_a_history_begins_is_found_without_all_batches(database: str) -> None:
    async with emptied(database) as pool:
        await pool.execute(BATCH, 4_000, bytes(26), bytes(32))
        await pool.execute(FILE + " where batch_id % 3 <> 0")
        await pool.execute(WINDOWED)
        await vacuumed(pool, "batch_file")
        spans = {
            (0, 2**40, 0, None): (1, 4_000), (2_000, 2_008, 0, None): (1_990, 2_009),
            (0, 2**40, 3_000, 3_100): (2_999, 3_101), (5_000, 6_000, 0, None): (4_000, 4_000),
        }  # fmt: skip
        for asked, span in spans.items():
            assert [tuple(row) for row in await pool.fetch(SQL["history_spans"], *asked)] == [span]
            # With all batches looked at it is 120 at least.
            assert await pages(pool, SQL["history_spans"], *asked) < 100


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


async def test_a_node_that_hangs_is_one_question_for_all_and_no_number() -> None:
    now = [100.0]
    asked = 0

    class Hung(Rpc):
        async def head(self) -> Block:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()
            raise AssertionError("nobody wakes it")

    head = NodeHead(Hung("http://127.0.0.1:9"), longest_wait_s=0.01, clock=lambda: now[0])
    assert set(await asyncio.gather(*(head.number(7) for _ in range(20)))) == {None}
    assert asked == 1
    assert await head.number(7) is None  # the failure is remembered
    assert asked == 1
    now[0] += 1.0
    assert await asyncio.gather(head.number(7), head.number(7)) == [None, None]
    assert asked == 2


async def test_a_node_that_is_away_is_no_number_until_it_is_back() -> None:
    now = [100.0]
    with fake_chain(1) as chain:
        chain.mine()
        chain.catch_up()
        away, back = Rpc("http://127.0.0.1:9"), Rpc(chain.url)
        head = NodeHead(away, longest_wait_s=60.0, clock=lambda: now[0])
        assert await head.number() is None
        head.rpc = back
        now[0] += 1.0
        assert await head.number() == 1
        await away.close()
        await back.close()
