"""The aggregator's loop: frames in, windows out. While one is sealed, the next collects."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import ConflictingSequence, StaleSequence
from corechain.protocol.reading import DeviceId, SignedReport
from corechain.service.progress import heard, moved
from corechain.service.supervision import stop_all
from corechain_relayer.aggregator.batcher import Added, Batcher, Outcome
from corechain_relayer.aggregator.checks import (
    Checked,
    FrameChecker,
    Opened,
    divide,
    without_strangers,
)
from corechain_relayer.aggregator.devices import device_ids
from corechain_relayer.aggregator.forward import Forwarder
from corechain_relayer.aggregator.readmission import Readmission
from corechain_relayer.aggregator.sealing import Sealer
from corechain_relayer.aggregator.sharing import LaneGauges
from corechain_relayer.aggregator.waiting import WaitingFrames
from corechain_relayer.bus.base import Consumer, Delivery
from corechain_relayer.bus.frame import MalformedFrame, pack_frame
from corechain_relayer.bus.opener import FrameOpener
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.sequences import content_digest

log = structlog.get_logger(__name__)

READ_FRAMES = 64
REGISTRY_AGE_S = 1_200.0
"""Nothing is sealed by an older word on which devices are revoked: with the half hour that a clock
may run ahead it stays below the hour after which a revoked device's observation costs the bond."""
GATHER_S = 0.1
"""So long frames gather where they come one by one: a round costs as much as five of them, and a
window is seconds old. A bus that is behind is read without a pause."""


