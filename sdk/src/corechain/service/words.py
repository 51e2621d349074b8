"""The words of a node, read at the border: quantities, bytes, blocks, logs. Pure.

Whatever is not of the form that the Ethereum JSON-RPC specification gives (execution-apis, schemas
`uint`, `bytes`, `Block`, `Log`) is NodeUnavailable: the node may be broken, its answer is no fact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import le
from typing import Any

import msgspec

from corechain.service.errors import NodeUnavailable

MAX_TOPICS = 4
BLOOM_BYTES = 256
LARGEST_BLOCK = (1 << 63) - 1
LARGEST_INDEX = (1 << 31) - 1
"""What a database keeps as numbers of blocks and of logs in them. No chain gets there; a node can
say it."""
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class Log(msgspec.Struct, frozen=True, gc=False):
    """One event log of a contract."""

    # No dataclass: a frozen one takes ten times as long to make, and a backfill makes millions.

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Block:
    """What services need of a block header. `base_fee` in wei (0 before EIP-1559).

    `logs_bloom`: 256 bytes, or None where the node leaves it out (some layer-2 nodes do).
    """

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int
    logs_bloom: bytes | None = None


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def to_hex(data: bytes) -> str:
    return "0x" + data.hex()


def _wrong(what: str, raw: object) -> NodeUnavailable:
    return NodeUnavailable(f"the node sent {raw!r:.80} as {what}")


def quantity(raw: object, what: str, bits: int = 64) -> int:
    """A number in hexadecimal. Raises NodeUnavailable when it is none, or has more bits."""
    if not isinstance(raw, str) or not raw.startswith("0x") or not 2 < len(raw) <= 2 + bits // 4:
        raise _wrong(what, raw)
    if not _HEX_DIGITS.issuperset(raw[2:]):  # int() would take signs, spaces and underscores
        raise _wrong(what, raw)
    return int(raw, 16)


def block_number(raw: object) -> int:
    """Raises NodeUnavailable when it is none, or one that no chain can reach."""
    return _at_most(LARGEST_BLOCK, raw, "a block number")


def log_index(raw: object) -> int:
    """Raises NodeUnavailable when it is none, or one that no block can hold."""
    return _at_most(LARGEST_INDEX, raw, "a log's index")


def _at_most(largest: int, raw: object, what: str) -> int:
    found = quantity(raw, what)
    if found > largest:
        raise _wrong(what, raw)
    return found


def octets(raw: object, what: str, size: int | None = None) -> bytes:
    """Bytes in hexadecimal, of a size when one is given. Raises NodeUnavailable."""
    if not isinstance(raw, str) or not raw.startswith("0x"):
        raise _wrong(what, raw)
    try:
        data = bytes.fromhex(raw[2:])
    except ValueError:
        raise _wrong(what, raw) from None
    # fromhex passes over white space, so the lengths have to agree.
    if len(raw) != 2 + 2 * len(data) or size not in (None, len(data)):
        raise _wrong(what, raw)
    return data


def fields_of(raw: object, what: str) -> Mapping[str, Any]:
    """A JSON object. Raises NodeUnavailable."""
    if not isinstance(raw, dict):
        raise _wrong(what, raw)
    return raw


def items_of(raw: object, what: str) -> Sequence[Any]:
    """A JSON array. Raises NodeUnavailable."""
    if not isinstance(raw, list):
        raise _wrong(what, raw)
    return raw


def read_json(body: bytes | msgspec.Raw, what: str) -> Any:
    """Raises NodeUnavailable when it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise NodeUnavailable(f"the node sent {what} that are not JSON") from error


def parse_block(raw: object) -> Block:
    """A block header. Raises NodeUnavailable."""
    fields = fields_of(raw, "a block")
    fee, bloom = fields.get("baseFeePerGas"), fields.get("logsBloom")
    return Block(
        block_number(fields.get("number")),
        octets(fields.get("hash"), "a block hash", 32),
        octets(fields.get("parentHash"), "a parent hash", 32),
        quantity(fields.get("timestamp"), "a block's timestamp"),
        0 if fee is None else quantity(fee, "a base fee", 256),
        None if bloom is None else octets(bloom, "a logs bloom", BLOOM_BYTES),
    )


def parse_log(raw: object) -> Log:
    """A log of a block that stands. Raises NodeUnavailable, also for one that was removed."""
    fields = fields_of(raw, "a log")
    topics = items_of(fields.get("topics"), "the topics of a log")
    if len(topics) > MAX_TOPICS or fields.get("removed"):
        raise _wrong("a log", raw)
    return Log(
        octets(fields.get("address"), "a log's address", 20),
        tuple(octets(topic, "a topic", 32) for topic in topics),
        octets(fields.get("data"), "a log's data"),
        block_number(fields.get("blockNumber")),
        octets(fields.get("blockHash"), "a log's block hash", 32),
        octets(fields.get("transactionHash"), "a log's transaction", 32),
        log_index(fields.get("logIndex")),
    )


