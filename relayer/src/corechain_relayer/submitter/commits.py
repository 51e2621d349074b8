"""Which batches of a lane the chain has: each block's logs are read once, then never again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.batch import batch_id, lane_of
from corechain.protocol.events import BatchCommitted, BatchesCommitted
from corechain.protocol.hashing import Digest26
from corechain.protocol.logs import commitments_of, decode_log, topic_of
from corechain.service.database import asked, outages
from corechain.service.rpc import Block, Log, logs_in_ranges, to_hex
from corechain_relayer.following import all_told
from corechain_relayer.journal.batches import NUMBER_MAX, lane_queue
from corechain_relayer.journal.sql import query
from corechain_relayer.submitter.node import Node, id_of

if TYPE_CHECKING:
    from corechain.service.database import Database

TOPICS = [[to_hex(topic_of(kind)) for kind in (BatchCommitted, BatchesCommitted)]]


@dataclass(frozen=True, slots=True)
class Committed:
    """A commitment on chain, and by which transaction."""

    commitment: Digest26
    transaction: bytes
    block: int


def commits_in(logs: list[Log], lane: int) -> dict[int, Committed]:
    """Batch id → commitment of one lane, from events of DataBatches; the latest of an id counts.
    Raises NodeUnavailable."""
    found = {}
    with all_told():
        for entry in logs:
            for number, commitment in commitments_of(decode_log(list(entry.topics), entry.data)):
                if lane_of(number) == lane:
                    digest = Digest26(commitment)
                    found[number] = Committed(digest, entry.transaction, entry.block_number)
    return found


@dataclass(frozen=True, slots=True)
class CommitStore:
    """How far the logs were read, and what was found there that our intents do not account for.

    Any number of processes may use it. Raises StoreUnavailable.
    """

    pool: "Database"
    lane: int

    async def position(self) -> int | None:
        """The block up to which all is read, else that of the newest final intent, else None."""
        found = await self.read_through()
        if found is None:  # a journal from before positions were kept
            found = await asked(self.pool.fetchval(query("final_block"), lane_queue(self.lane)))
        return None if found is None else int(found)

    async def read_through(self) -> int | None:
        """The final block up to which all is read; None before anything was."""
        found = await asked(self.pool.fetchval(query("log_position"), self._name))
        return None if found is None else int(found)

    async def advance(self, block: int, found: Mapping[int, Committed]) -> None:
        """Keeps what is in the blocks up to `block`, which is final, and never reads them again."""
        columns = (
            list(found),
            [entry.commitment for entry in found.values()],
            [entry.transaction for entry in found.values()],
            [entry.block for entry in found.values()],
        )
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(query("insert_seen_commits"), *columns)
                await connection.execute(query("advance_log_position"), self._name, block)

    async def find_all(self, batches: Sequence[int]) -> dict[int, Committed]:
        """Those of some batches that were found there, by batch id."""
        rows = await asked(self.pool.fetch(query("seen_commits"), list(batches)))
        return {
            row["batch_id"]: Committed(
                Digest26(row["commitment"]), row["transaction"], row["block_number"]
            )
            for row in rows
        }

    async def unaccounted(self) -> dict[int, Digest26]:
        """Final commitments that the journal has not, or has otherwise."""
        span = batch_id(self.lane, 0), batch_id(self.lane, NUMBER_MAX)
        rows = await asked(self.pool.fetch(query("unaccounted_commits"), *span))
        return {row["batch_id"]: Digest26(row["commitment"]) for row in rows}

    @property
    def _name(self) -> str:
        return f"commits:{self.lane}"


@dataclass(slots=True)
class CommitSearch:
    """Up to the final block by the store; above it in memory, as long as that fork stands."""

    node: Node
    deployment: Deployment
    store: CommitStore
    range_blocks: int
    recent: dict[int, Committed] = field(default_factory=dict)
    _read: Block | None = None
    _first: int = 0
    """Memory holds the blocks from this one to `_read`."""

    async def refresh(self) -> None:
        """Reads on to the head. Raises NodeUnavailable, NodeRefused, StoreUnavailable."""
        head = await self.node.rpc.head()
        if self._read is not None and not await self._stands(self._read, head):
            self._read, self.recent = None, {}
        position = await self._persist(await self.node.final_block(head))
        if self._read is None:
            self._first = start = position + 1
        else:
            start = max(position, self._read.number) + 1
        self.recent |= await self._logs(start, head.number)
        self._read = head

    async def find_all(self, batches: Sequence[int]) -> dict[int, Committed]:
        """What the chain has under some batch ids, as of the last refresh."""
        found = {batch: self.recent[batch] for batch in batches if batch in self.recent}
        older = [batch for batch in batches if batch not in found]
        return found | (await self.store.find_all(older) if older else {})

    async def _persist(self, final: int) -> int:
        """Moves the position on, a piece at a time, so that a restart goes on from there."""
        position = await self.store.position()
        if position is None:
            position = self.deployment.contracts["DataBatches"].block - 1
        if self._read is not None and self._first <= position + 1:  # read already, and stands
            known = min(final, self._read.number)
            if known > position:
                found = {b: entry for b, entry in self.recent.items() if entry.block <= known}
                await self.store.advance(known, found)
                position = known
        while position < final:
            last = min(position + self.range_blocks, final)
            await self.store.advance(last, await self._logs(position + 1, last))
            position = last
        # What is final now is found in the store; memory keeps only what a reorg can take.
        self.recent = {b: entry for b, entry in self.recent.items() if entry.block > position}
        return position

    async def _stands(self, block: Block, head: Block) -> bool:
        return (await self.node.standing([id_of(block)], head)).get(id_of(block)) is True

    async def _logs(self, first: int, last: int) -> dict[int, Committed]:
        address = self.deployment.address("DataBatches")
        logs = await logs_in_ranges(
            self.node.rpc, [address], TOPICS, first, last, self.range_blocks
        )
        return commits_in(logs, self.store.lane)
