"""Where a lane stands: from the journal, and from the chain where that is ahead."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from corechain.deployment import Deployment
from corechain.protocol.batch import Origin, ancestor_of, batch_id, number_of
from corechain.protocol.columns import rows_of
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import Columns
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.logs import commitments_of, decode_log
from corechain.protocol.reading import DeviceId
from corechain.protocol.rebuilding import rebuild_columns
from corechain.protocol.sealing import SealedBatch
from corechain.service.rpc import Log
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.aggregator.orphans import Unknown
from corechain_relayer.calldata import commit_call
from corechain_relayer.errors import ResumeImpossible
from corechain_relayer.following import all_told
from corechain_relayer.journal.batches import (
    BatchJournal,
    KeptBatch,
    NewIntent,
    batch_key,
    lane_queue,
)
from corechain_relayer.journal.delta import ids_in
from corechain_relayer.journal.rests import Rests
from corechain_relayer.submitter.commits import CommitSearch

log = structlog.get_logger(__name__)

FOLD_EVERY = 32
"""Adopted batches: a lost journal may have thousands to come, nobody folds beside us yet."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A commitment that the chain knows, and where."""

    commitment: Digest26
    block: int


def _devices(reports: Columns) -> list[DeviceId]:
    """Each once, of reports that are ordered by device."""
    rows = rows_of(reports.devices, 20)
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return ids_in(rows[is_first].tobytes())


def committed_in(logs: Iterable[Log]) -> dict[int, Committed]:
    """Batch id → commitment of all lanes, from DataBatches' logs of commits. Raises
    NodeUnavailable."""
    found: dict[int, Committed] = {}
    with all_told():
        for entry in logs:
            for number, commitment in commitments_of(decode_log(list(entry.topics), entry.data)):
                found[number] = Committed(Digest26(commitment), entry.block_number)
    return found


