"""Rows that corechain-native makes of a whole range are those of the projections.

given logs of all our events, of others, and some that have not the shape of theirs
  ├── the tables of the database hold the same rows, whichever way they were made
  ├── counted and called malformed is the same
  └── where Postgres refuses a row, the others are stored one by one, as without corechain-native
"""

import struct
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_chain import encoded
from support.sent_logs import body_of

from corechain.protocol import events as e
from corechain.protocol.receipt_events import ReceiptDemanded, ReceiptSignerDismissed
from corechain.service.database import migrate
from corechain.service.known_chain import Final
from corechain.service.log_table import LogTable
from corechain.service.reconcile import Ref
from corechain.service.words import Log
from corechain_indexer.packed_rows import COPIED_FROM, PackedRows, packed_of, projected_of
from corechain_indexer.projections import COLUMNS, Projected
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.chain import ChainStore
from corechain_native import read_logs

CHAIN_ID = 31337
PACKED = (
    e.DeviceRegistered, e.DeviceMaterialised, e.DeviceTransferred, e.DeviceRevoked, e.RewardClaimed,
    e.Deposited, e.VoucherClaimed, e.Redeemed, e.Refunded, e.WithdrawInitiated, e.WithdrawFinalized,
)  # fmt: skip
"""Whose rows are made natively."""
OTHERS = (
    e.Transfer, e.Settled, e.LaneClosed, e.RootVetoed, e.BatchCommitted, e.StateChannelClosed,
    ReceiptSignerDismissed, ReceiptDemanded,
)  # fmt: skip
"""Of these no row is made, or by the reference."""
_NUMBERS = {8: 255, 16: 2**16 - 1, 40: 2**40 - 1}


def event_of(random: Random, kind: type[e.Event]) -> e.Event:
    """One with random fields, zeros and the largest numbers among them."""
    text = kind.SIGNATURE.partition("(")[2].removesuffix(")")
    types = [part.removesuffix(" indexed") for part in text.split(",")]
    return kind(*(_value(random, name) for name in types))


def _value(random: Random, type_name: str) -> Any:
    if type_name.startswith("uint"):
        bits = int(type_name.removeprefix("uint"))
        top = (1 << bits) - 1
        return random.choice((0, 1, 9999, 10_000, 10**8, top, random.randrange(top))) & top
    if type_name == "bytes":
        return random.randbytes(random.randrange(300))
    size = 20 if type_name == "address" else int(type_name.removeprefix("bytes"))
    return bytes(size) if random.random() < 0.3 else random.randbytes(size)


def happened(random: Random, count: int, kinds: Sequence[type[e.Event]]) -> list[dict[str, Any]]:
    """So many logs as JSON, of each kind in turn, a fifth of them odd."""
    found = []
    for index in range(count):
        topics, data = encoded(event_of(random, kinds[index % len(kinds)]))
        if random.random() < 0.2:
            topics, data = _odd(random, topics, data)
        found.append(_sent(index, topics, data))
    return found


def _odd(random: Random, topics: list[bytes], data: bytes) -> tuple[list[bytes], bytes]:
    """Of no kind, of another length, or with a field that is wider than its type."""
    kind = random.randrange(5)
    if kind == 0:
        return [], data
    if kind == 1:
        return [bytes(32), *topics[1:]], data
    if kind == 2:
        return topics[:-1] if len(topics) > 1 else [*topics, bytes(32)], data
    if kind == 3:
        return topics, data[:-1] if random.random() < 0.5 else data + bytes(32)
    return [topics[0], *(b"\xff" + topic[1:] for topic in topics[1:])], data


