"""The stage of one-way channels: who is there, what they sign, how the model's words are sent."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

from hypothesis import strategies as st
from payment_model import (
    ELSEWHERE,
    MAX_AMOUNT,
    MAX_DELAY_S,
    MIN_DELAY_S,
    OWN,
    STRANGE,
    Book,
    Packed,
    PaymentModel,
    Row,
    Terms,
)
from support.bench import actor
from support.evm import CHAIN_ID, ENDLESS
from support.oracle import OracleMachine

from corechain.protocol.channel import NOBODY, ChannelConfig, Voucher, payment_domain
from corechain.protocol.eip712 import uint_word
from corechain.protocol.hashing import keccak
from corechain.protocol.redemption import Redemption, pack_redemptions, redeemed_totals
from corechain.protocol.signature import split_secp256k1

COIN, SCRIP = "coin", "scrip"
TERMS = (
    Terms("payer", "payer", "receiver", "receiver", COIN, MIN_DELAY_S),
    Terms("payer", "payer", "receiver", "receiver", COIN, MIN_DELAY_S, salt=2**64 - 1),
    Terms("delegator", "session key", "receiver", "receiver", COIN, 3_600, salt=2**255),
    Terms("holder", None, "receiver", "receiver", SCRIP, MAX_DELAY_S),
    Terms("payer", "payer", "shop", "clerk", COIN, MIN_DELAY_S, salt=1),
    Terms("delegator", "session key", "shop", "clerk", SCRIP, MIN_DELAY_S, salt=2),
    Terms("wallet", None, "shop", "clerk", SCRIP, 3_600, salt=3),
    Terms("wallet", None, "receiver", "clerk", SCRIP, MIN_DELAY_S, salt=4),
)
PEOPLE = ("payer", "delegator", "session key", "holder", "receiver", "shop", "clerk", "sponsor")
STRANGER, WALLET_KEY = "stranger", "key of the wallet"
EVERYBODY = (*PEOPLE, "wallet", STRANGER)
FUNDS, FORTUNE = 10_000, 2**130
MAX_PACKED = 2**96 - 1
ENTRY = keccak(b"ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)")
BATCH = keccak(
    b"ClaimBatch(ClaimEntry[] claims)"
    b"ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
)
REFUND = keccak(b"Refund(bytes32 channelId,uint256 nonce,uint128 amount)")


@dataclass(frozen=True)
class Wish:
    """A row to be, before the channel's state says what it means."""

    pick: int
    share: int
    astray: bool = False
    kind: str = "more"
    margin: int = 0
    hand: str = OWN


FLAWS = (
    *[{}] * 6,
    {"astray": True},
    {"astray": True},
    {"kind": "all"},
    {"kind": "same"},
    {"kind": "less"},
    {"kind": "too much"},
    {"margin": 7},
    {"margin": -1},
    {"hand": STRANGE},
    {"hand": ELSEWHERE},
)
"""What may be the matter with one row among good ones."""


@st.composite
def _wishes(draw: st.DrawFn) -> list[Wish]:
    rows = draw(
        st.lists(st.builds(Wish, st.integers(0, 7), st.integers(0, 40)), min_size=1, max_size=4)
    )
    flawed = draw(st.integers(0, len(rows) - 1))
    rows[flawed] = replace(rows[flawed], **draw(st.sampled_from(FLAWS)))
    return rows


WISHES = _wishes()


@dataclass(frozen=True)
class Told:
    """What a packed redemption says: how many, which totals, which rows were left out and why."""

    count: int
    redeemed: list[tuple[bytes, int]]
    refused: list[tuple[bytes, int, bytes]]


