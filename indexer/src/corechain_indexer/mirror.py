"""Follows the chain into Postgres: reconcile, read a range, project, append."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.events import Event, MalformedLog, decode_log
from corechain.service.rpc import Block, Log
from corechain_indexer.metrics import Metrics
from corechain_indexer.projections import Row, project, raw_row
from corechain_indexer.reconcile import Ref, RollBack, Verdict, reconcile
from corechain_indexer.source import Source
from corechain_indexer.store.chain import ChainStore, RolledBack
from corechain_indexer.store.latest import Latest

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Mirror:
    """One session of the mirror. `work` is set when there may be something to verify."""

    source: Source
    store: ChainStore
    latest: Latest
    confirmations: int
    poll_s: float
    metrics: Metrics
    work: asyncio.Event
    new_head: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_forever(self) -> None:
        while True:
            behind = await self.step()
            if not behind:
                await self._wait()

    async def _wait(self) -> None:
        self.new_head.clear()
        try:
            async with asyncio.timeout(self.poll_s):
                await self.new_head.wait()
        except TimeoutError:
            return

    async def step(self) -> bool:
        """One range at most. True when there is more to do at once."""
        known = await self.store.known()
        verdict = await self._reconciled(known)
        if isinstance(verdict, RollBack):
            await self._roll_back(known[0], verdict.to)
            return True
        head = await self.source.rpc.head()
        after = known[0].number if known else self.source.deployment.first_block - 1
        self._note(head, after)
        if head.number <= after:
            return False
        return await self._advance(after, head)

    async def _reconciled(self, known: Sequence[Ref]) -> Verdict:
        questions = reconcile(known)
        try:
            ref = next(questions)
            while True:
                ref = questions.send(await self.source.stands(ref))
        except StopIteration as done:
            verdict: Verdict = done.value
            return verdict

    async def _advance(self, after: int, head: Block) -> bool:
        found = await self.source.read(after, head)
        if found is None:
            return True
        rows = list(self._rows(found.logs))
        await self.store.append([raw_row(entry) for entry in found.logs], rows, found.through)
        await self.store.forget(await self.source.final_number(head, self.confirmations))
        self._note(head, found.through.number)
        if rows:
            self.work.set()
        return found.through.number < head.number

    def _rows(self, logs: Sequence[Log]) -> Iterator[tuple[str, Row]]:
        for entry in logs:
            event = self._decoded(entry)
            if event is not None:
                yield from project(event, entry, self.source.deployment.chain_id)

    def _decoded(self, entry: Log) -> Event | None:
        try:
            event = decode_log(list(entry.topics), entry.data)
        except MalformedLog as error:
            # Kept raw, counted, seen: one odd log must not stop the mirror.
            self.metrics.logs_malformed.inc()
            log.error("malformed log", block=entry.block_number, error=str(error))
            return None
        if event is not None:
            self.metrics.events.labels(type(event).__name__).inc()
        return event

    async def _roll_back(self, cursor: Ref, to: Ref) -> None:
        gone = await self.store.roll_back(to.number)
        self.metrics.reorgs.inc()
        self.metrics.reorg_blocks.observe(cursor.number - to.number)
        log.warning("rolled back", blocks=cursor.number - to.number, to=to.number, **_sizes(gone))
        await self.latest.refresh(gone.stale)

    def _note(self, head: Block, indexed: int) -> None:
        self.metrics.head_block.set(head.number)
        self.metrics.indexed_block.set(indexed)
        self.metrics.lag_blocks.set(max(0, head.number - indexed))


def _sizes(gone: RolledBack) -> dict[str, int]:
    return {"batches": len(gone.batches), "stale": len(gone.stale)}
