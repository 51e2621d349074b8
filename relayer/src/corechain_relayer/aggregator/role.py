"""One session of the aggregator: from durable state to the next outage."""

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.verifying import frame_verifier
from corechain.service.database import writer
from corechain.service.supervision import side_by_side
from corechain_relayer.aggregator.batcher import Batcher
from corechain_relayer.aggregator.checks import FrameChecker
from corechain_relayer.aggregator.devices import DeviceTable
from corechain_relayer.aggregator.forward import Drain, Forwarder
from corechain_relayer.aggregator.pace import pace_for
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.aggregator.readmission import Readmission
from corechain_relayer.aggregator.sealing import Sealer
from corechain_relayer.aggregator.service import Aggregator
from corechain_relayer.aggregator.sharing import LaneGauges, lane_gauges
from corechain_relayer.aggregator.waiting import WaitingFrames
from corechain_relayer.bus.base import Bus, Consumer
from corechain_relayer.bus.frame import Place
from corechain_relayer.bus.opener import FrameOpener
from corechain_relayer.bus.watch import BusWatch
from corechain_relayer.journal.batches import BatchJournal, lane_queue
from corechain_relayer.journal.demanded import DemandedReports
from corechain_relayer.journal.fold import Folder
from corechain_relayer.journal.lanes import hold_lanes
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.commits import CommitSearch

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database


STILL_S = 300.0
"""The bus is read each second, but while a window is sealed whose files the disk does not take, or
that waits for deltas to be folded, or frames are checked that nobody vouches for. What has parts
says that it moves on; this is twice the longest that one has taken under load."""


def _one_thread(name: str) -> Executor:
    return ThreadPoolExecutor(1, name)


@dataclass(frozen=True, slots=True)
class AggregatorThreads:
    """Of the aggregator alone: a gateway in the same process cannot take them. One each, and they
    outlive sessions: what one session has left half written is over before the next one writes."""

    sealing: Executor = field(default_factory=partial(_one_thread, "sealing"))
    verifying: Executor = field(default_factory=partial(_one_thread, "verifying"))

    def close(self) -> None:
        for executor in (self.sealing, self.verifying):
            executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class AggregatorRole:
    """What the role needs of its process. Everything else begins anew with each session."""

    settings: Settings
    deployment: Deployment
    bus: Bus
    watch: BusWatch
    registry: RegistryFollower
    pool: "Database"
    commits: CommitSearch
    metrics: Metrics
    sealed: asyncio.Event
    """Set after every batch, for a submitter in the same process."""
    threads: AggregatorThreads
    frame_place: Place

    async def session(self) -> None:
        """Raises what ends it: an outage, LanesInUse, ResumeImpossible."""
        settings = self.settings
        await self.registry.read_once()
        url = settings.session_url
        queue = lane_queue(settings.lane)
        async with (
            writer(url, queue, STILL_S) as connection,
            writer(url, f"fold:{queue}") as beside,
        ):
            most = await hold_lanes(connection, settings.lanes)
            journal = BatchJournal(connection, settings.lane)
            # Of all lanes: a lane that is no more has nobody else to do it.
            await journal.fold()
            place = (settings.lane, journal, self.deployment, settings.data_dir)
            lane = Lane(*place, self.registry.rests)
            await lane.catch_up(self.commits)
            with lane_gauges(self.metrics, settings.lane) as gauges:
                folder = self._folder(journal, beside, gauges)
                await folder.fold()
                work = self._aggregate(lane, journal, folder, gauges, most)
                await connection.hold(work, beside.until_lost())

    async def _aggregate(
        self, lane: Lane, journal: BatchJournal, folder: Folder, gauges: LaneGauges, most: int
    ) -> None:
        async with aclosing(self.bus.consumer(self.settings.place)) as consumer:
            aggregator = await self._aggregator(lane, journal, folder, consumer, gauges)
            loops = [aggregator.run_forever(), folder.run_forever()]
            if self.settings.place == 0:
                loops.append(self._drain(aggregator.forwarder, most).run_forever())
            await side_by_side(*loops)

    def _folder(self, journal: BatchJournal, connection: "Conn", gauges: LaneGauges) -> Folder:
        limits = self.settings.fold_bytes, self.settings.fold_age_s
        return Folder(connection, *journal.ids, *limits, gauges.unfolded_bytes.set)

    async def _aggregator(
        self,
        lane: Lane,
        journal: BatchJournal,
        folder: Folder,
        consumer: Consumer,
        gauges: LaneGauges,
    ) -> Aggregator:
        settings, place = self.settings, self.frame_place
        pace = await pace_for(settings, self.registry.rpc, self.deployment)
        await consumer.open()
        table = DeviceTable(settings.known_devices)
        shared = (consumer, settings.data_dir, self.threads.sealing, self.metrics, self.sealed)
        domain = registry_domain(place.chain_id, place.registry)
        aggregator = Aggregator(
            FrameOpener(settings.frame_keys, place, self.metrics),
            settings.lanes,
            DeviceReader(self.pool),
            consumer,
            Forwarder(self.bus, self.watch, self.metrics, settings.frame_keys, place),
            Batcher(pace.max_readings, pace.max_age_s, table),
            FrameChecker(frame_verifier(domain)),
            self.registry,
            Sealer(lane, journal, folder, table, self.registry, *shared),
            WaitingFrames(settings.unknown_device_s),
            self.threads.verifying,
            self.metrics,
            gauges,
            Readmission(DemandedReports(self.pool), settings.data_dir),
        )
        await aggregator.prepare()
        return aggregator

    def _drain(self, forwarder: Forwarder, most: int) -> Drain:
        """Of the stream from before lanes, and of lanes that are no more."""
        return Drain(forwarder, self.settings.lanes, self.bus.leftovers(most))