def _sent(index: int, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    return {
        "address": "0x" + "0a" * 20,
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(),
        "blockNumber": hex(7 + index // 10),
        "blockHash": f"0x{index // 10:064x}",
        "transactionHash": "0x" + "0c" * 32,
        "logIndex": hex(index),
    }


def table_of(logs: list[dict[str, Any]]) -> LogTable:
    packed = read_logs(body_of(Random(0), logs))
    assert packed is not None
    return LogTable(packed)


# -------------------------------------------------------------- the bytes of a binary COPY


def rows_in(table: str, packed: bytes) -> list[tuple[Any, ...]]:
    """As Postgres' manual describes them ("COPY", "Binary Format")."""
    assert packed[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    at, found = 19, []
    while (width := int.from_bytes(packed[at : at + 2], "big", signed=True)) != -1:
        assert width == len(COLUMNS[table])
        at, row = at + 2, []
        for name in COLUMNS[table]:
            size = int.from_bytes(packed[at : at + 4], "big", signed=True)
            at += 4
            row.append(None if size < 0 else _shown(name, packed[at : at + size]))
            at += max(size, 0)
        found.append(tuple(row))
    assert at + 2 == len(packed)
    return found


def _shown(name: str, raw: bytes) -> Any:
    if name in ("block_number", "log_index", "key_type", "revoked_at"):
        return int.from_bytes(raw, "big", signed=True)
    if name == "kind":
        return raw.decode()
    if name not in ("amount", "total", "cumulative"):
        return raw
    count, weight, sign, scale = struct.unpack_from(">hhHh", raw)
    groups = struct.unpack_from(f">{count}h", raw, 8)
    assert (sign, scale, len(raw)) == (0, 0, 8 + 2 * count)
    return sum(group * 10_000 ** (weight - place) for place, group in enumerate(groups))


def shown(projected: Projected) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: rows_in(table, rows.packed) if isinstance(rows, PackedRows) else list(rows)
        for table, rows in projected.tables.items()
    }


def agree(logs: list[dict[str, Any]]) -> Projected:
    table = table_of(logs)
    found, expected = packed_of(table, CHAIN_ID), Projected.of(list(table), CHAIN_ID)
    assert shown(found) == shown(expected)
    assert found.counts == expected.counts
    assert found.malformed == expected.malformed
    for name, rows in found.tables.items():
        assert list(rows) == list(expected.tables[name])
        assert len(rows) == len(expected.tables[name])
    return found


@given(st.randoms(use_true_random=False), st.integers(0, 25))
@settings(max_examples=100, deadline=None)
def test_rows_are_those_of_the_projections(random: Random, count: int) -> None:
    kinds = [*PACKED, *OTHERS]
    agree(happened(random, count, random.sample(kinds, len(kinds))))


@pytest.mark.parametrize("kind", PACKED)
def test_each_of_these_kinds_gives_its_rows_natively(kind: type[e.Event]) -> None:
    """Or the tests of agreement would compare the reference with itself."""
    found = agree(happened(Random(kind.__name__), 12, [kind]))
    (table,) = found.tables.keys() - {"event"}
    assert isinstance(found.tables[table], PackedRows)
    assert isinstance(found.tables["event"], PackedRows)


def test_a_table_of_both_kinds_of_rows_keeps_the_order_of_the_chain() -> None:
    """A packed redemption is completed by what was claimed before it."""
    many = _sent(3, *encoded(e.RedeemedMany((b"\1" * 32, b"\2" * 32))))
    logs = happened(Random(1), 3, [e.Deposited, e.Redeemed])
    found = agree([*logs, many, *happened(Random(2), 9, [e.DeviceRevoked])[4:]])
    assert not isinstance(found.tables["payment_event"], PackedRows)
    assert isinstance(found.tables["device_event"], PackedRows)


# ------------------------------------------------------------------------------ Postgres


STORED = "block", "event", "device_event", "claim_event", "payment_event", "batch"


async def stored(store: ChainStore, logs: Sequence[Log]) -> tuple[dict[str, Any], Projected]:
    """What the database holds after a range of these logs, and nothing before it."""
    await store.roll_back(-1)
    projected = projected_of(logs, CHAIN_ID)
    assert isinstance(projected.tables["event"], PackedRows) == isinstance(logs, LogTable)
    await store.append({}, [Ref(6, bytes(32))], Final(0))
    odd = await store.append(projected.tables, [Ref(99, b"\1" * 32)], Final(0))
    projected.malformed.extend(odd)
    connection = store.connection
    held = {
        table: Counter(map(tuple, await connection.fetch(f"select * from {table}")))
        for table in STORED
    }
    return held, projected


async def stored_alike(database: str, logs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the database holds, whichever way it came there."""
    await migrate(database, MIGRATIONS)
    connection, table = await asyncpg.connect(database), table_of(logs)
    try:
        store = ChainStore(connection)
        held, found = await stored(store, table)
        expected, other = await stored(store, list(table))
    finally:
        await connection.close()
    assert held == expected
    assert found.malformed == other.malformed
    return held


async def test_the_database_holds_the_same_rows(database: str) -> None:
    held = await stored_alike(database, happened(Random(5), 5 * len(PACKED), PACKED))
    assert all(held[table] for table in ("event", "device_event", "claim_event", "payment_event"))
    assert any(isinstance(value, Decimal) for row in held["payment_event"] for value in row)


async def test_a_refused_row_leaves_out_no_other(database: str) -> None:
    """A redemption of nobody's channel, among rows that are packed."""
    refused = _sent(COPIED_FROM, *encoded(e.RedeemedMany((b"\7" * 32,))))
    logs = [*happened(Random(6), COPIED_FROM, [e.DeviceRegistered]), refused]
    held = await stored_alike(database, logs)
    assert sum(held["event"].values()) == COPIED_FROM + 1
    assert held["device_event"]
    assert not held["payment_event"]


def test_of_a_few_logs_the_rows_are_made_one_by_one() -> None:
    """At the head of the chain: INSERT takes a round trip less than COPY."""
    found = projected_of(table_of(happened(Random(8), COPIED_FROM - 1, PACKED)), CHAIN_ID)
    assert not any(isinstance(rows, PackedRows) for rows in found.tables.values())
