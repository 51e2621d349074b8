"""What two-way channels must do, in Python only: the oracle of StateChannels.

Everybody has a name here; no hash, key or ABI.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from support.evm import Refused

MAX_AMOUNT = 2**88 - 1
CLOSED = 2**40 - 1
"""The version of a channel that is closed and whose terms could still open it."""
OWN, STRANGE, ELSEWHERE = "the party", "a stranger", "the party, for another channel"
OTHER_TYPE, NOBODYS = "the party, for another purpose", "nobody"


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is in a channel. Times in seconds."""

    name: str
    party_a: str
    party_b: str
    token: str
    period_s: int
    open_before: int

    def __deepcopy__(self, memo: object) -> "Terms":
        return self

    @property
    def parties(self) -> tuple[str, str]:
        return self.party_a, self.party_b


@dataclass(frozen=True, slots=True)
class State:
    """Balances at a version, and whose hands have signed for the two parties."""

    version: int
    balance_a: int
    hands: tuple[str, str] = (OWN, OWN)


@dataclass
class Channel:
    terms: Terms
    deposit: int = 0
    balance_a: int = 0
    version: int = 0
    deadline: int = 0

    @property
    def word(self) -> tuple[int, int, int, int]:
        return self.deposit, self.balance_a, self.version, self.deadline

    @property
    def is_open(self) -> bool:
        return self.deposit > 0

    def is_due(self, now: int) -> bool:
        return self.is_open and 0 < self.deadline <= now


@dataclass
class StateModel:
    channels: list[Channel]
    purses: defaultdict[tuple[str, str], int]
    """(Who, token) → tokens outside the contract."""
    now: int
    held: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    blocked: set[tuple[str, str]] = field(default_factory=set)
    """(Who, token) that the token refuses to pay."""

    def refuse(self, name: str, *values: object) -> None:
        raise Refused(name, *values)

    # ---------------------------------------------------------------------------------- deposits

    def open(self, sender: str, index: int, amount_a: int, amount_b: int) -> None:
        self._enter(index, amount_a, amount_b)
        self._draw(sender, index, amount_a + amount_b)

    def open_together(self, sender: str, index: int, amounts: Sequence[int], hands: Sequence[str]):
        terms = self.channels[index].terms
        for party, amount, hand in zip(terms.parties, amounts, hands, strict=True):
            if amount > 0 and party != sender and hand != OWN:
                raise Refused("InvalidSignature")
        self._enter(index, *amounts)
        for party, amount in zip(terms.parties, amounts, strict=True):
            self._draw(party, index, amount)

    def _enter(self, index: int, amount_a: int, amount_b: int) -> None:
        channel = self.channels[index]
        if self.now > channel.terms.open_before:
            raise Refused("OpeningOver", channel.terms.open_before)
        if channel.is_open or channel.version == CLOSED:
            raise Refused("ChannelExists", channel.terms.name)
        channel.deposit = _sum(amount_a, amount_b)
        channel.balance_a = amount_a

    def top_up(self, sender: str, index: int, amount: int) -> None:
        channel = self._open(index)
        if amount == 0:
            raise Refused("InvalidDeposit", 0)
        channel.deposit = _sum(channel.deposit, amount)
        self._draw(sender, index, amount)

    def top_up_signed(self, sender: str, index: int, deposit: int, state: State) -> None:
        channel = self._open(index)
        amount = deposit - channel.deposit
        if amount <= 0:
            raise Refused("InvalidDeposit", deposit)
        if channel.deadline:
            raise Refused("ChallengeRunning", channel.deadline)
        self._require_newer(channel, state)
        channel.deposit = deposit
        self._require_state(sender, channel, state)
        self._stand(channel, state)
        self._draw(sender, index, amount)

    def _draw(self, payer: str, index: int, amount: int) -> None:
        token = self.channels[index].terms.token
        if amount > self.purses[payer, token]:
            raise Refused("TransferFailed", token)
        self.purses[payer, token] -= amount

    # ------------------------------------------------------------------------------------- states

    def challenge(self, sender: str, index: int, state: State) -> None:
        channel = self._open(index)
        if channel.deadline:
            raise Refused("ChallengeRunning", channel.deadline)
        if (state.version, state.balance_a) == (channel.version, channel.balance_a):
            if sender not in channel.terms.parties:
                raise Refused("NotParty", sender)
        else:
            self._require_newer(channel, state)
            self._require_state(sender, channel, state)
        self._stand(channel, state)
        channel.deadline = self.now + channel.terms.period_s

    def respond(self, sender: str, index: int, state: State) -> None:
        channel = self._open(index)
        if self.now >= channel.deadline:
            raise Refused("ChallengeOver", channel.deadline)
        self._require_newer(channel, state)
        self._require_state(sender, channel, state)
        self._stand(channel, state)

    def _open(self, index: int) -> Channel:
        channel = self.channels[index]
        if not channel.is_open:
            raise Refused("UnknownChannel", channel.terms.name)
        return channel

    def _require_newer(self, channel: Channel, state: State) -> None:
        if state.version <= channel.version or state.version == CLOSED:
            raise Refused("StaleState", channel.version, state.version)

    def _require_state(self, sender: str, channel: Channel, state: State) -> None:
        if state.balance_a > channel.deposit:
            raise Refused("BalanceOverDeposit", channel.deposit, state.balance_a)
        for party, hand in zip(channel.terms.parties, state.hands, strict=True):
            if party != sender and hand != OWN:
                raise Refused("InvalidSignature")

    def _stand(self, channel: Channel, state: State) -> None:
        channel.version, channel.balance_a = state.version, state.balance_a

    # ------------------------------------------------------------------------------------ payouts

    def close(self, sender: str, index: int, state: State) -> None:
        """The version means nothing here: a close has none."""
        channel = self._open(index)
        self._require_state(sender, channel, state)
        channel.balance_a = state.balance_a
        self._pay_out(channel)

    def finalise(self, index: int) -> None:
        channel = self._open(index)
        if not channel.deadline:
            raise Refused("ChallengeOver", 0)
        if not channel.is_due(self.now):
            raise Refused("ChallengeRunning", channel.deadline)
        self._pay_out(channel)

    def finalise_many(self, indexes: Sequence[int]) -> int:
        paid = 0
        for index in indexes:
            if self.channels[index].is_due(self.now):
                self._pay_out(self.channels[index])
                paid += 1
        return paid

    def withdraw_held(self, party: str, token: str) -> None:
        if not self.held[party, token]:
            raise Refused("NothingHeld", party, token)
        if (party, token) in self.blocked:
            raise Refused("TransferFailed", token)
        self.purses[party, token] += self.held.pop((party, token))

    def _pay_out(self, channel: Channel) -> None:
        shares = channel.balance_a, channel.deposit - channel.balance_a
        for party, share in zip(channel.terms.parties, shares, strict=True):
            place = party, channel.terms.token
            (self.held if place in self.blocked else self.purses)[place] += share
        channel.deposit = channel.balance_a = channel.deadline = 0
        channel.version = 0 if self.now > channel.terms.open_before else CLOSED


def _sum(one: int, two: int) -> int:
    if not 0 < one + two <= MAX_AMOUNT:
        raise Refused("InvalidDeposit", one + two)
    return one + two
