"""Follows the chain into Postgres: read what has changed, project it, append it or roll back."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import ProtocolError
from corechain.protocol.logs import decode_log
from corechain.service.chain_reader import ChainReader
from corechain.service.known_chain import Behind, Extended, RolledBack, UpToDate
from corechain.service.rpc import Block, Log
from corechain_indexer.metrics import Metrics
from corechain_indexer.projections import Row, project, raw_row
from corechain_indexer.store.chain import ChainStore

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Mirror:
    """One session of the mirror. `work` is set when there may be something to verify, `undone`
    after a rollback."""

    reader: ChainReader
    store: ChainStore
    chain_id: int
    poll_s: float
    metrics: Metrics
    work: asyncio.Event
    undone: asyncio.Event
    new_head: asyncio.Event = field(default_factory=asyncio.Event)
    _behind: bool = False

    async def run_forever(self) -> None:
        while True:
            more = await self.step()
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        self.new_head.clear()
        try:
            async with asyncio.timeout(self.poll_s):
                await self.new_head.wait()
        except TimeoutError:
            return

    async def step(self) -> bool:
        """One range at most. True when there is more to do at once. Raises ChainReplaced."""
        change = await self.reader.look(self.store)
        self._note_behind(change)
        if isinstance(change, RolledBack):
            await self._roll_back(change)
            return True
        if isinstance(change, Extended):
            return await self._append(change)
        if isinstance(change, UpToDate):
            self._note(change.head, change.head.number)
        return False

    async def _append(self, found: Extended) -> bool:
        rows = list(self._rows(found.logs))
        raw = [raw_row(entry) for entry in found.logs]
        await self.store.append(raw, rows, found.blocks, found.final)
        through = found.blocks[-1].number
        self._note(found.head, through)
        if rows:
            self.work.set()
        return through < found.head.number

    def _note_behind(self, change: object) -> None:
        """Logged when it begins: a node may be behind for hours."""
        if isinstance(change, Behind) and not self._behind:
            log.warning("the node is behind", why=change.why)
        self._behind = isinstance(change, Behind)

    def _rows(self, logs: Sequence[Log]) -> Iterator[tuple[str, Row]]:
        for entry in logs:
            try:
                yield from self._projected(entry)
            except ProtocolError as error:
                # Kept raw, counted, seen: one odd log must not stop the mirror.
                self.metrics.logs_malformed.inc()
                log.error("malformed log", block=entry.block_number, error=str(error))

    def _projected(self, entry: Log) -> Sequence[tuple[str, Row]]:
        """Raises MalformedLog, MalformedList."""
        event = decode_log(list(entry.topics), entry.data)
        if event is None:
            return []
        rows = project(event, entry, self.chain_id)
        self.metrics.events.labels(type(event).__name__).inc()
        return rows

    async def _roll_back(self, gone: RolledBack) -> None:
        undone = await self.store.roll_back(gone.to.number)
        blocks = gone.tip.number - gone.to.number
        self.metrics.reorgs.inc()
        self.metrics.reorg_blocks.observe(blocks)
        log.warning("rolled back", blocks=blocks, to=gone.to.number, batches=len(undone.batches))
        self.undone.set()

    def _note(self, head: Block, indexed: int) -> None:
        self.metrics.head_block.set(head.number)
        self.metrics.indexed_block.set(indexed)
        self.metrics.lag_blocks.set(max(0, head.number - indexed))
