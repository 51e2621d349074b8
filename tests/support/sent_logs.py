"""Answers to eth_getLogs, good and nearly good, and what the reference and corechain-native say."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from corechain.service.answers import LOGS_METHOD, result_of, unread_answer
from corechain.service.errors import NodeUnavailable
from corechain.service.log_table import LogTable, parse_logs, read_logs
from corechain.service.words import Log

CONTRACTS = [bytes([n]) * 20 for n in (1, 2)]
FIRST, LAST = 5, 40
_MARKS = b'{}[]",:0x \\\xff\x00' + b"false"


def answer(random: Random, count: int) -> list[dict[str, Any]]:
    """Logs in order, of a few blocks, with all that a node sends along."""
    found, number, index = [], FIRST, 0
    for _ in range(count):
        if found and random.random() < 0.3:
            number, index = number + random.randrange(1, 4), 0
        found.append(sent(random, number, index))
        index += random.randrange(1, 3)
    return found


def sent(random: Random, number: int, index: int) -> dict[str, Any]:
    fields = {
        "address": "0x" + random.choice(CONTRACTS).hex(),
        "topics": ["0x" + random.randbytes(32).hex() for _ in range(random.randrange(5))],
        "data": "0x" + random.randbytes(random.choice((0, 1, 32, 32, 64, 200))).hex(),
        "blockNumber": hex(number),
        "blockHash": f"0x{number:064x}",
        "transactionHash": "0x" + random.randbytes(32).hex(),
        "logIndex": hex(index),
    }
    if random.random() < 0.5:
        fields |= {"transactionIndex": "0x0", "removed": False, "blockTimestamp": None}
    if random.random() < 0.1:
        fields["address"] = fields["address"].upper().replace("X", "x")
    return fields


def body_of(random: Random, logs: Any) -> bytes:
    separators = random.choice(((",", ":"), (", ", ": "), (" , ", " : ")))
    return json.dumps(logs, separators=separators).encode()


def bent(random: Random, logs: list[dict[str, Any]]) -> bytes:
    """The same with something wrong in it, or nearly."""
    if logs and random.random() < 0.6:
        entry = random.choice(logs)
        name = random.choice(sorted(entry))
        entry[name] = random.choice(
            (None, True, 0, 1.5, "", "0x", "0x0", "0xg0", "0x0 ", " 0x0", [], ["0x"], {}, "é",
             "0x" + "00" * 31, "0x" + "00" * 33, hex(2**31), hex(2**63), hex(2**64),
             "0x" + "f" * 17,
             [entry["blockHash"]] * 5, entry["address"], entry["data"], entry["logIndex"])
        )  # fmt: skip
        if random.random() < 0.2:
            del entry[name]
        if random.random() < 0.2:
            logs.append(dict(random.choice(logs)))
    body = bytearray(body_of(random, logs))
    for _ in range(random.choice((0, 0, 1, 2))):
        place = random.randrange(len(body))
        body[place : place + random.randrange(2)] = bytes([random.choice(_MARKS)])
    return bytes(body)


def outcome(read: Callable[[Any], Sequence[Log]], body: bytes) -> list[Log] | str:
    """The logs that a reader of results takes from an answer with this body, if it takes it."""
    content = b'{"jsonrpc":"2.0","id":1,"result":' + body + b"}"
    decoded = msgspec.json.decode if read is by_reference else unread_answer
    try:
        answer = decoded(content)
        return list(read(result_of(LOGS_METHOD, answer["result"])))
    except (NodeUnavailable, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unavailable"


def by_reference(raw: Any) -> list[Log]:
    """Each log alone, from what JSON makes of it."""
    return parse_logs(raw, CONTRACTS, [], FIRST, LAST)


def by_parser(raw: Any) -> list[Log]:
    """In pure Python, many together."""
    return parse_logs(raw, CONTRACTS, [], FIRST, LAST)


def by_table(raw: Any) -> Sequence[Log]:
    """Natively where that reads it."""
    return read_logs(raw, CONTRACTS, FIRST, LAST)


def is_native(body: bytes) -> bool:
    try:
        return isinstance(by_table(msgspec.Raw(body)), LogTable)
    except NodeUnavailable:
        return False
