"""Redeems in time what payers withdraw from under charged queries: the payee's watchtower.

Level-triggered: every look asks the index which channels are endangered, and the chain what there
is to draw on them. A restart, downtime, a reorg that takes a redemption need nothing of their own.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from corechain.deployment import Deployment
from corechain.protocol.errors import CoreChainError
from corechain.service.database import writer
from corechain.service.errors import WriterLockHeld
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import Settings
from corechain_indexer.store.vouchers import Vouchers
from corechain_indexer.withdrawals import LOOK_EVERY_S, WithdrawalWatch

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.chain import Chain
    from corechain_indexer.redeem import Redeemed

log = structlog.get_logger(__name__)

WITHIN_S = 60.0
"""So long one transaction is pressed for before the chain is looked at anew: five blocks of
Ethereum. A process that is told to stop waits no longer than that."""
LOCK = "payee"
"""One process at a time sends with the payee's key."""

Draw = Callable[[Sequence["Record"]], "Redeemed"]
"""Redeems vouchers, blocking. Raises CoreChainError."""


@dataclass(slots=True)
class PayeeTower:
    """`least`: base units that a channel must owe to be worth the gas of a redemption."""

    watch: WithdrawalWatch
    database_url: str
    draw: Draw
    least: int
    metrics: Metrics
    problem: str = ""
    """Why the last attempt came to nothing."""
    _refused: set[str] = field(default_factory=set)

    async def watch_forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Raises StoreUnavailable, NodeUnavailable for what keeps it from looking at all."""
        await self.watch.look()
        channels = {e.channel_id for e in self.watch.endangered if e.amount >= self.least}
        if not channels:
            self.problem = ""
            return
        try:
            async with writer(self.database_url, LOCK) as connection:
                rows = await Vouchers(connection).open()
                chosen = [row for row in rows if row["channel_id"] in channels]
                self._tell(await asyncio.to_thread(self.draw, chosen))
        except WriterLockHeld:
            log.info("another process redeems")
        except CoreChainError as error:
            # The next look tries again: the chain says what is still to be drawn.
            self.problem = f"{type(error).__name__}: {error}"
            log.error("endangered vouchers are not redeemed", error=self.problem)
            self.metrics.rescues.labels("failed").inc()

    def _tell(self, done: "Redeemed") -> None:
        self.problem = ""
        if done.vouchers:
            self.metrics.rescues.labels("redeemed").inc(done.vouchers)
            fields = {"vouchers": done.vouchers, "amount": done.amount, "gas": done.gas_used}
            log.warning("endangered vouchers redeemed", **fields)
        for channel in done.refused.keys() - self._refused:
            log.error("a voucher is refused", channel=channel, why=done.refused[channel])
        self._refused = set(done.refused)

    def sentences(self) -> list[str]:
        """For the warnings of `/ready`."""
        return [f"payments: not redeemed: {self.problem}"] if self.problem else []


@dataclass(slots=True)
class Drawing:
    """Draws by the payee's key, with fees that rise until the transaction is in a block. By one
    node, and by the next one after each attempt that failed or found nothing to draw: what a node
    says wrong costs gas, or a look, since the contract judges what is drawn."""

    rpc_urls: Sequence[str]
    deployment: Deployment
    secret: str
    max_fee: int
    failed: int = 0
    _chain: "Chain | None" = None

    def __call__(self, rows: Sequence["Record"]) -> "Redeemed":
        # Half a second to import, and most indexers never redeem by themselves.
        from corechain.chain import Chain
        from corechain_indexer.redeem import redeem

        if self._chain is None:
            chain = Chain(self.rpc_urls[self.failed % len(self.rpc_urls)], self.deployment)
            self._chain = chain.in_a_hurry(self.max_fee, WITHIN_S)
        done = None
        try:
            done = redeem(self._chain, self.secret, rows)
        finally:
            if done is None or not done.vouchers:
                self.failed, self._chain = self.failed + 1, None
        return done


def payee_tower(
    settings: Settings, deployment: Deployment, watch: WithdrawalWatch, metrics: Metrics
) -> PayeeTower | None:
    """None without a key, or where the operator redeems by hand."""
    if settings.payee_key is None or not settings.redeem_endangered:
        return None
    secret = settings.payee_key.get_secret_value()
    drawing = Drawing(settings.node_urls, deployment, secret, settings.redeem_max_fee_per_gas)
    return PayeeTower(watch, settings.session_url, drawing, settings.redeem_least, metrics)
