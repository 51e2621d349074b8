"""Data files that never became a batch: their writer was stopped in between.

Their reports are still on the bus and come in another file, which must be the only one.
"""

import asyncio
from concurrent.futures import Executor
from pathlib import Path

from corechain_relayer.aggregator.files import (
    data_path,
    last_written,
    set_aside,
    unknown_files,
)
from corechain_relayer.journal.batches import BatchJournal


async def set_orphans_aside(journal: BatchJournal, folder: Path, executor: Executor) -> list[Path]:
    """Those of the journal's lane; what they were called. The journal must have caught up.

    A batch follows its file, so only the last file can be an orphan. All files are looked at only
    where that does not hold: no note says which one is the last, or the journal is an older one.
    """
    loop, lane = asyncio.get_running_loop(), journal.lane
    first, _ = journal.ids
    written = await loop.run_in_executor(executor, last_written, folder, lane)
    if written is None or written.batch_id - first > await journal.last() + 1:
        known: set[bytes] = set((await journal.commitments()).values())
        orphans = await loop.run_in_executor(executor, unknown_files, folder, lane, known)
    elif await journal.commitment(written.batch_id - first) == written.commitment:
        orphans = []
    else:
        orphans = [data_path(folder, written.commitment)]
    return await loop.run_in_executor(executor, set_aside, orphans)
