"""Spans of a batch in the index: mirrored, then verified."""

import time
from collections.abc import Sequence

from corechain.protocol.logs import MalformedLog, commitments_of, decode_log
from corechain.service.tracing import Span, Traces, batch_context
from corechain.service.words import Log

MOST_LOGS = 10_000
"""Of a look at the chain: in a backfill nobody waits for a single batch."""


def trace_mirrored(traces: Traces, logs: Sequence[Log], began: float) -> None:
    """The commitments among the logs that were just stored."""
    ended = time.time()
    for log in logs[:MOST_LOGS]:
        try:
            found = commitments_of(decode_log(log.topics, log.data))
        except MalformedLog:  # counted and kept raw where it is projected
            continue
        for number, commitment in found:
            batch = batch_context(commitment)
            facts: dict[str, str | int] = {
                "corechain.batch": number,
                "corechain.block": log.block_number,
            }
            name = "mirror commitment"
            traces.emit(Span("mirror", name, batch.child(), began, ended, batch.span, (), facts))


def trace_verified(traces: Traces, commitment: bytes, began: float, number: int) -> None:
    """A data file was fetched, judged and kept, or refused."""
    batch = batch_context(commitment)
    facts: dict[str, str | int] = {"corechain.batch": number}
    span = Span(
        "verifier", "fetch and verify", batch.child(), began, time.time(), batch.span, (), facts
    )
    traces.emit(span)
