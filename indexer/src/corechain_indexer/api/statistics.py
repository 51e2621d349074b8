"""Range statistics of a device's metric, batch by batch, each with its proof."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import NOTHING, RangeProof, locate, verify_range
from corechain.protocol.statistics import Statistics as Proven
from corechain.protocol.vocabulary import Metric
from corechain.service.database import asked
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import header_of, hexed, sql_header
from corechain_indexer.api.trees import BatchTrees, TreeCache
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

HOUR_S = 3600
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


@dataclass(frozen=True, slots=True)
class StatisticsReader:
    """Answers from verified batches."""

    pool: "Database"
    trees: TreeCache

    async def answer(self, question: Question) -> schemas.Statistics:
        """Raises InvalidQuery when the answer would span too many batches."""
        cells = await self._cells(question)
        parts, skipped = [], []
        total = NOTHING
        for row in await self._batches(question):
            if row["window_end"] < question.start or row["window_start"] > question.end:
                skipped.append(_skipped(row))
                continue
            trees = await self.trees.of(row["batch_id"], row["commitment"])
            for cell in cells:
                part, proven = await asyncio.to_thread(_part, row, trees, question, cell)
                parts.append(part)
                total += proven
        return schemas.Statistics(total.count, total.sum, total.min, total.max, parts, skipped)

    async def _cells(self, question: Question) -> Sequence[int]:
        if question.cell is not None:
            return [question.cell]
        arguments = (question.device, question.metric.code, question.start, question.end)
        rows = await asked(self.pool.fetch(SQL["cells_of"], *arguments))
        return [to_unsigned(row["cell"]) for row in rows]

    async def _batches(self, question: Question) -> Sequence["Record"]:
        """All verified batches from the first to the last that holds such readings, by lane."""
        first_hour = question.start - question.start % HOUR_S
        holding = await asked(
            self.pool.fetch(
                SQL["batches_with"],
                question.device,
                question.metric.code,
                first_hour,
                question.end,
                MAX_BATCHES + 1,
            )
        )
        rows: list[Record] = []
        for first, last in _spans([row["batch_id"] for row in holding]):
            if last - first + len(rows) >= MAX_BATCHES or len(holding) > MAX_BATCHES:
                raise InvalidQuery("to", f"the answer spans more than {MAX_BATCHES} batches")
            rows += await asked(self.pool.fetch(SQL["headers_between"], first, last))
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


def _part(
    row: "Record", trees: BatchTrees, question: Question, cell: int
) -> tuple[schemas.Part, Proven]:
    code, device = question.metric.code, question.device
    low = pack_key(code, cell, device, question.start)
    high = pack_key(code, cell, device, question.end)
    start, end = locate(trees.leaves, low, high)
    proof: RangeProof = trees.statistics.range_proof(start, end)
    header = header_of(row)
    count = header.reading_count
    proven = verify_range(header.statistics_root, count, start, end, low, high, proof)
    part = schemas.Part(
        row["batch_id"],
        row["block_number"],
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