@dataclass(slots=True)
class Aggregator:
    """One lane. Everything it holds in memory is rebuilt from journal and bus by a new instance."""

    opener: FrameOpener
    lanes: int
    devices: DeviceReader
    consumer: Consumer
    forwarder: Forwarder
    batcher: Batcher
    checker: FrameChecker
    registry: RegistryFollower
    sealer: Sealer
    waiting: WaitingFrames
    verifying: Executor
    metrics: Metrics
    gauges: LaneGauges
    readmission: Readmission
    _sealing: "asyncio.Task[bool] | None" = field(default=None, init=False)

    async def prepare(self) -> None:
        """Sets aside what an interrupted writer has left. The journal must have caught up."""
        await self.sealer.prepare()

    async def run_forever(self) -> None:
        try:
            while True:
                await self._gather(await self.step())
        finally:
            if self._sealing is not None:
                await stop_all([self._sealing])

    async def _gather(self, frames: int) -> None:
        """After so many frames: the next ones come together, but no window is late for it."""
        if 0 < frames < READ_FRAMES:
            left_s = self.batcher.wait_s(time.monotonic())
            await asyncio.sleep(max(0.0, min(GATHER_S, left_s)))

    async def step(self) -> int:
        """Reads what the bus has, or waits until the window is due; seals it when it is. How many
        frames there were."""
        moved()
        await self._finish_if_done()
        self.batcher.forget_idle()
        wait_s = min(1.0, max(0.001, self.batcher.wait_s(time.monotonic())))
        delivered = await self.consumer.read(READ_FRAMES, wait_s)
        self.gauges.bus_depth.set(await self.consumer.depth())
        frames = await self._known(await self._ours(delivered))
        for checked in await self._checked(frames):
            await self._take(checked)
            await self._seal_if_due()
        await self._seal_if_due()
        return len(delivered)

    # ------------------------------------------------------------------ frames

    async def _ours(self, delivered: Sequence[Delivery]) -> list[Opened]:
        """What is of this lane; the rest is on its own lane when this returns."""
        frames, place = [], self.opener.place.lane
        for delivery in delivered:
            try:
                opened = self.opener.open(delivery.payload)
            except MalformedFrame as error:
                await self._set_aside(delivery, error)
                continue
            if opened.marks:
                self.sealer.traced.met(delivery.id, opened.received_at_ms, opened.marks)
            ours, others = divide(opened.columns, place, self.lanes)
            if others:
                await self.forwarder.forward(opened, others)
            rows = self.batcher.table.known_rows(ours)
            frames.append(Opened(delivery.id, ours, opened.vouched, rows))
        return frames

    async def _known(self, frames: list[Opened]) -> list[Opened]:
        """Frames whose devices are all known, also such that have waited for that."""
        now, waited = time.monotonic(), len(self.waiting)
        ready = self.waiting.sort(frames, self._strangers, now)
        if len(self.waiting) > waited:
            # One look at once; the registry's own loop looks again and again.
            await self.registry.refresh_since(now)
            await self._introduce()
            ready += self.waiting.sort([], self._strangers, now)
        for opened in self.waiting.overdue(now):
            ready.append(await self._without_strangers(opened, now))
        self.gauges.waiting_frames.set(len(self.waiting))
        await self._meet(ready)
        return ready

    async def _without_strangers(self, opened: Opened, now: float) -> Opened:
        # Raises during an outage: who cannot ask must not call a device unknown.
        await self.registry.refresh_since(now)
        rest, refused = without_strangers(opened, self.registry.view)
        for signed, error in refused:
            await self._dead_letter(signed, error.name)
        return rest

    async def _introduce(self) -> None:
        """A device on P-256 whose key is in no log of the registry, but in that of a demand."""
        strangers = self._strangers(self.waiting.strangers())
        if strangers:
            demanded = self.readmission.demanded
            self.registry.introduce(await demanded.public_keys(strangers))

    def _strangers(self, devices: Iterable[DeviceId]) -> set[DeviceId]:
        unknown, view = self.batcher.table.unknown(devices), self.registry.view
        return {device for device in unknown if view.unknown((device,))}

    async def _meet(self, frames: Sequence[Opened]) -> None:
        """Learns those devices of frames that the table does not have."""
        table, others = self.batcher.table, [f.columns for f in frames if f.rows is None]
        fresh = set[DeviceId]().union(*(table.unknown(device_ids(columns)) for columns in others))
        if fresh:
            table.learn(fresh, *await self.devices.known(fresh))

    async def _checked(self, frames: Sequence[Opened]) -> list[Checked]:
        view = self.registry.view
        if not any(map(self.checker.has_to_verify, frames)):
            return self.checker.check_all(frames, view)
        loop = asyncio.get_running_loop()
        check = heard(self.checker.check_all)
        return await loop.run_in_executor(self.verifying, check, frames, view)

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

    async def _take(self, checked: Checked) -> None:
        for signed, error in checked.bad:
            await self._dead_letter(signed, error.name)
        if not len(checked.good):
            await self.consumer.ack([checked.id])
            return
        placed = self.batcher.place(checked.good, checked.rows)
        committed = await self.devices.sequences(placed.devices) if placed.devices else {}
        # Nothing may be sealed between this look and `add`: what is being sealed is still held.
        readmitted = await self.readmission.among(self.batcher.low_keys(placed, committed))
        added = self.batcher.add(checked.id, placed, time.monotonic(), committed, readmitted)
        accepted = added.count(Outcome.ACCEPTED)
        if accepted < len(checked.good):
            await self._drop(added)
        self.gauges.window_reports.set(self.batcher.report_count)
        if not accepted:
            # Nothing of it is in the window: it is durable elsewhere, or a dead letter.
            await self.consumer.ack([checked.id])

    async def _drop(self, added: Added) -> None:
        """What is seen already, or cannot be known to be new."""
        for signed in added.reports(Outcome.STALE):
            await self._dead_letter(signed, StaleSequence.__name__)
        same, other = await self._compare(added.reports(Outcome.COMMITTED))
        conflicting = added.reports(Outcome.CONFLICTING)
        for signed in (*conflicting, *other):
            await self._dead_letter(signed, ConflictingSequence.__name__)
        self.metrics.reports_duplicate.inc(added.count(Outcome.DUPLICATE) + len(same))
        self.metrics.reports_conflicting.inc(len(conflicting) + len(other))

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
        """Begins to seal the window. One at a time: the next one waits, and the bus behind it."""
        now = time.monotonic()
        if not self.batcher.is_due(now):
            return
        if not self.registry.is_within(REGISTRY_AGE_S):
            await self.registry.refresh_since(now)  # raises during an outage: the bus keeps it all
        await self._finish()
        # What was held back may be all there is to it.
        if self.batcher.is_due(time.monotonic()):
            self._sealing = self.sealer.start(self.batcher.take())

    async def _finish_if_done(self) -> None:
        if self._sealing is not None and self._sealing.done():
            await self._finish()

    async def _finish(self) -> None:
        """Returns when no window is being sealed. Raises what sealing raised."""
        if self._sealing is None:
            return
        made, self._sealing = await self._sealing, None
        if made:
            self.batcher.clear()
        else:
            self.batcher.hold(time.monotonic())
        self.gauges.window_reports.set(self.batcher.report_count)
