"""How a client comes to a channel: the API is asked who is paid and how much before any deposit."""

import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.deployment import Deployment
from corechain.deposits import Deposit, Deposits
from corechain.held_channels import HeldChannel, await_block, held_channels, is_untouched
from corechain.index_flows import Of, channel, payment_channels
from corechain.listing import API
from corechain.paying import (
    LOST_TRIES,
    UNSEEN_PAUSE_S,
    UNSEEN_TRIES,
)
from corechain.payments import PaymentChannel, Price, channel_to, parse_prices
from corechain.protocol.channel import (
    MAX_WITHDRAW_DELAY_S,
    MIN_WITHDRAW_DELAY_S,
    payment_domain,
)
from corechain.protocol.errors import (
    CoreChainError,
    NoPaymentAsked,
    NotFound,
    PaymentRequired,
    PriceTooHigh,
    WrongPayee,
)
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.values import U32_MAX, U128_MAX, OctetsLike, address, whole
from corechain.steps import (
    HTTP_PAYMENT_REQUIRED,
    HTTP_SERVER_ERROR,
    ApiUnavailable,
    Ask,
    ClientStep,
    Pause,
    Quote,
    Request,
)

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
    deposits: Deposits = field(default_factory=Deposits)

    @property
    def _key(self) -> Secp256k1Key:
        return Secp256k1Key(bytes(self.account.key))

    @property
    def name(self) -> bytes:
        """Of what processes of one account take turns in."""
        chain_id, contract = self._payments
        return keccak(self._key.identity.device + contract + chain_id.to_bytes(32, "big"))

    @property
    def _payments(self) -> Of:
        return self.contracts.chain_id, self.contracts.address("PaymentChannels")

    @property
    def _states(self) -> Of:
        return self.contracts.chain_id, self.contracts.address("StateChannels")

    def open(
        self, receiver: OctetsLike | None, amount: int, delay_s: int
    ) -> Opened[PaymentChannel]:
        """An open channel to the payee that the API names, which must be `receiver` if given; one
        that the same call of before has left in doubt is gone on with."""
        return (yield from self._opened(receiver, amount, delay_s, listed=False))

    def _opened(
        self, receiver: OctetsLike | None, amount: int, delay_s: int, *, listed: bool
    ) -> Opened[PaymentChannel]:
        """`listed`: until the API has it, it is not in use."""
        amount = whole("amount", amount, 1, U128_MAX)
        delay_s = whole("withdraw_delay_s", delay_s, MIN_WITHDRAW_DELAY_S, MAX_WITHDRAW_DELAY_S)
        wanted = None if receiver is None else address("receiver", receiver)
        price = yield from self._price(wanted)
        if amount < price.amount:
            raise PaymentRequired(f"a deposit of {amount} pays for no query at {price.amount}")
        channel = self._new(price, delay_s)
        deposit = self.deposits.first(channel.config, amount)
        try:
            if not (yield Ask(partial(self._made, deposit))):
                deposit = Deposit(channel.config, amount, amount)
                yield Ask(partial(self._made, deposit))
            channel.config, channel.deposit = deposit.config, deposit.holds
            if listed:
                yield from self._listed(channel.channel_id)
        except BaseException:  # also of a task that is cancelled: its thread goes on
            self.deposits.leave(deposit)
            raise
        return channel

    def _new(self, price: Price, delay_s: int) -> PaymentChannel:
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
        channel.max_price = self._agreed(price)
        return channel

    def _made(self, deposit: Deposit) -> bool:
        """False where the channel was used by another way meanwhile: of one that was left."""
        chain, was_left = self.chain(), deposit.sent is not None
        with self.deposits.turn():
            self.deposits.make(chain, self.account, deposit)
        if not was_left:
            return True
        channel_id = deposit.config.channel_id(payment_domain(*self._payments))
        return is_untouched(chain, channel_id, deposit)

    def resume(self, channel_id: OctetsLike) -> Opened[PaymentChannel]:
        """The channel of an earlier run, with the money that it holds on the chain."""
        from corechain.indexed import IndexedPaymentChannel

        found = yield from channel(self._payments, self._states, channel_id, {})
        if not isinstance(found, IndexedPaymentChannel):
            raise WrongPayee("the channel is a two-way one: no query is paid from it")
        wanted, config = found.channel_id, found.config
        if config.voucher_signer != self._key.identity.device:
            raise WrongPayee("the channel is another account's: this key cannot sign for it")
        deposit, claimed = yield Ask(lambda: self.chain().channel_balance(wanted))
        price = yield from self._price(config.receiver)
        agreed = self._agreed(price)
        domain = payment_domain(*self._payments)
        self.deposits.used(config, deposit)
        return PaymentChannel(config, domain, self._key, deposit, claimed, max_price=agreed)

    def ready(
        self, receiver: OctetsLike | None, deposit: int, delay_s: int
    ) -> Opened[PaymentChannel]:
        """The account's channel to the payee that holds most, or a new one of this deposit. One
        that its payer is withdrawing from is left alone."""
        wanted = None if receiver is None else address("receiver", receiver)
        whole("withdraw_delay_s", delay_s, MIN_WITHDRAW_DELAY_S, MAX_WITHDRAW_DELAY_S)
        price = yield from self._price(wanted)
        mine = yield from self.mine()
        usable = [found for found in mine if not found.withdrawing and self._pays(found, price)]
        if not usable:
            return (yield from self._opened(receiver, deposit, delay_s, listed=True))
        best = max(usable, key=lambda found: found.left)
        return (yield from self.resume(best.channel_id))

    def _listed(self, channel_id: bytes) -> Opened[None]:
        """Waits until the API has a channel: the next process looks for it there. One that never
        has it is not waited for, as the channel is on the chain; nor one that fails."""
        failures = 0
        for _ in range(UNSEEN_TRIES):
            try:
                yield from channel(self._payments, self._states, channel_id, {})
            except NotFound:
                pass
            except CoreChainError:  # of a server that hangs after 30 s each
                failures += 1
                if failures == LOST_TRIES:
                    return
            else:
                return
            yield Pause(UNSEEN_PAUSE_S)

    def mine(self) -> Opened[list[HeldChannel]]:
        """The account's channels of this deployment as the chain has them, by id; which there are
        is the API's word. Raises MalformedAnswer, ApiUnavailable, ChainUnavailable."""
        payer = self._key.identity.device
        listed = yield from payment_channels(self._payments, payer, U32_MAX, {})
        found = {one.channel_id: one.config for one in listed if one.config.payer == payer}
        newest = max((one.block for one in listed if one.channel_id in found), default=0)
        # A node that does not know of a channel yet would have another one opened.
        yield Ask(lambda: await_block(self.chain(), newest))
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
