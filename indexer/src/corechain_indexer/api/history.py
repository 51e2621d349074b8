"""A history, batch by batch: the readings of some ranges, with the leaf on either side of each, and
the headers of all batches in between. Nothing of it has to be believed.

The batches of a lane come in the order of their numbers, or the other way round; lane by lane.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corechain.protocol.errors import InvalidValue
from corechain.protocol.history_ranges import device_ranges, region_ranges, shown_spans
from corechain.protocol.levels import BLOCK, OpenedTrees, UpperLevels
from corechain.protocol.ranges import KeyRange, edges_of
from corechain.protocol.reading import READING_BYTES
from corechain.protocol.regions import MAX_CELLS
from corechain.protocol.vocabulary import METRICS
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import hexed
from corechain_indexer.api.statistics import overlaps
from corechain_indexer.api.trees import Batch, BatchGone, Found, TreeCache
from corechain_indexer.errors import InvalidQuery, Unavailable
from corechain_indexer.store.readings import Readings, Wanted
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from corechain.service.database import Database

PAGE_BATCHES = 64
"""Of an answer; as many as the trees of a page are opened at once."""
PAGE_LEAVES = 16_384
"""After which an answer ends with the batch that it is at: 0.9 MB of text."""
MOST_IN_VAIN = 500
"""Steps without a batch to show, of one answer: a gap of any length takes two of them, a lane one.
Only a cursor that we never gave leads through more; it may name batches up to 2^48."""
MAX_WHEREABOUTS = 2_000
"""Batches of a device that are looked at for its lanes; with more, all lanes are gone through."""


class Span(NamedTuple):
    """Batch ids of one lane that are still to be shown, both ends included."""

    first: int
    last: int


class Place(NamedTuple):
    """Where a history stands: opaque to whoever carries it. `behind`: the ids that follow the last
    batches of the time, whose headers are shown however new they are."""

    spans: list[Span]
    behind: list[int]


@dataclass(frozen=True, slots=True)
class HistoryQuestion:
    """`metrics`: codes. Without a device, `cells` are those of a region, of `resolution` or
    coarser; with one, those it was at, or none: wherever it was."""

    metrics: Sequence[int]
    device: bytes | None
    cells: Sequence[int]
    resolution: int
    start: int
    end: int
    newest_first: bool = False
    since_block: int = 0
    newest_block: int | None = None
    shows_behind: bool = True
    """Whether the header behind the last batch is shown though it is newer than `newest_block`."""

    def ranges(self) -> list[KeyRange]:
        """Raises InvalidQuery."""
        try:
            if self.device is None:
                return region_ranges(self.metrics, self.cells, self.resolution)
            window = self.start, self.end
            return device_ranges(self.metrics, self.cells, self.device, *window)
        except InvalidValue as error:
            raise InvalidQuery("cell", str(error)) from error


ALL_METRICS = [metric.code for metric in METRICS]


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """Answers from verified batches."""

    pool: "Database"
    trees: TreeCache

    async def cells_of(self, question: HistoryQuestion) -> list[int]:
        """Where a device was. Raises InvalidQuery for too many cells."""
        found: set[int] = set()
        for wanted in _wanted(question):
            where = await Readings(self.pool).whereabouts(wanted, 0, MAX_CELLS + 1)
            found.update(where.cells)
        if len(found) > MAX_CELLS:
            raise InvalidQuery("cell", f"is needed: the device was at more than {MAX_CELLS} cells")
        return sorted(found)

    async def answer(self, question: HistoryQuestion, cursor: str | None) -> schemas.History:
        """Raises InvalidQuery, Unavailable when a batch changes meanwhile."""
        ranges = question.ranges()
        place = await self._beginning(question) if cursor is None else decoded(cursor)
        batches, steps = list[schemas.HistoryBatch](), 0
        while place.spans and not batches:
            steps += 1
            if steps > MOST_IN_VAIN:
                raise InvalidQuery("cursor", "is not one that this path gave")
            rows, spans = await self._rows(question, place)
            batches = await self._shown(question, rows, ranges)
            if batches and batches[-1].batch_id != rows[-1].name.batch_id:
                spans = _behind(place.spans, batches[-1].batch_id, question.newest_first)
            place = Place(spans, place.behind)
        left = sum(span.last - span.first + 1 for span in place.spans)
        cells = [f"{cell:015x}" for cell in question.cells]
        return schemas.History(cells, batches, left, encoded(place) if left else None)

    async def _beginning(self, question: HistoryQuestion) -> Place:
        """All batches of the time, of each lane, to those that lie beside it."""
        window = question.start, question.end
        bounds = question.since_block, question.newest_block
        rows = await Reads(self.pool).history_spans(*window, *bounds)
        lanes = await self._lanes(question)
        spans = [
            Span(row["first"], row["last"])
            for row in rows
            if not lanes or row["first"] >> 32 in lanes
        ]
        return Place(spans, [span.last for span in spans])

    async def _lanes(self, question: HistoryQuestion) -> set[int]:
        """Those that hold a device's readings; none: any may."""
        lanes: set[int] = set()
        for wanted in _wanted(question) if question.device is not None else ():
            where = await Readings(self.pool).whereabouts(wanted, MAX_WHEREABOUTS + 1, 0)
            if len(where.batches) > MAX_WHEREABOUTS:
                return set()
            lanes.update(batch >> 32 for batch in where.batches)
        return lanes

    async def _rows(
        self, question: HistoryQuestion, place: Place
    ) -> tuple[list[Found], list[Span]]:
        """The next batches, in order, and the spans behind them."""
        span, *others = place.spans
        if question.newest_first:
            first = max(span.first, span.last - PAGE_BATCHES + 1)
            some, rest = Span(first, span.last), Span(span.first, first - 1)
        else:
            last = min(span.last, span.first + PAGE_BATCHES - 1)
            some, rest = Span(span.first, last), Span(last + 1, span.last)
        try:
            rows = await self.trees.headers.between(*some, None)
        except BatchGone as error:
            raise _changed() from error
        if not rows and rest.first <= rest.last:
            rest = await self._behind_gap(rest, question.newest_first)
        newest, behind = question.newest_block, place.behind if question.shows_behind else ()
        rows = [
            row
            for row in rows
            if newest is None or row.block <= newest or row.name.batch_id in behind
        ]
        left = [rest] if rest.first <= rest.last else []
        return rows[::-1] if question.newest_first else rows, [*left, *others]

    async def _behind_gap(self, span: Span, newest_first: bool) -> Span:
        """The span from its next verified batch on; empty where it has none."""
        found = await Reads(self.pool).next_verified(*span, newest_first=newest_first)
        if found is None:
            return Span(span.last + 1, span.last)
        return Span(span.first, found) if newest_first else Span(found, span.last)

    async def _shown(
        self, question: HistoryQuestion, rows: Sequence[Found], ranges: Sequence[KeyRange]
    ) -> list[schemas.HistoryBatch]:
        """Of these batches the first ones that fill an answer. Raises Unavailable."""
        wanted = [row.name for row in rows if _is_asked(question, row)]
        try:
            uppers = await self.trees.upper(wanted)
            edges = {name: [edges_of(uppers[name], keys) for keys in ranges] for name in wanted}
            rows = _first_ones(rows, edges)
            asked = {row.name for row in rows} & edges.keys()
            blocks = {name: _blocks(uppers[name], edges[name]) for name in asked}
            opened = await self.trees.opened({name: uppers[name] for name in asked}, blocks)
            sent_in = await self._transactions([row.name.batch_id for row in rows])
        except BatchGone as error:
            raise _changed() from error
        return await asyncio.to_thread(
            lambda: [
                _batch(row, sent_in[row.name.batch_id], opened.get(row.name), ranges)
                for row in rows
            ]
        )

    async def _transactions(self, batches: list[int]) -> dict[int, str]:
        found = await Reads(self.pool).headers_of(batches)
        if len(found) != len(batches):
            raise _changed()
        return {row["batch_id"]: hexed(row["transaction"]) for row in found}


