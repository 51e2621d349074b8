"""The events of the contracts, one class each, named by what happened.

The Solidity signature stands in each class; `corechain.protocol.logs` decodes a log by it.
"""

from dataclasses import dataclass
from typing import ClassVar

from corechain.protocol.channel import ChannelConfig, StateChannel

CONFIG = "(address,address,address,address,address,uint40,bytes32)"
PACKED = "bytes32[3]"
EVIDENCE = (
    "((uint32,bytes,bytes26[])[],"
    "(uint48,((uint48,bytes26,bytes26,bytes26,bytes26,bytes32,bytes32,uint32,uint32,uint40,uint40),"
    "bytes26),(uint48,uint32,bytes26[]))[],bytes)"
)
"""The struct `evidence.Evidence` as Solidity encodes it."""


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


# By name: `slots=True` makes each class a second time, and the first one is a subclass as well.
EVENTS: tuple[type[Event], ...] = tuple(
    {kind.__name__: kind for kind in Event.__subclasses__()}.values()
)
