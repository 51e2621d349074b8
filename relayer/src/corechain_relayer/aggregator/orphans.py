"""Data files that the journal has no batch for.

Either their writer was stopped before the journal had the batch: then their reports are still on
the bus. Or the journal is older than the folder (restored from a backup, failed over to a replica
that lacked the last commits): then this file is all that is left of reports that were acknowledged,
and its commitment may be signed and on its way. Nobody can tell which, so both are taken up the
same way (`position.Lane.take_up`); what cannot be a batch any more is set aside.
"""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from corechain.protocol.batch import Origin
from corechain_relayer.aggregator.files import (
    data_path,
    lane_files,
    last_written,
    origin_of,
)
from corechain_relayer.journal.batches import BatchJournal

PAGE = 1_000
"""Files at a time: a lane of a year has three million, and as many commitments in the journal."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A data file of no batch. `origin`: what it says that it is; None when it cannot be read."""

    path: Path
    origin: Origin | None


async def unknown_files(journal: BatchJournal, folder: Path, executor: Executor) -> list[Unknown]:
    """Those of the journal's lane, sorted by name. The journal must have caught up with the chain.

    A batch follows its file, so only the last file can be of none. All files are looked at only
    where that does not hold: no note says which one is the last, or the journal is an older one.
    """
    loop, lane = asyncio.get_running_loop(), journal.lane
    first, _ = journal.ids
    written = await loop.run_in_executor(executor, last_written, folder, lane)
    if written is None or written.batch_id - first > await journal.last() + 1:
        paths = await _without_batch(journal, folder, executor)
    elif await journal.commitment(written.batch_id - first) == written.commitment:
        return []
    else:
        paths = [data_path(folder, written.commitment)]
    return await loop.run_in_executor(executor, _described, paths)


def _described(paths: list[Path]) -> list[Unknown]:
    return [Unknown(path, origin_of(path)) for path in paths if path.exists()]


async def _without_batch(journal: BatchJournal, folder: Path, executor: Executor) -> list[Path]:
    """The lane's data files of no batch, sorted."""
    loop, files, unknown = (
        asyncio.get_running_loop(),
        lane_files(folder, journal.lane),
        list[Path](),
    )
    while page := await loop.run_in_executor(executor, list, islice(files, PAGE)):
        by_name = {bytes.fromhex(path.stem): path for path in page}
        known = await journal.known_of(by_name)
        unknown += [path for commitment, path in by_name.items() if commitment not in known]
    return sorted(unknown)
