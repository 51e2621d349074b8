"""Logs that corechain-native reads by itself, and what it leaves to the reference.

given an answer to eth_getLogs
  ├── a plainly good one is read natively, so that the tests of agreement compare two things
  ├── of another contract, block, hash or order than it may be, it is not taken
  └── rows that do not fit are refused, never written
"""

from random import Random

import pytest
from support.sent_logs import CONTRACTS, FIRST, LAST, answer, body_of, is_native

from corechain_native import read_logs
from corechain_native.logs import NUMERIC, Field, FieldTable, Kinds

GOOD = body_of(Random(1), answer(Random(1), 20))


def test_a_plainly_good_answer_is_read_natively() -> None:
    assert is_native(GOOD)
    assert is_native(b" [ ] ")


@pytest.mark.parametrize(
    "wanted",
    [
        (CONTRACTS[:1], FIRST, LAST),
        (CONTRACTS, FIRST + 1, LAST),
        (CONTRACTS, FIRST, FIRST),
        (CONTRACTS, FIRST, 2**64),
        ([CONTRACTS[0], b"short"], FIRST, LAST),
    ],
)
def test_what_was_not_asked_for_does_not_fit(wanted: tuple[list[bytes], int, int]) -> None:
    packed = read_logs(GOOD)
    assert packed is not None
    assert packed.fit(CONTRACTS, FIRST, LAST)
    assert packed.fit([], FIRST, LAST)
    assert not packed.fit(*wanted)


@pytest.mark.parametrize("change", ["swap", "twice", "hash"])
def test_logs_that_contradict_each_other_do_not_fit(change: str) -> None:
    logs = answer(Random(4), 2)
    logs[1] |= {"blockNumber": logs[0]["blockNumber"], "blockHash": logs[0]["blockHash"]}
    logs[1]["logIndex"] = "0x7"
    if change == "swap":
        logs.reverse()
    elif change == "twice":
        logs[1]["logIndex"] = logs[0]["logIndex"]
    else:
        logs[1]["blockHash"] = "0x" + "ee" * 32
    packed = read_logs(body_of(Random(1), logs))
    assert packed is not None
    assert not packed.fit(CONTRACTS, FIRST, LAST)


def test_the_leading_logs_are_those_of_another_block_or_contract() -> None:
    logs = answer(Random(9), 30)
    packed = read_logs(body_of(Random(1), logs))
    assert packed is not None
    runs = [(entry["blockNumber"], entry["address"].lower()) for entry in logs]
    begins = [place for place in range(30) if place == 0 or runs[place] != runs[place - 1]]
    assert packed.leading() == begins


def test_every_cut_of_a_good_answer_is_left_to_the_reference() -> None:
    short = body_of(Random(2), answer(Random(2), 2))
    assert read_logs(short) is not None
    assert all(read_logs(short[:end]) is None for end in range(len(short)))


def test_kinds_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="told apart"):
        Kinds([(bytes(32), 0, 32, bytes(31))])
    with pytest.raises(ValueError, match="told apart"):
        Kinds([(bytes(32), 0, 0, b"")] * 255)


def test_a_field_outside_of_its_words_is_refused() -> None:
    packed = read_logs(GOOD)
    assert packed is not None
    kinds = Kinds([(bytes(32), 0, 64, bytes(64))])
    for start in (49, 64, 2**31):
        with pytest.raises(ValueError, match="words"):
            FieldTable({0: [Field(NUMERIC, start, 16)]}, kinds)
    assert packed.kinds_of(kinds) == bytes([255]) * packed.count
