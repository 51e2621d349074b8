"""Trees that are asked for again: of recent batches, within a size, and of the newest epoch."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from corechain.protocol.errors import NotFound
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.statistics import StatisticsTree
from corechain.service.database import asked
from corechain_indexer.export import split_leaves
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

BYTES_A_LEAF = 600
"""What a leaf costs with both trees as Python objects, roughly; the cache counts in it."""


class BatchTrees:
    """Both trees of a batch, each built when it is first asked for."""

    def __init__(self, commitment: bytes, leaves: list[bytes]) -> None:
        self.commitment, self.leaves = commitment, leaves

    @property
    def size(self) -> int:
        return BYTES_A_LEAF * len(self.leaves)

    @cached_property
    def readings(self) -> MerkleTree:
        return MerkleTree.over(self.leaves)

    @cached_property
    def statistics(self) -> StatisticsTree:
        return StatisticsTree(self.leaves)


@dataclass(slots=True)
class TreeCache:
    """Least recently used batches go first. A batch that a reorg changed has another commitment."""

    pool: "Database"
    max_bytes: int
    _held: OrderedDict[int, BatchTrees] = field(default_factory=OrderedDict)
    _bytes: int = 0

    async def of(self, batch_id: int, commitment: bytes) -> BatchTrees:
        """Raises NotFound when the batch is not verified (any more)."""
        held = self._held.get(batch_id)
        if held is not None and held.commitment == commitment:
            self._held.move_to_end(batch_id)
            return held
        row = await asked(self.pool.fetchrow(SQL["batch_leaves"], batch_id))
        if row is None:
            raise NotFound(f"batch {batch_id} is not verified")
        trees = BatchTrees(row["commitment"], await asyncio.to_thread(split_leaves, row["leaves"]))
        self._keep(batch_id, trees)
        return trees

    def _keep(self, batch_id: int, trees: BatchTrees) -> None:
        replaced = self._held.pop(batch_id, None)
        self._bytes += trees.size - (replaced.size if replaced else 0)
        self._held[batch_id] = trees
        while self._bytes > self.max_bytes and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.size


@dataclass(slots=True)
class EpochTree:
    """The reward tree of the epoch that was asked for last: everybody asks for the newest, and one
    of 50,000 owners takes a tenth of a second to build."""

    pool: "Database"
    _root: bytes = b""
    _tree: RewardTree | None = None
    # Those who come while it is built wait for it, and do not each build one.
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, epoch: "Record") -> RewardTree:
        """`epoch`: a row of `claimable`. The root names the tree, whatever a reorg does to the
        place of its event. Raises NotFound when a reorg has just taken the epoch away."""
        async with self._building:
            if self._tree is None or epoch["root"] != self._root:
                self._tree, self._root = await self._built(epoch), epoch["root"]
            return self._tree

    async def _built(self, epoch: "Record") -> RewardTree:
        place = epoch["block_number"], epoch["log_index"]
        leaves = await asked(self.pool.fetch(SQL["epoch_leaves"], *place))
        if not leaves:
            raise NotFound(f"epoch {epoch['epoch']} is not there any more")
        amounts = {Owner(leaf["owner"]): int(leaf["cumulative"]) for leaf in leaves}
        # Elsewhere, so that nobody else's request waits for it.
        return await asyncio.to_thread(RewardTree, amounts)
