"""Puts a gateway together from what its process has."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.eip712 import Domain
from corechain.protocol.verifying import frame_verifier
from corechain.service.workers import Workers
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.frame import Place
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.gateway.frames import FrameWork
from corechain_relayer.gateway.gate import LaneGate
from corechain_relayer.gateway.intake import FrameJudge, Judge, TimeLimits
from corechain_relayer.gateway.service import Gateway
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.desk import ReceiptDesk
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.settings import Settings

GATEWAY_THREADS = 2
"""Each holds a core while it verifies: more of them would only take turns."""


@dataclass(frozen=True, slots=True)
class GatewayRole:
    """What the role needs of its process. `places`: of the frames of each lane."""

    settings: Settings
    domain: Domain
    places: Sequence[Place]
    bus: Bus
    watch: BusWatch
    registry: RegistryFollower
    journal: JournalReader
    workers: Workers
    metrics: Metrics
    desk: ReceiptDesk | None = None

    def gateway(self) -> Gateway:
        gates = self._gates()
        self.watch.lost.append(lambda lane: gates[lane].forget())
        limits = TimeLimits(self.settings.max_report_age_s, self.settings.max_report_future_s)
        judge = FrameJudge(Judge(self.domain, limits), frame_verifier(self.domain))
        is_traced = self.metrics.traces.on
        shared = (self.workers, is_traced, self.desk)
        work = FrameWork(judge, self.registry, gates, *shared)
        waits = (self.settings.gather_ms / 1000, self.settings.max_wait_s)
        parts = (self.bus, self.journal, self.metrics, *waits)
        return Gateway(self.domain, self.registry, work, *parts)

    def _gates(self) -> list[LaneGate]:
        keys, shared = self.settings.frame_keys, (self.journal, self.metrics)
        return [LaneGate(place, keys, self.bus, self.watch, *shared) for place in self.places]
