"""In which of our batches a report is, by device and sequence: journal first, then data files."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.protocol.reading import DeviceId, unpack_report
from corechain.service.database import asked
from corechain_relayer.aggregator.readmission import search_files
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.journal.demanded import Batches, DemandedReports
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow

if TYPE_CHECKING:
    from corechain.service.database import Database

KEY_BYTES = 28
"""Device 20 ‖ sequence 8: how a report begins, in a demand's log as in a data file."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a search was about that has found nothing."""

    searched: Batches
    missing: int
    """Files that are not there: the report may be in one of them."""


@dataclass(slots=True)
class ReportFinder:
    """Looks through the files of batches of all our lanes, each once for a demand."""

    pool: "Database"
    folder: Path
    _found: dict[bytes, bytes] = field(default_factory=dict)
    _searched: dict[bytes, set[bytes]] = field(default_factory=dict)
    _looked: dict[bytes, "Look"] = field(default_factory=dict)

    async def find(self, demand: OpenDemand) -> bytes | None:
        """The commitment of the batch that has a report of this device and sequence, committed or
        still to be; None where no batch has one. Raises StoreUnavailable."""
        known = self._found.get(demand.id)
        if known is not None:
            return known
        # Before the look, so that it is about all of these.
        newest = await DemandedReports(self.pool).newest_batches()
        if not await self._may_be_in_one(demand.report):
            self._looked[demand.id] = Look(newest, 0)
            return None
        times = [o.observed_at for o in unpack_report(demand.report)[0].report.observations()]
        rows = await asked(self.pool.fetch(query("batches_about"), min(times), max(times)))
        searched = self._searched.setdefault(demand.id, set())
        wanted = [row["commitment"] for row in rows if row["commitment"] not in searched]
        key = demand.report[:KEY_BYTES]
        result = await asyncio.to_thread(search_files, self.folder, wanted, key)
        if result.found is not None:
            self._found[demand.id] = result.found
        searched.update(result.read)
        self._looked[demand.id] = Look(newest, len(result.missing))
        return result.found

    def last_look(self, demand: OpenDemand) -> Look:
        """Of a report that `find` has not found."""
        return self._looked[demand.id]

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
        for kept in (self._found, self._searched, self._looked):
            for demand_id in kept.keys() - set(open_demands):
                del kept[demand_id]