def _wanted(question: HistoryQuestion) -> list[Wanted]:
    assert question.device is not None
    window = question.start, question.end, question.newest_block
    return [Wanted(question.device, code, *window) for code in question.metrics]


def _is_asked(question: HistoryQuestion, row: Found) -> bool:
    """Whether its leaves are shown, and not its header alone."""
    newest = question.newest_block
    in_bounds = row.block >= question.since_block and (newest is None or row.block <= newest)
    return in_bounds and overlaps(row, question.start, question.end)


Edges = Sequence[tuple[int, int]]


def _first_ones(rows: Sequence[Found], edges: Mapping[Batch, Edges]) -> list[Found]:
    """At least one. What a range holds beyond its edges is what fills an answer."""
    taken, leaves = list[Found](), 0
    for row in rows:
        taken.append(row)
        leaves += sum(BLOCK * max(0, last - first - 1) for first, last in edges.get(row.name, ()))
        if leaves >= PAGE_LEAVES:
            break
    return taken


def _blocks(upper: UpperLevels, edges: Edges) -> set[int]:
    """Those that the ranges lie in, and a neighbour on either side, which may be shown."""
    around = (range(max(0, first - 1), min(upper.blocks, last + 2)) for first, last in edges)
    return {block for span in around for block in span}


def _batch(
    row: Found, transaction: str, trees: OpenedTrees | None, ranges: Sequence[KeyRange]
) -> schemas.HistoryBatch:
    found, leaves, nodes = list[tuple[int, int]](), b"", b""
    if trees is not None:
        found = [trees.locate(*keys) for keys in ranges]
        spans = shown_spans(found, trees.upper.count)
        leaves = b"".join(_leaves(trees, *span) for span in spans)
        positions = [at for span in spans for at in range(*span)]
        nodes = b"".join(trees.readings.multiproof(positions))
    stated = row.stated
    return schemas.HistoryBatch(
        row.name.batch_id,
        row.block,
        row.finality,
        transaction,
        stated.header,
        stated.readings_root,
        found,
        leaves,
        nodes,
    )


