"""Paid queries: x402 v2, scheme `batch-settlement`. A voucher is stored, then the answer sent."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from corechain.protocol.channel import (
    MIN_WITHDRAW_DELAY_S,
    ChannelConfig,
    Voucher,
    check_voucher,
)
from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import (
    ChannelNotSeen,
    InvalidSignature,
    PaymentRequired,
    ProtocolError,
    VoucherRegressed,
)
from corechain.protocol.signature import compact_signature, wallet_signature
from corechain.service.database import asked, outages
from corechain_indexer.api.deposits import ASKED_QUERIES, LEAST_QUERIES, Depositor
from corechain_indexer.api.rows import hexed
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from corechain.service.database import Database

    Pooled = PoolConnectionProxy[Record]

REQUIRED, SIGNATURE, RESPONSE = "PAYMENT-REQUIRED", "PAYMENT-SIGNATURE", "PAYMENT-RESPONSE"
SCHEME = "batch-settlement"
MAX_HEADER_BYTES = 8_192
TIMEOUT_S = 300
MISCOUNTED = "invalid_batch_settlement_evm_cumulative_amount_mismatch"
"""What an x402 client waits for before it corrects its count and tries again."""
U128_MAX = 2**128 - 1


class _Config(msgspec.Struct, rename="camel"):
    payer: str
    payer_authorizer: str
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    salt: str


class _Voucher(msgspec.Struct, rename="camel"):
    channel_id: str
    max_claimable_amount: str
    signature: str


class _Payload(msgspec.Struct, rename="camel", tag_field="type", tag="voucher"):
    channel_config: _Config
    voucher: _Voucher


class _Deposit(msgspec.Struct):
    amount: str


class _DepositPayload(_Payload, tag="deposit"):
    deposit: _Deposit


class _Payment(msgspec.Struct, rename="camel"):
    payload: _Payload | _DepositPayload


def _sized(text: str, size: int) -> bytes:
    value = bytes.fromhex(text.removeprefix("0x"))
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} belong")
    return value


def parse_config(config: _Config) -> ChannelConfig:
    return ChannelConfig(
        _sized(config.payer, 20),
        _sized(config.payer_authorizer, 20),
        _sized(config.receiver, 20),
        _sized(config.receiver_authorizer, 20),
        _sized(config.token, 20),
        config.withdraw_delay,
        _sized(config.salt, 32),
    )


@dataclass(frozen=True, slots=True)
class Payment:
    """A voucher as it came with a request, and maybe a deposit that covers it."""

    config: ChannelConfig
    voucher: Voucher
    signature: bytes
    document: bytes
    """All of it: what a facilitator wants to see."""
    deposit: int | None = None


def parse_payment(header: str) -> Payment:
    """The voucher in a PAYMENT-SIGNATURE header. Raises PaymentRequired or InvalidSignature."""
    if len(header) > MAX_HEADER_BYTES:
        raise PaymentRequired(f"{SIGNATURE} is over {MAX_HEADER_BYTES} bytes")
    try:
        document = base64.b64decode(header, validate=True)
        raw = msgspec.json.decode(document, type=_Payment).payload
        deposit = int(raw.deposit.amount) if isinstance(raw, _DepositPayload) else None
        config = parse_config(raw.channel_config)
        amount = int(raw.voucher.max_claimable_amount)
        voucher = Voucher(_sized(raw.voucher.channel_id, 32), amount)
        signature = bytes.fromhex(raw.voucher.signature.removeprefix("0x"))
    except (ValueError, OverflowError) as error:
        raise PaymentRequired(f"{SIGNATURE} is not a voucher payment: {error}") from error
    if len(signature) not in (64, 65) or not 0 < amount <= U128_MAX:
        raise InvalidSignature("the voucher's signature or amount has a wrong size")
    return Payment(config, voucher, compact_signature(signature), document, deposit)


def _encoded(document: Mapping[str, Any]) -> str:
    return base64.b64encode(msgspec.json.encode(document)).decode()


def config_json(config: ChannelConfig) -> bytes:
    """The terms as they are kept with a voucher."""
    names = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token", "salt")
    fields: dict[str, Any] = {name: getattr(config, name).hex() for name in names}
    return json.dumps(fields | {"withdraw_delay": config.withdraw_delay_s}).encode()


def _channel_state(channel_id: bytes, channel: "Record", charged: int) -> Mapping[str, str]:
    return {
        "channelId": hexed(channel_id),
        "balance": str(int(channel["balance"])),
        "totalClaimed": str(int(channel["claimed"])),
        "chargedCumulativeAmount": str(charged),
    }


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
        if isinstance(error, VoucherRegressed) and header is not None:
            reason, state = MISCOUNTED, await self._held(parse_payment(header))
        document = {
            "x402Version": 2,
            "error": reason,
            "resource": {"url": url, "mimeType": "application/json"},
            "accepts": [self._requirement(state)],
        }
        return _encoded(document)

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

    async def _held(self, payment: Payment) -> dict[str, Any]:
        """Where a payer that lost count has to go on. Its signature is checked by now: nobody else
        gets to see its vouchers."""
        channel_id = payment.config.channel_id(self.domain)
        channel = await asked(self.pool.fetchrow(SQL["payment_channel"], channel_id))
        held = await asked(self.pool.fetchrow(SQL["held_voucher"], channel_id))
        if channel is None or held is None:
            return {}
        voucher = {
            "signedMaxClaimable": str(int(held["amount"])),
            "signature": hexed(wallet_signature(held["signature"])),
        }
        state = _channel_state(channel_id, channel, int(held["charged"]))
        return {"channelState": state, "voucherState": voucher}

    def payment_of(self, header: str | None) -> Payment:
        """The voucher of a request, if it can be for us at all.

        Raises PaymentRequired, InvalidSignature, HighS.
        """
        if header is None:
            raise PaymentRequired(f"a query costs {self.price} base units; pay by {SIGNATURE}")
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

    async def charge(self, payment: Payment) -> str:
        """Takes the price from a voucher and keeps it; the PAYMENT-RESPONSE header.

        Raises ChannelNotSeen, PaymentRequired, VoucherRegressed, InvalidSignature, HighS,
        FacilitatorUnavailable.
        """
        transaction = await self._deposited(payment)
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                state = await self._charge(connection, payment)
        return self._receipt(payment, state, transaction)

    async def _deposited(self, payment: Payment) -> str:
        """The transaction of the payment's deposit, mirrored by now; empty when there is none."""
        if payment.deposit is None or self.depositor is None:
            return ""
        transaction = await self.depositor.deposit(payment.document, self._requirement({}))
        await self.depositor.seen(payment.config.channel_id(self.domain), payment.voucher.amount)
        return transaction

    async def _charge(self, connection: "Pooled", payment: Payment) -> Mapping[str, str]:
        channel_id = payment.config.channel_id(self.domain)
        channel = await connection.fetchrow(SQL["payment_channel"], channel_id)
        if channel is None:
            raise ChannelNotSeen("the channel is not open on the chain as far as it is mirrored")
        # A row of its own is locked first, so that requests of one channel come one after another.
        row = await connection.fetchrow(SQL["lock_voucher"], channel_id)
        held = int(row["amount"]) if row else int(channel["claimed"])
        charged = (int(row["charged"]) if row else held) + self.price
        check_voucher(
            self.domain,
            payment.config,
            payment.voucher,
            payment.signature,
            deposit=int(channel["balance"] - channel["withdrawing"]),
            held=held,
            due=charged,
        )
        await self._keep(connection, payment, charged, new=row is None)
        return _channel_state(channel_id, channel, charged)

    async def _keep(
        self, connection: "Pooled", payment: Payment, charged: int, *, new: bool
    ) -> None:
        kept = await connection.execute(
            SQL["new_voucher" if new else "newer_voucher"],
            payment.voucher.channel_id,
            payment.voucher.amount,
            charged,
            payment.signature,
            config_json(payment.config),
        )
        if kept.endswith(" 0"):
            raise PaymentRequired("another request of this channel came first; try again")

    def _receipt(self, payment: Payment, state: Mapping[str, str], transaction: str) -> str:
        return _encoded(
            {
                "success": True,
                "transaction": transaction,
                "network": f"eip155:{self.domain.chain_id}",
                "payer": hexed(payment.config.payer),
                "amount": str(self.price),
                "extra": {"chargedAmount": str(self.price), "channelState": state},
            }
        )
