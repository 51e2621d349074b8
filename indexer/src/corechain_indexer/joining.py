"""Contracts that came into the deployment later: caught up beside the others, which go on.

They are read as a chain of their own, up to the newest mirrored block. What is final is stored
range by range, with the place reached, so that a restart goes on from there. What a fork could
still take away is kept in memory and stored at once, when its last block is the mirror's own newest
one: then both are on one branch, and from there on the mirror reads them with the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.service.chain_reader import ChainReader
from corechain.service.known_chain import Extended, MemoryChain, RolledBack
from corechain.service.reconcile import ChainReplaced, Ref
from corechain.service.words import Log
from corechain_indexer.projections import Projected
from corechain_indexer.store.chain import ChainStore

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Joining:
    """Some contracts, all at the same place. `reader` is of them alone; `through` is the newest
    block up to which they are stored, None where nothing is."""

    reader: ChainReader
    store: ChainStore
    chain_id: int
    through: Ref | None
    count: Callable[[Projected], None]
    joined: bool = False
    _known: MemoryChain = field(init=False)
    _kept: list[Log] = field(default_factory=list)
    _stores: bool = True
    """Until the first range that is not final; what follows one that is kept is kept too."""

    def __post_init__(self) -> None:
        self._begin_again()

    def _begin_again(self) -> None:
        self._known = MemoryChain()
        if self.through is not None:
            self._known.extend([self.through])
        self._kept, self._stores = [], True

    @property
    def addresses(self) -> Sequence[bytes]:
        return self.reader.addresses

    async def step(self, tip: Ref) -> bool:
        """A range at most, while the mirror is at `tip`; True when there is more to do at once.

        Raises ChainReplaced, NodeUnavailable, StoreUnavailable.
        """
        newest = await self._known.tip()
        if newest is not None and newest.number >= tip.number:
            return await self._join(tip)
        try:
            change = await self.reader.look(self._known)
        except ChainReplaced:
            if self.through is not None:
                raise
            # The block before the first one was not final, and nothing is stored that hung on it.
            self._begin_again()
            return False
        if isinstance(change, Extended):
            await self._take(change, tip, begins=newest is None)
        elif isinstance(change, RolledBack):
            self._begin_again()
        return isinstance(change, Extended | RolledBack)

    async def _take(self, found: Extended, tip: Ref, *, begins: bool) -> None:
        through = found.blocks[-1]
        self._known.extend(found.blocks)
        if begins:
            return  # the block that links the first one, in which nothing of theirs can be
        settled = self._known.settle(found.final)
        self._stores = self._stores and settled == through.number <= tip.number
        if not self._stores:
            self._kept += found.logs
            return
        await self._store(found.logs, through, joined=False)
        self.through = through

    async def _join(self, tip: Ref) -> bool:
        ours = {ref.number: ref.hash for ref in await self._known.unfinal()}
        if tip.number not in ours:
            return False  # a range of final blocks ended above it: the mirror will get there
        if ours[tip.number] != tip.hash:
            self._begin_again()  # one of the two is on a branch that is gone
            return False
        # What is above will be read with the others'.
        logs = [entry for entry in self._kept if entry.block_number <= tip.number]
        await self._store(logs, tip, joined=True)
        self.joined = True
        log.info("contracts joined", addresses=_shown(self.addresses), block=tip.number)
        return True

    async def _store(self, logs: Sequence[Log], through: Ref, *, joined: bool) -> None:
        projected = Projected.of(logs, self.chain_id)
        odd = await self.store.add(projected.tables, self.addresses, through, joined=joined)
        projected.malformed.extend(odd)
        self.count(projected)


def _shown(addresses: Sequence[bytes]) -> list[str]:
    return ["0x" + address.hex() for address in addresses]
