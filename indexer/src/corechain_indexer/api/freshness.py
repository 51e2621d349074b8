"""How new and how sure an answer is: read your writes, by finality, as of a block."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.protocol.errors import NotMirrored
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Questions
from corechain.service.words import quantity
from corechain_indexer.api.params import FRESH, Params
from corechain_indexer.errors import Unavailable
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.replica import ReplicaReads

LOOK_S = 0.05
"""Between two looks at the cursor, whoever waits; what is waited for comes by blocks."""
LOOK_AT_NODE_S = 0.25
WAITING = 1_000
"""Requests that may wait at once: each holds a connection and some memory for seconds."""


async def newest_block(pool: "Database", params: Params) -> int | None:
    """Up to which block the answer may tell; None for all that is there.

    Raises InvalidQuery, NotMirrored for a block whose events are not all known yet.
    """
    finality, as_of = params.finality(), params.block("as_of")
    if finality == "pending" and as_of is None:
        return None
    marks = await Reads(pool).marks()
    if as_of is not None and as_of > marks.indexed:
        raise NotMirrored(as_of, marks.indexed)
    sure = {"pending": marks.indexed, "safe": marks.safe, "finalised": marks.final}[finality]
    return sure if as_of is None else min(sure, as_of)


@dataclass(slots=True)
class Freshness:
    """Lets a request wait until what it wrote is mirrored."""

    pool: "Database"
    rpc: Questions
    wait_s: float
    replica: "ReplicaReads | None" = None
    _waiting: int = 0
    _indexed: int = -1
    _looked_at: float = float("-inf")
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reached(self, params: Params) -> None:
        """Returns when what `min_block` and `after_tx` name is mirrored; not when it is verified.

        Raises InvalidQuery, NotMirrored, Unavailable.
        """
        block = transaction = None
        if params.has_any(FRESH):
            block, transaction = params.block("min_block"), params.after_tx()
        if block is None and transaction is None:
            # The primary may know a block already that the replica would not answer as of.
            await self._choose(fresh=params.has("as_of") and params.block("as_of") is not None)
            return
        if self._waiting >= WAITING:
            raise Unavailable(f"{WAITING} requests wait for blocks already")
        self._waiting += 1
        try:
            # Looked at the clock between questions: one that is cut off would cost its connection.
            until = time.monotonic() + self.wait_s
            if transaction is not None:
                block = max(block or 0, await self._block_of(transaction, until))
            await self._until(block or 0, until)
        finally:
            self._waiting -= 1
        await self._choose(fresh=True)

    async def has_another(self, params: Params) -> bool:
        """Whether a read that met an outage of Postgres may be answered when it begins anew."""
        fresh = params.has_any(FRESH) or params.has("as_of")
        return self.replica is not None and await self.replica.has_another(fresh=fresh)

    def goes_on(self) -> bool:
        """Whether a replica answers plain requests while the primary may be away."""
        return self.replica is not None and self.replica.goes_on

    async def _choose(self, *, fresh: bool) -> None:
        if self.replica is not None:
            await self.replica.begin(fresh=fresh)

    async def _block_of(self, transaction: str, until: float) -> int:
        """The block that holds a transaction, once one does."""
        while True:
            try:
                receipt = await self.rpc.call("eth_getTransactionReceipt", transaction)
            except NodeRefused as error:
                raise Unavailable(f"the node refused to say where {transaction} is") from error
            if isinstance(receipt, dict) and receipt.get("blockNumber") is not None:
                return quantity(receipt["blockNumber"], "the block of a transaction", 64)
            if time.monotonic() >= until:
                raise NotMirrored(None, await self._newest())
            await asyncio.sleep(LOOK_AT_NODE_S)

    async def _until(self, block: int, until: float) -> None:
        while True:
            # Another process may be the mirror: there is nothing here to wait on but the table.
            indexed = await self._newest()
            if indexed >= block:
                return
            if time.monotonic() >= until:
                raise NotMirrored(block, indexed)
            await asyncio.sleep(LOOK_S)

    async def _newest(self) -> int:
        """One question to Postgres for all who wait. Never older than the call."""
        called_at = time.monotonic()
        async with self._looking:
            if self._looked_at < called_at:
                self._looked_at = time.monotonic()
                self._indexed = (await Reads(self.pool).marks()).indexed
        return self._indexed
