"""Reward claims of any owner, from the kept levels of an epoch's tree."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.protocol.errors import InvalidProof, NotFound
from corechain.protocol.reward_levels import RewardLevels
from corechain.protocol.rewards import Owner, RewardClaim
from corechain_indexer.api.rows import hexed
from corechain_indexer.errors import Unavailable
from corechain_indexer.store.epochs import EpochStore

if TYPE_CHECKING:
    from asyncpg import Record

MOST_HELD = 4
"""Epochs whose levels are held: everybody asks for the newest, 40 kB for 50,000 owners."""


@dataclass(slots=True)
class RewardClaims:
    """Claims under the roots that came out."""

    store: EpochStore
    _held: OrderedDict[bytes, RewardLevels] = field(default_factory=OrderedDict)
    """By root: it names the tree, whatever a reorg does to the place of its event."""

    async def of(self, epoch: "Record", owner: Owner) -> RewardClaim:
        """`epoch`: a row of `claimable`. Raises NotFound for an owner without rewards, and when a
        reorg has just taken the epoch away; Unavailable when it put another in its place."""
        levels = await self._levels(epoch)
        found = await self.store.around(epoch, owner)
        if found is None:
            raise NotFound(f"{hexed(owner)} has no rewards in epoch {epoch['epoch']}")
        try:
            return levels.claim(epoch["root"], *found)
        except InvalidProof as error:
            raise Unavailable(f"epoch {epoch['epoch']} changed meanwhile; ask again") from error

    async def _levels(self, epoch: "Record") -> RewardLevels:
        root = epoch["root"]
        if root not in self._held:
            found = await self.store.levels(epoch)
            if found is None:
                raise NotFound(f"epoch {epoch['epoch']} is not there any more")
            self._held[root] = found
        self._held.move_to_end(root)
        while len(self._held) > MOST_HELD:
            self._held.popitem(last=False)
        return self._held[root]