@dataclass(frozen=True, slots=True)
class Lane:
    """Resumes a lane and says where its next batch stands."""

    number: int
    journal: BatchJournal
    deployment: Deployment
    data_dir: Path
    rests: Callable[[Collection[DeviceId]], Rests] = lambda devices: {}
    """Of some devices those whose registration a reorg may still undo."""

    async def next_origin(self) -> Origin:
        """Raises ResumeImpossible when an ancestor's commitment is not in the journal."""
        following = await self.journal.last() + 1
        return Origin(
            batch_id(self.number, following),
            await self._commitment(following - 1),
            await self._commitment(ancestor_of(following)),
            self.deployment.chain_id,
            self.deployment.address("DeviceRegistry"),
        )

    async def _commitment(self, number: int) -> Digest26:
        if number == 0:
            return ZERO26
        found = await self.journal.commitment(number)
        if found is None:
            raise ResumeImpossible(self.number, f"the commitment of batch {number} is not known")
        return found

    async def catch_up(self, search: CommitSearch) -> int:
        """Adopts what the chain has and the journal has not (a lost or restored database).

        Raises ResumeImpossible where journal and chain differ or a data file is missing: without it
        we would not know which sequences are counted already.
        """
        await search.refresh()
        recent = {batch: entry.commitment for batch, entry in search.recent.items()}
        final = await search.store.unaccounted()
        found = final | recent
        on_chain = {number_of(batch): commitment for batch, commitment in sorted(found.items())}
        known = await self.journal.commitments_of(on_chain)
        self._compare(on_chain, known)
        missing = sorted(on_chain.keys() - known.keys())
        for position, number in enumerate(missing, 1):
            is_final = batch_id(self.number, number) in final
            await self._adopt(number, on_chain[number], is_final)
            if position % FOLD_EVERY == 0:
                await self.journal.fold()
        return len(missing)

    def _compare(self, on_chain: Mapping[int, Digest26], known: Mapping[int, Digest26]) -> None:
        for number in on_chain.keys() & known.keys():
            if on_chain[number] != known[number]:
                raise ResumeImpossible(
                    self.number,
                    f"batch {number} is 0x{on_chain[number].hex()} on chain "
                    f"and 0x{known[number].hex()} in the journal",
                )

    async def _adopt(self, number: int, commitment: Digest26, is_final: bool) -> None:
        """One that a reorg can still take has an intent, which the submitter finds done: else
        nobody would commit it again."""
        origin = await self.next_origin()
        if origin.batch_id != batch_id(self.number, number):
            raise ResumeImpossible(self.number, f"the batches before {number} are not on chain")
        # In a thread: some seconds for a large batch, in which a gateway beside us goes on.
        batch = await asyncio.to_thread(self._read, origin, commitment)
        intent = None if is_final else self.intent(origin.batch_id, commitment)
        kept = KeptBatch.of_sealed(batch) if is_final else self.kept(batch)
        await self.journal.keep(kept, intent, adopted=True)
        log.info("batch adopted from chain", batch=origin.batch_id, commitment=commitment.hex())

    def kept(self, batch: SealedBatch) -> KeptBatch:
        """What the journal keeps of a batch that is to be committed, with what that rests on."""
        return KeptBatch.of_sealed(batch, self.rests(_devices(batch.reports)))

    def intent(self, number: int, commitment: Digest26) -> NewIntent:
        """To commit the batch of a number (with its lane) on chain."""
        contract, call = self.deployment.address("DataBatches"), commit_call(number, commitment)
        return NewIntent(lane_queue(self.number), batch_key(number), contract, call)

    # ------------------------------------------------------------- sealed, and not in the journal

    async def take_up(self, files: Iterable[Unknown]) -> list[Path]:
        """Makes batches of the data files that go on where the journal ends, one after another;
        those of the others that can never be one. The journal must have caught up.

        What is sealed is never sealed otherwise: the transaction that commits it may be under way.
        Reports of it that are still on the bus are duplicates then.
        Raises ResumeImpossible where a later file is there and those before it are not: it may be
        all that is left of its reports.
        """
        by_number, rest = self._by_number(files)
        last = await self.journal.last()
        while candidates := by_number.pop(last + 1, []):
            last += 1
            await self._keep_sealed(last, candidates)
            if last % FOLD_EVERY == 0:
                await self.journal.fold()
        later = min((number for number in by_number if number > last), default=None)
        if later is not None:
            name = by_number[later][0].name
            raise ResumeImpossible(
                self.number,
                f"the journal ends with batch {last}, chain and data files have nothing of "
                f"{last + 1}, and {name} is batch {later}: the journal is older than the folder",
            )
        return rest + [path for paths in by_number.values() for path in paths]

    def _by_number(self, files: Iterable[Unknown]) -> tuple[dict[int, list[Path]], list[Path]]:
        """Files of this very network by their batches' numbers, and the others."""
        ours, others = defaultdict[int, list[Path]](list), list[Path]()
        place = self.deployment.chain_id, self.deployment.address("DeviceRegistry")
        for file in files:
            origin = file.origin
            if origin is not None and (origin.chain_id, origin.registry) == place:
                ours[number_of(origin.batch_id)].append(file.path)
            else:
                others.append(file.path)
        return ours, others

    async def _keep_sealed(self, number: int, paths: Sequence[Path]) -> None:
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise ResumeImpossible(
                self.number, f"{names} are both batch {number}, and neither is on chain yet"
            )
        commitment = Digest26(bytes.fromhex(paths[0].stem))
        origin = await self.next_origin()
        batch = await asyncio.to_thread(self._read, origin, commitment)
        await self.journal.keep(self.kept(batch), self.intent(origin.batch_id, commitment))
        log.warning(
            "sealed batch taken up from its data file",
            batch=origin.batch_id,
            commitment=commitment.hex(),
            reports=len(batch.reports),
        )

    def _read(self, origin: Origin, commitment: Digest26) -> SealedBatch:
        path = data_path(self.data_dir, commitment)
        try:
            found = rebuild_columns(path.read_bytes())
            found.check_signatures()
        except OSError as error:
            raise ResumeImpossible(
                self.number, f"the data file {path.name} cannot be read: {error.strerror}"
            ) from None
        except ProtocolError as error:
            raise ResumeImpossible(self.number, f"the data file {path.name}: {error}") from error
        if found.batch.commitment != commitment or found.origin != origin:
            raise ResumeImpossible(self.number, f"the data file {path.name} is another batch's")
        return found.batch
