"""What the gateway reads of the journal, over a pool of connections."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.protocol.reading import DeviceId
from corechain.service.database import asked
from corechain.service.errors import StoreUnavailable
from corechain_relayer.journal.digests import Key
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import SequenceWindow

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

T = TypeVar("T")
READ_LIMIT_S, AWAY_S = 5.0, 5.0
SILENT = "Postgres does not answer"


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()


def _status(row: "Record") -> dict[str, Any]:
    return {
        "batch_id": row["batch_id"],
        "commitment": _hex(row["commitment"]),
        "state": "adopted" if row["adopted"] else row["state"],
        "readings": row["reading_count"],
        "reports": row["report_count"],
        "failed": row["failed_count"],
        "window_start": row["window_start"],
        "window_end": row["window_end"],
        "transaction": _hex(row["transaction"]),
        "block": row["block_number"],
        "gas_used": row["gas_used"],
    }


@dataclass(slots=True)
class JournalReader:
    """Reads only; any number of processes may. Raises StoreUnavailable.

    Devices wait for what it says, and can be taken in without: a server that gives no answer in
    READ_LIMIT_S is not asked again for AWAY_S.
    """

    pool: "Database"
    clock: Callable[[], float] = time.monotonic
    _devices: DeviceReader = field(init=False)
    _away_until: float = float("-inf")

    def __post_init__(self) -> None:
        self._devices = DeviceReader(self.pool)

    async def ping(self) -> None:
        """Its caller has a limit of its own."""
        await asked(self.pool.fetchval("select 1"))

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self.clock() < self._away_until:
            raise StoreUnavailable(SILENT)
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                return await ask()
        except TimeoutError:
            self._away_until = self.clock() + AWAY_S
            raise StoreUnavailable(SILENT) from None

    async def sequences(self, devices: Iterable[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        return await self._answered(lambda: self._devices.sequences(devices))

    async def newest(self, device: DeviceId) -> int | None:
        """The highest sequence of the device that is in a batch."""
        window = (await self.sequences([device])).get(device)
        return None if window is None else window.newest

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What sequences in batches were used for, where that is known."""
        return await self._answered(lambda: self._devices.digests(keys))

    async def most_lanes(self) -> int:
        """The most lanes that devices were ever divided into; 0 before the first aggregator."""
        row = await self._answered(lambda: asked(self.pool.fetchrow(query("lane_count"))))
        return 0 if row is None else int(row["most"])

    async def batch(self, batch_id: int) -> dict[str, Any] | None:
        ask = partial(self.pool.fetchrow, query("batch_status"), batch_id)
        row = await self._answered(lambda: asked(ask()))
        return None if row is None else _status(row)
