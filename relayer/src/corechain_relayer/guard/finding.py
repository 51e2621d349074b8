"""In which of our batches a report is, by device and sequence: journal first, then data files."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corechain.protocol.errors import ProtocolError
from corechain.protocol.reading import DeviceId, unpack_report
from corechain.service.database import asked
from corechain_relayer.aggregator.readmission import KEY_BYTES, search_all
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.journal.demanded import Batches, DemandedReports
from corechain_relayer.journal.sql import query
from corechain_relayer.journal.unfolded import DeviceReader
from corechain_relayer.sequences import JOURNAL_WIDTH, Seen, SequenceWindow

if TYPE_CHECKING:
    from corechain.service.database import Database


@dataclass(frozen=True, slots=True)
class Look:
    """What a search was about that has found nothing."""

    searched: Batches
    missing: Sequence[bytes]
    """Batches whose files are not there: the report may be in one of them."""


@dataclass(slots=True)
class ReportFinder:
    """Looks through the files of batches of all our lanes, each once for a demand."""

    pool: "Database"
    folder: Path
    _found: dict[bytes, bytes] = field(default_factory=dict)
    _searched: dict[bytes, set[bytes]] = field(default_factory=dict)
    _looked: dict[bytes, "Look"] = field(default_factory=dict)
    _fresh: set[bytes] = field(default_factory=set)
    """Demands that were looked for, and not asked about since."""

    async def find(self, demand: OpenDemand) -> bytes | None:
        """The commitment of the batch that has a report of this device and sequence, committed or
        still to be; None where no batch has one. Raises StoreUnavailable."""
        if demand.id not in self._fresh:
            await self.find_all([demand])
        self._fresh.discard(demand.id)
        return self._found.get(demand.id)

    async def find_beside(self, demand: OpenDemand, useless: bytes) -> bytes | None:
        """The same, of all batches but one that has it and is no answer."""
        self._searched.setdefault(demand.id, set()).add(useless)
        self._found.pop(demand.id, None)
        self._fresh.discard(demand.id)
        return await self.find(demand)

    async def find_all(self, demands: Collection[OpenDemand]) -> None:
        """Looks for many, so that the next `find` of each knows: the journal is asked once, each
        file is read once. Raises StoreUnavailable."""
        wanted = [demand for demand in readable(demands) if demand.id not in self._found]
        self._fresh.update(demand.id for demand in demands)
        if not wanted:
            return
        # Before the look, so that it is about all of these.
        newest = await DemandedReports(self.pool).newest_batches()
        self._looked |= {demand.id: Look(newest, ()) for demand in wanted}
        possible = await self._possible(wanted)
        if possible:
            await self._search(possible, newest)

    async def _search(self, demands: Sequence[OpenDemand], newest: Batches) -> None:
        times = [at for demand in demands for at in _times(demand)]
        rows = await asked(self.pool.fetch(query("batches_about"), min(times), max(times)))
        batches = [row["commitment"] for row in rows]
        known = {d.report[:KEY_BYTES]: self._searched.setdefault(d.id, set()) for d in demands}
        results = await asyncio.to_thread(search_all, self.folder, batches, known)
        for demand in demands:
            result = results[demand.report[:KEY_BYTES]]
            if result.found is not None:
                self._found[demand.id] = result.found
            self._searched[demand.id].update(result.read)
            self._looked[demand.id] = Look(newest, result.missing)

    def batch_of(self, demand: OpenDemand) -> bytes | None:
        """Where it was found."""
        return self._found.get(demand.id)

    def last_look(self, demand: OpenDemand) -> Look:
        """Of a report that `find` has not found. Raises KeyError for one that cannot be read."""
        return self._looked[demand.id]

    async def _possible(self, demands: Sequence[OpenDemand]) -> list[OpenDemand]:
        """The journal knows the sequences of each device: what it calls new is in no batch, and no
        file need be read."""
        keys = [_device_and_sequence(demand) for demand in demands]
        windows = await DeviceReader(self.pool).sequences({device for device, _ in keys})
        none = SequenceWindow()
        return [
            demand
            for demand, (device, sequence) in zip(demands, keys, strict=True)
            if windows.get(device, none).look(sequence, JOURNAL_WIDTH) is not Seen.NEW
        ]

    def keep(self, open_demands: Collection[bytes]) -> None:
        """Forgets what is known of all other demands."""
        self._fresh &= set(open_demands)
        kept: dict[bytes, Any]
        for kept in (self._found, self._searched, self._looked):
            for demand_id in kept.keys() - set(open_demands):
                del kept[demand_id]


def readable(demands: Iterable[OpenDemand]) -> list[OpenDemand]:
    """Those whose reports are some: one that is none, as a node may say, keeps no other from its
    answer."""
    found = []
    for demand in demands:
        with suppress(ProtocolError, ValueError):
            _times(demand)
            found.append(demand)
    return found


def _times(demand: OpenDemand) -> tuple[int, int]:
    """The first and the last observation of the demanded report. Raises MalformedReport; ValueError
    where it has none."""
    found = [o.observed_at for o in unpack_report(demand.report)[0].report.observations()]
    return min(found), max(found)


def _device_and_sequence(demand: OpenDemand) -> tuple[DeviceId, int]:
    key = demand.report[:KEY_BYTES]
    return DeviceId(key[:20]), int.from_bytes(key[20:], "big")
