"""In which of our batches a report is, by device and sequence: journal first, then data files."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.protocol.reading import DeviceId, unpack_report
from corechain.service.database import asked
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow

if TYPE_CHECKING:
    from corechain.service.database import Database

KEY_BYTES = 28
"""Device 20 ‖ sequence 8: how a report begins, in a demand's log as in a data file."""


@dataclass(slots=True)
class ReportFinder:
    """Looks through the files of batches of all our lanes, each once for a demand."""

    pool: "Database"
    folder: Path
    _found: dict[bytes, bytes] = field(default_factory=dict)
    _searched: dict[bytes, set[bytes]] = field(default_factory=dict)

    async def find(self, demand: OpenDemand) -> bytes | None:
        """The commitment of the batch that has a report of this device and sequence, committed or
        still to be; None where no batch has one. Raises StoreUnavailable."""
        known = self._found.get(demand.id)
        if known is not None:
            return known
        if not await self._may_be_in_one(demand.report):
            return None
        times = [o.observed_at for o in unpack_report(demand.report)[0].report.observations()]
        rows = await asked(self.pool.fetch(query("batches_about"), min(times), max(times)))
        searched = self._searched.setdefault(demand.id, set())
        wanted = [row["commitment"] for row in rows if row["commitment"] not in searched]
        key = demand.report[:KEY_BYTES]
        found, read = await asyncio.to_thread(_first_with, self.folder, wanted, key)
        if found is not None:
            self._found[demand.id] = found
        searched.update(read)
        return found

    async def _may_be_in_one(self, report: bytes) -> bool:
        """The journal knows the sequences of each device: what it calls new is in no batch, and no
        file need be read."""
        device, sequence = DeviceId(report[:20]), int.from_bytes(report[20:KEY_BYTES], "big")
        windows = await DeviceReader(self.pool).sequences([device])
        window = windows.get(device, SequenceWindow())
        return window.look(sequence, JOURNAL_WIDTH) is not Seen.NEW

    def keep(self, open_demands: Collection[bytes]) -> None:
        """Forgets what is known of all other demands."""
        kept: dict[bytes, Any]
        for kept in (self._found, self._searched):
            for demand_id in kept.keys() - set(open_demands):
                del kept[demand_id]


def _first_with(
    folder: Path, commitments: Sequence[bytes], key: bytes
) -> tuple[bytes | None, list[bytes]]:
    """The first batch whose file has the key, and those whose files were read: one that is not
    there may come back from a backup."""
    read: list[bytes] = []
    for commitment in commitments:
        try:
            content = data_path(folder, commitment).read_bytes()
        except OSError:
            continue  # whoever demands a piece of that batch makes an alert of it
        # Reports lie in a file as they were packed. By chance 28 bytes agree nowhere.
        if key in content:
            return commitment, read
        read.append(commitment)
    return None, read
