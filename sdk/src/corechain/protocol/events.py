"""Contract events, decoded by fixed-width words: no ABI library on the path of a log.

A log is its topics and its data in 32-byte words; at most the last field is of dynamic size.
Classes are named by what happened; the Solidity signature stands in each.
"""

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar

from corechain.protocol.channel import ChannelConfig, StateChannel
from corechain.protocol.errors import ProtocolError
from corechain.protocol.hashing import keccak

CONFIG = "(address,address,address,address,address,uint40,bytes32)"
PACKED = "bytes32[3]"
EVIDENCE = (
    "((uint32,bytes,bytes26[])[],"
    "(uint48,((uint48,bytes26,bytes26,bytes26,bytes26,bytes32,bytes32,uint32,uint32,uint40,uint40),"
    "bytes26),(uint48,uint32,bytes26[]))[],bytes)"
)
"""The struct `evidence.Evidence` as Solidity encodes it."""
_WORDS_OF = {CONFIG: 7, PACKED: 3}


class MalformedLog(ProtocolError):
    """A log of a known event that does not have its shape."""


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log. Fields stand in the order of the signature's parameters."""

    SIGNATURE: ClassVar[str]


@dataclass(frozen=True, slots=True)
class DeviceRegistered(Event):
    SIGNATURE = "DeviceRegistered(address indexed,address indexed,uint8,bytes32,bytes32)"
    device: bytes
    owner: bytes
    key_type: int
    x: bytes
    y: bytes


@dataclass(frozen=True, slots=True)
class DeviceTransferred(Event):
    SIGNATURE = "DeviceTransferred(address indexed,address indexed,address indexed)"
    device: bytes
    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class DeviceRevoked(Event):
    SIGNATURE = "DeviceRevoked(address indexed,uint40)"
    device: bytes
    revoked_at: int


@dataclass(frozen=True, slots=True)
class DeviceRotated(Event):
    SIGNATURE = "DeviceRotated(address indexed,address indexed)"
    old_device: bytes
    new_device: bytes


@dataclass(frozen=True, slots=True)
class DeviceMaterialised(Event):
    SIGNATURE = "DeviceMaterialised(address indexed,address indexed,uint8,bytes26 indexed)"
    device: bytes
    owner: bytes
    key_type: int
    fleet: bytes


@dataclass(frozen=True, slots=True)
class FleetEnrolled(Event):
    """`ids`: 20 bytes a device, ascending (`fleet.device_ids`)."""

    SIGNATURE = "FleetEnrolled(bytes26 indexed,address indexed,uint8,bytes)"
    fleet: bytes
    owner: bytes
    key_type: int
    ids: bytes


@dataclass(frozen=True, slots=True)
class KeysPublished(Event):
    """`keys`: 64 bytes (x ‖ y) a P-256 key (`fleet.published_keys`)."""

    SIGNATURE = "KeysPublished(bytes)"
    keys: bytes


@dataclass(frozen=True, slots=True)
class LaneAssigned(Event):
    SIGNATURE = "LaneAssigned(uint16 indexed,address indexed)"
    lane: int
    submitter: bytes


@dataclass(frozen=True, slots=True)
class BatchCommitted(Event):
    SIGNATURE = "BatchCommitted(uint48 indexed,bytes26)"
    batch_id: int
    commitment: bytes


@dataclass(frozen=True, slots=True)
class BatchesCommitted(Event):
    """`commitments`: 26 bytes a batch, consecutive numbers (`commitments_of`)."""

    SIGNATURE = "BatchesCommitted(uint48 indexed,bytes)"
    first_batch_id: int
    commitments: bytes


@dataclass(frozen=True, slots=True)
class LaneBonded(Event):
    SIGNATURE = "LaneBonded(uint16 indexed,address indexed,uint88)"
    lane: int
    funder: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class LaneClosed(Event):
    SIGNATURE = "LaneClosed(uint16 indexed,uint40)"
    lane: int
    exit_at: int


