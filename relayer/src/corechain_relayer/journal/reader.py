"""What the gateway reads of the journal, over a pool of connections."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corechain.protocol.reading import DeviceId
from corechain.service.database import asked
from corechain_relayer.journal.digests import Key
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import SequenceWindow

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database


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
    """Reads only; any number of processes may. Raises StoreUnavailable."""

    pool: "Database"
    _devices: DeviceReader = field(init=False)

    def __post_init__(self) -> None:
        self._devices = DeviceReader(self.pool)

    async def ping(self) -> None:
        await asked(self.pool.fetchval("select 1"))

    async def sequences(self, devices: Iterable[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        return await self._devices.sequences(devices)

    async def newest(self, device: DeviceId) -> int | None:
        """The highest sequence of the device that is in a batch."""
        window = (await self._devices.sequences([device])).get(device)
        return None if window is None else window.newest

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What sequences in batches were used for, where that is known."""
        return await self._devices.digests(keys)

    async def most_lanes(self) -> int:
        """The most lanes that devices were ever divided into; 0 before the first aggregator."""
        row = await asked(self.pool.fetchrow(query("lane_count")))
        return 0 if row is None else int(row["most"])

    async def batch(self, batch_id: int) -> dict[str, Any] | None:
        row = await asked(self.pool.fetchrow(query("batch_status"), batch_id))
        return None if row is None else _status(row)
