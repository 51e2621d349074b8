"""Logs to rows: what is kept of each, counted, or said to be wrong.

given logs in chain order
  ├── each is kept raw, and those of kinds that are read give rows of their tables
  ├── one in a wrong shape is kept raw and said; the others are as they were without it
  └── a number that no block can have is wrong, whatever the contract let through
"""

from eth_abi.abi import encode

from corechain.protocol.events import BatchesCommitted, Event, RootProposed, Transfer
from corechain.protocol.logs import topic_of
from corechain.service.words import Log
from corechain_indexer.projections import Projected

CHAIN_ID = 31337


def log_of(kind: type[Event], index: int, topics: list[bytes], data: bytes) -> Log:
    return Log(b"\1" * 20, (topic_of(kind), *topics), data, 7, b"\2" * 32, b"\3" * 32, index)


def transfer(index: int, data: bytes = bytes(32)) -> Log:
    return log_of(Transfer, index, [bytes(32), bytes(32)], data)


def proposed(index: int, through_block: int) -> Log:
    word = (5 << 48) | (6 << 16) | 9  # root, time, epoch
    data = encode(["uint256", "uint64", "uint128"], [word, through_block, 10])
    return log_of(RootProposed, index, [], data)


def test_a_group_of_batches_gives_a_row_each() -> None:
    packed = bytes(26) + b"\1" * 26
    topics = [(8).to_bytes(32, "big")]
    entry = log_of(BatchesCommitted, 0, topics, encode(["bytes"], [packed]))
    found = Projected.of([entry, transfer(1)], CHAIN_ID)
    assert [row[2:4] for row in found.tables["batch"]] == [(8, bytes(26)), (9, b"\1" * 26)]
    assert [row[:2] for row in found.tables["event"]] == [(7, 0), (7, 1)]
    assert found.counts == {"BatchesCommitted": 1, "Transfer": 1}


def test_a_malformed_log_is_kept_raw_and_changes_no_other() -> None:
    odd = log_of(BatchesCommitted, 1, [bytes(32)], encode(["bytes"], [bytes(27)]))
    logs = [transfer(0), odd, transfer(2, b"short"), proposed(3, 12)]
    found = Projected.of(logs, CHAIN_ID)
    alone = Projected.of([logs[0], logs[3]], CHAIN_ID)
    assert len(found.tables["event"]) == 4
    assert [block for block, _ in found.malformed] == [7, 7]
    assert found.tables["root_event"] == alone.tables["root_event"]
    assert "batch" not in found.tables
    assert found.counts == alone.counts


def test_a_root_through_a_block_that_can_never_be_is_malformed() -> None:
    """64 bits of a proposer's own choice would not fit into Postgres' 63: no row, no halt."""
    found = Projected.of([proposed(0, (1 << 63) - 1), proposed(1, 1 << 63)], CHAIN_ID)
    assert [row[1] for row in found.tables["root_event"]] == [0]
    assert len(found.malformed) == 1


def test_a_log_that_is_not_ours_is_only_kept() -> None:
    entry = Log(b"\1" * 20, (), b"", 7, b"\2" * 32, b"\3" * 32, 0)
    found = Projected.of([entry], CHAIN_ID)
    assert list(found.tables) == ["event"]
    assert not found.counts
    assert not found.malformed
