"""Range statistics of a device's metric, batch by batch, each with its proof."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.levels import BLOCK, OpenedTrees, UpperLevels
from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import NOTHING, RangeProof, revealed_positions, verify_range
from corechain.protocol.statistics import Statistics as Proven
from corechain.protocol.vocabulary import Metric
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import header_of, hexed, sql_header
from corechain_indexer.api.trees import AT_ONCE, Batch, TreeCache
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store.readings import Readings
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

HOUR_S = 3600
Range = tuple[bytes, bytes]
"""The lowest and the highest key, 35 bytes each."""
MAX_BATCHES = 2_000
"""An answer spans so many batches at the most; a longer time is asked for in pieces."""


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


@dataclass(frozen=True, slots=True)
class StatisticsReader:
    """Answers from verified batches."""

    pool: "Database"
    trees: TreeCache

    async def answer(self, question: Question) -> schemas.Statistics:
        """Raises InvalidQuery when the answer would span too many batches."""
        cells = await self._cells(question)
        rows = await self._batches(question)
        skipped = [_skipped(row) for row in rows if not _overlaps(row, question)]
        looked = [row for row in rows if _overlaps(row, question)]
        parts, total = [], NOTHING
        for first in range(0, len(looked), AT_ONCE):
            some = looked[first : first + AT_ONCE]
            for part, proven in await self._parts(some, [_range(question, cell) for cell in cells]):
                parts.append(part)
                total += proven
        return schemas.Statistics(total.count, total.sum, total.min, total.max, parts, skipped)

    async def _parts(
        self, rows: Sequence["Record"], ranges: Sequence[Range]
    ) -> list[tuple[schemas.Part, Proven]]:
        """Of each batch the ranges one after the other. Raises BatchGone."""
        names = [Batch(row["batch_id"], row["commitment"]) for row in rows]
        uppers = await self.trees.upper(names)
        edges = {name: _blocks(uppers[name], ranges) for name in names}
        trees = await self.trees.opened(uppers, edges)
        # An edge that falls between two blocks shows a leaf of each.
        missing = {name: _shown(trees[name], ranges) - edges[name] for name in names}
        more = await self.trees.opened(uppers, missing)
        both = [trees[name].with_blocks(more[name].blocks) for name in names]
        return await asyncio.to_thread(
            lambda: [
                _part(row, opened, *range_)
                for row, opened in zip(rows, both, strict=True)
                for range_ in ranges
            ]
        )

    async def _cells(self, question: Question) -> Sequence[int]:
        if question.cell is not None:
            return [question.cell]
        arguments = (question.device, question.metric.code, question.start, question.end)
        return await Readings(self.pool).cells_of(*arguments)

    async def _batches(self, question: Question) -> Sequence["Record"]:
        """All verified batches from the first to the last that holds such readings, by lane."""
        first_hour = question.start - question.start % HOUR_S
        holding = await Readings(self.pool).batches_with(
            question.device,
            question.metric.code,
            first_hour,
            question.end,
            MAX_BATCHES + 1,
            question.newest_block,
        )
        rows: list[Record] = []
        for first, last in _spans(holding):
            if last - first + len(rows) >= MAX_BATCHES or len(holding) > MAX_BATCHES:
                raise InvalidQuery("to", f"the answer spans more than {MAX_BATCHES} batches")
            rows += await Reads(self.pool).headers_between(first, last)
        return rows


def _spans(batches: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) batch id of each lane."""
    lanes: dict[int, list[int]] = {}
    for batch in batches:
        lanes.setdefault(batch >> 32, []).append(batch)
    return [(min(ids), max(ids)) for _, ids in sorted(lanes.items())]


def _skipped(row: "Record") -> schemas.Skipped:
    return schemas.Skipped(
        row["batch_id"], row["block_number"], sql_header(row), hexed(row["readings_root"])
    )


def _overlaps(row: "Record", question: Question) -> bool:
    return bool(row["window_end"] >= question.start and row["window_start"] <= question.end)


def _range(question: Question, cell: int) -> Range:
    code, device = question.metric.code, question.device
    return (
        pack_key(code, cell, device, question.start),
        pack_key(code, cell, device, question.end),
    )


def _blocks(upper: UpperLevels, ranges: Sequence[Range]) -> set[int]:
    """Where the ranges begin and end."""
    return {block for low, high in ranges for block in upper.edges(low, high)}


def _shown(trees: OpenedTrees, ranges: Sequence[Range]) -> set[int]:
    """The blocks of the leaves that the ranges' proofs show."""
    places = [trees.locate(low, high) for low, high in ranges]
    count = trees.upper.count
    return {at // BLOCK for place in places for at in revealed_positions(*place, count)}


def _part(
    row: "Record", trees: OpenedTrees, low: bytes, high: bytes
) -> tuple[schemas.Part, Proven]:
    start, end = trees.locate(low, high)
    proof: RangeProof = trees.statistics.range_proof(start, end)
    header = header_of(row)
    count = header.reading_count
    proven = verify_range(header.statistics_root, count, start, end, low, high, proof)
    part = schemas.Part(
        row["batch_id"],
        row["block_number"],
        row["finality"],
        sql_header(row),
        hexed(row["readings_root"]),
        hexed(low),
        hexed(high),
        start,
        end,
        [hexed(leaf) for leaf in proof.leaves],
        [hexed(node.pack()) for node in proof.nodes],
        proven.count,
        proven.sum,
        proven.min,
        proven.max,
    )
    return part, proven
