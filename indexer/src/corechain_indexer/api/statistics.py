"""Range statistics of a device's metric, batch by batch, each with its proof."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.protocol.levels import UpperLevels
from corechain.protocol.ranges import KeyRange, MoreBlocks, ProvenRange, edges_of, prove_range
from corechain.protocol.reading import READING_BYTES, pack_key
from corechain.protocol.statistics import NODE_BYTES, NOTHING
from corechain.protocol.statistics import Statistics as Proven
from corechain.protocol.vocabulary import Metric
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import hexed
from corechain_indexer.api.trees import Batch, Found, HeaderCache, TreeCache
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store.readings import Readings, Wanted

if TYPE_CHECKING:
    from corechain.service.database import Database

T = TypeVar("T")
MAX_BATCHES = 2_000
"""An answer spans so many batches at the most; a longer time is asked for in pieces."""
MAX_PARTS = 10_000
"""Range proofs of an answer, about 5 kB of text each: one of every batch for every cell that a
device was at, or for every row of a region's cells."""
FEW = 4
"""Batches that are proven sooner than a thread is woken: 20 µs each."""
SHORT_S, NEAR = 2 * 86_400, 64
"""Of a time that is as short, so many segments are looked at one by one: two questions less."""
AT_ONCE = 512
"""Batches whose blocks are read in one go, 5 kB each: a round trip costs as much as proving 20."""


@dataclass(frozen=True, slots=True)
class Question:
    """One device's metric observed in [start, end] seconds; cell None: every cell it was at."""

    metric: Metric
    device: bytes
    cell: int | None
    start: int
    end: int
    newest_block: int | None = None
    """Of batches up to this one."""
    batches: tuple[int, int] | None = None
    """The first and the last that the answer is to be of; None: that hold such readings."""


@dataclass(frozen=True, slots=True)
class StatisticsReader:
    """Answers from verified batches."""

    pool: "Database"
    trees: TreeCache

    async def answer(self, question: Question) -> schemas.Statistics:
        """Raises InvalidQuery when the answer would span too many batches or have too many
        parts; nothing is left out of an answer."""
        cells, rows = await self._whereabouts(question)
        start, end = question.start, question.end
        skipped = [skipped_of(row) for row in rows if not overlaps(row, start, end)]
        looked = [row for row in rows if overlaps(row, start, end)]
        parts, total = await self.parts(looked, [_range(question, cell) for cell in cells])
        return schemas.Statistics(total.count, total.sum, total.min, total.max, parts, skipped)

    async def parts(
        self, rows: Sequence[Found], ranges: Sequence[KeyRange]
    ) -> tuple[list[schemas.Part], Proven]:
        """Of each batch the ranges, in order, and what they add up to. Raises BatchGone,
        InvalidQuery for more than MAX_PARTS."""
        if len(rows) * len(ranges) > MAX_PARTS:
            raise InvalidQuery("cell", _too_many_parts(len(ranges), len(rows)))
        parts, total = list[schemas.Part](), NOTHING
        for first in range(0, len(rows), AT_ONCE):
            found = await self._proven(rows[first : first + AT_ONCE], ranges)
            shaped, proven = await _worked_out(len(found), _shaped, found)
            parts += shaped
            total += proven
        return parts, total

    async def _proven(self, rows: Sequence[Found], ranges: Sequence[KeyRange]) -> list["_Looked"]:
        """Of each batch the ranges, in order. Raises BatchGone."""
        names = [row.name for row in rows]
        uppers = await self.trees.upper(names)
        found = {
            name: _Looked(row, uppers[name], ranges) for name, row in zip(names, rows, strict=True)
        }
        missing = await _worked_out(len(found), _edges, found)
        # Twice at the most: an edge that falls between two blocks shows a leaf of each.
        while missing:
            for name, blocks in (await self.trees.leaves(missing)).items():
                found[name].blocks |= blocks
            missing = await _worked_out(len(missing), _prove, found, missing)
        return list(found.values())

    async def _whereabouts(self, question: Question) -> tuple[Sequence[int], Sequence[Found]]:
        """The cells, and all verified batches from the first to the last that holds such readings,
        by lane."""
        if question.batches is not None:
            rows = await headers_by_lane(
                self.trees.headers, question.batches, question.newest_block
            )
            return [] if question.cell is None else [question.cell], rows
        cell, window = question.cell, (question.start, question.end, question.newest_block)
        wanted = Wanted(question.device, question.metric.code, *window)
        if question.end - question.start <= SHORT_S:
            near = await Readings(self.pool).near(wanted, NEAR)
            if near is not None and _one_a_lane(near.where.batches):
                rows = await self.trees.headers.stated(near.batches)
                return (near.where.cells if cell is None else [cell]), rows
        # One more than any answer has parts for: whether there are more is seen, never cut off.
        limits = MAX_BATCHES + 1, MAX_PARTS + 1 if cell is None else 0
        batches, cells = await Readings(self.pool).whereabouts(wanted, *limits)
        rows = await headers_by_lane(self.trees.headers, batches, question.newest_block)
        return (cells if cell is None else [cell]), rows