def _leaves(trees: OpenedTrees, first: int, behind: int) -> bytes:
    """Packed, a block at a time: by one a leaf, a page takes ten times as long."""
    parts = []
    for number in range(first // BLOCK, -(-behind // BLOCK)):
        start, end = max(first - number * BLOCK, 0), min(behind - number * BLOCK, BLOCK)
        parts.append(trees.blocks[number].leaves[READING_BYTES * start : READING_BYTES * end])
    return b"".join(parts)


def _behind(spans: Sequence[Span], batch_id: int, newest_first: bool) -> list[Span]:
    """What is left of the spans behind a batch of the first one."""
    first, *others = spans
    older, newer = Span(first.first, batch_id - 1), Span(batch_id + 1, first.last)
    left = older if newest_first else newer
    return [left, *others] if left.first <= left.last else others


def encoded(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def decoded(text: str) -> Place:
    """Raises InvalidQuery."""
    try:
        packed = base64.b64decode(text, altchars=b"-_", validate=True)
        place = msgspec.json.decode(packed, type=Place)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidQuery("cursor", "is not one that this path gave") from error
    numbers = [number for span in place.spans for number in span] + place.behind
    if not all(1 <= number < 2**48 for number in numbers):
        raise InvalidQuery("cursor", "is not one that this path gave")
    return place


def _changed() -> Unavailable:
    # Spans, headers and leaves are read one after the other: a reorganisation may come in between.
    return Unavailable("a batch of the answer changed while it was made; ask again")
