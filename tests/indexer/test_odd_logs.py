"""One odd log, from the chain or from a node that lies, and the mirror goes on.

given logs that have their shape
  ├── what the chain can do is stored: vouchers of one channel redeemed twice in a log, two
  │   commitments for one batch
  ├── of what cannot be (an unknown channel, ids behind the last one) the raw log is kept; it is
  │   counted, and the blocks behind it are mirrored
  └── a row that Postgres refuses leaves out no other row, whatever its table
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from support.fake_chain import FakeChain, fake_chain

from corechain.chain import Chain
from corechain.protocol import events as e
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.events import Event
from corechain.service.database import migrate
from corechain.service.known_chain import Final
from corechain.service.reconcile import Ref
from corechain_indexer.projections import COLUMNS, Row
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.inserts import COPIED_FROM
from indexer.modelled import CONTRACTS, DEPLOYMENT, KEYS, OWNERS
from indexer.support import Driven, World, driven, settings_of

NAME = b"\1" * 32
CONFIG = ChannelConfig(*(OWNERS[0],) * 5, 900, bytes(32))
OPENED = e.PaymentChannelCreated(NAME, CONFIG)
WHERE = {
    "PaymentChannels": (e.RedeemedMany, e.PaymentChannelCreated),
    "DataBatches": (e.BatchCommitted, e.BatchesCommitted),
    "DeviceRegistry": (e.DeviceRegistered, e.FleetEnrolled),
}


def redeemed(*rows: tuple[bytes, int]) -> Event:
    return e.RedeemedMany(tuple(name[:20] + total.to_bytes(12, "big") for name, total in rows))


def placed(event: Event) -> tuple[bytes, Event]:
    (name,) = (name for name, kinds in WHERE.items() if isinstance(event, kinds))
    return CONTRACTS[name].address, event


def registered(n: int) -> Event:
    identity = KEYS[n].identity
    return e.DeviceRegistered(identity.device, OWNERS[0], identity.key_type, bytes(32), bytes(32))


@pytest.fixture
def chain() -> Iterator[FakeChain]:
    with fake_chain(1) as running:
        yield running


@pytest_asyncio.fixture
async def index(
    chain: FakeChain, tmp_path: Path, database: str, bus_url: str
) -> AsyncIterator[Driven]:
    world = World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)
    settings = settings_of(world, database, bus_url, rpc_url=chain.url, confirmations=8)
    async with driven(settings, world) as running:
        yield running


async def mirrored(chain: FakeChain, index: Driven, happened: Sequence[Event]) -> None:
    """The events in a block, a device registered in the next; all of it looked at."""
    chain.mine(list(map(placed, happened)))
    chain.mine([placed(registered(0))])
    chain.catch_up()
    while await index.mirror.step():
        pass
    newest = await index.indexer.pool.fetchval("select max(number) from block")
    assert newest == chain.blocks[-1].number
    assert await index.indexer.pool.fetchval("select count(*) from device_event") == 1
    raw = await index.indexer.pool.fetchval("select count(*) from event")
    assert raw == len(happened) + 1


async def payments(index: Driven) -> list[tuple[Any, ...]]:
    query = "select channel_id, amount, total from payment_event order by block_number, log_index"
    return [tuple(row.values()) for row in await index.indexer.pool.fetch(query)]


async def test_vouchers_of_one_channel_are_redeemed_twice_in_a_log(
    chain: FakeChain, index: Driven
) -> None:
    await mirrored(chain, index, [OPENED, redeemed((NAME, 5), (NAME, 9)), redeemed((NAME, 12))])
    assert await payments(index) == [
        (NAME, Decimal(9), Decimal(9)),
        (NAME, Decimal(3), Decimal(12)),
    ]
    assert index.metric("corechain_logs_malformed_total") == 0


ODD: dict[str, list[Event]] = {
    "a redemption of a channel that nobody opened": [redeemed((b"\7" * 32, 5))],
    "a group of batches behind the last id": [e.BatchesCommitted((1 << 48) - 1, bytes(52))],
    "half a commitment": [e.BatchesCommitted(1, bytes(27))],
    "a list of devices that ends within one": [e.FleetEnrolled(bytes(26), OWNERS[0], 1, bytes(21))],
}


@pytest.mark.parametrize("name", ODD)
async def test_the_mirror_goes_on_behind(chain: FakeChain, index: Driven, name: str) -> None:
    await mirrored(chain, index, [OPENED, *ODD[name], redeemed((NAME, 5))])
    assert await payments(index) == [(NAME, Decimal(5), Decimal(5))]
    assert await index.indexer.pool.fetchval("select count(*) from batch") == 0
    assert index.metric("corechain_logs_malformed_total") == 1


async def test_of_a_log_with_one_unknown_channel_the_others_are_redeemed(
    chain: FakeChain, index: Driven
) -> None:
    await mirrored(chain, index, [OPENED, redeemed((b"\7" * 32, 5), (NAME, 6), (b"\6" * 32, 7))])
    assert await payments(index) == [(NAME, Decimal(6), Decimal(6))]
    assert index.metric("corechain_logs_malformed_total") == 1


async def test_the_first_of_two_commitments_for_a_batch_stands(
    chain: FakeChain, index: Driven
) -> None:
    twice = [e.BatchCommitted(2, b"\1" * 26), e.BatchCommitted(2, b"\2" * 26)]
    group = e.BatchesCommitted(1, b"\3" * 26 + b"\4" * 26)
    await mirrored(chain, index, [*twice, group])
    rows = await index.indexer.pool.fetch("select batch_id, commitment from batch order by 1")
    assert [tuple(row) for row in rows] == [(1, b"\3" * 26), (2, b"\1" * 26)]


async def test_the_first_commitment_stands_among_many(chain: FakeChain, index: Driven) -> None:
    """Also where a group says it twice, and where the first is of an earlier range."""
    firsts = [e.BatchCommitted(n, bytes([n]) * 26) for n in (5, 70)]
    await mirrored(chain, index, firsts)
    group = e.BatchesCommitted(1, b"\xaa" * 26 * (COPIED_FROM + 10))
    again = e.BatchesCommitted(40, b"\xbb" * 26 * COPIED_FROM)
    chain.mine([placed(group), placed(again)])
    chain.catch_up()
    while await index.mirror.step():
        pass
    rows = await index.indexer.pool.fetch("select batch_id, commitment from batch order by 1")
    held = {batch_id: commitment[0] for batch_id, commitment in rows}
    expected = {n: 0xAA if n <= COPIED_FROM + 10 else 0xBB for n in range(1, 40 + COPIED_FROM)}
    assert held == expected | {5: 5, 70: 70}
    query = "select count(*) from unjudged_batch join batch using (batch_id)"
    assert await index.indexer.pool.fetchval(query) == len(held)


# ------------------------------------------------------------------ what Postgres refuses


def good(table: str, block: int, index: int = 0) -> Row:
    place = (block, index)
    rows: dict[str, Row] = {
        "event": (b"h" * 32, b"t" * 32, b"a" * 20, b"", b""),
        "device_event": ("registered", block.to_bytes(20, "big"), b"o" * 20, 1, None, None),
        "fleet_device": (0, bytes(26), bytes(20), bytes(20), 1),
        "batch": (block, b"c" * 26, b"h" * 32, b"t" * 32),
        "root_event": ("vetoed", 1, None, None, None, None),
        "claim_event": (b"o" * 20, 1, 2),
        "payment_channel": (block.to_bytes(32, "big"), *(b"p" * 20,) * 5, 900, bytes(32)),
        "payment_event": ("deposited", b"c" * 32, 1, 2),
        "state_channel_event": ("closed", b"c" * 32, *(None,) * 11),
    }
    return place + rows[table]


BAD: dict[str, tuple[str, Row]] = {
    "the place of another log": ("event", good("event", 1)),
    "a kind of nothing": ("device_event", (5, 0, "lost", bytes(20), None, None, None, None)),
    "a device of 19 bytes": ("device_event", (5, 0, "revoked", bytes(19), None, None, None, None)),
    "a second registration in one log": ("device_event", good("device_event", 1)),
    "a fleet of 25 bytes": ("fleet_device", (5, 0, 0, bytes(25), bytes(20), bytes(20), 1)),
    "a key type of 17 bits": ("fleet_device", (5, 0, 0, bytes(26), bytes(20), bytes(20), 65536)),
    "a batch of 64 bits": ("batch", (5, 0, 1 << 63, bytes(26), bytes(32), bytes(32))),
    "a commitment of 25 bytes": ("batch", (5, 0, 99, bytes(25), bytes(32), bytes(32))),
    "a root of no kind": ("root_event", (5, 0, "lost", 1, None, None, None, None)),
    "a root of no epoch": ("root_event", (5, 0, "vetoed", None, None, None, None, None)),
    "a claim of more digits than any": ("claim_event", (5, 0, bytes(20), 10**40, 1)),
    "a channel of 64 bits' delay": (
        "payment_channel", (5, 0, b"x" * 32, *(b"p" * 20,) * 5, 1 << 63, bytes(32)),
    ),
    "a deposit of more digits than any": ("payment_event", (5, 0, "deposited", NAME, 10**40, 1)),
    "a zero in a kind": ("payment_event", (5, 0, "de\0posited", NAME, 1, 1)),
    "a redemption of nobody's channel": ("payment_event", (5, 0, "redeemed", b"n" * 20, None, 5)),
    "a state channel of no kind": ("state_channel_event", (5, 0, "lost", NAME, *(None,) * 11)),
    "a log with a number of 33 bits": ("claim_event", (5, 1 << 32, bytes(20), 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("rows", [1, COPIED_FROM + 1])
async def test_a_row_that_is_refused_leaves_out_no_other(database: str, rows: int) -> None:
    """By INSERT and by COPY."""
    await migrate(database, MIGRATIONS)
    connection = await asyncpg.connect(database)
    try:
        store, tip = ChainStore(connection), Ref(0, bytes(32))
        assert await store.append({}, [tip], Final(0)) == []
        whole = {table: [good(table, block) for block in range(1, 5)] for table in COLUMNS}
        assert await store.append(whole, [Ref(4, bytes(32))], Final(0)) == []
        for number, (table, bad) in enumerate(BAD.values()):
            await _refused(store, 10 + 100 * number, table, bad, rows)
        kept = {table: await _count(connection, table) for table in COLUMNS}
        assert kept == dict.fromkeys(COLUMNS, 4 + len(BAD) * rows)
    finally:
        await connection.close()


async def _refused(store: ChainStore, first: int, table: str, bad: Row, rows: int) -> None:
    tables = {t: [good(t, first + n) for n in range(rows)] for t in COLUMNS}
    tables[table].insert(rows // 2, bad)
    through = Ref(first + rows, bytes(32))
    ((block, why),) = await store.append(tables, [through], Final(0))
    assert block == bad[0]
    assert table in why
    assert await store.tip() == through


async def _count(connection: Any, table: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table}"))


async def test_rows_at_the_place_of_another_log_are_nobodys(database: str) -> None:
    await migrate(database, MIGRATIONS)
    connection = await asyncpg.connect(database)
    try:
        store = ChainStore(connection)
        await store.append({"event": [good("event", 1)]}, [Ref(1, bytes(32))], Final(0))
        late = {"event": [good("event", 1)], "claim_event": [good("claim_event", 1)]}
        address = b"a" * 20
        await store.add_sources([address], joined=False)
        ((block, _),) = await store.add(late, [address], Ref(1, bytes(32)), joined=True)
        assert block == 1
        assert await _count(connection, "claim_event") == 0
        assert [source.joined for source in await store.sources()] == [True]
    finally:
        await connection.close()
