"""State channels as a fold over their events, and the call that answers a challenge. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from corechain.protocol.channel import ChannelState, StateChannel
from corechain.protocol.errors import ProtocolError, ValueOutOfRange
from corechain.protocol.events import (
    Event,
    StateChannelChallenged,
    StateChannelClosed,
    StateChannelOpened,
    StateChannelToppedUp,
)
from corechain.protocol.logs import decode_log
from corechain.service.words import Log
from corechain_relayer.calldata import selector
from corechain_relayer.journal.final_logs import Subject

RESPOND = selector("respondBrief()")
TERMS_TYPE = "(address,address,address,uint32,uint40,bytes5)"
STATE_TYPE = "(uint40,uint88,bytes,bytes)"
RESPOND_WHOLE = selector(f"respond({TERMS_TYPE},{STATE_TYPE})")
BRIEF_SIGNATURE = 64
"""Bytes of the signatures that the brief call takes; a contract's may have any length."""
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
    """An open channel as it stands on chain. `deadline` (seconds, chain time) is 0 while no
    challenge runs; amounts in base units of the channel's token."""

    terms: StateChannel
    deposit: int
    balance_a: int = 0
    challenged_version: int = 0
    deadline: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A state with both parties' signatures: 64 bytes of a key, any length of a contract."""

    state: ChannelState
    signature_a: bytes
    signature_b: bytes

    def check_values(self, channel: Channel) -> None:
        """Raises ValueOutOfRange. Whether both parties consent says `consent`."""
        if not 1 <= self.state.version <= VERSION_MAX:
            raise ValueOutOfRange("version", self.state.version)
        if not 0 <= self.state.balance_a <= channel.deposit:
            raise ValueOutOfRange("balance_a", self.state.balance_a)


@dataclass(frozen=True, slots=True)
class StaleClose:
    """A challenge that is older than what we hold."""

    channel_id: bytes
    channel: Channel
    evidence: Evidence

    @property
    def stake(self) -> int:
        """Base units that change hands by the answer."""
        return abs(self.evidence.state.balance_a - self.channel.balance_a)

    @property
    def urgency(self) -> tuple[int, int]:
        """The lowest first: the nearest deadline, then the most at stake."""
        return self.channel.deadline, -self.stake


@dataclass(slots=True)
class ChannelsView:
    """Open channels by id. An opening does not tell the id: it follows from where it was told."""

    chain_id: int
    contract: bytes
    channels: dict[bytes, Channel] = field(default_factory=dict)
    challenged: dict[bytes, Channel] = field(default_factory=dict)
    """Those with a running challenge: few among many, and looked at on every poll."""

    def __deepcopy__(self, memo: object) -> "ChannelsView":
        """Channels are frozen."""
        parts = dict(self.channels), dict(self.challenged)
        return ChannelsView(self.chain_id, self.contract, *parts)

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, StateChannelOpened):
                opened = Channel(event.terms, event.deposit, event.balance_a)
                self.channels[self._id_of(opened)] = opened
            elif isinstance(event, (StateChannelToppedUp, StateChannelChallenged)):
                self._stands(event)
            elif isinstance(event, StateChannelClosed):
                del self.channels[event.channel_id]
                self.challenged.pop(event.channel_id, None)

    def _id_of(self, channel: Channel) -> bytes:
        return channel.terms.channel_id(self.chain_id, self.contract)

    def subject_of(self, entry: Log) -> Subject:
        """The channel of a log. Raises MalformedLog."""
        event = decode_log(list(entry.topics), entry.data)
        if isinstance(event, StateChannelOpened):
            return Subject(event.terms.channel_id(self.chain_id, self.contract), False)
        if isinstance(event, (StateChannelToppedUp, StateChannelChallenged, StateChannelClosed)):
            return Subject(event.channel_id, isinstance(event, StateChannelClosed))
        return Subject(b"", False)  # of no channel: it stays

    def _stands(self, event: StateChannelToppedUp | StateChannelChallenged) -> None:
        self.channels[event.channel_id] = channel = replace(
            self.channels[event.channel_id],
            deposit=event.deposit,
            balance_a=event.balance_a,
            challenged_version=event.version,
            deadline=event.deadline,
        )
        if channel.deadline:
            self.challenged[event.channel_id] = channel

    def find(self, channel_id: bytes) -> Channel:
        """Raises UnknownChannel."""
        channel = self.channels.get(channel_id)
        if channel is None:
            raise UnknownChannel(channel_id)
        return channel


def respond_call(terms: StateChannel, evidence: Evidence) -> bytes:
    """The cheapest call that takes both signatures; the tower is no party."""
    sizes = {len(evidence.signature_a), len(evidence.signature_b)}
    return _brief(terms, evidence) if sizes == {BRIEF_SIGNATURE} else _whole(terms, evidence)


def _brief(terms: StateChannel, evidence: Evidence) -> bytes:
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


def _whole(terms: StateChannel, evidence: Evidence) -> bytes:
    """`respond`, as its ABI has it."""
    # A tenth of a second of CPU to import, for channels of contracts alone.
    from eth_abi.abi import encode

    parties = (terms.party_a, terms.party_b, terms.token)
    times = (terms.challenge_period_s, terms.open_before)
    state = (evidence.state.version, evidence.state.balance_a)
    signed = (*state, evidence.signature_a, evidence.signature_b)
    return RESPOND_WHOLE + encode(
        [TERMS_TYPE, STATE_TYPE], [(*parties, *times, terms.salt), signed]
    )
