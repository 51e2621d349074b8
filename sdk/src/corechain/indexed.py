"""What an index tells of devices, stations, series, epochs and channels: typed, and its own word.

None of it is proven, but for one thing: the terms of a channel are those whose hash is its id.
Amounts are in base units, times in seconds since 1970, ids in bytes.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from corechain.deployment import DeployedContract
from corechain.documents import (
    I32,
    I64,
    U8,
    U16,
    U32,
    U40,
    BatchId,
    CellText,
    Decimal,
    MalformedAnswer,
    Octets20,
    Octets26,
    Octets32,
    Unsigned,
    WrongAnswer,
    octets,
)
from corechain.protocol.channel import ChannelConfig, StateChannel
from corechain.protocol.hashing import Digest26
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.rewards import Owner
from corechain.protocol.vocabulary import Metric

Octets5 = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{10}\Z")]
Finality = Literal["pending", "safe", "finalised"]


@dataclass(frozen=True, slots=True)
class IndexedNetwork:
    """The chain and the contracts that an index follows: compare them with `client.contracts`, your
    manifest. `rpc_url`: a node that browsers may ask, where the operator names one."""

    chain_id: int
    contracts: dict[str, DeployedContract]
    rpc_url: str | None


@dataclass(frozen=True, slots=True)
class IndexedDevice:
    """A device as the registry has it. `block`: in which it was registered, materialised or, only
    in a fleet, enrolled; `finality` is that block's."""

    device: DeviceId
    owner: Owner
    key_type: int
    revoked: bool
    revoked_at: int | None
    block: int
    finality: Finality

    @property
    def provenance(self) -> Provenance:
        """Whose word its readings are: its own, or a bridge's."""
        return provenance_of(self.device)


@dataclass(frozen=True, slots=True)
class NewestReading:
    """The newest reading of a device and a metric; `value` in the metric's own unit. Its batch and
    position are what `Client.reading` proves it by."""

    metric: Metric
    reading: Reading
    batch_id: int
    position: int
    finality: Finality

    @property
    def value(self) -> float:
        return self.metric.from_wire(self.reading.value)


@dataclass(frozen=True, slots=True)
class Station:
    """A device that has readings. `cell`: the H3 index of its newest one, of whatever metric;
    `newest`: of the metric that was asked for, None where it has none."""

    device: DeviceId
    cell: int
    revoked: bool
    newest: NewestReading | None

    @property
    def provenance(self) -> Provenance:
        return provenance_of(self.device)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The readings in [start, start + bucket_s) seconds; values in the metric's own unit."""

    start: int
    count: int
    mean: float
    min: float
    max: float


class Series(list[Bucket]):
    """Buckets that have readings, by time. `next_start`: what goes on behind the last one as
    `start=`; None where they are all of the window."""

    next_start: int | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A reward root, and what the index found of it: `state` is "pending", "verified" or
    "mismatch". Claimable from `active_at` on. `bridge_weight_bps`: what a slot of a bridge's
    device counts, of 10,000 for a device's own."""

    epoch: int
    root: Digest26
    through_block: int
    emission: int
    active_at: int
    block: int
    finality: Finality
    state: str
    bridge_weight_bps: int


@dataclass(frozen=True, slots=True)
class IndexedPaymentChannel:
    """A payment channel as it is in the index: `deposit` is what was paid in and not withdrawn,
    `claimed` what the payee has drawn of it. `client.channels()` asks the chain for your own."""

    channel_id: bytes
    config: ChannelConfig
    deposit: int
    claimed: int
    block: int


@dataclass(frozen=True, slots=True)
class IndexedStateChannel:
    """A two-way channel as it is in the index. `state` is "open", "challenged" or "closed";
    party B has what is not party A's of the deposit, at `version`. `deadline`: until when a
    challenge can be answered, 0 where there is none."""

    channel_id: bytes
    terms: StateChannel
    state: str
    deposit: int
    balance_a: int
    version: int
    deadline: int
    block: int


class _Row(msgspec.Struct, frozen=True):
    """Names that are not listed are passed over: a later server may say more."""


class _PlaceJson(_Row, frozen=True):
    address: Octets20
    block: Unsigned


class NetworkJson(_Row, frozen=True):
    chain_id: Unsigned
    contracts: dict[str, _PlaceJson]
    rpc_url: str | None = None

    def made(self) -> IndexedNetwork:
        places = {
            name: DeployedContract(name, octets(place.address), place.block)
            for name, place in self.contracts.items()
        }
        return IndexedNetwork(self.chain_id, places, self.rpc_url)