class SentLog(msgspec.Struct, rename="camel", gc=False):
    """A log as JSON has it, of the right types: what `json` decodes at once, without a dict."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str
    removed: bool | None = None


_sent_logs = msgspec.json.Decoder(list[SentLog]).decode


@dataclass(slots=True)
class LogParser:
    """Reads the logs of one answer as `parse_log` does, at a third of its cost: most words of an
    answer (block, transaction, address, kind of event) stand in many of its logs.

    For one answer only: what it has read is kept as long as it is.
    """

    _words: dict[str, bytes] = field(default_factory=dict)
    _addresses: dict[str, bytes] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _indexes: dict[str, int] = field(default_factory=dict)

    def read_all(self, body: msgspec.Raw) -> list[Log]:
        """The logs of a JSON array. Raises NodeUnavailable."""
        try:
            return list(map(self._read, _sent_logs(body)))
        except (ValueError, RecursionError):
            # Of a form that is rare, or wrong: its reader says which.
            return list(map(parse_log, items_of(read_json(body, "logs"), "logs")))

    def read(self, raw: Any) -> Log:
        """Raises NodeUnavailable as `parse_log` does."""
        try:
            return self._read(msgspec.convert(raw, SentLog))
        except ValueError:
            return parse_log(raw)

    def _read(self, sent: SentLog) -> Log:
        """Raises ValueError for whatever is not plainly good."""
        topics, data = sent.topics, sent.data
        held = bytes.fromhex(data[2:])
        if data[:2] != "0x" or len(data) != 2 + 2 * len(held):
            raise ValueError(data)
        if len(topics) > MAX_TOPICS or sent.removed:
            raise ValueError(topics)
        word = self._word
        return Log(
            self._addresses.get(sent.address) or self._address(sent.address),
            tuple([word(topic) for topic in topics]),
            held,
            self._number(sent.block_number),
            word(sent.block_hash),
            word(sent.transaction_hash),
            self._index(sent.log_index),
        )

    def _word(self, text: str) -> bytes:
        found = self._words.get(text)
        if found is None:
            found = bytes.fromhex(text[2:])
            if len(found) != 32 or len(text) != 66 or text[:2] != "0x":
                raise ValueError(text)
            self._words[text] = found
        return found

    def _address(self, text: str) -> bytes:
        found = self._addresses[text] = octets(text, "a log's address", 20)
        return found

    def _number(self, text: str) -> int:
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = block_number(text)
        return found

    def _index(self, text: str) -> int:
        found = self._indexes.get(text)
        if found is None:
            found = self._indexes[text] = log_index(text)
        return found


def _answers(log: Log, topics: Sequence[Any]) -> bool:
    """Whether a log is one of those asked for. `topics`: hex, a list of alternatives, or None."""
    for place, wanted in enumerate(topics):
        if wanted is None:
            continue
        any_of = [wanted] if isinstance(wanted, str) else wanted
        held = to_hex(log.topics[place]) if place < len(log.topics) else None
        if any_of and held not in any_of:
            return False
    return True


def _in_order(logs: Sequence[Log]) -> Sequence[Log]:
    """As it is, if it is in chain order already, which all known nodes keep."""
    places = [(log.block_number, log.index) for log in logs]
    if all(map(le, places, places[1:])):
        return logs
    return sorted(logs, key=lambda log: (log.block_number, log.index))


def checked_logs(
    logs: Sequence[Log], addresses: Sequence[bytes], topics: Sequence[Any], first: int, last: int
) -> list[Log]:
    """The logs in chain order. Raises NodeUnavailable unless each is one that was asked for, no
    place holds two, and all logs of a block name one hash."""
    ordered, ours = list(_in_order(logs)), frozenset(addresses)
    number, index, hash_ = -1, -1, b""
    for log in ordered:
        if log.block_number != number:
            number, index, hash_ = log.block_number, -1, log.block_hash
            if not first <= number <= last:
                raise _unasked(number)
        if (ours and log.address not in ours) or (topics and not _answers(log, topics)):
            raise _unasked(number)
        if log.index == index:
            raise NodeUnavailable(f"the node sent two logs number {index} of block {number}")
        if log.block_hash != hash_:
            raise NodeUnavailable(f"the node sent logs of two blocks {number}")
        index = log.index
    return ordered


def _unasked(number: int) -> NodeUnavailable:
    return NodeUnavailable(f"the node sent a log nobody asked for, of block {number}")