@dataclass(frozen=True, slots=True)
class BondSlashed(Event):
    SIGNATURE = "BondSlashed(uint16 indexed,address indexed,uint88,uint88)"
    lane: int
    challenger: bytes
    bounty: int
    burnt: int


@dataclass(frozen=True, slots=True)
class FraudProven(Event):
    """`kind` is an `evidence.Fraud`."""

    SIGNATURE = "FraudProven(uint48 indexed,uint8,address indexed)"
    batch_id: int
    kind: int
    challenger: bytes


@dataclass(frozen=True, slots=True)
class Demanded(Event):
    """`kind` is an `evidence.Demand`; what is demanded is told by `subject`."""

    SIGNATURE = "Demanded(bytes32 indexed,uint48 indexed,uint8,bytes26,bytes32,uint40)"
    demand_id: bytes
    batch_id: int
    kind: int
    commitment: bytes
    subject: bytes
    deadline: int


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """`evidence` is the ABI encoding of an `evidence.Evidence`: who follows demands needs only
    which one was answered, and by whom."""

    SIGNATURE = f"Answered(bytes32 indexed,address indexed,{EVIDENCE})"
    demand_id: bytes
    answerer: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Unanswered(Event):
    SIGNATURE = "Unanswered(bytes32 indexed)"
    demand_id: bytes


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    SIGNATURE = "Transfer(address indexed,address indexed,uint256)"
    sender: bytes
    receiver: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class RootProposed(Event):
    """Word: root (208 bits) ‖ claimable from this second (32) ‖ handed over (1) ‖ epoch (15)."""

    SIGNATURE = "RootProposed(uint256,uint64,uint128)"
    word: int
    through_block: int
    emission: int

    @property
    def root(self) -> bytes:
        return (self.word >> 48).to_bytes(26, "big")

    @property
    def active_at(self) -> int:
        return self.word >> 16 & (1 << 32) - 1

    @property
    def epoch(self) -> int:
        return self.word & (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class RootVetoed(Event):
    SIGNATURE = "RootVetoed(uint32 indexed)"
    epoch: int


@dataclass(frozen=True, slots=True)
class RewardClaimed(Event):
    SIGNATURE = "Claimed(address indexed,uint128,uint128)"
    owner: bytes
    amount: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class PaymentChannelCreated(Event):
    SIGNATURE = f"ChannelCreated(bytes32 indexed,{CONFIG})"
    channel_id: bytes
    config: ChannelConfig


@dataclass(frozen=True, slots=True)
class PaymentChannelClosed(Event):
    SIGNATURE = f"ChannelClosed(bytes32 indexed,{CONFIG})"
    channel_id: bytes
    config: ChannelConfig


@dataclass(frozen=True, slots=True)
class Deposited(Event):
    SIGNATURE = "Deposited(bytes32 indexed,address indexed,uint128,uint128)"
    channel_id: bytes
    sender: bytes
    amount: int
    balance: int


@dataclass(frozen=True, slots=True)
class VoucherClaimed(Event):
    SIGNATURE = "Claimed(bytes32 indexed,address indexed,uint128,uint128)"
    channel_id: bytes
    sender: bytes
    amount: int
    total_claimed: int


@dataclass(frozen=True, slots=True)
class Redeemed(Event):
    SIGNATURE = "Redeemed(bytes32 indexed,address indexed,uint128,uint128)"
    channel_id: bytes
    receiver: bytes
    amount: int
    total_claimed: int


@dataclass(frozen=True, slots=True)
class RedeemedMany(Event):
    """Each word: first 20 bytes of a channel id ‖ total claimed (`redemption.redeemed_totals`)."""

    SIGNATURE = "RedeemedMany(bytes32[])"
    rows: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VoucherRefused(Event):
    """`reason` is the selector of the error that names why."""

    SIGNATURE = "VoucherRefused(bytes32 indexed,uint128,bytes4)"
    channel_id: bytes
    max_claimable: int
    reason: bytes


@dataclass(frozen=True, slots=True)
class Settled(Event):
    SIGNATURE = "Settled(address indexed,address indexed,address indexed,uint128)"
    receiver: bytes
    token: bytes
    sender: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Refunded(Event):
    SIGNATURE = "Refunded(bytes32 indexed,address indexed,uint128)"
    channel_id: bytes
    sender: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawInitiated(Event):
    SIGNATURE = "WithdrawInitiated(bytes32 indexed,uint128,uint40)"
    channel_id: bytes
    amount: int
    finalize_after: int


@dataclass(frozen=True, slots=True)
class WithdrawFinalized(Event):
    SIGNATURE = "WithdrawFinalized(bytes32 indexed,address indexed,uint128)"
    channel_id: bytes
    sender: bytes
    amount: int


class _ChannelWord:
    """deposit (88 bits) ‖ balance of party A (88) ‖ version (40) ‖ deadline (40)."""

    __slots__ = ()
    word: int

    @property
    def deposit(self) -> int:
        return self.word >> 168

    @property
    def balance_a(self) -> int:
        return self.word >> 80 & (1 << 88) - 1

    @property
    def version(self) -> int:
        return self.word >> 40 & (1 << 40) - 1

    @property
    def deadline(self) -> int:
        return self.word & (1 << 40) - 1


@dataclass(frozen=True, slots=True)
class StateChannelOpened(Event):
    """`packed`: terms 74 bytes ‖ deposit 11 ‖ party A's part 11. The id is the terms' hash."""

    SIGNATURE = "ChannelOpened(bytes32[3])"
    packed: bytes

    @property
    def terms(self) -> StateChannel:
        return StateChannel.unpack(self.packed[:74])

    @property
    def deposit(self) -> int:
        return int.from_bytes(self.packed[74:85], "big")

    @property
    def balance_a(self) -> int:
        return int.from_bytes(self.packed[85:96], "big")


@dataclass(frozen=True, slots=True)
class StateChannelToppedUp(_ChannelWord, Event):
    SIGNATURE = "ChannelToppedUp(bytes32 indexed,uint256)"
    channel_id: bytes
    word: int


@dataclass(frozen=True, slots=True)
class StateChannelChallenged(_ChannelWord, Event):
    SIGNATURE = "ChannelChallenged(bytes32 indexed,uint256)"
    channel_id: bytes
    word: int


@dataclass(frozen=True, slots=True)
class StateChannelClosed(_ChannelWord, Event):
    """The word as it stood last: party A was paid its balance, party B the rest."""

    SIGNATURE = "ChannelClosed(bytes32 indexed,uint256)"
    channel_id: bytes
    word: int

    @property
    def paid_a(self) -> int:
        return self.balance_a

    @property
    def paid_b(self) -> int:
        return self.deposit - self.balance_a


EVENTS: tuple[type[Event], ...] = tuple(Event.__subclasses__())
_INDEXED = " indexed"


@dataclass(frozen=True, slots=True)
class _Layout:
    kind: type[Event]
    topics: tuple[str, ...]
    words: tuple[str, ...]
    indexed: tuple[bool, ...]


def topic_of(kind: type[Event]) -> bytes:
    """topic0: keccak-256 of the canonical signature."""
    return keccak(kind.SIGNATURE.replace(" indexed", "").encode())


def _parameters(signature: str) -> list[str]:
    """Types of the parameters, with what follows them; commas inside a tuple divide nothing."""
    parts, depth = [""], 0
    for character in signature[signature.index("(") + 1 : -1]:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _layout(kind: type[Event]) -> _Layout:
    parameters = _parameters(kind.SIGNATURE)
    assert len(parameters) == len(fields(kind)), kind.SIGNATURE
    marks = tuple(text.endswith(_INDEXED) for text in parameters)
    topics = tuple(text.removesuffix(_INDEXED) for text in parameters if text.endswith(_INDEXED))
    words = tuple(text for text in parameters if not text.endswith(_INDEXED))
    return _Layout(kind, topics, words, marks)


@cache
def layouts() -> dict[bytes, _Layout]:
    return {topic_of(kind): _layout(kind) for kind in EVENTS}


def _value(type_name: str, word: bytes) -> Any:
    if type_name == "address":
        return word[12:]
    if type_name.startswith("bytes"):
        return word[: int(type_name[5:])]
    return int.from_bytes(word, "big")


def _config(words: list[bytes]) -> ChannelConfig:
    payer, payer_authorizer, receiver, receiver_authorizer, token = (w[12:] for w in words[:5])
    delay = int.from_bytes(words[5], "big")
    return ChannelConfig(
        payer, payer_authorizer, receiver, receiver_authorizer, token, delay, words[6]
    )


def _tail(layout: _Layout, data: bytes) -> tuple[bytes, bytes]:
    """Data without its dynamic last field, and that field: length, bytes, zeros up to a word."""
    start = 32 * len(layout.words)
    offset, size = (int.from_bytes(data[i : i + 32], "big") for i in (start - 32, start))
    value, padding = data[start + 32 :][:size], data[start + 32 :][size:]
    whole = start + 32 + -(-size // 32) * 32
    if offset != start or len(data) != whole or any(padding):
        raise MalformedLog(f"{layout.kind.__name__} has a last field in a shape of its own")
    return data[: start - 32], value


def _data_values(layout: _Layout, data: bytes) -> list[Any]:
    if layout.words == (EVIDENCE,):
        return [data]
    if layout.words[-1:] == ("bytes",):
        data, value = _tail(layout, data)
        return [*_static_values(replace(layout, words=layout.words[:-1]), data), value]
    if layout.words == ("bytes32[]",):
        return [_list(layout, data)]
    return _static_values(layout, data)


def _list(layout: _Layout, data: bytes) -> tuple[bytes, ...]:
    """The words of the only field: offset, count, words."""
    offset, count = (int.from_bytes(data[i : i + 32], "big") for i in (0, 32))
    if offset != 32 or len(data) != 64 + 32 * count:
        raise MalformedLog(f"{layout.kind.__name__} has a list in a shape of its own")
    return tuple(data[i : i + 32] for i in range(64, len(data), 32))


def _static_values(layout: _Layout, data: bytes) -> list[Any]:
    words = [data[i : i + 32] for i in range(0, len(data), 32)]
    expected = sum(_WORDS_OF.get(name, 1) for name in layout.words)
    if len(data) != 32 * expected:
        raise MalformedLog(f"{layout.kind.__name__} has {expected} words, not {len(data)} bytes")
    if layout.words == (CONFIG,):
        return [_config(words)]
    if layout.words == (PACKED,):
        return [data]
    return [_value(name, word) for name, word in zip(layout.words, words, strict=True)]


def decode_log(topics: list[bytes], data: bytes) -> Event | None:
    """The event of a log, None when it is not one of ours. Raises MalformedLog."""
    layout = layouts().get(topics[0]) if topics else None
    if layout is None:
        return None
    if len(topics) != 1 + len(layout.topics):
        raise MalformedLog(f"{layout.kind.__name__} has {len(layout.topics)} indexed fields")
    from_topics = iter(_value(n, t) for n, t in zip(layout.topics, topics[1:], strict=True))
    from_data = iter(_data_values(layout, data))
    return layout.kind(*(next(from_topics if mark else from_data) for mark in layout.indexed))


def commitments_of(event: Event | None) -> list[tuple[int, bytes]]:
    """(batch id, commitment) of what a log commits to; nothing for other events.

    Raises MalformedLog for a group that does not hold whole commitments.
    """
    if isinstance(event, BatchCommitted):
        return [(event.batch_id, event.commitment)]
    if not isinstance(event, BatchesCommitted):
        return []
    packed, first = event.commitments, event.first_batch_id
    if len(packed) % 26:
        raise MalformedLog(f"{len(packed)} bytes are no whole commitments")
    return [(first + i // 26, packed[i : i + 26]) for i in range(0, len(packed), 26)]
