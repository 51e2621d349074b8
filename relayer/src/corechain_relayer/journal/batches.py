"""The aggregator's side of the journal: one transaction a batch, by one writer a lane."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.batch import Batch, batch_id
from corechain.protocol.hashing import Digest26
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId
from corechain.service.database import asked, outages
from corechain_relayer.journal.digests import CHUNK, Key, chunks_of, digest_columns, to_digests
from corechain_relayer.journal.rows import state_columns, to_states, to_windows, window_columns
from corechain_relayer.journal.sql import query
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow

if TYPE_CHECKING:
    from corechain.service.database import Conn

NUMBER_MAX = 0xFFFFFFFF
KEPT_CHUNKS = JOURNAL_WIDTH // CHUNK
"""What is further below is stale, whatever it holds."""


@dataclass(frozen=True, slots=True)
class NewIntent:
    """What is to happen on chain: `key` says what it is in the business, once and for all."""

    queue: str
    key: str
    target: bytes
    calldata: bytes


def lane_queue(lane: int) -> str:
    return f"lane:{lane}"


def batch_key(batch: int) -> str:
    return f"batch:{batch}"


@dataclass(frozen=True, slots=True)
class BatchJournal:
    """Batches, sequences and quality state of a lane. Raises StoreUnavailable."""

    connection: "Conn"
    lane: int

    async def last(self) -> int:
        """Number of the newest batch; 0 when there is none."""
        first, last = batch_id(self.lane, 0), batch_id(self.lane, NUMBER_MAX)
        row = await asked(self.connection.fetchrow(query("last_batch"), first, last))
        return 0 if row is None else row["batch_id"] - first

    async def commitment(self, number: int) -> Digest26 | None:
        identity = batch_id(self.lane, number)
        found = await asked(self.connection.fetchval(query("commitment_of"), identity))
        return None if found is None else Digest26(found)

    async def commitments(self) -> dict[int, Digest26]:
        """All of the lane, by number."""
        first, last = batch_id(self.lane, 0), batch_id(self.lane, NUMBER_MAX)
        rows = await asked(self.connection.fetch(query("commitments_between"), first, last))
        return {row["batch_id"] - first: Digest26(row["commitment"]) for row in rows}

    async def commitments_of(self, numbers: Iterable[int]) -> dict[int, Digest26]:
        """Of those among some batches of the lane that the journal has, by number."""
        first = batch_id(self.lane, 0)
        ids = [first + number for number in numbers]
        rows = await asked(self.connection.fetch(query("commitments_of"), ids))
        return {row["batch_id"] - first: Digest26(row["commitment"]) for row in rows}

    async def sequences(self, devices: Iterable[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        rows = await asked(self.connection.fetch(query("sequences"), list(devices)))
        return to_windows(rows)

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """What sequences were used for, where that is known."""
        rows = await asked(self.connection.fetch(query("report_digests"), *chunks_of(keys)))
        return to_digests(rows, keys)

    async def quality(self, devices: Iterable[DeviceId]) -> dict[StateKey, State]:
        rows = await asked(self.connection.fetch(query("quality_states"), list(devices)))
        return to_states(rows)

    async def keep(
        self,
        batch: Batch,
        windows: Mapping[DeviceId, SequenceWindow],
        intent: NewIntent | None,
    ) -> None:
        """A sealed batch with all it changes, at once. Without an intent it is on chain already."""
        with outages():
            async with self.connection.transaction():
                await self._insert(batch, adopted=intent is None)
                if intent is not None:
                    fields = (intent.queue, intent.key, intent.target, intent.calldata)
                    await self.connection.execute(query("insert_intent"), *fields)
                await self.connection.execute(query("upsert_sequences"), *window_columns(windows))
                digests = digest_columns(batch.reports)
                await self.connection.execute(query("keep_report_digests"), *digests, KEPT_CHUNKS)
                columns = state_columns(batch.states)
                await self.connection.execute(query("upsert_quality"), *columns)

    async def _insert(self, batch: Batch, adopted: bool) -> None:
        header = batch.header
        await self.connection.execute(
            query("insert_batch"),
            header.batch_id,
            batch.commitment,
            header.reading_count,
            header.report_count,
            sum(1 for _ in batch.rejected()),
            header.window_start,
            header.window_end,
            adopted,
        )
