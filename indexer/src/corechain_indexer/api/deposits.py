"""A channel that its first payment opens: the deposit comes in the header, a facilitator sends it.

The API holds no key that sends transactions: an x402 facilitator checks the payer's signatures,
pays the gas and answers when the deposit is on the chain. What it says is input: the chain decides
whether a deposit has arrived.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from corechain.http import put_off_s
from corechain.protocol.errors import ChannelNotSeen, PaymentRequired
from corechain.protocol.hashing import keccak
from corechain.service.reasons import reason_of
from corechain.service.supervision import LONGEST_OBEYED_S
from corechain_indexer.errors import FacilitatorUnavailable
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.vouchers import Vouchers

if TYPE_CHECKING:
    from corechain.service.database import Database

ASKED_QUERIES, LEAST_QUERIES = 10, 3
"""How many queries a deposit should pay for, and has to: gas has its price. The first is what x402
servers ask for, the second the least that its clients can be set to."""
SETTLE_TIMEOUT_S = 60.0
SEEN_LIMIT_S, SEEN_PAUSE_S = 30.0, 0.1
UNSURE_LIMIT_S = 5.0
"""How long a deposit is looked for that nobody has confirmed: some blocks of a layer 2."""
PENDING = "settlement_pending"
"""The facilitator has sent the transaction and does not know yet what became of it."""
MAX_ANSWER_BYTES = 65_536
MAX_REASON_CHARS = 200
_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


class _Settled(msgspec.Struct, rename="camel"):
    success: bool
    transaction: str | None = None
    error_reason: str | None = None
    network: str | None = None


@dataclass(slots=True)
class Depositor:
    """Hands deposits to a facilitator and waits until the mirror has seen them. One that asks to be
    left alone (`Retry-After`) is, by every payment."""

    http: httpx.AsyncClient
    facilitator_url: str
    pool: "Database"
    _alone_until: float = 0.0

    async def ensure(
        self, document: bytes, requirement: Mapping[str, Any], channel_id: bytes, amount: int
    ) -> str:
        """Sees to it that a payment's deposit is on the chain, once, however often the payment
        comes; the transaction, or an empty string when only the chain knows it.

        Raises PaymentRequired when it is refused, FacilitatorUnavailable.
        """
        payment = keccak(document)
        before, first = await self._begun(payment, channel_id)
        if not first and await self._deposited(channel_id) >= before + amount:
            return ""
        try:
            return await self.deposit(document, requirement)
        except PaymentRequired:
            # Refused again may mean: used already, by the time that nobody heard of it.
            if first or not await self._arrives(channel_id, before + amount):
                raise
        except FacilitatorUnavailable as outage:
            if not outage.maybe_sent or not await self._arrives(channel_id, before + amount):
                raise
        return ""

    async def _begun(self, payment: bytes, channel_id: bytes) -> tuple[int, bool]:
        """What was deposited before this payment came first, and whether that is now."""
        before = await self._deposited(channel_id)
        begun = await Vouchers(self.pool).begin_deposit(payment, channel_id, before)
        if begun is not None:
            return begun, True
        return await Vouchers(self.pool).begun_deposit(payment), False

    async def _deposited(self, channel_id: bytes) -> int:
        return await Vouchers(self.pool).deposited(channel_id)

    async def _arrives(self, channel_id: bytes, total: int) -> bool:
        deadline = time.monotonic() + UNSURE_LIMIT_S
        while await self._deposited(channel_id) < total:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(SEEN_PAUSE_S)
        return True

    async def deposit(self, document: bytes, requirement: Mapping[str, Any]) -> str:
        """Sends a payment's deposit; the transaction. Raises PaymentRequired when it is refused,
        FacilitatorUnavailable."""
        body = {
            "x402Version": 2,
            "paymentPayload": msgspec.Raw(document),
            "paymentRequirements": requirement,
        }
        settled = await self._settle(msgspec.json.encode(body))
        if not settled.success and settled.error_reason != PENDING:
            reason = (settled.error_reason or "without a reason")[:MAX_REASON_CHARS]
            raise PaymentRequired(f"the deposit was refused: {reason}")
        return _transaction_of(settled, requirement.get("network"))

    async def _settle(self, body: bytes) -> _Settled:
        url = self.facilitator_url.rstrip("/") + "/settle"
        if (left_s := self._alone_until - time.monotonic()) > 0:
            raise FacilitatorUnavailable("it asks to be left alone", wait_s=left_s)
        try:
            return msgspec.json.decode(await self._posted(url, body), type=_Settled)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise FacilitatorUnavailable(reason_of(error)) from error
        except httpx.HTTPStatusError as error:
            answer = error.response
            wait_s = min(LONGEST_OBEYED_S, put_off_s(answer.status_code, answer.headers))
            self._alone_until = time.monotonic() + wait_s
            why = f"HTTP {answer.status_code}"
            raise FacilitatorUnavailable(why, maybe_sent=True, wait_s=wait_s) from error
        except (httpx.HTTPError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            said = reason_of(error)
            raise FacilitatorUnavailable(said, maybe_sent=True) from error

    async def _posted(self, url: str, body: bytes) -> bytes:
        """The answer's body, read no further than any answer should be long."""
        headers = {"content-type": "application/json"}
        asking = self.http.stream(
            "POST", url, content=body, headers=headers, timeout=SETTLE_TIMEOUT_S
        )
        read = bytearray()
        async with asking as answer:
            answer.raise_for_status()
            async for part in answer.aiter_bytes():
                read += part
                if len(read) > MAX_ANSWER_BYTES:
                    raise ValueError(f"an answer of over {MAX_ANSWER_BYTES} bytes")
        return bytes(read)

    async def seen(self, channel_id: bytes, amount: int) -> None:
        """Returns when the mirrored channel covers an amount. Raises ChannelNotSeen."""
        deadline = time.monotonic() + SEEN_LIMIT_S
        while time.monotonic() < deadline:
            channel = await Reads(self.pool).payment_channel(channel_id)
            if channel is not None and channel["balance"] - channel["withdrawing"] >= amount:
                return
            await asyncio.sleep(SEEN_PAUSE_S)
        raise ChannelNotSeen("the deposit is sent; the indexer has not seen it on the chain yet")


def _transaction_of(settled: _Settled, network: object) -> str:
    """Raises FacilitatorUnavailable for a success that cannot be ours."""
    if settled.network is not None and network is not None and settled.network != network:
        raise FacilitatorUnavailable("it settled on another network", maybe_sent=True)
    if settled.transaction is not None and _TRANSACTION.fullmatch(settled.transaction):
        return settled.transaction
    if settled.success:
        raise FacilitatorUnavailable("it settled without a transaction", maybe_sent=True)
    return ""
