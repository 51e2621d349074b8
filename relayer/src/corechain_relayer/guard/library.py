"""Data files of demanded batches, read when they are needed."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corechain.protocol.data_file import as_written
from corechain.protocol.errors import ProtocolError
from corechain_relayer.aggregator.files import ORPHAN, data_path
from corechain_relayer.guard.answers import BatchData, Sources, Unanswerable, sources_of
from corechain_relayer.guard.demands import OpenDemand

KEPT = 4
"""Batches held in memory: demands come many for one batch, which may have a million leaves."""


def read_batch(folder: Path, commitment: bytes) -> BatchData:
    """The batch that hashes to this commitment. Raises Unanswerable."""
    path = data_path(folder, commitment)
    # A file that was set aside may be the demanded one all the same: its hash tells.
    for candidate in (path, path.with_name(path.name + ORPHAN)):
        try:
            content = candidate.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unanswerable("no data file", f"{candidate.name}: {error.strerror}") from None
        return _checked(content, commitment, candidate.name)
    raise Unanswerable("no data file", f"{path.name} is not in {folder}")


def _checked(content: bytes, commitment: bytes, name: str) -> BatchData:
    try:
        written = as_written(content)
    except ProtocolError as error:
        raise Unanswerable("broken data file", f"{name}: {error}") from error
    if written.commitment != commitment:
        raise Unanswerable("broken data file", f"{name} hashes to 0x{written.commitment.hex()}")
    return BatchData.of(written)


@dataclass(slots=True)
class Library:
    """Reads in a thread, for a large batch takes seconds; keeps the last few."""

    folder: Path
    _kept: "OrderedDict[bytes, BatchData]" = field(default_factory=OrderedDict)

    async def batch(self, commitment: bytes) -> BatchData:
        """Raises Unanswerable; asked again it looks again, for files come back from backups."""
        found = self._kept.get(commitment)
        if found is None:
            found = await asyncio.to_thread(read_batch, self.folder, commitment)
        self._kept[commitment] = found
        self._kept.move_to_end(commitment)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


@dataclass(slots=True)
class BatchDemands:
    """Demands of one batch: its file is looked for once, found or not, and searched once."""

    library: Library
    demands: Sequence[OpenDemand]
    _data: BatchData | Unanswerable | None = None
    _sources: Sources | None = None

    async def data(self) -> BatchData:
        """Raises Unanswerable."""
        if self._data is None:
            try:
                self._data = await self.library.batch(self.demands[0].commitment)
            except Unanswerable as error:
                self._data = error
        if isinstance(self._data, Unanswerable):
            raise self._data
        return self._data

    async def searched(self) -> tuple[BatchData, Sources]:
        """With all that answers need of it made already. Raises Unanswerable."""
        data = await self.data()
        if self._sources is None:
            # Trees over a million leaves take seconds, and the loop has other demands.
            self._sources = await asyncio.to_thread(_search, self.demands, data)
        return data, self._sources


def _search(demands: Sequence[OpenDemand], data: BatchData) -> Sources:
    dossier = data.dossier
    _ = dossier.readings_tree, dossier.reports_tree  # made here and kept
    return sources_of(demands, dossier)