class DeviceJson(_Row, frozen=True):
    device: Octets20
    owner: Octets20
    key_type: U8
    revoked: bool
    block: Unsigned
    finality: Finality
    revoked_at: U40 | None = None

    def made(self) -> IndexedDevice:
        return IndexedDevice(
            DeviceId(octets(self.device)),
            Owner(octets(self.owner)),
            self.key_type,
            self.revoked,
            self.revoked_at,
            self.block,
            self.finality,
        )


class _NewestJson(_Row, frozen=True):
    metric: U16
    observed_at: U40
    value: I32
    flag: U8
    cell: CellText
    batch_id: BatchId
    position: U32
    finality: Finality

    def made(self, device: DeviceId, metric: Metric) -> NewestReading:
        if self.metric != metric.code:
            raise WrongAnswer(f"a reading of metric {self.metric}, not of {metric.name}")
        cell = int(self.cell, 16)
        reading = Reading(self.metric, cell, device, self.observed_at, self.value, self.flag)
        return NewestReading(metric, reading, self.batch_id, self.position, self.finality)


class StationJson(_Row, frozen=True):
    device: Octets20
    cell: CellText
    revoked: bool
    newest: _NewestJson | None = None

    def made(self, metric: Metric) -> Station:
        """Raises WrongAnswer when the newest value is of another metric."""
        device = DeviceId(octets(self.device))
        newest = None if self.newest is None else self.newest.made(device, metric)
        return Station(device, int(self.cell, 16), self.revoked, newest)


class _BucketJson(_Row, frozen=True):
    start: U40
    count: Annotated[int, msgspec.Meta(ge=1)]
    sum: I64
    min: I32
    max: I32

    def made(self, metric: Metric) -> Bucket:
        low, high = metric.from_wire(self.min), metric.from_wire(self.max)
        return Bucket(self.start, self.count, self.sum / self.count / metric.scale, low, high)


class SeriesJson(_Row, frozen=True):
    metric: U16
    items: list[_BucketJson]
    next_from: U40 | None = None


class EpochJson(_Row, frozen=True):
    epoch: Unsigned
    root: Octets26
    through_block: Unsigned
    emission: Decimal
    active_at: U40
    block: Unsigned
    finality: Finality
    state: str
    bridge_weight_bps: U16

    def made(self) -> Epoch:
        fields = msgspec.structs.asdict(self)
        root, emission = Digest26(octets(self.root)), int(self.emission)
        return Epoch(**fields | {"root": root, "emission": emission})


class PaymentChannelJson(_Row, frozen=True, tag_field="kind", tag="payment"):
    channel_id: Octets32
    payer: Octets20
    payer_authorizer: Octets20
    receiver: Octets20
    receiver_authorizer: Octets20
    token: Octets20
    withdraw_delay: U40
    salt: Octets32
    balance: Decimal
    claimed: Decimal
    block: Unsigned

    def made(self) -> IndexedPaymentChannel:
        config = ChannelConfig(
            octets(self.payer),
            octets(self.payer_authorizer),
            octets(self.receiver),
            octets(self.receiver_authorizer),
            octets(self.token),
            self.withdraw_delay,
            octets(self.salt),
        )
        money = int(self.balance), int(self.claimed)
        return IndexedPaymentChannel(octets(self.channel_id), config, *money, self.block)


class StateChannelJson(_Row, frozen=True, tag_field="kind", tag="state"):
    channel_id: Octets32
    party_a: Octets20
    party_b: Octets20
    token: Octets20
    challenge_period: U32
    open_before: U40
    salt: Octets5
    state: str
    deposit: Decimal
    balance_a: Decimal
    version: Unsigned
    deadline: U40
    block: Unsigned

    def made(self) -> IndexedStateChannel:
        terms = StateChannel(
            octets(self.party_a),
            octets(self.party_b),
            octets(self.token),
            self.challenge_period,
            self.open_before,
            octets(self.salt),
        )
        return IndexedStateChannel(
            octets(self.channel_id),
            terms,
            self.state,
            int(self.deposit),
            int(self.balance_a),
            self.version,
            self.deadline,
            self.block,
        )


ChannelJson: Any = PaymentChannelJson | StateChannelJson


def check_terms(claimed: bytes, computed: bytes) -> None:
    """Raises MalformedAnswer when terms are not those of a channel: their hash is its id."""
    if claimed != computed:
        raise MalformedAnswer("the terms that the API gave are of another channel")


def series_of(answer: SeriesJson, metric: Metric) -> list[Bucket]:
    """Raises WrongAnswer."""
    if answer.metric != metric.code:
        raise WrongAnswer(f"a series of metric {answer.metric}, not of {metric.name}")
    return [bucket.made(metric) for bucket in answer.items]