def _amount(book: Book, wish: Wish) -> int:
    more = book.claimed + max(1, book.free * wish.share // 100)
    less = book.claimed * wish.share // 100
    amounts = {"more": more, "all": book.kept, "same": book.claimed, "less": less}
    return min(amounts.get(wish.kind, book.kept + 1), MAX_AMOUNT)


@cache
def signed(role: str, digest: bytes) -> bytes:
    """A wallet's is that of its key, in three words."""
    if role != "wallet":
        return actor(role).key.sign(digest)
    r, s, parity = split_secp256k1(actor(WALLET_KEY).key.sign(digest))
    return uint_word(r) + uint_word(s) + uint_word(27 + parity)


class PaymentStage(OracleMachine):
    model: PaymentModel

    def __init__(self) -> None:
        super().__init__()
        self.cast(*PEOPLE, STRANGER)
        self.deploy("wallet", "KeyWallet", actor(WALLET_KEY).raw)
        self.tokens = {name: self.deploy(name, "MintableToken") for name in (COIN, SCRIP)}
        self.contract = self.deploy("channels", "PaymentChannels", NOBODY)
        self.domain = payment_domain(CHAIN_ID, self.contract.address)
        self.configs = [self._config(terms) for terms in TERMS]
        self.ids = [config.channel_id(self.domain) for config in self.configs]
        purses = defaultdict(
            int, {(r, t): self._fund(r, t) for r in EVERYBODY for t in self.tokens}
        )
        self.spent: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(Who, token) → deposited by it."""
        self.promised = [0] * len(TERMS)
        """Of each channel the most that was signed for it."""
        self.model = PaymentModel([Book(terms) for terms in TERMS], purses, self.evm.now)

    # ------------------------------------------------------------------------------------- helpers

    def _fund(self, role: str, token: str) -> int:
        funds = FORTUNE if role == "sponsor" else FUNDS
        who, contract = self.addresses[role], self.tokens[token]
        contract.send(who, "mint", who, funds)
        contract.send(who, "approve", self.contract.address, ENDLESS)
        return funds

    def _purse(self, role: str, token: str) -> int:
        return self.tokens[token].words("balanceOf", self.addresses[role])[0]

    def _delays(self) -> list[tuple[int, int]]:
        """(Channel, seconds that are left) of the notices that cannot be followed yet."""
        pending = [(i, b.terms.delay_s, b.pending) for i, b in enumerate(self.model.books)]
        ends = [(i, given[1] + delay - self.evm.now) for i, delay, given in pending if given]
        return [(channel, seconds) for channel, seconds in ends if seconds > 0]

    def _places(self, ledger: tuple[str, str]) -> tuple[bytes, bytes]:
        return self.addresses[ledger[0]], self.addresses[ledger[1]]

    def _config(self, terms: Terms) -> ChannelConfig:
        authorizer = self.addresses[terms.authorizer] if terms.authorizer else NOBODY
        sides = (self.addresses[role] for role in (terms.receiver, terms.clerk, terms.token))
        salt = uint_word(terms.salt)
        return ChannelConfig(self.addresses[terms.payer], authorizer, *sides, terms.delay_s, salt)

    def _send(self, sender: str, function: str, *arguments: object) -> Callable[[], object]:
        return lambda: self.contract.send(self.addresses[sender], function, *arguments)

    def _signature(self, row: Row) -> bytes:
        terms = TERMS[row.channel]
        signer = STRANGER if row.hand == STRANGE else terms.authorizer or terms.payer
        other = (row.channel + 1) % len(TERMS)
        if row.signed:
            self.promised[row.channel] = max(self.promised[row.channel], row.ceiling)
        channel_id = self.ids[other if row.hand == ELSEWHERE else row.channel]
        return signed(signer, Voucher(channel_id, row.ceiling).digest(self.domain))

    def _rows(self, wishes: Sequence[Wish], mine: Callable[[Terms], bool]) -> list[Row]:
        """Of channels that are mine, but for the rows that go astray."""
        found = [i for i, terms in enumerate(TERMS) if mine(terms)] or list(range(len(TERMS)))
        own = [i for i in found if self.model.books[i].free > 0] or found
        rows = []
        for place, wish in enumerate(wishes):
            near = own[(wishes[0].pick + place) % len(own)]
            channel = wish.pick if wish.astray else near
            amount = _amount(self.model.books[channel], wish)
            ceiling = min(max(amount + wish.margin, 0), MAX_AMOUNT)
            rows.append(Row(channel, ceiling, amount, wish.hand))
        return rows

    def _claims(self, rows: Sequence[Row]) -> list[object]:
        return [
            ((words_of(self.configs[r.channel]), r.ceiling), self._signature(r), r.claimed)
            for r in rows
        ]

    def _batch_digest(self, rows: Sequence[Row]) -> bytes:
        entries = (
            keccak(ENTRY + self.ids[r.channel] + uint_word(r.ceiling) + uint_word(r.claimed))
            for r in rows
        )
        return self.domain.digest(keccak(BATCH + keccak(b"".join(entries))))

    def _redemptions(self, rows: Sequence[Row]) -> list[object]:
        return [(words_of(self.configs[r.channel]), r.ceiling, self._signature(r)) for r in rows]

    def _pack(self, sender: str, rows: Sequence[Row]) -> bytes:
        signed = (Redemption(self.configs[r.channel], r.ceiling, self._signature(r)) for r in rows)
        return pack_redemptions(signed, self.addresses[sender])

    def _redeem_packed(self, sender: str, packed: bytes) -> Told:
        """What it says that it did, in its answer and in its events."""
        who = self.addresses[sender]
        (count,) = self.contract.send_packed(who, "redeemGroupsBrief", packed)
        redeemed = [
            row
            for event in self.contract.events("RedeemedMany")
            for row in redeemed_totals(event.values[-1])
        ]
        refused = [event.values for event in self.contract.events("VoucherRefused")]
        return Told(count, sorted(redeemed), sorted(refused))

    def _told_of(self, packed: Packed) -> Told:
        """The same of the model."""
        redeemed = [(self.ids[channel][:20], amount) for channel, amount in packed.redeemed]
        refused = [
            (self.ids[channel], amount, keccak(f"{name}()".encode())[:4])
            for channel, amount, name in packed.refused
        ]
        return Told(len(redeemed), sorted(redeemed), sorted(refused))


def words_of(config: ChannelConfig) -> tuple[object, ...]:
    """As the ABI takes it."""
    return tuple(getattr(config, field.name) for field in fields(config))
