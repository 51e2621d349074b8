"""Sampled reports on their way through a window: which frames have some, until their batch is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from corechain.protocol.sealing import SealedBatch
from corechain.service.tracing import Context, Span, Traces, batch_context

MOST_FRAMES = 1_024
"""With sampled reports, that wait for a batch. Beyond it the oldest are forgotten: traces are for
looking, and a bus that stands still must not fill the memory."""
MOST_LINKS = 128
"""Of a span, OpenTelemetry's own limit."""


@dataclass(slots=True)
class WindowTraces:
    """Of one lane's session."""

    _met: dict[str, tuple[float, Sequence[Context]]] = field(default_factory=dict)

    def met(self, frame: str, received_at_ms: int, marks: Sequence[Context]) -> None:
        """A frame came that carries contexts."""
        if len(self._met) >= MOST_FRAMES:
            del self._met[next(iter(self._met))]
        self._met[frame] = received_at_ms / 1000, marks

    def sealed(
        self, traces: Traces, frames: Sequence[str], batch: SealedBatch, began: float
    ) -> None:
        """The window of these frames is a batch: a span of it, linked with those of its reports."""
        ended, of_batch = time.time(), batch_context(batch.commitment)
        facts: dict[str, str | int] = {
            "corechain.batch": batch.header.batch_id,
            "corechain.commitment": batch.commitment.hex(),
            "corechain.readings": batch.header.reading_count,
        }
        links: list[Context] = []
        # In the frames' order, where there is any: a window has thousands, and few are sampled.
        for frame in frames if self._met else ():
            received, marks = self._met.pop(frame, (0.0, ()))
            for mark in marks:
                own = mark.child()
                links.append(own)
                name, link = "report in a batch", [of_batch]
                traces.emit(Span("aggregator", name, own, received, ended, mark.span, link, facts))
        name = "seal batch, write data file"
        traces.emit(
            Span("aggregator", name, of_batch, began, ended, b"", links[:MOST_LINKS], facts)
        )
