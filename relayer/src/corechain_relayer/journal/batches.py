"""The aggregator's side of the journal: one transaction a batch, by one writer a lane."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.protocol.batch import Header, batch_id
from corechain.protocol.frame import Columns
from corechain.protocol.hashing import Digest26
from corechain.protocol.sealing import SealedBatch
from corechain.protocol.states import StateColumns
from corechain.service.database import asked, outages
from corechain_relayer.journal.delta import delta_of
from corechain_relayer.journal.fold import fold_all
from corechain_relayer.journal.rests import Rests, pack_rests
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Conn

NUMBER_MAX, ID_MAX = 0xFFFFFFFF, 0xFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class NewIntent:
    """What is to happen on chain: `key` says what it is in the business, once and for all."""

    queue: str
    key: str
    target: bytes
    calldata: bytes


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """What the journal keeps of a batch. `failed`: observations that are no leaf."""

    header: Header
    commitment: Digest26
    failed: int
    reports: Columns
    """Ordered by (device, sequence)."""
    states: StateColumns
    """Of the pairs in it, after it; ordered by (device, metric)."""
    rests: Rests = field(default_factory=dict)
    """Its devices whose registration a reorg may still undo."""

    @classmethod
    def of_sealed(cls, batch: SealedBatch, rests: Rests | None = None) -> "KeptBatch":
        parts = batch.commitment, batch.failed, batch.reports, batch.states
        return cls(batch.header, *parts, rests or {})


def lane_queue(lane: int) -> str:
    return f"lane:{lane}"


def batch_key(batch: int) -> str:
    return f"batch:{batch}"


@dataclass(frozen=True, slots=True)
class BatchJournal:
    """Batches of a lane. `DeviceReader` reads what they say of devices. Raises StoreUnavailable."""

    connection: "Conn"
    lane: int

    async def last(self) -> int:
        """Number of the newest batch; 0 when there is none."""
        first, last = self.ids
        row = await asked(self.connection.fetchrow(query("last_batch"), first, last))
        return 0 if row is None else row["batch_id"] - first

    async def commitment(self, number: int) -> Digest26 | None:
        identity = batch_id(self.lane, number)
        found = await asked(self.connection.fetchval(query("commitment_of"), identity))
        return None if found is None else Digest26(found)

    async def known_of(self, commitments: Iterable[bytes]) -> set[bytes]:
        """Those among some commitments that are of a batch, of any lane."""
        rows = await asked(self.connection.fetch(query("known_commitments"), list(commitments)))
        return {row["commitment"] for row in rows}

    async def commitments_of(self, numbers: Iterable[int]) -> dict[int, Digest26]:
        """Of those among some batches of the lane that the journal has, by number."""
        first = batch_id(self.lane, 0)
        ids = [first + number for number in numbers]
        rows = await asked(self.connection.fetch(query("commitments_of"), ids))
        return {row["batch_id"] - first: Digest26(row["commitment"]) for row in rows}

    async def fold(self) -> int:
        """Folds what is unfolded now, of all lanes: also of one that nobody writes any more."""
        return await fold_all(self.connection, 0, ID_MAX)

    @property
    def ids(self) -> tuple[int, int]:
        """The lowest and the highest batch id of the lane."""
        return batch_id(self.lane, 0), batch_id(self.lane, NUMBER_MAX)

    async def keep(
        self, batch: KeptBatch, intent: NewIntent | None, *, adopted: bool = False
    ) -> int:
        """A sealed batch with all it changes, at once. Without an intent it is on chain for good.
        `adopted`: it was found there. How many bytes there are to fold."""
        delta = delta_of(batch.reports, batch.states).pack()
        with outages():
            async with self.connection.transaction():
                await self._insert(batch, adopted or intent is None)
                if intent is not None:
                    wanted = (intent.queue, intent.key, intent.target, intent.calldata)
                    await self.connection.execute(query("insert_intent"), *wanted)
                if intent is not None and batch.rests:
                    rests = (batch.header.batch_id, pack_rests(batch.rests))
                    await self.connection.execute(query("insert_rests"), *rests)
                fields = (batch.header.batch_id, delta)
                await self.connection.execute(query("insert_delta"), *fields)
        return len(delta)

    async def _insert(self, batch: KeptBatch, adopted: bool) -> None:
        header = batch.header
        await self.connection.execute(
            query("insert_batch"),
            header.batch_id,
            batch.commitment,
            header.reading_count,
            header.report_count,
            batch.failed,
            header.window_start,
            header.window_end,
            adopted,
        )
