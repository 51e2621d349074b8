"""What the mirror does besides, when nothing waits for it: it packs, merges, archives, audits."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.rewards import RewardSchedule
from corechain.service.bell import until_woken
from corechain_indexer.metrics import Metrics
from corechain_indexer.rewards import RewardAuditor
from corechain_indexer.settings import Settings
from corechain_indexer.store.archive import Archive, ArchiveStore
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.levels import LevelStore
from corechain_indexer.store.merging import MergeStore
from corechain_indexer.store.packing import PackStore

if TYPE_CHECKING:
    from corechain.service.database import Database

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Each of its sessions is a loop of its own, and may be ended between any two steps."""

    settings: Settings
    pool: "Database"
    archive: Archive
    metrics: Metrics
    rewards: RewardSchedule
    verified: asyncio.Event
    """Set when there is a batch more for the auditor."""
    is_divided: bool = False

    def by_name(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """The sessions, in order of start."""
        return {
            "auditor": self.audit,
            "tree levels": self.fill_levels,
            "packer": self.pack,
            "archiver": self.move_to_archive,
            "merger": self.merge,
        }

    async def audit(self) -> None:
        """One session of the auditor of reward roots."""
        auditor = RewardAuditor(self.pool, self.metrics, self.rewards, self.archive)

        async def step() -> bool:
            await auditor.step()
            return False

        await until_woken(step, self.verified, self.settings.poll_s)

    async def fill_levels(self) -> None:
        """Once, for what an older version has verified; then nothing is left to do."""
        levels, epochs = LevelStore(self.pool), EpochStore(self.pool)
        while await levels.fill_some() or await epochs.fill_some():
            pass
        await nothing_more()

    async def pack(self) -> None:
        """Compresses the leaves of batches that are final and not new."""
        await PackStore(self.pool).pack_forever(DAY_S * self.settings.pack_after_days)

    async def merge(self) -> None:
        """Makes one row of what a device sent singly on a day, once an operator has said when."""
        days = self.settings.merge_after_days
        if days is None or self.is_divided:  # segments on shards stay what they are
            await nothing_more()
            return
        await MergeStore(self.pool).merge_forever(DAY_S * days)

    async def move_to_archive(self) -> None:
        """Moves old leaves out of Postgres, once an operator has said how old."""
        days = self.settings.keep_readings_days
        if days is None:
            await nothing_more()
            return
        with contextlib.suppress(OSError):  # a folder that is away is told when it is written to
            await self.archive.sweep()
        store = ArchiveStore(self.pool, self.archive, self.metrics.archived.inc)
        await store.move_forever(DAY_S * days)


async def nothing_more() -> None:
    """A session that returned would be begun anew: this one waits until it is cancelled."""
    await asyncio.Event().wait()
