"""Folds deltas into the tables a device: many batches by one write, beside the path of batches.

A fold is one transaction, and what it folds it deletes: after a crash it happened or it did not.
Any number of processes may fold: a lock lets one at a time, for each reads windows and writes them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from asyncpg import BitString

from corechain.protocol.reading import DeviceId
from corechain.service.database import outages
from corechain.service.progress import moved
from corechain_relayer.journal.delta import unpack_delta
from corechain_relayer.journal.digests import CHUNK
from corechain_relayer.journal.rows import to_windows, window_columns
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.union import Union, united
from corechain_relayer.sequences import JOURNAL_WIDTH

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

log = structlog.get_logger(__name__)

KEPT_CHUNKS = JOURNAL_WIDTH // CHUNK
"""What is further below is stale, whatever it holds."""
DEVICES_AT_ONCE = 500
"""Devices a statement: so long, some 10 ms, nothing else of the process runs."""
BATCHES_AT_ONCE = 256
"""Batches a transaction: small ones may be many."""


async def fold(connection: "Conn", first: int, last: int) -> int:
    """Folds the deltas of batches first to last, up to BATCHES_AT_ONCE of them; how many.

    Raises StoreUnavailable; nothing has happened then.
    """
    with outages():
        async with connection.transaction():
            await connection.execute(query("lock_folds"))
            taken = await connection.fetch(query("oldest_deltas"), first, last, BATCHES_AT_ONCE)
            if not taken:
                return 0
            # In a thread: half a second for half a million reports.
            union = await asyncio.to_thread(_united, taken)
            for first in range(0, len(union.devices), DEVICES_AT_ONCE):
                last = min(first + DEVICES_AT_ONCE, len(union.devices))
                await _apply(connection, union, first, last)
            await connection.execute(query("drop_deltas"), [row["batch_id"] for row in taken])
    return len(taken)


async def fold_all(connection: "Conn", first: int, last: int) -> int:
    """Folds what there is now of the batches first to last; how many deltas that were. What comes
    meanwhile is left: a fold of a single batch writes nearly as many rows as one of twenty."""
    with outages():
        newest = await connection.fetchval(query("newest_delta"), first, last)
    batches = 0
    while newest is not None and (done := await fold(connection, first, newest)):
        batches += done
        moved()  # sealing may wait for it
    return batches


def _united(taken: "Sequence[Record]") -> Union:
    return united([unpack_delta(row["delta"]) for row in taken])


async def _apply(connection: "Conn", union: Union, first: int, last: int) -> None:
    """The devices first to last of the union, without the last."""
    rows = await connection.fetch(query("device_rows"), union.devices[first:last])
    windows = union.windows(first, last, to_windows(rows))
    stored = {DeviceId(row["device"]): row["states"] for row in rows}
    states = union.packed_states(first, last, stored)
    await connection.execute(query("upsert_devices"), *window_columns(windows), states)
    devices, chunks, digests = union.digest_rows(first, last)
    bits = [BitString.frombytes(row) for row in digests]
    await connection.execute(query("keep_report_digests"), devices, chunks, bits, KEPT_CHUNKS)


@dataclass(slots=True)
class Folder:
    """Folds a lane's deltas when they are many bytes, or old. On a connection of its own: batches
    do not wait for it, but where it cannot keep up (`room`)."""

    connection: "Conn"
    first: int
    last: int
    """Ids of the lane's batches."""
    max_bytes: int
    max_age_s: float
    show: Callable[[int], object] = lambda size: None
    """Gets how many bytes are unfolded, whenever that changes."""
    _bytes: int = 0
    _since: float | None = None
    """When the oldest delta came that is not folded; None when there is none."""
    _added: asyncio.Event = field(default_factory=asyncio.Event)
    _folded: asyncio.Event = field(default_factory=asyncio.Event)

    def added(self, size: int) -> None:
        """A delta of so many bytes is in the journal."""
        self._bytes += size
        self.show(self._bytes)
        self._since = time.monotonic() if self._since is None else self._since
        self._added.set()

    async def room(self) -> None:
        """Returns as soon as no more than twice the limit is unfolded: memory of readers and time
        of a start are bounded, also where batches come faster than they can be folded."""
        await self._until_at_most(2 * self.max_bytes)

    async def settled(self) -> None:
        """Returns as soon as everything is folded."""
        await self._until_at_most(0)

    async def _until_at_most(self, size: int) -> None:
        while self._bytes > size:
            self._folded.clear()
            await self._folded.wait()

    async def run_forever(self) -> None:
        """Raises StoreUnavailable."""
        while True:
            self._added.clear()
            if self._is_due():
                await self.fold()
                continue
            left = self.max_age_s if self._since is None else self._left_s(self._since)
            await _set_within(self._added, left)

    def _is_due(self) -> bool:
        if self._since is None:
            return False
        return self._bytes >= self.max_bytes or self._left_s(self._since) <= 0

    def _left_s(self, since: float) -> float:
        return since + self.max_age_s - time.monotonic()

    async def fold(self) -> None:
        """All that was added before the call."""
        size, self._since = self._bytes, None
        batches = await fold_all(self.connection, self.first, self.last)
        self._bytes -= size
        self.show(self._bytes)
        self._folded.set()
        log.debug("deltas folded", batches=batches, bytes=size)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting], timeout=seconds)
    finally:
        waiting.cancel()
