"""Data files that never became a batch: their writer was stopped in between.

Their reports are still on the bus and come in another file, which must be the only one.
"""

import asyncio
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path

from corechain_relayer.aggregator.files import (
    data_path,
    lane_files,
    last_written,
    set_aside,
)
from corechain_relayer.journal.batches import BatchJournal

PAGE = 1_000
"""Files at a time: a lane of a year has three million, and as many commitments in the journal."""


async def set_orphans_aside(journal: BatchJournal, folder: Path, executor: Executor) -> list[Path]:
    """Those of the journal's lane; what they were called. The journal must have caught up.

    A batch follows its file, so only the last file can be an orphan. All files are looked at only
    where that does not hold: no note says which one is the last, or the journal is an older one.
    """
    loop, lane = asyncio.get_running_loop(), journal.lane
    first, _ = journal.ids
    written = await loop.run_in_executor(executor, last_written, folder, lane)
    if written is None or written.batch_id - first > await journal.last() + 1:
        orphans = await _unknown_files(journal, folder, executor)
    elif await journal.commitment(written.batch_id - first) == written.commitment:
        orphans = []
    else:
        orphans = [data_path(folder, written.commitment)]
    return await loop.run_in_executor(executor, set_aside, orphans)


async def _unknown_files(journal: BatchJournal, folder: Path, executor: Executor) -> list[Path]:
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
