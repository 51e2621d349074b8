"""From a commitment to readings that may be served: fetch the file, rebuild it, compare, store."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from corechain.protocol.batch import Batch, Origin, open_data_file
from corechain.protocol.errors import ProtocolError
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId
from corechain_indexer.errors import FileWithheld
from corechain_indexer.fetch import FileSources
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.files import FileStore, OpenBatch, batch_rows

log = structlog.get_logger(__name__)

AT_ONCE = 16
LONGEST_RETRY_S = 300.0


class Mismatch(ProtocolError):
    """The data file is not the one that was committed to."""

    status = 422


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a data file must say that it belongs."""

    chain_id: int
    registry: bytes


def check_file(data: bytes, entry: OpenBatch, expected: Expected) -> Batch:
    """The batch of a data file. Raises Mismatch with the reason; CPU-bound."""
    try:
        batch, origin = open_data_file(data)
    except ProtocolError as error:
        raise Mismatch(f"{error.name}: {error}") from error
    if batch.commitment != entry.commitment:
        raise Mismatch("the file does not hash to the commitment")
    if origin != Origin(
        entry.batch_id, origin.previous, origin.ancestor, expected.chain_id, expected.registry
    ):
        raise Mismatch("the file names another batch, chain or registry")
    return batch


def check_devices(batch: Batch, registered: dict[DeviceId, KeyType]) -> None:
    """Every device is registered with the key that signed. Raises Mismatch."""
    for device, identity in batch.identities.items():
        if registered.get(device) is not identity.key_type:
            raise Mismatch(f"UnknownDevice: 0x{device.hex()} is not registered with its key")


@dataclass(slots=True)
class Verifier:
    """Works through the batches that are not settled; sets `verified` when one is."""

    store: FileStore
    sources: FileSources
    expected: Expected
    retry_after_s: float
    metrics: Metrics
    work: asyncio.Event
    verified: asyncio.Event

    async def run_forever(self, poll_s: float) -> None:
        while True:
            self.work.clear()
            if not await self.step():
                await self._wait(poll_s)

    async def _wait(self, poll_s: float) -> None:
        try:
            async with asyncio.timeout(poll_s):
                await self.work.wait()
        except TimeoutError:
            return

    async def step(self) -> bool:
        """Settles what is open; True when there was anything."""
        entries = await self.store.open_batches(AT_ONCE)
        for entry in entries:
            await self._settle(entry)
        return bool(entries)

    async def _settle(self, entry: OpenBatch) -> None:
        started = time.perf_counter()
        try:
            batch = await self._verified(entry)
        except FileWithheld as error:
            await self._withhold(entry, error)
        except Mismatch as error:
            await self.store.mismatch(entry, str(error))
            self.metrics.batches.labels("mismatch").inc()
            log.error("data file does not match", batch=entry.batch_id, reason=str(error))
        else:
            self.metrics.verify_seconds.observe(time.perf_counter() - started)
            await self._keep(entry, batch)

    async def _verified(self, entry: OpenBatch) -> Batch:
        data = await self.sources.fetch(entry.commitment)
        batch = await asyncio.to_thread(check_file, data, entry, self.expected)
        check_devices(batch, await self.store.registered(batch.identities))
        return batch

    async def _withhold(self, entry: OpenBatch, error: FileWithheld) -> None:
        pause = min(LONGEST_RETRY_S, self.retry_after_s * 2 ** min(entry.attempts, 16))
        await self.store.withhold(entry, str(error), pause)
        if entry.attempts == 0:
            self.metrics.batches.labels("withheld").inc()
        log.warning("data file withheld", batch=entry.batch_id, reason=str(error), retry_s=pause)

    async def _keep(self, entry: OpenBatch, batch: Batch) -> None:
        rows = await asyncio.to_thread(batch_rows, batch)
        if not await self.store.verified(entry, batch, rows):
            return  # a reorg took the batch away meanwhile
        self.metrics.batches.labels("verified").inc()
        self.metrics.readings.inc(len(batch.leaves))
        log.info("batch verified", batch=entry.batch_id, readings=len(batch.leaves))
        self.verified.set()
