"""A channel that its first payment opens: the deposit comes in the header, a facilitator sends it.

The API holds no key that sends transactions: an x402 facilitator checks the payer's signatures,
pays the gas and answers when the deposit is on the chain.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from corechain.protocol.errors import ChannelNotSeen, PaymentRequired
from corechain.service.database import asked
from corechain_indexer.errors import FacilitatorUnavailable
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from corechain.service.database import Database

ASKED_QUERIES, LEAST_QUERIES = 10, 3
"""How many queries a deposit should pay for, and has to: gas has its price. The first is what x402
servers ask for, the second the least that its clients can be set to."""
SETTLE_TIMEOUT_S = 60.0
SEEN_LIMIT_S, SEEN_PAUSE_S = 30.0, 0.1
PENDING = "settlement_pending"
"""The facilitator has sent the transaction and does not know yet what became of it."""


class _Settled(msgspec.Struct, rename="camel"):
    success: bool
    transaction: str = ""
    error_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Depositor:
    """Hands deposits to a facilitator and waits until the mirror has seen them."""

    http: httpx.AsyncClient
    facilitator_url: str
    pool: "Database"

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
            raise PaymentRequired(f"the deposit was refused: {settled.error_reason}")
        return settled.transaction

    async def _settle(self, body: bytes) -> _Settled:
        url = self.facilitator_url.rstrip("/") + "/settle"
        try:
            answer = await self.http.post(
                url,
                content=body,
                headers={"content-type": "application/json"},
                timeout=SETTLE_TIMEOUT_S,
            )
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=_Settled)
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            raise FacilitatorUnavailable(f"{type(error).__name__}: {error}") from error

    async def seen(self, channel_id: bytes, amount: int) -> None:
        """Returns when the mirrored channel covers an amount. Raises ChannelNotSeen."""
        deadline = time.monotonic() + SEEN_LIMIT_S
        while time.monotonic() < deadline:
            channel = await asked(self.pool.fetchrow(SQL["payment_channel"], channel_id))
            if channel is not None and channel["balance"] - channel["withdrawing"] >= amount:
                return
            await asyncio.sleep(SEEN_PAUSE_S)
        raise ChannelNotSeen("the deposit is sent, but not on the chain as far as it is mirrored")