async def headers_by_lane(
    headers: HeaderCache, holding: Sequence[int], newest_block: int | None
) -> list[Found]:
    """The headers from the first to the last of these batches, lane by lane. Raises InvalidQuery
    for too many; MAX_BATCHES + 1 ids are too many, too. Raises BatchGone."""
    rows: list[Found] = []
    for first, last in _spans(holding):
        if last - first + len(rows) >= MAX_BATCHES or len(holding) > MAX_BATCHES:
            raise InvalidQuery("to", f"the answer spans more than {MAX_BATCHES} batches")
        rows += await headers.between(first, last, newest_block)
    return rows


def _one_a_lane(batches: Sequence[int]) -> bool:
    """Whether there is none between the first and the last of a lane."""
    return len({batch >> 32 for batch in batches}) == len(batches)


def _too_many_parts(ranges: int, batches: int) -> str:
    return (
        f"{ranges} cells or rows of cells in {batches} batches ask for more than {MAX_PARTS} range"
        " proofs: name one cell or fewer, or ask for a shorter time with `from` and `to`"
    )


def _spans(batches: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) batch id of each lane."""
    lanes: dict[int, list[int]] = {}
    for batch in batches:
        lanes.setdefault(batch >> 32, []).append(batch)
    return [(min(ids), max(ids)) for _, ids in sorted(lanes.items())]


def skipped_of(row: Found) -> schemas.Skipped:
    stated = row.stated
    return schemas.Skipped(row.name.batch_id, row.block, stated.header, stated.readings_root)


def overlaps(row: Found, start: int, end: int) -> bool:
    """Whether a batch's window touches [start, end]."""
    header = row.stated.header
    return header.window_end >= start and header.window_start <= end


def _range(question: Question, cell: int) -> KeyRange:
    code, device = question.metric.code, question.device
    return (
        pack_key(code, cell, device, question.start),
        pack_key(code, cell, device, question.end),
    )


@dataclass(slots=True)
class _Looked:
    """A batch with what of its leaves has been read, and the ranges that are proven by it."""

    row: Found
    upper: UpperLevels
    ranges: Sequence[KeyRange]
    blocks: dict[int, bytes] = field(default_factory=dict)
    proven: dict[KeyRange, ProvenRange] = field(default_factory=dict)

    def edges(self) -> set[int]:
        """The blocks where the ranges begin and end."""
        return {block for keys in self.ranges for block in edges_of(self.upper, keys)}

    def prove(self) -> set[int]:
        """The blocks that must be read, too."""
        missing: set[int] = set()
        root = self.row.stated.statistics_root
        for keys in self.ranges:
            try:
                self.proven[keys] = prove_range(self.upper, self.blocks, keys, root)
            except MoreBlocks as more:
                missing |= more.blocks
        return missing


async def _worked_out(batches: int, work: Callable[..., T], *arguments: Any) -> T:
    """In a thread, so that other requests go on meanwhile, unless the way there takes longer."""
    if batches <= FEW:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)


def _edges(found: dict[Batch, _Looked]) -> dict[Batch, set[int]]:
    return {name: one.edges() for name, one in found.items()}


def _prove(found: dict[Batch, _Looked], changed: Iterable[Batch]) -> dict[Batch, set[int]]:
    """Proves what can be, and names the blocks that must be read for the rest."""
    missing = {name: found[name].prove() for name in changed}
    return {name: blocks for name, blocks in missing.items() if blocks}


def _shaped(found: Iterable[_Looked]) -> tuple[list[schemas.Part], Proven]:
    """The parts of all ranges, and what they add up to."""
    parts, total = [], NOTHING
    for batch in found:
        for keys in batch.ranges:
            proven = batch.proven[keys]
            parts.append(_part(batch.row, keys, proven))
            total += proven.statistics
    return parts, total


def _part(row: Found, keys: KeyRange, proven: ProvenRange) -> schemas.Part:
    total = proven.statistics
    return schemas.Part(
        row.name.batch_id,
        row.block,
        row.finality,
        row.stated.header,
        row.stated.readings_root,
        hexed(keys[0]),
        hexed(keys[1]),
        proven.start,
        proven.end,
        _hexed(proven.leaves, READING_BYTES),
        _hexed(proven.nodes, NODE_BYTES),
        total.count,
        total.sum,
        total.min,
        total.max,
    )


def _hexed(packed: bytes, size: int) -> list[str]:
    """Each so many bytes."""
    text, step = packed.hex(), 2 * size
    return ["0x" + text[at : at + step] for at in range(0, len(text), step)]
