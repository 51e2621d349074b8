"""From a commitment to readings that may be served: fetch the file, rebuild it, compare, store."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError, TransportError
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId
from corechain.protocol.rebuilding import Rebuilt
from corechain.service.errors import FileWithheld
from corechain.service.files.download import Unfit
from corechain.service.files.fetch import FileSources
from corechain.service.supervision import stop_all
from corechain_indexer.errors import BatchUndone, FileNotJudged
from corechain_indexer.judge import Expected, Mismatch, check_file
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.files import FileStore, OpenBatch, batch_rows
from corechain_indexer.traced import trace_verified

log = structlog.get_logger(__name__)

QUEUE = 16
LONGEST_RETRY_S = 300.0


def check_devices(found: Rebuilt, registered: dict[DeviceId, KeyType]) -> None:
    """Every device was registered with the key that signed, at the end of the batch's block, as the
    contract judges it (DeviceEvidence.sol). Raises Mismatch."""
    for device, identity in found.identities.items():
        if registered.get(device) is not identity.key_type:
            raise Mismatch(f"UnknownDevice: 0x{device.hex()} is not registered with its key")


def _fault(error: Exception) -> str:
    """What the public may read of a fault of ours; the rest is in the log."""
    return f"this indexer failed on it: {type(error).__name__}"


@dataclass(slots=True)
class Verifier:
    """Works through the batches that are not settled; sets `verified` when one is.

    Several at once (`at_once`), so that a slow source holds up nobody else; memory is bounded by as
    many files of the largest size, and one opened batch.
    """

    store: FileStore
    sources: FileSources
    expected: Expected
    retry_after_s: float
    metrics: Metrics
    work: asyncio.Event
    verified: asyncio.Event
    at_once: int = 4
    _queue: deque[OpenBatch] = field(default_factory=deque)
    _running: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)
    _retrying: set[int] = field(default_factory=set)
    # One at a time: opening takes a core, and an opened batch is a few times as large as its file.
    _opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def run_forever(self, poll_s: float) -> None:
        try:
            while True:
                self.work.clear()
                await self._begin()
                await self._wait(poll_s)
                self._finish()
        finally:
            await stop_all(list(self._running.values()))
            self._running.clear()

    async def step(self) -> bool:
        """Settles what is open; True when there was anything."""
        await self._begin()
        if not self._running:
            return False
        await asyncio.wait(self._running.values())
        self._finish()
        return True

    async def _wait(self, poll_s: float) -> None:
        """Returns when a batch is settled, when there is work, or after a pause."""
        working = asyncio.create_task(self.work.wait())
        try:
            tasks = {working, *self._running.values()}
            await asyncio.wait(tasks, timeout=poll_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()

    async def _begin(self) -> None:
        """Fills the free places."""
        if len(self._running) < self.at_once and not self._queue:
            self._queue.extend(await self.store.open_batches(QUEUE, list(self._running)))
        while self._queue and len(self._running) < self.at_once:
            if not self._may_begin(self._queue[0]):
                # Asked for again later: what is new by then comes before what is tried again.
                self._queue.clear()
                return
            entry = self._queue.popleft()
            self._running[entry.batch_id] = asyncio.create_task(self._settle(entry))
            if entry.attempts:
                self._retrying.add(entry.batch_id)

    def _may_begin(self, entry: OpenBatch) -> bool:
        """Files that were missing before leave one place to new batches."""
        return not entry.attempts or len(self._retrying) < max(1, self.at_once - 1)

    def _finish(self) -> None:
        """Frees the places of what is settled. Raises what went wrong with it."""
        for batch_id, task in list(self._running.items()):
            if task.done():
                del self._running[batch_id]
                self._retrying.discard(batch_id)
                task.result()

    async def _settle(self, entry: OpenBatch) -> None:
        started, began = time.perf_counter(), time.time()
        try:
            found = await self._verified(entry)
            self.metrics.verify_seconds.observe(time.perf_counter() - started)
            await self._keep(entry, found)
        except (FileWithheld, FileNotJudged) as error:
            await self._withhold(entry, str(error))
        except Mismatch as error:
            await self._refuse(entry, str(error))
        except BatchUndone as error:
            log.info("no verdict", reason=str(error))
        except TransportError:
            raise
        except Exception as error:
            # A fault of ours in one batch must not keep the others from being served.
            self._count_fault(entry, error)
            await self._withhold(entry, _fault(error))
        if self.metrics.traces.on:
            trace_verified(self.metrics.traces, entry.commitment, began, entry.batch_id)

    async def _verified(self, entry: OpenBatch) -> Rebuilt:
        async def judge(data: bytes) -> Rebuilt:
            return await self._judged(data, entry)

        found = await self.sources.first_fit(entry.commitment, judge)
        check_devices(found, await self.store.registered(entry, found.identities))
        return found

    async def _judged(self, data: bytes, entry: OpenBatch) -> Rebuilt:
        async with self._opening:
            try:
                return await asyncio.to_thread(check_file, data, entry, self.expected)
            except (CoreChainError, Unfit):
                raise
            except Exception as error:
                # Met in bytes of somebody else's: the next source may have the file.
                self._count_fault(entry, error)
                raise Unfit(_fault(error)) from error

    def _count_fault(self, entry: OpenBatch, error: Exception) -> None:
        self.metrics.verifier_faults.inc()
        log.error("verifier failed on a batch", batch=entry.batch_id, exc_info=error)

    async def _withhold(self, entry: OpenBatch, reason: str) -> None:
        pause = min(LONGEST_RETRY_S, self.retry_after_s * 2 ** min(entry.attempts, 16))
        await self.store.withhold(entry, reason, pause)
        if entry.attempts == 0:
            self.metrics.batches.labels("withheld").inc()
        log.warning("data file withheld", batch=entry.batch_id, reason=reason, retry_s=pause)

    async def _refuse(self, entry: OpenBatch, reason: str) -> None:
        await self.store.mismatch(entry, reason)
        self.metrics.batches.labels("mismatch").inc()
        log.error("data file breaks the rules", batch=entry.batch_id, reason=reason)

    async def _keep(self, entry: OpenBatch, found: Rebuilt) -> None:
        batch, readings = found.batch, found.batch.header.reading_count
        rows = await asyncio.to_thread(batch_rows, batch)
        if not await self.store.verified(entry, batch, rows):
            return  # a reorg took the batch away meanwhile, or another mirror was first
        self.metrics.batches.labels("verified").inc()
        self.metrics.readings.inc(readings)
        log.info("batch verified", batch=entry.batch_id, readings=readings)
        self.verified.set()
