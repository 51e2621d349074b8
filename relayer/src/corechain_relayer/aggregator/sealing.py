"""Makes a window a batch: sealed, written, journalled, acknowledged, in this order."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from corechain.protocol.batch import EmptyBatch, Origin
from corechain.protocol.columns import Places, take_columns
from corechain.protocol.errors import RevokedDevice
from corechain.protocol.frame import Columns
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.reading import DeviceId, SignedReport
from corechain.protocol.sealing import SealedBatch, seal_columns
from corechain.protocol.states import PriorStates
from corechain_relayer.aggregator.batcher import Window
from corechain_relayer.aggregator.devices import DeviceTable
from corechain_relayer.aggregator.files import set_aside, take_turn, write_data_file
from corechain_relayer.aggregator.orphans import unknown_files
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.aggregator.revoked import late_reports
from corechain_relayer.aggregator.traced import WindowTraces
from corechain_relayer.bus.base import Consumer
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.journal.batches import BatchJournal
from corechain_relayer.journal.fold import Folder
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower

log = structlog.get_logger(__name__)

Identities = Mapping[DeviceId, DeviceIdentity]


@dataclass(slots=True)
class Sealer:
    """For one lane, one window at a time. Only it uses the journal's connection."""

    lane: Lane
    journal: BatchJournal
    folder: Folder
    table: DeviceTable
    registry: RegistryFollower
    consumer: Consumer
    data_dir: Path
    executor: Executor
    """Of one thread for all sessions of the process: what a session has left half written is over
    before the next one writes."""
    metrics: Metrics
    sealed: asyncio.Event
    traced: WindowTraces = field(default_factory=WindowTraces)
    turn: str = ""
    """Of this session in the folder."""

    async def prepare(self) -> None:
        """Takes up what was sealed and is in no journal: by an interrupted writer, which may be
        this very executor, or by a life that the journal has forgotten. Raises ResumeImpossible,
        DataDirUnusable."""
        loop, lane = asyncio.get_running_loop(), self.journal.lane
        self.turn = await loop.run_in_executor(self.executor, take_turn, self.data_dir, lane)
        unknown = await unknown_files(self.journal, self.data_dir, self.executor)
        useless = await self.lane.take_up(unknown)
        for path in await loop.run_in_executor(self.executor, set_aside, useless):
            log.info("data file without a batch set aside", file=path.name)

    def start(self, window: Window) -> "asyncio.Task[bool]":
        """Makes the window a batch, in a task. Its result is False when the window has no leaf:
        nothing has happened then.

        What the table says of the window is looked up at once: rows may move later. What the
        registry says is looked up while it is sealed: no identity is ever taken back.
        """
        view, devices = self.registry.view, self.table.devices(window.rows)
        late = late_reports(window.columns, devices, view.revoked_at)
        refused = [window.columns.report(index) for index in late.tolist()]
        window = self._without(window, late)
        states = self.table.states_of(window.rows)
        return asyncio.create_task(self._make(window, refused, view.identities, states))

    def _without(self, window: Window, left_out: Places) -> Window:
        if not len(left_out):
            return window
        kept = np.delete(np.arange(len(window.columns)), left_out)
        columns = take_columns(window.columns, kept)
        return Window(columns, window.frames, np.unique(self.table.rows_of(columns)))

    async def _make(
        self,
        window: Window,
        refused: Sequence[SignedReport],
        known: Identities,
        states: PriorStates,
    ) -> bool:
        began, origin = time.time(), await self.lane.next_origin()
        loop, columns = asyncio.get_running_loop(), window.columns
        write = partial(_write, self.data_dir, self.turn, origin, columns, known, states)
        try:
            batch = await loop.run_in_executor(self.executor, write)
        except EmptyBatch:
            self.metrics.windows_held.inc()
            log.info("window held: no observation in it passes", reports=len(window.columns))
            return False
        await self._set_aside(refused)
        await self._keep(batch, window)
        if self.metrics.traces.on:
            self.traced.sealed(self.metrics.traces, window.frames, batch, began)
        return True

    async def _set_aside(self, refused: Sequence[SignedReport]) -> None:
        """What would cost the bond is durable as a dead letter before its frame is acknowledged."""
        for signed in refused:
            await self.consumer.dead_letter(pack_frame(0, [signed]), RevokedDevice.__name__)
            self.metrics.dead_letters.labels(RevokedDevice.__name__).inc()
            device = signed.report.device.hex()
            log.error("report of a device that was revoked long before set aside", device=device)

    async def _keep(self, batch: SealedBatch, window: Window) -> None:
        """Journal and acknowledgement, in this order: a crash repeats, it loses nothing."""
        number = batch.header.batch_id
        intent = self.lane.intent(number, batch.commitment)
        await self.folder.room()
        size = await self.journal.keep(self.lane.kept(batch), intent)
        self.folder.added(size)
        self.table.keep(batch.states)
        await self.consumer.ack(window.frames)
        self.sealed.set()
        self._report(batch)

    def _report(self, batch: SealedBatch) -> None:
        self.metrics.batches_sealed.inc()
        self.metrics.readings_sealed.inc(batch.header.reading_count)
        self.metrics.readings_failed.inc(batch.failed)
        log.info(
            "batch sealed",
            batch=batch.header.batch_id,
            commitment=batch.commitment.hex(),
            readings=batch.header.reading_count,
            reports=batch.header.report_count,
            failed=batch.failed,
        )


def _write(
    folder: Path,
    turn: str,
    origin: Origin,
    columns: Columns,
    known: Identities,
    states: PriorStates,
) -> SealedBatch:
    batch = seal_columns(origin, columns, known, states)
    write_data_file(folder, batch.commitment, batch.data_file, turn)
    return batch
