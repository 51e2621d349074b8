"""Paying for queries: x402 v2 headers with vouchers of a `batch-settlement` channel. No I/O.

Source: x402 specification, scheme batch-settlement on EVM (header names, camelCase JSON in base64),
and its extension `payment-identifier` (an id by which a server knows a payment it has taken).
"""

import base64
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corechain.protocol.channel import ChannelConfig, Voucher, payment_domain
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import (
    ChargedUnanswered,
    PaymentRequired,
    PriceTooHigh,
    ProtocolError,
    WrongPayee,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key, recover_signer
from corechain.protocol.signature import compact_signature, wallet_signature
from corechain.turns import Turns

PAYMENT_REQUIRED = "PAYMENT-REQUIRED"
PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
PAYMENT_RESPONSE = "PAYMENT-RESPONSE"
SCHEME = "batch-settlement"
PAYMENT_IDENTIFIER = "payment-identifier"
# 128 bits in decimal have 39 digits; ASCII, for int() takes the digits of every script.
_AMOUNT = re.compile(r"[0-9]{1,39}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_SIGNATURE = re.compile(r"0x(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{130})", re.ASCII)
_CORRECTIONS = ("channelState", "voucherState")


def encode_header(document: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def decode_header(text: str) -> dict[str, Any]:
    """Raises PaymentRequired when the header is not base64 JSON."""
    try:
        document = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError) as error:
        raise PaymentRequired(f"not an x402 header: {error}") from error
    if not isinstance(document, dict):
        raise PaymentRequired("an x402 header holds a JSON object")
    return document


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _mapping(value: object) -> Mapping[str, Any]:
    """What a server should have sent as an object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def _amount(value: object) -> int | None:
    """x402 writes amounts as decimal strings of up to 128 bits; None for anything else."""
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value) or int(value) >= 2**128:
        return None
    return int(value)


def _address(value: object) -> bytes | None:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        return None
    return bytes.fromhex(value[2:])


def _config_json(config: ChannelConfig) -> dict[str, Any]:
    return {
        "payer": _hex(config.payer),
        "payerAuthorizer": _hex(config.payer_authorizer),
        "receiver": _hex(config.receiver),
        "receiverAuthorizer": _hex(config.receiver_authorizer),
        "token": _hex(config.token),
        "withdrawDelay": config.withdraw_delay_s,
        "salt": _hex(config.salt),
    }


@dataclass(frozen=True, slots=True)
class Price:
    """What a server asks: the accepted requirement as it stood, and its parts; base units.

    `contract` and `authorizer` are None where the offer does not name them; `takes_ids` says
    whether the server knows a payment again by its id.
    """

    requirement: Mapping[str, Any]
    amount: int
    receiver: bytes
    token: bytes
    contract: bytes | None = None
    authorizer: bytes | None = None
    takes_ids: bool = False


def _price(offer: Mapping[str, Any], takes_ids: bool) -> Price | None:
    extra = _mapping(offer.get("extra"))
    amount, receiver, token = (
        _amount(offer.get("amount")),
        _address(offer.get("payTo")),
        _address(offer.get("asset")),
    )
    # A price of nothing would be paid by a voucher that adds nothing: no server takes it.
    if not amount or receiver is None or token is None:
        return None
    contract, authorizer = extra.get("paymentChannels"), extra.get("receiverAuthorizer")
    parts = (_address(contract), _address(authorizer))
    return Price(offer, amount, receiver, token, *parts, takes_ids)


def _prices(document: Mapping[str, Any], chain_id: int) -> Iterator[Price]:
    takes_ids = PAYMENT_IDENTIFIER in _mapping(document.get("extensions"))
    accepts = document.get("accepts")
    for offer in map(_mapping, accepts if isinstance(accepts, list) else ()):
        if offer.get("scheme") == SCHEME and offer.get("network") == f"eip155:{chain_id}":
            price = _price(offer, takes_ids)
            if price is not None:
                yield price


def parse_prices(headers: Mapping[str, str], chain_id: int) -> list[Price]:
    """The `batch-settlement` offers of a 402 answer for a chain; malformed ones are left out.

    Raises PaymentRequired when there is none.
    """
    document = decode_header(headers.get(PAYMENT_REQUIRED.lower(), ""))
    found = list(_prices(document, chain_id))
    if not found:
        raise PaymentRequired(f"the server takes no {SCHEME} payment on chain {chain_id}")
    return found


def offers(headers: Mapping[str, str], chain_id: int) -> bool:
    """Whether an answer names a price that a channel on this chain could pay."""
    try:
        return bool(parse_prices(headers, chain_id))
    except PaymentRequired:
        return False


def corrects(headers: Mapping[str, str]) -> bool:
    """Whether a refusal says where the payee is in counting."""
    try:
        accepts = decode_header(headers.get(PAYMENT_REQUIRED.lower(), "")).get("accepts")
    except PaymentRequired:
        return False
    offers = accepts if isinstance(accepts, list) else ()
    return any("channelState" in _mapping(_mapping(offer).get("extra")) for offer in offers)


def parse_price(headers: Mapping[str, str], chain_id: int) -> Price:
    """The first of the `batch-settlement` offers. Raises PaymentRequired when there is none."""
    return parse_prices(headers, chain_id)[0]


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed voucher on its way: its amount, the query that it pays, and the header to send."""

    amount: int
    query: bytes
    payment_id: str
    header: str


@dataclass(slots=True)
class PaymentChannel:
    """The payer's end of a channel: one book of what was paid, and the key that signs vouchers.

    `spent` is the total that was charged so far, as the payee has shown it; `lost` the part of it
    for answers that never arrived; amounts in base units of the channel's token. `max_price` is
    what a query may cost (None: nothing was agreed yet, and no 402 is paid).

    A voucher promises `spent` and one price, never more, so it promises the same as the one before
    it until that was answered: whatever a payee says, it can draw one price beyond what it charged
    for answers. Threads and event loops take `turns`, for vouchers of one channel come in order.
    """

    config: ChannelConfig
    domain: Domain
    key: Secp256k1Key
    deposit: int
    spent: int = 0
    max_price: int | None = None
    lost: int = field(default=0, init=False)
    turns: Turns = field(default_factory=Turns, init=False, repr=False, compare=False)
    _answered: int = field(default=0, init=False, repr=False, compare=False)
    _doubtful: Payment | None = field(default=None, init=False, repr=False, compare=False)
    _entropy: bytes = field(
        default_factory=lambda: secrets.token_bytes(32), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._answered = self.spent

    @property
    def channel_id(self) -> bytes:
        return self.config.channel_id(self.domain)

    # ------------------------------------------------------------------ signing

    def price_of(self, headers: Mapping[str, str], cap: int | None) -> Price:
        """What a 402 asks from this channel, after every check that precedes a signature.

        Raises PaymentRequired (no offer, or the channel is empty), WrongPayee, PriceTooHigh.
        """
        price = self.asked(headers, cap)
        self.check(price)
        return price

    def asked(self, headers: Mapping[str, str], cap: int | None) -> Price:
        """The same, whether the channel still holds that much or not."""
        prices = parse_prices(headers, self.domain.chain_id)
        price = next((found for found in prices if self._mismatch(found) is None), prices[0])
        self._require_payee(price)
        limit = self.max_price if cap is None else cap
        if limit is None or price.amount > limit:
            raise PriceTooHigh(price.amount, limit)
        return price

    def check(self, price: Price) -> None:
        """Raises WrongPayee, PaymentRequired when the channel does not hold that much."""
        self._require_payee(price)
        if self.lacks(price):
            raise PaymentRequired(
                f"the channel holds {self.deposit}, {self.spent} is spent: open another one "
                "(`open_channel`, `corechain channel open`), or let `pay_with(most=…)` fill it"
            )

    def lacks(self, price: Price) -> int:
        """How much more than it holds one more query costs; 0 when it is enough."""
        return max(0, self.spent + price.amount - self.deposit)

    def _require_payee(self, price: Price) -> None:
        mismatch = self._mismatch(price)
        if mismatch is not None:
            raise WrongPayee(mismatch)

    def _mismatch(self, price: Price) -> str | None:
        if price.receiver != self.config.receiver:
            return (
                f"the channel pays {_hex(self.config.receiver)}, and {_hex(price.receiver)} asks: "
                "open a channel to the latter if it is whom you mean (`pay_with`); close this one"
            )
        if price.token != self.config.token:
            return "the channel pays in another token than the one that is asked"
        if price.contract not in (None, self.domain.contract):
            return "the channel is of another contract than the one that is asked"
        return None

    def pay(self, price: Price) -> str:
        """The PAYMENT-SIGNATURE header for one more query, counted as spent at once.

        For callers that send it by themselves; clients sign and count by the answer. Raises
        WrongPayee, PaymentRequired when empty.
        """
        self.check(price)
        self.spent += price.amount
        self._answered = max(self._answered, self.spent)
        return encode_header(self._document(price, self.spent))

    def sign(self, price: Price, query: bytes) -> Payment:
        """A voucher for one more query. The payment of a query whose answer was lost keeps its id,
        so that a server which charged it gives the answer again."""
        self.check(price)
        amount, doubtful = self.spent + price.amount, self._doubtful
        payment_id = "pay_" + secrets.token_hex(16)
        if doubtful is not None and (doubtful.amount, doubtful.query) == (amount, query):
            payment_id = doubtful.payment_id
        document = self._document(price, amount)
        if price.takes_ids:
            info = {"required": False, "id": payment_id}
            document["extensions"] = {PAYMENT_IDENTIFIER: {"info": info}}
        return Payment(amount, query, payment_id, encode_header(document))

    def _document(self, price: Price, amount: int) -> dict[str, Any]:
        extra = _mapping(price.requirement.get("extra"))
        agreed = {name: value for name, value in extra.items() if name not in _CORRECTIONS}
        return {
            "x402Version": 2,
            "accepted": {**price.requirement, "extra": agreed},
            "payload": {
                "type": "voucher",
                "channelConfig": _config_json(self.config),
                "voucher": {
                    "channelId": _hex(self.channel_id),
                    "maxClaimableAmount": str(amount),
                    "signature": _hex(wallet_signature(self._signature(amount))),
                },
            },
        }

    def _signature(self, amount: int) -> bytes:
        # With entropy of its own: so this object tells its vouchers from those that another one
        # (an earlier run, another process, a forked child) has signed for the same amount.
        entropy = keccak(self._entropy + os.getpid().to_bytes(8, "big"))
        return self.key.sign(Voucher(self.channel_id, amount).digest(self.domain), entropy)

    # ----------------------------------------------------------------- counting

    def doubt(self, payment: Payment) -> None:
        """Nobody knows whether a payment was charged: no answer came."""
        self._doubtful = payment

    def answered(self, payment: Payment, headers: Mapping[str, str]) -> None:
        """Counts an answer by its PAYMENT-RESPONSE: at most what its voucher promised."""
        charged = _charged_of(headers.get(PAYMENT_RESPONSE.lower(), ""))
        if charged is None:
            # An answer without a receipt: maybe a proxy has taken it. The next 402 will tell.
            self._doubtful = payment
            return
        self.spent = min(charged, payment.amount)
        self._answered = max(self._answered, self.spent)
        self._doubtful = None

    def follow(self, price: Price, claimed: int = 0) -> bool:
        """Goes on where a 402 says that the payee is. True when the count has changed.

        `claimed` is what the chain says was drawn. Believed is less than we count, what was drawn,
        what was lost in doubt, and what another holder of the key has provably signed.
        Raises ChargedUnanswered for anything else.
        """
        extra = _mapping(price.requirement.get("extra"))
        state = _mapping(extra.get("channelState"))
        charged = _amount(state.get("chargedCumulativeAmount"))
        if charged is None or charged == self.spent:
            return False
        if charged > max(self._answered, claimed):
            self._recognise(charged, _mapping(extra.get("voucherState")))
        self.spent = charged
        self._answered = max(self._answered, charged)
        return True

    def _recognise(self, charged: int, voucher: Mapping[str, Any]) -> None:
        signed, signature = _amount(voucher.get("signedMaxClaimable")), voucher.get("signature")
        if signed is None or charged > signed or not self._is_ours(signed, signature):
            raise ChargedUnanswered(charged, self.spent)
        if compact_signature(bytes.fromhex(str(signature)[2:])) != self._signature(signed):
            return
        doubtful = self._doubtful
        if doubtful is None or charged > doubtful.amount:
            raise ChargedUnanswered(charged, self.spent)
        self.lost += charged - self._answered
        self._doubtful = None

    def _is_ours(self, amount: int, signature: object) -> bool:
        if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
            return False
        digest = Voucher(self.channel_id, amount).digest(self.domain)
        try:
            signer = recover_signer(digest, compact_signature(bytes.fromhex(signature[2:])))
        except ProtocolError:
            return False
        return signer == self.config.voucher_signer


def _charged_of(receipt: str) -> int | None:
    """The total that a PAYMENT-RESPONSE says is charged; None when it says nothing of the kind."""
    try:
        document = decode_header(receipt)
    except PaymentRequired:
        return None
    state = _mapping(_mapping(document.get("extra")).get("channelState"))
    return _amount(state.get("chargedCumulativeAmount"))


def channel_to(
    receiver: bytes,
    key: Secp256k1Key,
    *,
    token: bytes,
    chain_id: int,
    payment_channels: bytes,
    withdraw_delay_s: int,
    salt: bytes,
    receiver_authorizer: bytes | None = None,
) -> PaymentChannel:
    """An unfunded channel from the key's account to a receiver. Open it on chain before paying."""
    payer, authorizer = key.identity.device, receiver_authorizer or receiver
    config = ChannelConfig(payer, payer, receiver, authorizer, token, withdraw_delay_s, salt)
    return PaymentChannel(config, payment_domain(chain_id, payment_channels), key, 0)
