"""The aggregator's loop: frames in, sealed batches out, acknowledged last."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corechain.protocol.batch import Batch, EmptyBatch, seal
from corechain.protocol.errors import ConflictingSequence, StaleSequence
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId, SignedReport
from corechain_relayer.aggregator.batcher import Batcher, Window
from corechain_relayer.aggregator.checks import Divided, FrameChecker, Opened, divide
from corechain_relayer.aggregator.files import set_orphans_aside, write_data_file
from corechain_relayer.aggregator.forward import Forwarder
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.bus.base import Consumer, Delivery
from corechain_relayer.bus.frame import MalformedFrame, pack_frame, unpack_frame
from corechain_relayer.calldata import commit_call
from corechain_relayer.journal.batches import BatchJournal, NewIntent, batch_key, lane_queue
from corechain_relayer.journal.fold import Folder
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.sequences import content_digest

log = structlog.get_logger(__name__)

READ_FRAMES = 64
UNKNOWN_DEVICE_TRIES = 5
"""A registration the gateway saw may reach our node a little later."""


@dataclass(slots=True)
class Aggregator:
    """One lane. Everything it holds in memory is rebuilt from journal and bus by a new instance."""

    lane: Lane
    place: int
    """Of the lane among the relayer's `lanes`: which devices are its own."""
    lanes: int
    journal: BatchJournal
    devices: DeviceReader
    folder: Folder
    consumer: Consumer
    forwarder: Forwarder
    batcher: Batcher
    checker: FrameChecker
    registry: RegistryFollower
    data_dir: Path
    metrics: Metrics
    sealed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after every batch, for a submitter in the same process."""
    states: dict[StateKey, State] = field(default_factory=dict)
    """Quality states of the devices that the batcher knows, after the last batch."""

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
        delivered = await self.consumer.read(READ_FRAMES, wait_s)
        self.metrics.bus_depth.set(await self.consumer.depth())
        for opened in await self._open(await self._divide(delivered)):
            await self._take(opened)
            await self._seal_if_due()
        await self._seal_if_due()

    # ------------------------------------------------------------------ frames

    async def _divide(self, delivered: Sequence[Delivery]) -> list[Divided]:
        """What is of this lane; the rest is on its own lane when this returns."""
        divided = []
        for delivery in delivered:
            try:
                frame = unpack_frame(delivery.payload)
            except MalformedFrame as error:
                await self._set_aside(delivery, error)
                continue
            divided.append(divide(delivery.id, frame, self.place, self.lanes))
        for part in divided:
            await self.forwarder.forward(part.received_at_ms, part.others)
        return divided

    async def _open(self, divided: Sequence[Divided]) -> list[Opened]:
        if not divided:
            return []
        await self._meet_devices({signed.report.device for part in divided for signed in part.ours})
        return await asyncio.to_thread(self.checker.open_all, divided, self.registry.view)

    async def _meet_devices(self, devices: set[DeviceId]) -> None:
        for _ in range(UNKNOWN_DEVICE_TRIES):
            if not self.registry.view.unknown(devices):
                break
            # Raises during an outage: who cannot ask must not call a device unknown.
            await self.registry.refresh_since(time.monotonic())
        unknown = self.batcher.unknown(devices)
        if unknown:
            self.batcher.learn(unknown, await self.devices.sequences(unknown))
            self.states.update(await self.devices.quality(unknown))

    async def _set_aside(self, delivery: Delivery, error: MalformedFrame) -> None:
        await self.consumer.set_aside(delivery, error.name)
        self.metrics.dead_letters.labels(error.name).inc()
        log.error("frame set aside", id=delivery.id, reason=error.name, detail=str(error))

    async def _dead_letter(self, signed: SignedReport, reason: str) -> None:
        await self.consumer.dead_letter(pack_frame(0, [signed]), reason)
        self.metrics.dead_letters.labels(reason).inc()
        log.error(
            "report set aside",
            device=signed.report.device.hex(),
            sequence=signed.report.sequence,
            reason=reason,
        )

    async def _take(self, opened: Opened) -> None:
        for signed, error in opened.bad:
            await self._dead_letter(signed, error.name)
        added = self.batcher.add(opened.id, opened.good, time.monotonic())
        for signed in added.stale:
            await self._dead_letter(signed, StaleSequence.__name__)
        same, other = await self._compare(added.committed)
        for signed in (*added.conflicting, *other):
            await self._dead_letter(signed, ConflictingSequence.__name__)
        self.metrics.reports_duplicate.inc(len(added.duplicate) + len(same))
        self.metrics.reports_conflicting.inc(len(added.conflicting) + len(other))
        self.metrics.window_reports.set(self.batcher.report_count)
        if not added.accepted:
            # Nothing of it is in the window: it is durable elsewhere, or a dead letter.
            await self.consumer.ack([opened.id])

    async def _compare(
        self, committed: Sequence[SignedReport]
    ) -> tuple[list[SignedReport], list[SignedReport]]:
        """Those whose very report is in a batch, and the others, which contradict one. One that is
        from before digests were kept counts as another: it must not vanish on a guess."""
        if not committed:
            return [], []
        keys = [(signed.report.device, signed.report.sequence) for signed in committed]
        digests = await self.devices.digests(keys)
        same: list[SignedReport] = []
        other: list[SignedReport] = []
        for key, signed in zip(keys, committed, strict=True):
            is_same = digests.get(key) == content_digest(signed.report)
            (same if is_same else other).append(signed)
        return same, other

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
        view = self.registry.view
        known = {device: view.identity(device) for device in window.devices}
        return await asyncio.to_thread(seal, origin, window.reports, known, self.states)

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
        await self.folder.room()
        self.folder.added(await self.journal.keep(batch, intent))
        self.states.update(batch.states)
        await self.consumer.ack(window.frames)
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
