"""Trees of batches that are asked for again, within a size."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from corechain.protocol.errors import NotFound
from corechain.protocol.levels import (
    BLOCK,
    Block,
    OpenedTrees,
    UpperLevels,
    hash_blocks,
)
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import hexed, sql_header
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.levels import LevelStore, block_of
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.packing import Row

AT_ONCE = 64
"""Batches whose levels are read in one go: those of an older version come with all their leaves."""


PRELOADED = 1_024
"""Batches, the newest ones, whose trees a process reads before its first query: 20 MB, 0.2 s."""
MAX_HEADERS = 8_192
"""Headers that are kept, 1.5 kB each: as many as a lane's ring has batches."""


class Batch(NamedTuple):
    """A verified batch as a request found it: after a reorg its number has another commitment."""

    batch_id: int
    commitment: bytes


class BatchGone(NotFound):
    """The batch is not verified, or is another one, now."""

    def __init__(self, batch_id: int) -> None:
        super().__init__(f"batch {batch_id} is not verified")
        self.batch_id = batch_id


class Stated(NamedTuple):
    """What a batch's commitment binds, as answers show it; `statistics_root` in bytes, too."""

    header: schemas.Header
    readings_root: str
    statistics_root: bytes


class Found(NamedTuple):
    """A verified batch, where it stands in the chain now."""

    name: Batch
    block: int
    finality: str
    stated: Stated


@dataclass(slots=True)
class HeaderCache:
    """Headers of the batches that were asked for last: eleven columns less to read and to write as
    text for each batch of a statistic."""

    pool: "Database"
    max_held: int = MAX_HEADERS
    _held: OrderedDict[Batch, Stated] = field(default_factory=OrderedDict)

    async def between(self, first: int, last: int, newest_block: int | None) -> list[Found]:
        """All verified batches with these ids, both included; committed up to a block, or
        whenever. Raises BatchGone when one changes meanwhile."""
        return await self.stated(await Reads(self.pool).verified_between(first, last, newest_block))

    async def stated(self, rows: "Sequence[Record]") -> list[Found]:
        """Of rows of `verified_between`. Raises BatchGone when one changes meanwhile."""
        stated = await self._stated([_name(row) for row in rows])
        return [
            Found(name, row["block_number"], row["finality"], stated[name])
            for name, row in zip(stated, rows, strict=True)
        ]

    async def preload(self, batches: Sequence[Batch]) -> None:
        """Raises BatchGone."""
        await self._stated(batches)

    async def _stated(self, batches: Sequence[Batch]) -> dict[Batch, Stated]:
        """In the order of the batches."""
        # Taken now: while others are read, another request may push them out.
        found = {batch: self._held.get(batch) for batch in batches}
        missing = [batch.batch_id for batch, stated in found.items() if stated is None]
        if missing:
            for row in await Reads(self.pool).headers_of(missing):
                found[_name(row)] = self._keep(row)
        _check_all_there(batches, {batch for batch, stated in found.items() if stated})
        for batch in batches:
            if batch in self._held:
                self._held.move_to_end(batch)
        return {batch: stated for batch in batches if (stated := found[batch])}

    def _keep(self, row: "Record") -> Stated:
        stated = Stated(sql_header(row), hexed(row["readings_root"]), row["statistics_root"])
        self._held[_name(row)] = stated
        while len(self._held) > self.max_held:
            self._held.popitem(last=False)
        return stated


