"""A history, page by page: which batches it is made of, that none is missing, that all are on the
chain. Pure; `corechain.histories` are the iterators.

In each lane the numbers follow each other, and each header names the commitment before it: one
commitment on the chain proves all that lead to it. The history of a time begins with a batch that
lies before it (or the first of all), and ends with one that lies behind it (or the newest on the
chain): so neither can its edges be cut.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import msgspec

from corechain.documents import WrongAnswer
from corechain.history_answers import HistoryBatch, HistoryBatchJson, HistoryJson, opened
from corechain.history_answers import parse_history as parse
from corechain.history_errors import HistoryBehind, HistoryGap, HistoryReorged
from corechain.history_question import HistoryQuestion
from corechain.insisting import page_of_many
from corechain.listing import API
from corechain.protocol.batch import lane_of, number_of
from corechain.protocol.errors import InvalidProof, InvalidValue
from corechain.protocol.hashing import Digest26
from corechain.steps import Ask, Flow, Request

Gaps = Literal["raise", "report"]


class Committed(Protocol):
    """What a history asks of the chain; `corechain.chain.Chain` is one."""

    def commitments_of(self, batches: Mapping[int, int | None]) -> Mapping[int, bytes]: ...

    def is_newest(self, batch_id: int) -> bool: ...

    def commitments_between(
        self, first_block: int, last_block: int
    ) -> Sequence[tuple[int, bytes]]: ...


class Link(NamedTuple):
    """The batch at which a lane is. `previous`: the commitment of the one before it."""

    batch_id: int
    commitment: Digest26
    previous: Digest26
    window_start: int
    window_end: int
    block: int

    @classmethod
    def of(cls, batch: HistoryBatch) -> "Link":
        header, origin = batch.header, batch.origin
        window = header.window_start, header.window_end
        return cls(header.batch_id, origin.commitment, header.previous, *window, origin.block)


class Taken(NamedTuple):
    """The batch in the middle of which a history was left, and how many readings were taken."""

    batch_id: int
    commitment: Digest26
    rows: int


class Place(msgspec.Struct, frozen=True):
    """Where a history stands: all that a new process needs to go on."""

    question: str
    api_cursor: str | None = None
    cells: tuple[int, ...] = ()
    link: Link | None = None
    is_done: bool = False
    taken: Taken | None = None

    def token(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @classmethod
    def of(cls, question: HistoryQuestion, token: object) -> "Place":
        """Raises InvalidValue for what is no cursor, and for one of another question."""
        digest, right = question.digest(), "takes the `cursor` of a history"
        if token is None:
            return cls(digest)
        try:
            packed = base64.b64decode(str(token).encode(), altchars=b"-_", validate=True)
            found = msgspec.json.decode(packed, type=cls)
        except (ValueError, msgspec.DecodeError) as error:
            raise InvalidValue("cursor", token, right) from error
        if found.question != digest:
            raise InvalidValue("cursor", token, f"{right}, of the same question")
        return found


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Batches in the order of the history, some without readings; `place` is behind them, `left`
    how many batches follow, as the API says."""

    batches: Sequence[HistoryBatch]
    place: Place
    left: int
    gaps: Sequence[HistoryGap] = ()


@dataclass(slots=True)
class _Walk:
    """One page, batch after batch: what must hold between them, and what the chain must confirm."""

    question: HistoryQuestion
    link: Link | None
    raise_gaps: bool
    gaps: list[HistoryGap] = field(default_factory=list)
    on_chain: dict[int, tuple[Digest26, int]] = field(default_factory=dict)
    """Batches whose commitments the chain must have, and the block in which they are said to be."""
    newest: list[int] = field(default_factory=list)
    """Batches behind which the chain must have none."""
    in_blocks: dict[int, tuple[Digest26, int]] = field(default_factory=dict)
    """Batches that must have been committed in that very block."""

    def take(self, batch: HistoryBatch) -> None:
        """Raises HistoryGap, HistoryReorged, WrongAnswer."""
        link, before = Link.of(batch), self.link
        if before is None or lane_of(before.batch_id) != lane_of(link.batch_id):
            self._enter_lane(link)
        else:
            self._follow(link, before)
        self.link = link

    def _enter_lane(self, link: Link) -> None:
        if self.link is not None:
            if lane_of(link.batch_id) < lane_of(self.link.batch_id):
                raise WrongAnswer(f"batch {link.batch_id} is out of order")
            self.leave_lane()
        if self.question.newest_first:
            self._must_end(link)
            self.ask(link)
        else:
            self._must_begin(link)

    def _follow(self, link: Link, before: Link) -> None:
        older, newer = (link, before) if self.question.newest_first else (before, link)
        step = newer.batch_id - older.batch_id
        if step < 1:
            raise WrongAnswer(f"batch {link.batch_id} comes again, or is out of order")
        if step > 1:
            why = f"{older.batch_id} is followed by {newer.batch_id}"
            self.report(HistoryGap(older.batch_id + 1, newer.batch_id - 1, why))
            self.ask(older)  # no header leads to it
        elif newer.previous != older.commitment:
            raise HistoryReorged(link.batch_id)

    def report(self, gap: HistoryGap) -> None:
        if self.raise_gaps:
            raise gap
        self.gaps.append(gap)

    def ask(self, link: Link) -> None:
        self.on_chain[link.batch_id] = link.commitment, link.block

    def _must_begin(self, link: Link) -> None:
        """It is the first of its lane, or lies before what was asked for."""
        if number_of(link.batch_id) == 1 or link.window_end < self.question.start:
            return
        if link.block < self.question.since_block:
            self.in_blocks[link.batch_id] = link.commitment, link.block
            return
        why = f"{link.batch_id} is the first that is shown, and lies in the time"
        self.report(HistoryGap(link.batch_id - 1, link.batch_id - 1, why))

    def _must_end(self, link: Link) -> None:
        """It lies behind what was asked for, or the chain has nothing behind it."""
        question, as_of = self.question, self.question.as_of
        if not question.has_end or link.window_start > question.window[1]:
            return
        if as_of is None:
            self.newest.append(link.batch_id)
        elif link.block > as_of:
            self.in_blocks[link.batch_id] = link.commitment, link.block

    def leave_lane(self) -> None:
        """Behind the last batch of a lane."""
        if self.link is None:
            if not self.question.is_bounded:
                self.newest.append(0)  # nothing is shown: there is nothing on the chain, either
        elif self.question.newest_first:
            self._must_begin(self.link)
        else:
            self._must_end(self.link)
            self.ask(self.link)


