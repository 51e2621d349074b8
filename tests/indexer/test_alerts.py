"""The rules of alerts: each is told once, and once more when it is over, in order, whoever was
killed. `test_webhooks.py` has the receivers.
"""

from collections import Counter

from structlog.testing import capture_logs

from corechain.service.alerting.alerts import MOST_OPEN
from corechain.service.database import connect
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.vouchers import Vouchers
from indexer.watches import CELL, DEVICE, NOW, Watch, watching


async def test_a_batch_without_a_verdict_is_told_once_and_once_when_it_has_one(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.verify()
        await watch.look()
        assert await watch.told() == []
        await watch.books.pool.execute("update batch_file set state = 'withheld', reason = 'gone'")
        for _ in range(3):
            await watch.look()
        begun = [("fired", "withheld", "1")]
        assert await watch.told() == begun
        await watch.books.pool.execute("update batch_file set state = 'verified'")
        for _ in range(3):
            await watch.look()
        over = [*begun, ("resolved", "withheld", "1")]
        assert await watch.told() == over
        # The next time is another one.
        await watch.books.pool.execute("update batch_file set state = 'mismatch'")
        await watch.look()
        assert await watch.told() == [*over, ("fired", "mismatch", "1")]


async def test_the_end_of_an_alert_is_logged_but_warns_nobody(tables: str, bus_url: str) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.verify()
        with capture_logs() as logged:
            for state in ("mismatch", "verified"):
                await watch.books.pool.execute("update batch_file set state = $1", state)
                await watch.look()
        said = [(entry["log_level"], entry["event"]) for entry in logged]
        assert said == [("warning", "alert fired"), ("info", "alert resolved")]


async def test_what_is_over_before_it_lasted_long_enough_is_never_told(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, unverified_s=3_600) as watch:
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        await watch.look()
        assert await watch.told() == []
        # An hour later.
        await watch.books.pool.execute("update alert set since = since - interval '2 hours'")
        await watch.look()
        assert await watch.told() == [("fired", "withheld", "1")]
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        await watch.books.pool.execute("update batch_file set state = 'verified'")
        await watch.look()
        assert await watch.told() == [("fired", "withheld", "1"), ("resolved", "withheld", "1")]


REGISTERED = """
insert into device_event (block_number, log_index, kind, device, owner, key_type)
values (1, 1, 'registered', $1, $1, 0) on conflict do nothing
"""
BLOCKS = """
insert into block select n, sha256(n::text::bytea) from generate_series($1::bigint, $2::bigint) n
"""
REVOKED = """
insert into device_event (block_number, log_index, kind, device, revoked_at)
values (2, 1, 'revoked', $1, 1)
"""
SEGMENT = """
insert into segment (batch_id, cell, first_at, last_at, sum, position, count, metric, min, max,
                     last, flag, device)
values ($1, $2, $3, $3, 5, 0, 1, 1, 5, 5, 5, 1, $4)
"""
OPENED = """
insert into state_channel_event (block_number, log_index, kind, channel_id, party_a, party_b)
values (1, $1, 'opened', $2, $3, $3)
"""
CHALLENGED = """
insert into state_channel_event (block_number, log_index, kind, channel_id, version, deadline)
values (2, $1, 'challenged', $2, 7, $3)
"""
CLOSED = """
insert into state_channel_event (block_number, log_index, kind, channel_id)
values (3, $1, 'closed', $2)
"""


async def sent_by(watch: Watch, observed_at: int) -> None:
    """A registered device's reading, in a batch of its own."""
    await watch.books.pool.execute(REGISTERED, DEVICE)
    await watch.books.verify()
    await watch.books.pool.execute(SEGMENT, watch.books.head, CELL, observed_at, DEVICE)


async def test_a_device_is_silent_by_its_newest_reading_until_it_sends_again_or_is_revoked(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, silent_s=600) as watch:
        await sent_by(watch, NOW - 600)
        await watch.look()
        assert await watch.told() == []
        await watch.books.pool.execute("update segment set first_at = $1, last_at = $1", NOW - 601)
        await watch.look()
        await watch.look()
        key = "0x" + DEVICE.hex()
        assert await watch.told() == [("fired", "silent_device", key)]
        await sent_by(watch, NOW - 5)
        await watch.look()
        told = [("fired", "silent_device", key), ("resolved", "silent_device", key)]
        assert await watch.told() == told
        await watch.books.pool.execute("update segment set first_at = 1, last_at = 1")
        await watch.look()
        await watch.books.pool.execute(REVOKED, DEVICE)
        await watch.look()
        assert await watch.told() == told * 2


async def test_a_node_away_a_mirror_behind_and_a_deep_reorg_are_told(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, lag_blocks=5, reorg_blocks=3) as watch:
        pool = watch.books.pool
        await pool.execute(BLOCKS, 1, 9)
        watch.node.is_away = True
        await watch.look()
        assert await watch.told() == [("fired", "node_away", "node")]
        # One that answers with errors alone is as good as away, and keeps no other rule back.
        watch.node.is_away, watch.node.refuses = False, True
        await watch.look()
        assert await watch.told() == [("fired", "node_away", "node")]
        watch.node.refuses, watch.node.number = False, 14
        await watch.look()
        both = {("resolved", "node_away", "node"), ("fired", "lag", "mirror")}
        assert set((await watch.told())[1:]) == both
        watch.node.number = 9
        await watch.look()
        # Two blocks are no news, four are.
        connection = await connect(tables)
        await ChainStore(connection).roll_back(7)
        await ChainStore(connection).roll_back(3)
        await connection.close()
        watch.node.number = 3
        await watch.look()
        await watch.look()
        # By its number in the table, which goes on from test to test.
        number = str(await pool.fetchval("select max(id) from rollback"))
        lag_is_over = ("resolved", "lag", "mirror")
        assert (await watch.told())[3:] == [lag_is_over, ("fired", "reorg", number)]
        await pool.execute(BLOCKS, 4, 7)
        await watch.look()
        await watch.look()
        assert (await watch.told())[5:] == [("resolved", "reorg", number)]


async def test_a_challenged_channel_is_told_before_its_deadline_to_those_it_matters_to(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, deadline_s=600, parties=(b"\x01" * 20,)) as watch:
        pool = watch.books.pool
        for mark, party in ((0x0A, b"\x01" * 20), (0x0B, b"\x03" * 20)):
            await pool.execute(OPENED, mark, bytes([mark]) * 32, party)
            await pool.execute(CHALLENGED, mark, bytes([mark]) * 32, NOW + 600)
        await watch.look()
        key = "0x" + "0a" * 32 + ":7"
        assert await watch.told() == [("fired", "channel_challenged", key)]
        await pool.execute(CLOSED, 1, b"\x0a" * 32)
        await watch.look()
        assert (await watch.told())[1:] == [("resolved", "channel_challenged", key)]


MANY = """
insert into state_channel_event
       (block_number, log_index, kind, channel_id, party_a, party_b, version, deadline)
select 1 + (kind = 'challenged')::int, n, kind, sha256(n::text::bytea), $1, $1, 7, $2
  from generate_series(1, 120) n, unnest(array['opened', 'challenged']) kind
"""
WRONG_ROOTS = """
with proposed as (
    insert into root_event (block_number, log_index, kind, epoch, active_at)
    select 3, n, 'proposed', n, 1 from generate_series($1::int, $2::int) n
    returning block_number, log_index, epoch)
insert into reward_epoch (block_number, log_index, epoch, state)
select *, 'mismatch' from proposed
"""


async def test_an_alert_is_not_told_as_over_because_others_came_before_it(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, deadline_s=600) as watch:
        pool = watch.books.pool
        await pool.execute(MANY, b"\x01" * 20, NOW + 600)
        await pool.execute(WRONG_ROOTS, 1, 120)
        await watch.look()
        told = await watch.told()
        counts = Counter((kind, alert) for kind, alert, _ in told)
        kinds = ("channel_challenged", "wrong_root")
        assert counts == {("fired", kind): MOST_OPEN for kind in kinds}
        await pool.execute(OPENED, 200, b"\x0a" * 32, b"\x01" * 20)
        await pool.execute(CHALLENGED, 200, b"\x0a" * 32, NOW + 1)
        await pool.execute(WRONG_ROOTS, 121, 121)
        await watch.look()
        assert await watch.told() == told


LEAVING = """
with n as (select n, sha256(n::text::bytea) as id from generate_series(1, 120) n),
     channels as (
       insert into payment_channel select 1, n, id, $1, $1, $1, $1, $1, 900, id from n),
     events as (
       insert into payment_event
       select 1 + (kind = 'withdrawing')::int, n, kind, id, 100, $2::numeric + n
         from n, unnest(array['deposited', 'withdrawing']) kind)
insert into voucher (channel_id, amount, charged, signature, config)
select id, 60, 60, $1, $1 from n
"""


async def test_every_channel_whose_payer_leaves_is_told(tables: str, bus_url: str) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.pool.execute(LEAVING, b"\x01" * 20, NOW)
        found = await Vouchers(watch.books.pool).endangered()
        assert [row["finalize_after"] for row in found] == [NOW + n for n in range(1, 121)]
        assert {row["amount"] for row in found} == {60}


async def test_a_flood_of_alerts_has_an_end_and_what_was_left_out_comes_later(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url) as watch:
        for _ in range(MOST_OPEN + 5):
            await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        assert len(await watch.told()) == MOST_OPEN
        await watch.books.pool.execute(
            "update batch_file set state = 'verified' where batch_id <= $1", MOST_OPEN
        )
        await watch.look()
        await watch.look()
        said = await watch.told()
        assert [item[0] for item in said].count("fired") == MOST_OPEN + 5
        assert [item[0] for item in said].count("resolved") == MOST_OPEN
