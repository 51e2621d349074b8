"""Archive files that are missing or damaged, made anew from the data files of their batches."""

import asyncio
from dataclasses import dataclass

import structlog

from corechain.protocol.levels import UpperLevels
from corechain.protocol.rebuilding import Rebuilt
from corechain.service.files.fetch import FileSources
from corechain_indexer.judge import Expected, check_file
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.files import OpenBatch
from corechain_indexer.store.packing import pack_leaves

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Healer:
    """Asks the data sources. What they send is believed when it hashes to the commitment, which
    binds the leaves, and its signatures are right: as when the batch was verified."""

    archive: Archive
    sources: FileSources
    expected: Expected

    async def heal(self, batch_id: int, commitment: bytes) -> None:
        """Returns when the leaves can be read from the archive.

        Raises FileWithheld where no source has the file, FileNotJudged, Mismatch,
        ArchiveUnavailable where it cannot be written.
        """
        entry = OpenBatch(batch_id, commitment, b"", 0)

        async def judge(data: bytes) -> Rebuilt:
            return await asyncio.to_thread(check_file, data, entry, self.expected)

        found = await self.sources.first_fit(commitment, judge)
        leaves = found.batch.leaves
        blocks = await asyncio.to_thread(pack_leaves, leaves)
        levels = await asyncio.to_thread(UpperLevels.of, leaves)
        await self.archive.write(commitment, blocks, levels.packed)
        log.info("archive made anew", batch=batch_id, commitment=commitment.hex())
