"""Watches for payers that withdraw what they owe: after the delay vouchers are worth nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from corechain.service.rpc import Questions
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.vouchers import Vouchers

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 10.0
"""The shortest delay of a withdrawal is 900 s."""
NO_DEADLINE = float("inf")


@dataclass(frozen=True, slots=True)
class Endangered:
    """A channel whose payer withdraws what covers charged queries. `amount` in base units, `left_s`
    in seconds of chain time until it may be gone."""

    channel_id: bytes
    amount: int
    left_s: int

    def sentence(self) -> str:
        return (
            f"payments: the payer of channel 0x{self.channel_id.hex()} withdraws {self.amount} "
            f"base units that it owes, in {self.left_s} s: run corechain indexer redeem"
        )


@dataclass(slots=True)
class WithdrawalWatch:
    """Tells an operator; `corechain indexer redeem` is the cure. Raises StoreUnavailable,
    NodeUnavailable."""

    pool: "Database"
    rpc: Questions
    metrics: Metrics
    endangered: Sequence[Endangered] = field(default_factory=list)

    async def watch_forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        rows = await Vouchers(self.pool).endangered()
        now = (await self.rpc.head()).timestamp if rows else 0
        before = {entry.channel_id for entry in self.endangered}
        self.endangered = [_endangered(row, now) for row in rows]
        self._show()
        for entry in self.endangered:
            if entry.channel_id not in before:
                fields = {"channel": entry.channel_id.hex(), "amount": entry.amount}
                log.error("a payer withdraws what it owes", left_s=entry.left_s, **fields)

    def _show(self) -> None:
        left = (entry.left_s for entry in self.endangered)
        self.metrics.vouchers_endangered.set(len(self.endangered))
        self.metrics.vouchers_deadline.set(min(left, default=NO_DEADLINE))

    def sentences(self) -> list[str]:
        """For the warnings of `/ready`."""
        return [entry.sentence() for entry in self.endangered]


def _endangered(row: "Record", now: int) -> Endangered:
    return Endangered(row["channel_id"], int(row["amount"]), int(row["finalize_after"]) - now)
