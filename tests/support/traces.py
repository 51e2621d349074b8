"""A collector of traces: takes OTLP over HTTP, decoded by OpenTelemetry's own messages."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Seen:
    """A span, as it came."""

    service: str
    stage: str
    name: str
    trace: bytes
    span: bytes
    parent: bytes
    links: tuple[bytes, ...]
    """Trace ids."""
    began: int
    ended: int
    facts: dict[str, Any]


@dataclass(slots=True)
class Collector:
    """What has come so far. `refuses`: answers 503 and keeps nothing."""

    url: str
    spans: list[Seen] = field(default_factory=list)
    refuses: bool = False
    asked: int = 0

    def of(self, trace: bytes) -> list[Seen]:
        return sorted((s for s in self.spans if s.trace == trace), key=lambda s: s.began)


def _value(any_value: Any) -> Any:
    return getattr(any_value, any_value.WhichOneof("value"))


def _seen(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        of_process = {pair.key: _value(pair.value) for pair in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                facts = {pair.key: _value(pair.value) for pair in span.attributes}
                yield Seen(
                    of_process["service.name"],
                    facts["corechain.stage"],
                    span.name,
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    tuple(link.trace_id for link in span.links),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    facts,
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.asked += 1
            if not collector.refuses:
                collector.spans.extend(_seen(body))
            self.send_response(400 if collector.refuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
