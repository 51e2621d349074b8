"""Paid queries: x402 v2, scheme `batch-settlement`. A voucher is charged, then the answer sent.

One book a channel, in Postgres: a voucher is taken when it is for what is charged so far and one
price, so that what a payer has signed is what was charged, and what is redeemed.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corechain.protocol.channel import MIN_WITHDRAW_DELAY_S, check_voucher
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import (
    ChannelNotSeen,
    PaymentRequired,
    ProtocolError,
    VoucherMiscounted,
    VoucherRegressed,
)
from corechain.protocol.signature import wallet_signature
from corechain.service.database import outages
from corechain_indexer.api.deposits import ASKED_QUERIES, LEAST_QUERIES, Depositor
from corechain_indexer.api.rows import hexed
from corechain_indexer.api.x402 import (
    MISCOUNTED,
    SCHEME,
    SIGNATURE,
    U128_MAX,
    Payment,
    config_json,
    declared_identifier,
    encoded,
    parse_payment,
)
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.vouchers import PaidQuery, Vouchers

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from corechain.service.database import Database

    Pooled = PoolConnectionProxy[Record]

TIMEOUT_S = 300
KEPT_S, FORGET_PAUSE_S = 3_600.0, 60.0
"""An hour, as x402 proposes for payment ids: longer than any client tries again."""


def _charged(channel: "Record | None", row: "Record | None") -> int:
    """What is charged so far: more than our book says when the chain has claimed more."""
    return max(int(channel["claimed"]) if channel else 0, int(row["charged"]) if row else 0)


def _channel_state(channel_id: bytes, channel: "Record", charged: int) -> Mapping[str, str]:
    return {
        "channelId": hexed(channel_id),
        "balance": str(int(channel["balance"])),
        "totalClaimed": str(int(channel["claimed"])),
        "chargedCumulativeAmount": str(charged),
    }


@dataclass(frozen=True, slots=True)
class Paid:
    """An answer with its PAYMENT-RESPONSE; `again` when it was charged by an earlier request."""

    body: bytes
    receipt: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Paywall:
    """What a query costs and who is paid; amounts in base units of the token."""

    pool: "Database"
    price: int
    payee: bytes
    token: bytes
    domain: Domain
    depositor: Depositor | None = None

    async def offer(self, url: str, error: ProtocolError, header: str | None) -> str:
        """The PAYMENT-REQUIRED header of a refusal. Raises TransportError."""
        reason, state = str(error), dict[str, Any]()
        if isinstance(error, (VoucherRegressed, VoucherMiscounted)) and header is not None:
            reason, state = MISCOUNTED, await self._book_of(parse_payment(header))
        document = {
            "x402Version": 2,
            "error": reason,
            "resource": {"url": url, "mimeType": "application/json"},
            "accepts": [self._requirement(state)],
            "extensions": declared_identifier(),
        }
        return encoded(document)

    def _requirement(self, state: dict[str, Any]) -> dict[str, Any]:
        extra = {
            "name": "CoreChain",
            "version": "1",
            "receiverAuthorizer": hexed(self.payee),
            "withdrawDelay": MIN_WITHDRAW_DELAY_S,
            "paymentChannels": hexed(self.domain.contract),
        }
        if self.depositor is not None:
            extra["minDeposit"] = str(ASKED_QUERIES * self.price)
        return {
            "scheme": SCHEME,
            "network": f"eip155:{self.domain.chain_id}",
            "asset": hexed(self.token),
            "amount": str(self.price),
            "payTo": hexed(self.payee),
            "maxTimeoutSeconds": TIMEOUT_S,
            "extra": extra | state,
        }

    async def _book_of(self, payment: Payment) -> dict[str, Any]:
        """Where a payer that lost count has to go on. Its signature is checked by now: nobody else
        gets to see its vouchers."""
        channel_id = payment.config.channel_id(self.domain)
        channel = await Reads(self.pool).payment_channel(channel_id)
        held = await Vouchers(self.pool).held(channel_id)
        if channel is None:
            return {}
        charged = _charged(channel, held)
        state: dict[str, Any] = {"channelState": _channel_state(channel_id, channel, charged)}
        # A voucher below what the chain has claimed proves nothing: clients then ask the chain.
        if held is None or held["amount"] < charged:
            return state
        voucher = {
            "signedMaxClaimable": str(int(held["amount"])),
            "signature": hexed(wallet_signature(held["signature"])),
        }
        return state | {"voucherState": voucher}

    def payment_of(self, header: str | None) -> Payment:
        """The voucher of a request, if it can be for us at all.

        Raises PaymentRequired, InvalidSignature, HighS.
        """
        if header is None:
            raise PaymentRequired(
                f"a query costs {self.price} base units: pay by {SIGNATURE} (x402), as the SDK's "
                "`pay_with` does"
            )
        payment = parse_payment(header)
        if payment.config.receiver != self.payee or payment.config.token != self.token:
            raise PaymentRequired("the channel pays another receiver or in another token")
        if payment.config.receiver_authorizer != self.payee:
            raise PaymentRequired("the channel's receiverAuthorizer could refund it to the payer")
        if payment.deposit is not None:
            self._refuse_deposit(payment.deposit)
        return payment

    def _refuse_deposit(self, amount: int) -> None:
        if self.depositor is None:
            raise PaymentRequired("no deposits are taken here: open the channel on chain first")
        if amount < LEAST_QUERIES * self.price:
            raise PaymentRequired(f"a deposit pays for {LEAST_QUERIES} queries at least")

    async def prepare(self, payment: Payment, query: bytes) -> Paid | None:
        """Before a query is worked on: the answer that this payment has paid already, or None for
        a payment that is good now. What is due is judged again when it is charged.

        Raises ChannelNotSeen, PaymentRequired, VoucherRegressed, VoucherMiscounted,
        InvalidSignature, HighS, TransportError.
        """
        channel_id = payment.config.channel_id(self.domain)
        with outages():
            async with self.pool.acquire() as connection:
                channel = await Reads(connection).payment_channel(channel_id)
                row = await Vouchers(connection).held(channel_id)
                if channel is None and payment.deposit is None:
                    raise ChannelNotSeen("the indexer has not seen this channel on the chain yet")
                kept = await self._kept(Vouchers(connection), payment, query)
        if kept is None:
            self._judge(channel, row, payment, before_deposit=payment.deposit is not None)
        return kept

    async def charge(self, payment: Payment, query: bytes, body: bytes) -> Paid:
        """Takes the price from a voucher, and keeps voucher and answer, in one transaction.

        Raises what `prepare` raises, FacilitatorUnavailable.
        """
        transaction = await self._deposited(payment)
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                return await self._charge(connection, payment, query, body, transaction)

    async def forget_forever(self) -> None:
        """Drops what was kept for payers that try again. Raises StoreUnavailable."""
        while True:
            await Vouchers(self.pool).forget(KEPT_S)
            await asyncio.sleep(FORGET_PAUSE_S)

    async def _deposited(self, payment: Payment) -> str:
        """The transaction of the payment's deposit, mirrored by now; empty when there is none."""
        if payment.deposit is None or self.depositor is None:
            return ""
        channel_id = payment.config.channel_id(self.domain)
        transaction = await self.depositor.ensure(
            payment.document, self._requirement({}), channel_id, payment.deposit
        )
        await self.depositor.seen(channel_id, payment.voucher.amount)
        return transaction

    async def _charge(
        self, connection: "Pooled", payment: Payment, query: bytes, body: bytes, transaction: str
    ) -> Paid:
        channel_id = payment.config.channel_id(self.domain)
        channel = await Reads(connection).payment_channel(channel_id)
        if channel is None:
            raise ChannelNotSeen("the indexer has not seen this channel on the chain yet")
        vouchers = Vouchers(connection)
        row = await vouchers.locked(channel_id, int(channel["claimed"]))
        kept = await self._kept(vouchers, payment, query)
        if kept is not None:
            return kept
        charged = self._judge(channel, row, payment)
        config = config_json(payment.config)
        await vouchers.charge(channel_id, charged, payment.signature, config)
        state = _channel_state(channel_id, channel, charged)
        paid = Paid(body, self._receipt(payment, state, transaction))
        if payment.payment_id is not None:
            named = PaidQuery(channel_id, charged, payment.payment_id, query)
            await vouchers.keep_answer(named, paid.body, paid.receipt)
        return paid

    async def _kept(self, vouchers: Vouchers, payment: Payment, query: bytes) -> Paid | None:
        """The answer of a payment that came before, for its payer only."""
        if payment.payment_id is None:
            return None
        channel_id, amount = payment.config.channel_id(self.domain), payment.voucher.amount
        paid = PaidQuery(channel_id, amount, payment.payment_id, query)
        kept = await vouchers.kept_answer(paid)
        if kept is None:
            return None
        self._check(payment, U128_MAX, held=0, due=0)
        return Paid(kept["body"], kept["receipt"], again=True)

    def _judge(
        self,
        channel: "Record | None",
        row: "Record | None",
        payment: Payment,
        *,
        before_deposit: bool = False,
    ) -> int:
        """What is charged with this voucher in all: exactly what it is for."""
        held, offered = _charged(channel, row), payment.voucher.amount
        due = held + self.price
        covered = int(channel["balance"] - channel["withdrawing"]) if channel else 0
        if before_deposit:
            covered = U128_MAX
        if offered > due:
            # Signed further than charged: a voucher that could be redeemed for more than answers.
            self._check(payment, U128_MAX, held=held, due=due)
            raise VoucherMiscounted(due, offered, covered)
        self._check(payment, covered, held=held, due=due)
        return due

    def _check(self, payment: Payment, deposit: int, *, held: int, due: int) -> None:
        terms, voucher, signature = payment.config, payment.voucher, payment.signature
        check_voucher(self.domain, terms, voucher, signature, deposit=deposit, held=held, due=due)

    def _receipt(self, payment: Payment, state: Mapping[str, str], transaction: str) -> str:
        return encoded(
            {
                "success": True,
                "transaction": transaction,
                "network": f"eip155:{self.domain.chain_id}",
                "payer": hexed(payment.config.payer),
                "amount": str(self.price),
                "extra": {"chargedAmount": str(self.price), "channelState": state},
            }
        )
