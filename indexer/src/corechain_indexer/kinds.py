"""Which events give rows of which table, and by which revision of the code that makes them.

The index remembers the revision by which it has made the rows of each kind. Where the code has
another one, and for a kind that it does not know, the rows are made anew from the raw logs, beside
live indexing (`decoding.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from corechain.protocol import events as e
from corechain.protocol.logs import topic_of

CONTRACT_OF_TABLE: Mapping[str, str] = {
    "device_event": "DeviceRegistry",
    "fleet_device": "DeviceRegistry",
    "batch": "DataBatches",
    "root_event": "CoreToken",
    "claim_event": "CoreToken",
    "payment_channel": "PaymentChannels",
    "payment_event": "PaymentChannels",
    "state_channel_event": "StateChannels",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is made of an event. `revision` goes up with every change of the rows that its logs
    give (a column more, another value): a test holds it beside their digest."""

    table: str
    revision: int = 1


KINDS: Mapping[type[e.Event], Kind] = {
    e.DeviceRegistered: Kind("device_event"),
    e.DeviceMaterialised: Kind("device_event"),
    e.DeviceTransferred: Kind("device_event"),
    e.DeviceRevoked: Kind("device_event"),
    e.FleetEnrolled: Kind("fleet_device"),
    e.BatchCommitted: Kind("batch"),
    e.BatchesCommitted: Kind("batch"),
    e.RootProposed: Kind("root_event"),
    e.RootVetoed: Kind("root_event"),
    e.RewardClaimed: Kind("claim_event"),
    e.PaymentChannelCreated: Kind("payment_channel"),
    e.Deposited: Kind("payment_event"),
    e.VoucherClaimed: Kind("payment_event"),
    e.Redeemed: Kind("payment_event"),
    e.RedeemedMany: Kind("payment_event"),
    e.Refunded: Kind("payment_event"),
    e.WithdrawInitiated: Kind("payment_event"),
    e.WithdrawFinalized: Kind("payment_event"),
    e.StateChannelOpened: Kind("state_channel_event"),
    e.StateChannelToppedUp: Kind("state_channel_event"),
    e.StateChannelChallenged: Kind("state_channel_event"),
    e.StateChannelClosed: Kind("state_channel_event"),
}


@dataclass(frozen=True, slots=True)
class Decoder:
    """A kind as the index remembers it, by its topic."""

    topic: bytes
    name: str
    table: str
    revision: int


@cache
def decoders() -> Mapping[bytes, Decoder]:
    """Of this version, by topic."""
    found = (
        Decoder(topic_of(kind), kind.__name__, rows.table, rows.revision)
        for kind, rows in KINDS.items()
    )
    return {decoder.topic: decoder for decoder in found}
