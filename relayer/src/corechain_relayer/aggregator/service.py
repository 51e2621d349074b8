"""The aggregator's loop: frames in, sealed batches out, acknowledged last."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corechain.protocol.batch import Batch, EmptyBatch, seal
from corechain.protocol.errors import StaleSequence
from corechain.protocol.reading import SignedReport
from corechain_relayer.aggregator.batcher import Added, Batcher, Window
from corechain_relayer.aggregator.checks import FrameChecker, Opened
from corechain_relayer.aggregator.files import set_orphans_aside, write_data_file
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.bus.base import Bus, Delivery
from corechain_relayer.bus.frame import MalformedFrame, pack_frame, unpack_frame
from corechain_relayer.calldata import commit_call
from corechain_relayer.journal.batches import BatchJournal, NewIntent, batch_key, lane_queue
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower

log = structlog.get_logger(__name__)

READ_FRAMES = 64
UNKNOWN_DEVICE_TRIES = 5
"""A registration the gateway saw may reach our node a little later."""


@dataclass(slots=True)
class Aggregator:
    """One lane. Everything it holds in memory is rebuilt from journal and bus by a new instance."""

    lane: Lane
    journal: BatchJournal
    bus: Bus
    batcher: Batcher
    checker: FrameChecker
    registry: RegistryFollower
    data_dir: Path
    metrics: Metrics
    sealed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after every batch, for a submitter in the same process."""

    async def prepare(self) -> None:
        """Sets aside files of an interrupted writer. The journal must have caught up."""
        known = set((await self.journal.commitments()).values())
        for path in set_orphans_aside(self.data_dir, self.lane.number, {*known}):
            log.info("data file without a batch set aside", file=path.name)

    async def run_forever(self) -> None:
        while True:
            await self.step()

    async def step(self) -> None:
        """Reads what the bus has, or waits until the window is due; seals it when it is."""
        now = time.monotonic()
        wait_s = min(1.0, max(0.001, self.batcher.wait_s(now)))
        deliveries = await self.bus.read(READ_FRAMES, wait_s)
        self.metrics.bus_depth.set(await self.bus.depth())
        for opened in await self._open(deliveries):
            await self._take(opened)
            await self._seal_if_due()
        await self._seal_if_due()

    # ------------------------------------------------------------------ frames

    async def _open(self, deliveries: Sequence[Delivery]) -> list[Opened]:
        if not deliveries:
            return []
        await self._meet_devices(deliveries)
        checked = await asyncio.to_thread(self.checker.open_all, deliveries, self.registry.view)
        readable = []
        for delivery, opened in zip(deliveries, checked, strict=True):
            if isinstance(opened, MalformedFrame):
                await self._set_aside(delivery, opened)
            else:
                readable.append(opened)
        return readable

    async def _meet_devices(self, deliveries: Sequence[Delivery]) -> None:
        devices = {report.report.device for item in deliveries for report in _reports(item)}
        for _ in range(UNKNOWN_DEVICE_TRIES):
            if not self.registry.view.unknown(devices):
                break
            await self.registry.refresh_for(devices)
        unknown = self.batcher.unknown(devices)
        if unknown:
            self.batcher.learn(unknown, await self.journal.sequences(unknown))

    async def _set_aside(self, delivery: Delivery, error: MalformedFrame) -> None:
        await self.bus.set_aside(delivery, error.name)
        self.metrics.dead_letters.labels(error.name).inc()
        log.error("frame set aside", id=delivery.id, reason=error.name, detail=str(error))

    async def _bury(self, signed: SignedReport, reason: str) -> None:
        await self.bus.bury(pack_frame(0, [signed]), reason)
        self.metrics.dead_letters.labels(reason).inc()
        log.error(
            "report set aside",
            device=signed.report.device.hex(),
            sequence=signed.report.sequence,
            reason=reason,
        )

    async def _take(self, opened: Opened) -> None:
        for signed, error in opened.bad:
            await self._bury(signed, error.name)
        added = self.batcher.add(opened.delivery, opened.good, time.monotonic())
        for signed in added.stale:
            await self._bury(signed, StaleSequence.__name__)
        self._count(added)
        if self.batcher.is_empty:
            # Nothing but repetitions: what they repeat is durable in the journal.
            await self.bus.ack(self.batcher.window().deliveries)
            self.batcher.clear()

    def _count(self, added: Added) -> None:
        self.metrics.reports_duplicate.inc(len(added.duplicate))
        self.metrics.reports_conflicting.inc(len(added.conflicting))
        self.metrics.window_reports.set(self.batcher.report_count)
        for signed in added.conflicting:
            log.warning(
                "device signed two reports with one sequence",
                device=signed.report.device.hex(),
                sequence=signed.report.sequence,
            )

    # ------------------------------------------------------------------ sealing

    async def _seal_if_due(self) -> None:
        if not self.batcher.is_due(time.monotonic()):
            return
        window = self.batcher.window()
        try:
            batch = await self._make(window)
        except EmptyBatch:
            self.batcher.hold(time.monotonic())
            self.metrics.windows_held.inc()
            log.info("window held: no observation in it passes", reports=len(window.reports))
            return
        await self._keep(batch, window)

    async def _make(self, window: Window) -> Batch:
        origin = await self.lane.next_origin()
        states = await self.journal.quality(window.devices)
        view = self.registry.view
        known = {device: view.identity(device) for device in window.devices}
        return await asyncio.to_thread(seal, origin, window.reports, known, states)

    async def _keep(self, batch: Batch, window: Window) -> None:
        """File, journal, acknowledgement, in this order: a crash repeats, it loses nothing."""
        header, commitment = batch.header, batch.commitment
        await asyncio.to_thread(write_data_file, self.data_dir, commitment, batch.data_file)
        intent = NewIntent(
            lane_queue(self.lane.number),
            batch_key(header.batch_id),
            self.lane.deployment.address("DataBatches"),
            commit_call(header.batch_id, commitment),
        )
        await self.journal.keep(batch, self.batcher.windows_of(window.devices), intent)
        await self.bus.ack(window.deliveries)
        self.batcher.clear()
        self.sealed.set()
        self._report(batch)

    def _report(self, batch: Batch) -> None:
        failed = sum(1 for _ in batch.rejected())
        self.metrics.batches_sealed.inc()
        self.metrics.readings_sealed.inc(batch.header.reading_count)
        self.metrics.readings_failed.inc(failed)
        self.metrics.window_reports.set(0)
        log.info(
            "batch sealed",
            batch=batch.header.batch_id,
            commitment=batch.commitment.hex(),
            readings=batch.header.reading_count,
            reports=batch.header.report_count,
            failed=failed,
        )


def _reports(delivery: Delivery) -> tuple[SignedReport, ...]:
    try:
        return unpack_frame(delivery.payload).reports
    except MalformedFrame:
        return ()  # set aside a moment later
