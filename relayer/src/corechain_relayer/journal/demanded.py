"""Reports demanded on chain that come again: the guard names them, aggregators ask for them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import DeviceId
from corechain.service.database import asked
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database

Batches = Sequence[int]
"""Of each lane the newest batch that was looked at: it and all before it do not have the report."""


@dataclass(frozen=True, slots=True)
class DemandedReports:
    """A report is named by 28 bytes, device ‖ sequence. Raises StoreUnavailable."""

    source: "Database | Conn"

    async def newest_batches(self) -> Batches:
        """What a search that begins now will have looked at."""
        return [row["batch_id"] for row in await asked(self.source.fetch(query("newest_batches")))]

    async def note(
        self, demand_id: bytes, key: bytes, public_key: bytes | None, searched: Batches
    ) -> None:
        """Durable when it returns; noted again, it is what was searched that counts."""
        values = (demand_id, key, public_key, searched)
        await asked(self.source.execute(query("note_demanded_report"), *values))

    async def among(self, keys: Sequence[bytes]) -> dict[bytes, Batches]:
        """Those of some reports that are demanded."""
        rows = await asked(self.source.fetch(query("demanded_reports"), keys))
        return {row["report_key"]: row["searched"] for row in rows}

    async def public_keys(self, devices: Iterable[DeviceId]) -> dict[DeviceId, bytes]:
        """Keys (x ‖ y) that demands show for some devices: the id has to vouch for them."""
        rows = await asked(self.source.fetch(query("demanded_keys"), list(devices)))
        return {DeviceId(row["device"]): row["public_key"] for row in rows}

    async def batches_beyond(self, searched: Batches) -> list[bytes]:
        """Commitments of the batches that nobody has looked at yet."""
        rows = await asked(self.source.fetch(query("batches_beyond"), searched))
        return [row["commitment"] for row in rows]