@dataclass(slots=True)
class TreeCache:
    """Upper levels of the batches that were asked for last; leaves are read when a proof needs
    them, 64 at a time."""

    pool: "Database"
    max_bytes: int
    archive: Archive = NO_ARCHIVE
    headers: HeaderCache = field(init=False)
    _held: OrderedDict[Batch, UpperLevels] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.headers = HeaderCache(self.pool)

    async def preload(self) -> None:
        """Reads what statistics of the newest batches need. Raises BatchGone when one changes
        meanwhile, StoreUnavailable."""
        rows = await Reads(self.pool).newest_verified(PRELOADED)
        newest = [_name(row) for row in rows]
        for first in range(0, len(newest), AT_ONCE):
            if self._bytes > self.max_bytes // 2:
                return  # room for what will be asked for
            some = newest[first : first + AT_ONCE]
            await self.headers.preload(some)
            await self.upper(some)

    async def of(self, batch: Batch, positions: Iterable[int]) -> OpenedTrees:
        """A batch's trees, opened at these positions. Raises BatchGone, IndexError."""
        upper = (await self.upper([batch]))[batch]
        blocks = {position // BLOCK for position in positions}
        if blocks and not 0 <= min(blocks) <= max(blocks) < upper.blocks:
            raise IndexError(f"blocks {min(blocks)}…{max(blocks)} of {upper.blocks}")
        return (await self.opened({batch: upper}, {batch: blocks}))[batch]

    async def upper(self, batches: Sequence[Batch]) -> dict[Batch, UpperLevels]:
        """Raises BatchGone."""
        missing = [batch for batch in batches if batch not in self._held]
        found = {batch: self._held[batch] for batch in batches if batch in self._held}
        for batch in found:
            self._held.move_to_end(batch)
        for first in range(0, len(missing), AT_ONCE):
            found |= await self._read(missing[first : first + AT_ONCE])
        return found

    async def opened(
        self, uppers: Mapping[Batch, UpperLevels], blocks: Mapping[Batch, Collection[int]]
    ) -> dict[Batch, OpenedTrees]:
        """Trees of these upper levels with the named blocks open. Raises BatchGone."""
        leaves = await self.leaves({batch: blocks.get(batch, ()) for batch in uppers})
        places = [(batch, number) for batch, found in leaves.items() for number in found]
        packed = [leaves[batch][number] for batch, number in places]
        opened: dict[Batch, dict[int, Block]] = {batch: {} for batch in uppers}
        hashed = await asyncio.to_thread(hash_blocks, packed)
        for (batch, number), block in zip(places, hashed, strict=True):
            opened[batch][number] = block
        return {batch: OpenedTrees(upper, opened[batch]) for batch, upper in uppers.items()}

    async def leaves(
        self, blocks: Mapping[Batch, Collection[int]]
    ) -> dict[Batch, dict[int, bytes]]:
        """The leaves of the named blocks, by their numbers. Raises BatchGone."""
        found: dict[Batch, dict[int, bytes]] = {batch: {} for batch in blocks}
        places = [(batch.batch_id, block) for batch in blocks for block in blocks[batch]]
        if not places:
            return found
        ids, numbers = zip(*places, strict=True)
        for row in await LevelStore(self.pool, self.archive).leaf_blocks(ids, numbers):
            found.setdefault(_name(row), {})[row["block"]] = block_of(row)
        _check_all_there(
            [batch for batch, some in blocks.items() if some],
            {batch for batch, some in found.items() if some},
        )
        return {batch: found[batch] for batch in blocks}

    async def _read(self, batches: Sequence[Batch]) -> dict[Batch, UpperLevels]:
        ids = [batch.batch_id for batch in batches]
        rows = await LevelStore(self.pool, self.archive).of(ids)
        found = {_name(row): row for row in rows}
        _check_all_there(batches, found)
        if all(row["tree_levels"] is not None for row in rows):
            levels = [_levels(found[batch]) for batch in batches]
        else:  # of an older version: they are made of the leaves, 20 ms a batch
            levels = await asyncio.to_thread(lambda: [_levels(found[batch]) for batch in batches])
        for batch, upper in zip(batches, levels, strict=True):
            self._keep(batch, upper)
        return dict(zip(batches, levels, strict=True))

    def _keep(self, batch: Batch, upper: UpperLevels) -> None:
        if batch not in self._held:  # two requests may have read it at a time
            self._bytes += len(upper.packed)
        self._held[batch] = upper
        while self._bytes > self.max_bytes and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= len(gone.packed)


def _name(row: "Row") -> Batch:
    return Batch(row["batch_id"], row["commitment"])


def _check_all_there(batches: Sequence[Batch], found: Container[Batch]) -> None:
    for batch in batches:
        if batch not in found:
            raise BatchGone(batch.batch_id)


def _levels(row: "Row") -> UpperLevels:
    if row["tree_levels"] is None:
        return UpperLevels.of(row["leaves"])
    return UpperLevels(row["reading_count"], row["tree_levels"])
