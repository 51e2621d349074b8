"""Follows the chain into Postgres: read what has changed, project it, append it or roll back."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from corechain.service.chain_reader import ChainReader
from corechain.service.known_chain import Behind, Extended, RolledBack, UpToDate
from corechain.service.reconcile import Ref
from corechain.service.rpc import Block
from corechain.service.supervision import stop_all
from corechain_indexer.decoding import Decoding
from corechain_indexer.decoding import begin as begin_decoding
from corechain_indexer.joining import Joining
from corechain_indexer.metrics import Metrics
from corechain_indexer.packed_rows import projected_of
from corechain_indexer.projections import Projected
from corechain_indexer.store.chain import ChainStore, Source
from corechain_indexer.store.decoded import DecodedStore
from corechain_indexer.traced import trace_mirrored

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Mirror:
    """One session of the mirror. `work` is set when there may be something to verify, `undone`
    after a rollback, `settled` when more blocks are final."""

    reader: ChainReader
    store: ChainStore
    chain_id: int
    poll_s: float
    metrics: Metrics
    work: asyncio.Event
    undone: asyncio.Event
    contracts: Mapping[bytes, int] = field(default_factory=dict)
    """Addresses of the deployment, and the block of each; empty: those of the reader."""
    new_head: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    _final: int = 0
    _joining: list[Joining] | None = None
    _decoding: Decoding | None = None
    _behind: bool = False
    _storing: asyncio.Task[None] | None = None

    async def run_forever(self) -> None:
        """Asks for what comes next while the range before it is stored."""
        try:
            while True:
                # Before the look, not after it: a head that is pushed meanwhile is newer than what
                # the look asked about, and would wait for the next poll.
                self.new_head.clear()
                if not await self._turn():
                    await self._wait()
        finally:
            await stop_all([] if self._storing is None else [self._storing])

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.poll_s):
                await self.new_head.wait()
        except TimeoutError:
            return

    async def step(self) -> bool:
        """One range at most, read and stored. True when there is more to do at once.

        Raises ChainReplaced, NodeUnavailable, StoreUnavailable.
        """
        more = await self._turn()
        await self._stored()
        return more

    async def _turn(self) -> bool:
        """As `step`, but the range may still be on its way to the store: there is more, then."""
        if self._joining is None:
            await self._recall_tag()
            self._joining = await self._late()
            self._decoding = await self._undecoded()
        try:
            change = await self.reader.look(self.store)
        finally:
            # Also when the look fails: a node that fails at each second question must not keep
            # what the first one brought from being stored.
            await self._stored()
        self._note_behind(change)
        if isinstance(change, RolledBack):
            await self._roll_back(change)
            return True
        if isinstance(change, Extended) and await self._extend(change):
            return True
        if isinstance(change, UpToDate):
            self._note(change.head, change.head.number)
        return await self._catch_up()

    async def _recall_tag(self) -> None:
        """What the process has forgotten, that the node says itself what is final; after a rebuild
        what only the process still knows."""
        finality = self.reader.finality
        assert finality is not None  # made by the reader
        if await self.store.tip() is None:
            finality.forget()
        elif await self.store.is_tagged():
            finality.tagged = True

    async def _catch_up(self) -> bool:
        """A range of what is behind, while nothing new has happened. True for more."""
        tip = await self.store.tip()
        if tip is None:
            return False
        more = await self._join(tip) if self._decoding is None else await self._decode(tip)
        self._note_gaps(tip)
        return more

    async def _undecoded(self) -> Decoding | None:
        tip = await self.store.tip()
        store = DecodedStore(self.store.connection)
        number = None if tip is None else tip.number
        return await begin_decoding(store, number, self.chain_id, self._count)

    async def _decode(self, tip: Ref) -> bool:
        assert self._decoding is not None
        await self._decoding.step(tip.number)
        if self._decoding.done:
            self._decoding = None
            self.work.set()
        return True

    async def _late(self) -> list[Joining]:
        """The contracts that are behind the others, by the place that they have reached; the reader
        reads the others. Those that left the deployment are read on: what they said stays."""
        if not self.contracts:
            return []
        known = await self._known_sources()
        self.reader.watch([source.address for source in known if source.joined])
        late: dict[Ref | None, list[bytes]] = defaultdict(list)
        for source in known:
            if not source.joined:
                late[source.through].append(source.address)
        return [self._joining_of(addresses, through) for through, addresses in late.items()]

    async def _known_sources(self) -> list[Source]:
        """With those that are new in the deployment, which an index that has blocks is behind with.

        Of an index of before there were sources, a contract that never logged anything may be one
        that has just been added, or a silent one: to read it anew costs a silent one next to
        nothing.
        """
        known = await self.store.sources()
        new = sorted(self.contracts.keys() - {source.address for source in known})
        if not new:
            return known
        begun = await self.store.tip() is not None
        met = new if not begun else [] if known else await self.store.mirrored(new)
        await self.store.add_sources(met, joined=True)
        await self.store.add_sources([a for a in new if a not in met], joined=False)
        return await self.store.sources()

    def _joining_of(self, addresses: Sequence[bytes], through: Ref | None) -> Joining:
        first = min(self.contracts.get(address, 1) for address in addresses)
        reader = replace(self.reader, addresses=addresses, first_block=first)
        log.info("contracts are caught up", contracts=len(addresses), first_block=first)
        return Joining(reader, self.store, self.chain_id, through, self._count)

    async def _join(self, tip: Ref) -> bool:
        joining = self._joining
        if not joining:
            return False
        more = await joining[0].step(tip)
        if joining[0].joined:
            gone = joining.pop(0)
            self.reader.watch([*self.reader.addresses, *gone.addresses])
            self.work.set()
        return more

    async def _extend(self, found: Extended) -> bool:
        self._storing = asyncio.create_task(self._append(found))
        more = found.blocks[-1].number < found.head.number
        if more:
            # Its rows are made, and its blocks known, before the next look begins.
            await asyncio.sleep(0)
        else:
            await self._stored()
        return more

    async def _stored(self) -> None:
        """Waits for the range that is being stored. Raises what went wrong with it."""
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def _append(self, found: Extended) -> None:
        began, projected = time.time(), projected_of(found.logs, self.chain_id)
        odd = await self.store.append(projected.tables, found.blocks, found.final)
        projected.malformed.extend(odd)
        self._count(projected)
        self._note(found.head, found.blocks[-1].number)
        self.metrics.final_block.set(found.final.number)
        if self.metrics.traces.on:
            trace_mirrored(self.metrics.traces, found.logs, began)
        if len(projected.tables) > 1:
            self.work.set()
        self._note_final(found)

    def _note_final(self, found: Extended) -> None:
        # Not for each range of a backfill: whoever wakes by it asks Postgres.
        at_head = found.blocks[-1].number == found.head.number
        if at_head and found.final.number > self._final:
            self._final = found.final.number
            self.settled.set()

    def _note_behind(self, change: object) -> None:
        """Logged when it begins: a node may be behind for hours."""
        if isinstance(change, Behind) and not self._behind:
            log.warning("the node is behind", why=change.why)
        self._behind = isinstance(change, Behind)

    def _count(self, projected: Projected) -> None:
        for name, count in projected.counts.items():
            self.metrics.events.labels(name).inc(count)
        for block, error in projected.malformed:
            # Kept raw, counted, seen: one odd log must not stop the mirror.
            self.metrics.logs_malformed.inc()
            log.error("malformed log", block=block, error=error)

    async def _roll_back(self, gone: RolledBack) -> None:
        undone = await self.store.roll_back(gone.to.number)
        blocks = gone.tip.number - gone.to.number
        self.metrics.reorgs.inc()
        self.metrics.reorg_blocks.observe(blocks)
        log.warning("rolled back", blocks=blocks, to=gone.to.number, batches=len(undone.batches))
        self.undone.set()

    def _note_gaps(self, tip: Ref) -> None:
        decoding, joining = self._decoding, self._joining or ()
        behind = 0 if decoding is None else tip.number - decoding.through
        self.metrics.catching_up.labels("events").set(behind)
        reached = (0 if late.through is None else late.through.number for late in joining)
        self.metrics.catching_up.labels("contracts").set(
            max((tip.number - number for number in reached), default=0)
        )

    def _note(self, head: Block, indexed: int) -> None:
        self.metrics.head_block.set(head.number)
        self.metrics.indexed_block.set(indexed)
        self.metrics.lag_blocks.set(max(0, head.number - indexed))
