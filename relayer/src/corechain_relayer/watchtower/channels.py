"""State channels as a fold over their events, and the call that answers a challenge. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from corechain.protocol.channel import ChannelState, StateChannel
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import InvalidSignature, ProtocolError, ValueOutOfRange
from corechain.protocol.events import (
    Event,
    StateChannelChallenged,
    StateChannelClosed,
    StateChannelOpened,
    StateChannelToppedUp,
)
from corechain.protocol.keys import recover_signer
from corechain_relayer.calldata import selector

RESPOND = selector("respondBrief()")
VERSION_MAX = 2**40 - 2
"""The highest version stands for a closed channel."""


class UnknownChannel(ProtocolError):
    """The channel is not open on this chain."""

    status = 404

    def __init__(self, channel_id: bytes) -> None:
        super().__init__(f"channel 0x{channel_id.hex()} is not open on this chain")
        self.channel_id = channel_id


@dataclass(frozen=True, slots=True)
class Channel:
    """An open channel. `deadline` (seconds, chain time) is 0 while no challenge runs."""

    terms: StateChannel
    deposit: int
    challenged_version: int = 0
    deadline: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A state with both parties' 64-byte signatures."""

    state: ChannelState
    signature_a: bytes
    signature_b: bytes

    def check(self, channel: Channel, domain: Domain) -> None:
        """Raises InvalidSignature, HighS, ValueOutOfRange. Parties with a contract for an account
        (ERC-1271) must watch for themselves: their signatures cannot be checked off chain."""
        if not 1 <= self.state.version <= VERSION_MAX:
            raise ValueOutOfRange("version", self.state.version)
        if not 0 <= self.state.balance_a <= channel.deposit:
            raise ValueOutOfRange("balance_a", self.state.balance_a)
        digest = self.state.digest(domain)
        parties = (channel.terms.party_a, channel.terms.party_b)
        signed_by = tuple(recover_signer(digest, s) for s in (self.signature_a, self.signature_b))
        if signed_by != parties:
            raise InvalidSignature("the state is not signed by both parties of the channel")


@dataclass(slots=True)
class ChannelsView:
    """Open channels by id. An opening does not tell the id: it follows from where it was told."""

    chain_id: int
    contract: bytes
    channels: dict[bytes, Channel] = field(default_factory=dict)

    def __deepcopy__(self, memo: object) -> "ChannelsView":
        """Channels are frozen."""
        return ChannelsView(self.chain_id, self.contract, dict(self.channels))

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, StateChannelOpened):
                opened = Channel(event.terms, event.deposit)
                self.channels[self._id_of(opened)] = opened
            elif isinstance(event, StateChannelToppedUp):
                self._change(event.channel_id, deposit=event.deposit)
            elif isinstance(event, StateChannelChallenged):
                self._change(
                    event.channel_id, challenged_version=event.version, deadline=event.deadline
                )
            elif isinstance(event, StateChannelClosed):
                del self.channels[event.channel_id]

    def _id_of(self, channel: Channel) -> bytes:
        return channel.terms.channel_id(self.chain_id, self.contract)

    def _change(self, channel_id: bytes, **fields: int) -> None:
        known = self.channels[channel_id]
        self.channels[channel_id] = replace(known, **fields)  # type: ignore[arg-type]

    def find(self, channel_id: bytes) -> Channel:
        """Raises UnknownChannel."""
        channel = self.channels.get(channel_id)
        if channel is None:
            raise UnknownChannel(channel_id)
        return channel

    def challenged(self) -> Iterator[tuple[bytes, Channel]]:
        """Channels with a challenge, the most urgent first."""
        running = [entry for entry in self.channels.items() if entry[1].deadline]
        yield from sorted(running, key=lambda entry: entry[1].deadline)


def respond_call(terms: StateChannel, evidence: Evidence) -> bytes:
    """`respondBrief`: terms, version, balance, both signatures; the tower is no party."""
    return (
        RESPOND
        + b"\x00"
        + terms.pack()
        + evidence.state.version.to_bytes(5, "big")
        + evidence.state.balance_a.to_bytes(11, "big")
        + evidence.signature_a
        + evidence.signature_b
    )
