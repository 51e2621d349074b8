"""What batches rest on that was not final when they were sealed: registrations of devices."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import DeviceId
from corechain.service.database import asked
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Database

ENTRY = 21
Rests = Mapping[DeviceId, int]
"""Device → key type that its registration has to have; 0: any."""


def pack_rests(rests: Rests) -> bytes:
    """Key type 1 ‖ device 20, a device each, ascending."""
    return b"".join(bytes([rests[device]]) + device for device in sorted(rests))


def unpack_rests(packed: bytes) -> Rests:
    entries = (packed[at : at + ENTRY] for at in range(0, len(packed), ENTRY))
    return {DeviceId(entry[1:]): entry[0] for entry in entries}


@dataclass(frozen=True, slots=True)
class RestsStore:
    """Raises StoreUnavailable."""

    pool: "Database"

    async def of(self, batches: Sequence[int]) -> dict[int, Rests]:
        """Of those among some batches that rest on something."""
        rows = await asked(self.pool.fetch(query("rests_of"), list(batches)))
        return {row["batch_id"]: unpack_rests(row["devices"]) for row in rows}

    async def drop(self, batches: Collection[int]) -> None:
        """What these rest on is final."""
        await asked(self.pool.execute(query("drop_rests"), list(batches)))