def _opened(question: HistoryQuestion, item: HistoryBatchJson) -> HistoryBatch:
    """Raises MalformedAnswer, InvalidProof, RangeIncomplete."""
    start, end = question.window
    header, as_of = item.header, question.as_of
    touches = header.window_end >= start and header.window_start <= end
    in_blocks = item.block >= question.since_block and (as_of is None or item.block <= as_of)
    # None: of a device that was nowhere.
    ranges = question.ranges() or None if touches and in_blocks else None
    return opened(item, ranges, (start, end), newest_first=question.newest_first)


def page(
    question: HistoryQuestion, place: Place, chain: Committed | None, gaps: Gaps = "raise"
) -> Flow[HistoryPage]:
    """The page at a place. `chain` None: nothing is proven (trust the API), order and edges are
    looked at all the same.

    Raises MalformedAnswer, WrongAnswer, InvalidProof, RangeIncomplete, HistoryGap, HistoryBehind,
    HistoryReorged, and what API and chain raise.
    """
    question = question.at(place.cells)
    params = question.params()
    if place.api_cursor is not None:
        params["cursor"] = place.api_cursor
    answer = parse((yield from page_of_many(Request(API, "GET", "/v1/history", params))))
    question = question.at([int(cell, 16) for cell in answer.cells])
    _check_cells(question, answer)
    walk = _Walk(question, place.link, gaps == "raise")
    batches = [_opened(question, item) for item in answer.batches]
    for batch in batches:
        walk.take(batch)
    if answer.next_cursor is None:
        walk.leave_lane()
    elif walk.link is not None and not question.newest_first:
        walk.ask(walk.link)
    if chain is not None:
        yield Ask(lambda: confirm(walk, chain))
    is_done = answer.next_cursor is None
    behind = Place(place.question, answer.next_cursor, question.cells, walk.link, is_done)
    shown = _behind(batches, place.taken) if place.taken is not None else batches
    return HistoryPage(shown, behind, answer.left, walk.gaps)


def _check_cells(question: HistoryQuestion, answer: HistoryJson) -> None:
    if tuple(int(cell, 16) for cell in answer.cells) != question.cells:
        raise WrongAnswer("the history is of other cells than those asked for")
    if answer.next_cursor is not None and not answer.batches:
        raise WrongAnswer("an empty page that says there is more")


def confirm(walk: _Walk, chain: Committed) -> None:
    """Raises InvalidProof, HistoryBehind, HistoryGap, UnknownBatch, and what the chain raises."""
    wanted: dict[int, int | None] = {batch: block for batch, (_, block) in walk.on_chain.items()}
    words = chain.commitments_of(wanted) if wanted else {}
    for batch, (commitment, _) in walk.on_chain.items():
        if words[batch] != commitment:
            raise InvalidProof(f"batch {batch} is not the one on the chain")
    for batch in walk.newest:
        if not chain.is_newest(batch):
            raise HistoryBehind(batch + 1)
    for batch, (commitment, block) in walk.in_blocks.items():
        if (batch, commitment) not in set(chain.commitments_between(block, block)):
            raise InvalidProof(f"batch {batch} was not committed in block {block}")


def _behind(batches: Sequence[HistoryBatch], taken: Taken) -> list[HistoryBatch]:
    """What was not taken yet of a page that is read again. Raises HistoryReorged."""
    numbers = [batch.header.batch_id for batch in batches]
    if taken.batch_id not in numbers:
        raise HistoryReorged(taken.batch_id)
    first, *others = batches[numbers.index(taken.batch_id) :]
    if first.origin.commitment != taken.commitment:
        raise HistoryReorged(taken.batch_id)
    return [first.behind(taken.rows), *others]
