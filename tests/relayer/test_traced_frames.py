"""Sampled requests among those that share a frame, and their frames until a batch is made of them.

given requests that share a frame, some sampled
  a lane's part carries the contexts of those that have a report in it, and no others
given frames with contexts in a window
  its batch is a span of its own trace, linked with a span of each; frames of other windows wait
  those that never come into a batch are forgotten
given transactions that are confirmed
  a batch's is a span of the batch's trace; any other has none
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from corechain.protocol.sealing import SealedBatch
from corechain.service.tracing import NO_TRACES, Context, batch_context
from corechain_relayer.aggregator import traced as window
from corechain_relayer.aggregator.traced import WindowTraces
from corechain_relayer.calldata import commit_call
from corechain_relayer.gateway.frames import _marks
from corechain_relayer.gateway.gather import Waiting
from corechain_relayer.submitter.plan import Attempt, Fees, Intent, Receipt
from corechain_relayer.submitter.traced import trace_commit
from relayer.bridges import KeptSpans

COMMITMENT = bytes(range(26))
OF_BATCH = batch_context(COMMITMENT)
CONTEXTS = [Context(bytes([n + 1]) * 16, bytes([n + 1]) * 8) for n in range(4)]


@dataclass(frozen=True)
class Header:
    batch_id: int = 7
    reading_count: int = 3


@dataclass(frozen=True)
class Batch:
    commitment: bytes = COMMITMENT
    header: Header = Header()


BATCH = cast("SealedBatch", Batch())


def request(count: int, mark: Context | None) -> Waiting:
    return Waiting(b"", count, lambda outcome: None, mark=mark)


@pytest.mark.parametrize(
    ("indexes", "wanted"),
    [(range(6), [0, 1]), ([0, 3], [0]), ([2, 5], [1]), ([3], []), ([4, 5], [1]), ([], [])],
)
def test_a_lane_gets_the_contexts_of_requests_with_a_report_in_it(
    indexes: Any, wanted: list[int]
) -> None:
    # Reports 0 and 1, 2, 3, 4 and 5; the third is of nobody's trace, and 2 is alone.
    group = [
        request(2, CONTEXTS[0]),
        request(1, CONTEXTS[1]),
        request(1, None),
        request(2, CONTEXTS[1]),
    ]
    found = _marks(group, indexes)
    assert [mark for mark in CONTEXTS if mark in found] == [CONTEXTS[n] for n in wanted]


def test_a_batch_is_linked_with_the_reports_of_its_frames_and_no_others() -> None:
    traces, waiting = KeptSpans(), WindowTraces()
    for number, mark in enumerate(CONTEXTS[:3]):
        waiting.met(f"frame {number}", 1_000 * (number + 1), [mark])
    waiting.sealed(traces, ("frame 0", "unsampled", "frame 2"), BATCH, 10.0)
    *reports, batch = traces.spans
    assert [(one.context.trace, one.parent, one.began) for one in reports] == [
        (CONTEXTS[0].trace, CONTEXTS[0].span, 1.0),
        (CONTEXTS[2].trace, CONTEXTS[2].span, 3.0),
    ]
    assert all(one.links == [OF_BATCH] for one in reports)
    assert (batch.context, batch.parent, batch.began) == (OF_BATCH, b"", 10.0)
    assert list(batch.links) == [one.context for one in reports]
    traces.spans.clear()
    waiting.sealed(traces, ("frame 0", "frame 1"), BATCH, 11.0)
    assert len(traces.spans) == 2, "frame 0 was told once"


def test_frames_that_come_into_no_batch_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MOST_FRAMES", 2)
    traces, waiting = KeptSpans(), WindowTraces()
    for number, mark in enumerate(CONTEXTS[:3]):
        waiting.met(str(number), 0, [mark])
    waiting.sealed(traces, ("0", "1", "2"), BATCH, 10.0)
    assert [one.context.trace for one in traces.spans[:-1]] == [
        mark.trace for mark in CONTEXTS[1:3]
    ]


def test_a_commitment_on_chain_is_a_span_of_its_batch() -> None:
    attempt = Attempt(b"\x01" * 32, 0, b"", Fees(1, 1), signed_at=5.0)
    intent = Intent(1, "batch:7", bytes(20), commit_call(7, COMMITMENT), attempts=(attempt,))
    receipt = Receipt(b"\x01" * 32, 99, bytes(32), True, 21_000)
    traces = KeptSpans()
    trace_commit(traces, intent, receipt)
    trace_commit(traces, replace(intent, calldata=b"\x00" * 36), receipt)
    trace_commit(NO_TRACES, intent, receipt)
    (span,) = traces.spans
    assert (span.context.trace, span.parent, span.began) == (OF_BATCH.trace, OF_BATCH.span, 5.0)
    assert (span.facts["corechain.batch"], span.facts["corechain.block"]) == (7, 99)
