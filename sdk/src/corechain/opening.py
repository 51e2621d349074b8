"""How a client comes to a channel: the API is asked who is paid and how much before any deposit."""

import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.deployment import Deployment
from corechain.documents import MalformedAnswer
from corechain.flows import API, PAGE
from corechain.held_channels import HeldChannel, held_channels
from corechain.paying import HTTP_PAYMENT_REQUIRED, HTTP_SERVER_ERROR, ClientStep, Quote
from corechain.payments import PaymentChannel, Price, channel_to, parse_prices
from corechain.protocol.channel import (
    MAX_WITHDRAW_DELAY_S,
    MIN_WITHDRAW_DELAY_S,
    ChannelConfig,
    payment_domain,
)
from corechain.protocol.errors import NoPaymentAsked, PaymentRequired, PriceTooHigh, WrongPayee
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.values import U128_MAX, OctetsLike, address, octets, whole
from corechain.steps import ApiUnavailable, Ask, Request

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain

T = TypeVar("T")
Opened = Generator[ClientStep, Any, T]
PRICED = Request(API, "GET", "/v1/readings")
"""A query that costs something wherever anything does; the API names its price before it looks at
the parameters."""


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens or resumes a channel of an account; `cap` is the most that a query may cost."""

    account: "LocalAccount"
    contracts: Deployment
    chain: "Callable[[], Chain]"
    cap: int | None

    @property
    def _key(self) -> Secp256k1Key:
        return Secp256k1Key(bytes(self.account.key))

    def open(
        self, receiver: OctetsLike | None, amount: int, delay_s: int
    ) -> Opened[PaymentChannel]:
        """An open channel to the payee that the API names, which must be `receiver` if given."""
        amount = whole("amount", amount, 1, U128_MAX)
        delay_s = whole("withdraw_delay_s", delay_s, MIN_WITHDRAW_DELAY_S, MAX_WITHDRAW_DELAY_S)
        wanted = None if receiver is None else address("receiver", receiver)
        price = yield from self._price(wanted)
        if amount < price.amount:
            raise PaymentRequired(f"a deposit of {amount} pays for no query at {price.amount}")
        channel = channel_to(
            price.receiver,
            self._key,
            token=price.token,
            chain_id=self.contracts.chain_id,
            payment_channels=self.contracts.address("PaymentChannels"),
            withdraw_delay_s=delay_s,
            salt=secrets.token_bytes(32),
            receiver_authorizer=price.authorizer,
        )
        yield Ask(lambda: self.chain().open_channel(self.account, channel.config, amount))
        channel.deposit, channel.max_price = amount, self._agreed(price)
        return channel

    def resume(self, channel_id: OctetsLike) -> Opened[PaymentChannel]:
        """The channel of an earlier run, with the money that it holds on the chain."""
        wanted = octets("channel_id", channel_id, 32)
        answer = yield Request(API, "GET", f"/v1/channels/{_hex(wanted)}")
        config = _config(answer)
        domain = payment_domain(self.contracts.chain_id, self.contracts.address("PaymentChannels"))
        if config.channel_id(domain) != wanted:
            raise MalformedAnswer("the terms that the API gave are of another channel")
        if config.voucher_signer != self._key.identity.device:
            raise WrongPayee("the channel is another account's: this key cannot sign for it")
        deposit, claimed = yield Ask(lambda: self.chain().channel_balance(wanted))
        price = yield from self._price(config.receiver)
        agreed = self._agreed(price)
        return PaymentChannel(config, domain, self._key, deposit, claimed, max_price=agreed)

    def ready(
        self, receiver: OctetsLike | None, deposit: int, delay_s: int
    ) -> Opened[PaymentChannel]:
        """The account's channel to the payee that holds most, or a new one of this deposit. One
        that its payer is withdrawing from is left alone."""
        wanted = None if receiver is None else address("receiver", receiver)
        price = yield from self._price(wanted)
        mine = yield from self.mine()
        usable = [found for found in mine if not found.withdrawing and self._pays(found, price)]
        if not usable:
            return (yield from self.open(receiver, deposit, delay_s))
        best = max(usable, key=lambda found: found.left)
        return (yield from self.resume(best.channel_id))

    def mine(self) -> Opened[list[HeldChannel]]:
        """The account's channels of this deployment as the chain has them, by id; which there are
        is the API's word. Raises MalformedAnswer, ApiUnavailable, ChainUnavailable."""
        domain = payment_domain(self.contracts.chain_id, self.contracts.address("PaymentChannels"))
        found: dict[bytes, ChannelConfig] = {}
        params: dict[str, str | int] = {"payer": self.account.address, "limit": PAGE}
        while True:
            answer = yield Request(API, "GET", "/v1/channels", dict(params))
            rows, cursor = _rows(answer)
            configs = [_config(row) for row in rows]
            payer = self._key.identity.device
            found |= {one.channel_id(domain): one for one in configs if one.payer == payer}
            if cursor is None:
                break
            params["cursor"] = cursor
        held: list[HeldChannel] = yield Ask(lambda: held_channels(self.chain(), found))
        return held

    def _pays(self, found: HeldChannel, price: Price) -> bool:
        """Whether vouchers of a channel are what an API asks for."""
        config, authorizer = found.config, price.authorizer or price.receiver
        return (
            config.receiver == price.receiver
            and config.token == price.token
            and config.receiver_authorizer == authorizer
            and config.voucher_signer == self._key.identity.device
        )

    def _price(self, receiver: bytes | None) -> Opened[Price]:
        """What the API asks of a channel of this deployment. Raises before anything is signed."""
        reply = yield Quote(PRICED)
        if reply.status_code >= HTTP_SERVER_ERROR:
            raise ApiUnavailable(f"HTTP {reply.status_code} where a price was asked for")
        if reply.status_code != HTTP_PAYMENT_REQUIRED:
            raise NoPaymentAsked(f"the API asks for no payment (HTTP {reply.status_code})")
        prices = parse_prices(reply.headers, self.contracts.chain_id)
        price = next((found for found in prices if self._fits(found, receiver)), None)
        if price is None:
            raise WrongPayee(self._mismatch(prices[0], receiver))
        if self.cap is not None and price.amount > self.cap:
            raise PriceTooHigh(price.amount, self.cap)
        return price

    def _fits(self, price: Price, receiver: bytes | None) -> bool:
        contract = self.contracts.address("PaymentChannels")
        ours = price.token == self.contracts.address("CoreToken")
        return ours and price.contract in (None, contract) and receiver in (None, price.receiver)

    def _mismatch(self, price: Price, receiver: bytes | None) -> str:
        if receiver not in (None, price.receiver):
            assert receiver is not None
            return f"the API asks payment to {_hex(price.receiver)}, not to {_hex(receiver)}"
        return "the API asks payment in another token or contract than the deployment's"

    def _agreed(self, price: Price) -> int:
        return price.amount if self.cap is None else self.cap


def _rows(answer: Any) -> tuple[list[Mapping[str, Any]], str | None]:
    """Raises MalformedAnswer."""
    rows = answer.get("items") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise MalformedAnswer("not a list of payment channels")
    cursor = answer.get("next_cursor")
    if cursor is not None and (not isinstance(cursor, str) or not rows):
        raise MalformedAnswer("a list of payment channels with a wrong cursor")
    return rows, cursor


def _config(answer: Mapping[str, Any]) -> ChannelConfig:
    """Raises MalformedAnswer."""
    names = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token")
    try:
        parties = [bytes.fromhex(answer[name].removeprefix("0x")) for name in names]
        salt, delay_s = bytes.fromhex(answer["salt"].removeprefix("0x")), answer["withdraw_delay"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedAnswer(f"not a payment channel: {error!r}") from error
    sized = all(len(party) == 20 for party in parties) and len(salt) == 32
    if not sized or not isinstance(delay_s, int) or not 0 <= delay_s < 2**40:
        raise MalformedAnswer("not the terms of a payment channel")
    payer, payer_authorizer, receiver, receiver_authorizer, token = parties
    return ChannelConfig(
        payer, payer_authorizer, receiver, receiver_authorizer, token, delay_s, salt
    )
