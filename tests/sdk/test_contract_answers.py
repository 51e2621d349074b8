"""Answers as calldata for contracts: what tests/vectors/consumer.json has, forge proves on chain.

given a lane of nine batches
  the calldata is what forge has read and proven
  of several lanes, cells, or a region there is no calldata
given an API that lists batches and answers
  the edges are the neighbours of what was committed up to the closing second
  without a later batch the span is not closed; an API that leaves one out is caught
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import decode
from support.flows import carried_out
from vectors.make_consumer import (
    CELL,
    HOUR_S,
    LANE,
    METRIC,
    TARGET,
    A,
    Lane,
    contract_answer,
    lane,
    statistics_answer,
    vectors,
)

from corechain import contract_answers
from corechain.answers import StatisticsAnswer
from corechain.contract_answers import ANSWER_TYPE, SpanNotClosed
from corechain.flows import Question
from corechain.protocol.errors import RangeIncomplete
from corechain.protocol.statistics import NOTHING, Statistics
from corechain.steps import Request

LAST = 9


@pytest.fixture(scope="module")
def made() -> Lane:
    return lane()


@pytest.fixture(scope="module")
def question() -> Question:
    first = 2_000_160_000
    return Question(METRIC, A.identity.device, CELL, first, first + 16 * HOUR_S)


def test_the_vectors_are_what_the_sdk_makes() -> None:
    assert json.loads(TARGET.read_text()) == json.loads(json.dumps(vectors()))


def test_calldata_holds_every_batch_once_and_in_order(made: Lane, question: Question) -> None:
    answer = contract_answer(made, question, 0, 7)
    (before, steps, behind), *_ = decode([ANSWER_TYPE], answer.encode())
    assert before[0] == LANE << 32
    assert [step[0][0] & 0xFF for step in steps] == list(range(1, 8))
    assert (behind[0] & 0xFF, behind[1]) == (8, made.batches[7].commitment)
    assert answer.lane == LANE
    shown = [bool(step[5]) for step in steps]
    assert shown == [True, True, True, False, True, True, False]


def test_what_no_contract_takes_is_refused(made: Lane, question: Question) -> None:
    answer = statistics_answer(made.batches[:3], question)
    twice = replace(answer, parts=(*answer.parts, answer.parts[0]))
    first = answer.parts[0]
    elsewhere = replace(first, header=replace(first.header, batch_id=1))
    for wrong in (twice, replace(answer, parts=(*answer.parts, elsewhere))):
        with pytest.raises(RangeIncomplete):
            wrong.as_abi()
    with pytest.raises(RangeIncomplete, match="gap"):
        replace(answer, parts=(answer.parts[0], answer.parts[2])).as_abi()
    assert StatisticsAnswer((), (), NOTHING).as_abi() == []


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


class Served:
    """An API over the lane, and the chain's views of it."""

    def __init__(self, made: Lane) -> None:
        self.made, self.left_out, self.asked = made, 0, list[Request]()

    def answer(self, request: Request) -> Any:
        self.asked.append(request)
        if request.path == "/v1/batches":
            after = int(request.params["after"]) & 0xFF
            items = [
                {"batch_id": b.header.batch_id, "state": "verified", "commitment": hexed(c)}
                for b in self.made.batches[after:]
                if (c := b.commitment)
            ]
            return {"items": items, "next_cursor": None}
        first, last = (int(request.params[name]) & 0xFF for name in ("first_batch", "last_batch"))
        kept = [
            b for b in self.made.batches[first - 1 : last] if b.header.batch_id != self.left_out
        ]
        return document(statistics_answer(kept, self.question))

    question: Question

    def committed_at(self, batch_id: int, commitment: bytes) -> int:
        assert self.commitment_of(batch_id) == commitment
        return self.made.committed_at(batch_id & 0xFF)

    def commitment_of(self, batch_id: int) -> bytes:
        return self.made.batches[(batch_id & 0xFF) - 1].commitment

    def commitments_of(self, batches: Any) -> dict[int, bytes]:
        return {batch: self.commitment_of(batch) for batch in batches}


def header(of: Any) -> dict[str, Any]:
    fields = {name: getattr(of, name) for name in of.__dataclass_fields__}
    return {n: hexed(v) if isinstance(v, bytes) else v for n, v in fields.items()}


def document(answer: StatisticsAnswer) -> dict[str, Any]:
    parts = [
        {
            "header": header(part.header), "readings_root": hexed(part.readings_root),
            "low": hexed(part.bounds.low), "high": hexed(part.bounds.high),
            "from": part.start, "to": part.end, "leaves": list(map(hexed, part.proof.leaves)),
            "nodes": [hexed(node.pack()) for node in part.proof.nodes],
            **totals(part.claimed),
        }
        for part in answer.parts
    ]  # fmt: skip
    skipped = [{"header": header(h), "readings_root": hexed(r)} for h, r in answer.skipped]
    return totals(answer.claimed) | {"parts": parts, "skipped": skipped}


def totals(of: Statistics) -> dict[str, int]:
    return {"count": of.count, "sum": of.sum, "min": of.min, "max": of.max}


@pytest.fixture
def served(made: Lane, question: Question) -> Served:
    found = Served(made)
    found.question = question
    return found


def asked(served: Served, after: int, closes_at: int | None) -> Any:
    chain: Any = served
    flow = contract_answers.contract_answer(served.question, chain, LANE << 32 | after, closes_at)
    return carried_out(flow, served.answer)


@pytest.mark.parametrize("last", range(1, LAST))
def test_the_span_ends_with_what_was_committed_by_then(served: Served, last: int) -> None:
    for close in (served.made.committed_at(last), served.made.committed_at(last + 1) - 1):
        found = asked(served, 0, close)
        assert found.encode() == contract_answer(served.made, served.question, 0, last).encode()


def test_nothing_may_be_between_the_edges(served: Served) -> None:
    found = asked(served, 4, served.made.committed_at(4))
    assert (found.steps, found.statistics, found.behind.batch_id & 0xFF) == ([], NOTHING, 5)


def test_without_a_closing_time_it_goes_to_the_newest(served: Served) -> None:
    found = asked(served, 2, None)
    assert (len(found.steps), found.behind) == (7, None)
    (_, _, behind), *_ = decode([ANSWER_TYPE], found.encode())
    assert behind == (0, bytes(26), (0, 0, ()))


def test_a_span_without_a_later_batch_is_not_closed(served: Served) -> None:
    with pytest.raises(SpanNotClosed):
        asked(served, 0, served.made.committed_at(LAST))


def test_an_api_that_leaves_a_batch_out_is_caught(served: Served) -> None:
    served.left_out = LANE << 32 | 3
    with pytest.raises(RangeIncomplete):
        asked(served, 0, served.made.committed_at(7))
