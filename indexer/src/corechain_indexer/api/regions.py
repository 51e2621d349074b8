"""Statistics of all devices in a region, batch by batch, each with its proof.

A range of keys holds a cell's readings of all times. So a batch that lies wholly in the window is
proven by a range; one that reaches beyond it shows the leaves, of which those in the window count.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.levels import BLOCK, OpenedTrees
from corechain.protocol.ranges import KeyRange, edges_of
from corechain.protocol.reading import Reading
from corechain.protocol.statistics import NOTHING, Statistics
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import hexed
from corechain_indexer.api.statistics import (
    MAX_BATCHES,
    StatisticsReader,
    headers_by_lane,
    overlaps,
    skipped_of,
)
from corechain_indexer.api.trees import Found, TreeCache
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store.reads import Reads

MAX_SHOWN = 20_000
"""Leaves that an answer shows, 80 bytes of text each: as much as two pages of readings with their
proofs. Whoever asks for whole batches' times gets none."""


@dataclass(frozen=True, slots=True)
class Region:
    """Ranges of keys of one metric, observed in [start, end] seconds."""

    ranges: Sequence[KeyRange]
    start: int
    end: int
    newest_block: int | None = None
    """Of batches up to this one."""


@dataclass(frozen=True, slots=True)
class RegionReader:
    """Answers from verified batches."""

    reads: Reads
    trees: TreeCache
    statistics: StatisticsReader

    async def answer(self, region: Region) -> schemas.Statistics:
        """Raises InvalidQuery when the answer would span too many batches or show too many
        leaves; BatchGone."""
        window = region.start, region.end
        newest = region.newest_block
        found = await self.reads.batches_in_window(*window, MAX_BATCHES + 1, newest)
        rows = await headers_by_lane(self.trees.headers, found, newest)
        skipped = [skipped_of(row) for row in rows if not overlaps(row, *window)]
        looked = [row for row in rows if overlaps(row, *window)]
        whole = [row for row in looked if _lies_in(row, *window)]
        partly = [row for row in looked if not _lies_in(row, *window)]
        parts, total = await self.statistics.parts(whole, region.ranges)
        shown, left = [], MAX_SHOWN
        for row in partly:
            for share in await self._shown(row, region.ranges, left):
                shown.append(share.answer)
                left -= len(share.leaves)
                total += share.total(*window)
        return schemas.Statistics(
            total.count, total.sum, total.min, total.max, parts, skipped, shown
        )

    async def _shown(self, row: Found, ranges: Sequence[KeyRange], most: int) -> Sequence["_Shown"]:
        """Of a batch the ranges, in order."""
        name = row.name
        upper = (await self.trees.upper([name]))[name]
        # A neighbour on either side: it is shown, and may lie in the next block.
        around = [
            (max(0, first - 1), last + 2)
            for first, last in (edges_of(upper, keys) for keys in ranges)
        ]
        if BLOCK * sum(last - first - 4 for first, last in around) > most:
            raise _too_many()
        blocks = {block for span in around for block in range(*span) if block < upper.blocks}
        opened = (await self.trees.opened({name: upper}, {name: blocks}))[name]
        found = await asyncio.to_thread(lambda: [_share(row, opened, keys) for keys in ranges])
        if sum(len(share.leaves) for share in found) > most:
            raise _too_many()
        return found


def _too_many() -> InvalidQuery:
    return InvalidQuery(
        "cell",
        f"more than {MAX_SHOWN} readings are in batches that reach beyond the window: ask for a"
        " smaller region or another window",
    )


def _lies_in(row: Found, start: int, end: int) -> bool:
    header = row.stated.header
    return header.window_start >= start and header.window_end <= end


@dataclass(frozen=True, slots=True)
class _Shown:
    """A range of a batch, leaf by leaf."""

    answer: schemas.Disclosed
    leaves: Sequence[bytes]
    """In the range, without its neighbours."""

    def total(self, start: int, end: int) -> Statistics:
        """Of those observed in [start, end]."""
        total = NOTHING
        for reading in map(Reading.unpack, self.leaves):
            if start <= reading.observed_at <= end:
                total += Statistics(1, reading.value, reading.value, reading.value)
        return total


def _share(row: Found, trees: OpenedTrees, keys: KeyRange) -> _Shown:
    start, end = trees.locate(*keys)
    shown = range(max(0, start - 1), min(trees.upper.count, end + 1))
    leaves = [trees.leaves[at] for at in shown]
    answer = schemas.Disclosed(
        row.name.batch_id,
        row.block,
        row.finality,
        row.stated.header,
        row.stated.readings_root,
        hexed(keys[0]),
        hexed(keys[1]),
        start,
        end,
        hexed(b"".join(leaves)),
        hexed(b"".join(trees.readings.multiproof(shown))),
    )
    return _Shown(answer, leaves[start - shown.start : end - shown.start])
