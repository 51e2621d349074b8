"""An answer for a contract: every batch of a lane between two neighbours, as calldata. No I/O.

`contracts/consumer/ProvenAnswers.sol` takes it. Nothing between the neighbours may be missing, so
the batches that hold nothing of the device are in it, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from corechain.answers import StatisticsAnswer, parse_statistics
from corechain.documents import BatchId, Octets26, octets, parse
from corechain.flows import Question
from corechain.listing import API, Order, pages
from corechain.protocol.archive import Place
from corechain.protocol.batch import lane_of, number_of
from corechain.protocol.errors import RangeIncomplete, TransportError
from corechain.protocol.hashing import ZERO26
from corechain.protocol.statistics import NOTHING, Statistics
from corechain.protocol.values import U48_MAX, TimeLike, seconds, whole
from corechain.steps import Ask, Flow, Request

if TYPE_CHECKING:
    from corechain.chain import Chain

MOST = 2_000
"""Batches of an answer, as many as the API proves at a time: longer spans go in several."""
NO_ANCHOR = (0, ZERO26, (0, 0, ()))
_PLACE = "(uint48,uint32,bytes26[])"
_HEADER = "(uint48,bytes26,bytes26,bytes26,bytes26,bytes32,bytes32,uint32,uint32,uint40,uint40)"
ANCHOR_TYPE = f"(uint48,bytes26,{_PLACE})"
STEP_TYPE = f"({_HEADER},bytes26,{_PLACE},uint32,uint32,bytes,bytes)"
ANSWER_TYPE = f"({ANCHOR_TYPE},{STEP_TYPE}[],{ANCHOR_TYPE})"
"""ABI types of contracts/consumer/AnswerTypes.sol."""


class SpanNotClosed(TransportError):
    """No batch behind the span is on chain and verified yet: ask again when there is one."""


class BatchRowJson(msgspec.Struct, frozen=True):
    """What is needed of an item of /v1/batches."""

    batch_id: BatchId
    state: str
    commitment: Octets26


@dataclass(frozen=True, slots=True)
class Anchor:
    """A batch by its commitment; number 0: the beginning of a lane."""

    batch_id: int
    commitment: bytes

    def as_abi(self) -> tuple[object, ...]:
        return self.batch_id, self.commitment, tuple(Place.alone(self.batch_id))


@dataclass(frozen=True, slots=True)
class ContractAnswer:
    """Proven here already; a contract proves it again. `behind` is None where no end was asked
    for: then it goes to the newest batch."""

    question: Question
    statistics: Statistics
    before: Anchor
    answer: StatisticsAnswer | None
    behind: Anchor | None

    @property
    def lane(self) -> int:
        return lane_of(self.before.batch_id)

    @property
    def steps(self) -> list[tuple[object, ...]]:
        """`Step[]`: what `take` needs."""
        return [] if self.answer is None else self.answer.as_abi()

    def as_abi(self) -> tuple[object, ...]:
        """`Answer` of contracts/consumer/AnswerTypes.sol, for an ABI coder."""
        behind = NO_ANCHOR if self.behind is None else self.behind.as_abi()
        return self.before.as_abi(), self.steps, behind

    def encode(self) -> bytes:
        """`abi.encode` of it."""
        from eth_abi.abi import encode

        return encode([ANSWER_TYPE], [self.as_abi()])


def contract_answer(
    question: Question, chain: "Chain", after: int, closes_at: TimeLike | None
) -> Flow[ContractAnswer]:
    """Raises SpanNotClosed, RangeIncomplete, InvalidProof, UnknownBatch, and for values that are
    none InvalidValue, ValueOutOfRange."""
    after = whole("after", after, 0, U48_MAX)
    close = None if closes_at is None else seconds("closes_at", closes_at)
    rows = yield from _rows_behind(after)
    cut = len(rows)
    if close is not None:
        cut = yield Ask(lambda: _first_later(chain, rows, close))
        if cut == len(rows):
            raise SpanNotClosed(f"no verified batch was committed after second {close}")
    behind = None if close is None else Anchor(rows[cut].batch_id, octets(rows[cut].commitment))
    before = yield Ask(lambda: _anchor(chain, after))
    if cut == 0:
        return ContractAnswer(question, NOTHING, before, None, behind)
    ids = rows[0].batch_id, rows[cut - 1].batch_id
    answer = yield from _between(question, *ids)
    commitments = yield Ask(lambda: chain.commitments_of(answer.batches))
    window = question.start, question.end
    proven = answer.verify(commitments.__getitem__, [question.bounds()], window)
    return ContractAnswer(question, proven, before, answer, behind)


def _rows_behind(after: int) -> Flow[Sequence[BatchRowJson]]:
    """The verified batches of the lane that follow each other behind `after`, oldest first."""
    page = yield from pages(
        "/v1/batches", {"after": after}, MOST + 1, order=Order("batch_id", after)
    )
    rows: list[BatchRowJson] = []
    for item in page:
        row = parse(item, BatchRowJson, "a batch")
        if row.state != "verified" or row.batch_id != after + len(rows) + 1:
            break
        rows.append(row)
    return rows


def _first_later(chain: "Chain", rows: Sequence[BatchRowJson], close: int) -> int:
    """Index of the first batch that was committed after this second; their number for none."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        row = rows[middle]
        if chain.committed_at(row.batch_id, octets(row.commitment)) > close:
            high = middle
        else:
            low = middle + 1
    return low


def _anchor(chain: "Chain", batch_id: int) -> Anchor:
    first = number_of(batch_id) == 0
    return Anchor(batch_id, bytes(ZERO26) if first else chain.commitment_of(batch_id))


def _between(question: Question, first: int, last: int) -> Flow[StatisticsAnswer]:
    """Raises RangeIncomplete unless every one of the batches is in it."""
    params: dict[str, Any] = {"first_batch": first, "last_batch": last}
    document = yield Request(API, "GET", "/v1/statistics", question.params() | params)
    answer = parse_statistics(document)
    if answer.batches.keys() != set(range(first, last + 1)):
        raise RangeIncomplete(f"the API does not answer for all batches from {first} to {last}")
    return answer
