"""What a lane needs beside its submitter: its rows end, and its ring is watched."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.service.rpc import Questions
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.retention import Retention
from corechain_relayer.submitter.ring import RingWatch

if TYPE_CHECKING:
    from corechain.service.database import Database


@dataclass(slots=True)
class Upkeep:
    """Needs no lock: any number of processes of a lane may do it."""

    settings: Settings
    deployment: Deployment
    rpc: Questions
    pool: "Database"
    metrics: Metrics
    ring: RingWatch = field(init=False)

    def __post_init__(self) -> None:
        lane = self.settings.lane
        self.ring = RingWatch(self.pool, self.rpc, self.deployment, lane, self.metrics)

    def sessions(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """By the names of their loops."""
        keep_s = self.settings.intent_retention_s
        retention = Retention(self.pool, self.settings.lane, keep_s, self.metrics)
        return {"retention": retention.prune_forever, "ring": self.ring.watch_forever}

    def warnings(self) -> list[str]:
        return [] if self.ring.warning is None else [self.ring.warning]
