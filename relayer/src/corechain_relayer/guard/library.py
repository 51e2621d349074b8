"""Data files of demanded batches, read when they are needed."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from corechain.protocol.data_file import as_written
from corechain.protocol.errors import ProtocolError
from corechain_relayer.aggregator.files import ORPHAN, data_path
from corechain_relayer.guard.answers import BatchData, Unanswerable

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
