"""Spans to a collector by OTLP over HTTP, with the official SDK. Imported only where one is named:
`opentelemetry-sdk` and `opentelemetry-exporter-otlp-proto-http` are an extra."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from corechain.service.tracing import Context, Span

log = structlog.get_logger(__name__)

QUEUE_SPANS, GROUP_SPANS, EVERY_MS = 2_048, 512, 1_000
"""What waits for the collector; beyond it, spans are dropped."""
EXPORT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0
"""At the end of the process, for what still waits: a collector that is away must not hold it up."""
NANO = 1_000_000_000
Told = Callable[[str, int], None]
"""Outcome (`sent`, `lost`) and how many spans."""


class _ChosenIds(IdGenerator):  # type: ignore[misc]
    """Our ids are made before their spans: a batch's from its commitment, a request's for those who
    carry it on."""

    def __init__(self) -> None:
        self.next = threading.local()

    def generate_trace_id(self) -> int:
        return int.from_bytes(self.next.context.trace, "big")

    def generate_span_id(self) -> int:
        return int.from_bytes(self.next.context.span, "big")


class _Counted(SpanExporter):  # type: ignore[misc]
    """Says once that a collector is away, and counts always."""

    def __init__(self, inner: SpanExporter, told: Told) -> None:
        self._inner, self._told, self._away = inner, told, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        self._told("lost" if lost else "sent", len(spans))
        if lost and not self._away:
            log.warning("the collector of traces takes no spans: they are dropped")
        self._away = lost
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def _remote(context: Context) -> SpanContext:
    trace, span = int.from_bytes(context.trace, "big"), int.from_bytes(context.span, "big")
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class OtlpTraces:
    """`url`: of the collector's traces, as http://collector:4318/v1/traces."""

    on = True

    def __init__(self, url: str, ratio: float, service: str, version: str, told: Told) -> None:
        # Its own words name the collector's address, with a traceback each time.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self.ratio, self._ids = ratio, _ChosenIds()
        resource = Resource.create({"service.name": service, "service.version": version})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # who is sampled is decided where a request comes in
            resource=resource,
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = _Counted(OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S), told)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_SPANS,
                max_export_batch_size=GROUP_SPANS,
                schedule_delay_millis=EVERY_MS,
            )
        )

    def emit(self, span: Span) -> None:
        self._ids.next.context = span.context
        parent: Any = None
        if span.parent:
            above = NonRecordingSpan(_remote(Context(span.context.trace, span.parent)))
            parent = set_span_in_context(above)
        made = self._provider.get_tracer(f"corechain.{span.stage}").start_span(
            span.name,
            context=parent,
            kind=SpanKind.SERVER if span.serves else SpanKind.INTERNAL,
            attributes={"corechain.stage": span.stage, **span.facts},
            links=[Link(_remote(link)) for link in span.links],
            start_time=int(span.began * NANO),
        )
        made.end(int(span.ended * NANO))

    async def close(self) -> None:
        """Sends what waits, as far as the collector takes it in time."""
        # Not a worker of asyncio's: the process would wait for that one to the end.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, CLOSE_TIMEOUT_S)
