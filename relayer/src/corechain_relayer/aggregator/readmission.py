"""Lets in what is demanded on chain, however far below its device's newest sequence it is.

So far below nobody remembers sequences, and a report in two batches is a fraud. So one is let in
when no batch has it, or one alone that nobody can show any more: the guard has looked through all
files, and named the batches; those since are looked through here, where the only writer of the lane
stands still meanwhile. What is not in the journal yet is in the batcher, which looks there itself.
"""

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import structlog

from corechain.protocol.claims import claim_of
from corechain.protocol.errors import MalformedDataFile
from corechain.service.progress import moved
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.journal.demanded import Batches, DemandedReports

log = structlog.get_logger(__name__)

KEY_BYTES = 28
"""Device 20 ‖ sequence 8: how a report begins, in a demand's log as in a data file."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What came of a look through data files."""

    found: bytes | None
    """The commitment of the first batch whose file has it."""
    read: Sequence[bytes]
    """Those whose file was read and does not have it."""
    missing: Sequence[bytes] = ()
    """Those whose file is not there: one may come back from a backup."""


def search_files(folder: Path, commitments: Sequence[bytes], key: bytes) -> Searched:
    """Looks for a report by its 28 bytes device ‖ sequence."""
    return search_all(folder, commitments, {key: frozenset()})[key]


def search_all(
    folder: Path, commitments: Sequence[bytes], wanted: Mapping[bytes, Set[bytes]]
) -> dict[bytes, Searched]:
    """Looks for many reports, each file read once. `wanted`: by key, the commitments of batches
    that are known not to have it."""
    found: dict[bytes, bytes] = {}
    read: dict[bytes, list[bytes]] = {key: [] for key in wanted}
    missing: dict[bytes, list[bytes]] = {key: [] for key in wanted}
    for commitment in commitments:
        moved()  # of years of files; the aggregator waits for it
        asking = [k for k, known in wanted.items() if k not in found and commitment not in known]
        if not asking:
            continue
        try:
            content = data_path(folder, commitment).read_bytes()
        except OSError:
            for key in asking:  # whoever demands a piece of that batch makes an alert of it
                missing[key].append(commitment)
            continue
        there = _reports_in(content, asking)
        for key in asking:
            if key in there:
                found[key] = commitment
            else:
                read[key].append(commitment)
    return {key: Searched(found.get(key), read[key], missing[key]) for key in wanted}


def _reports_in(data_file: bytes, keys: Sequence[bytes]) -> set[bytes]:
    """Reports lie in a file as they were packed, and by chance 28 bytes agree nowhere. On purpose
    they may: whoever has a device can make observations that look like the report of another."""
    near = {key for key in keys if key in data_file}
    if not near:
        return near
    try:
        return near & {report[:KEY_BYTES] for report in claim_of(data_file).reports}
    except MalformedDataFile:
        return near  # damaged: better no answer than a report that counts twice


@dataclass(frozen=True, slots=True)
class Readmission:
    """Of one lane. Raises StoreUnavailable."""

    demanded: DemandedReports
    folder: Path

    async def among(self, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Those of some reports (device ‖ sequence) that are demanded and in no batch."""
        if not keys:
            return frozenset()
        found = await self.demanded.among(keys)
        return frozenset([key for key in found if await self._is_lost(key, found[key])])

    async def _is_lost(self, key: bytes, searched: Batches) -> bool:
        fresh = await self.demanded.batches_beyond(searched)
        result = await asyncio.to_thread(search_files, self.folder, fresh, key)
        # What cannot be looked at may have it: better no answer than a report that counts twice.
        is_lost = result.found is None and not result.missing
        log.warning("demanded report came again", report=key.hex(), lost=is_lost)
        return is_lost
