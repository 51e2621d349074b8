"""Traces: who is sampled, what a span says, and a collector that is there, away, or not installed.

given the field `traceparent`
  what the specification allows is read, sampled or not; anything else counts as absent
given a service with traces on
  a sampled request leaves the fast way, and is a span with the parent that it named
  without the field a share of the requests is sampled; who says "not sampled" is not
given a collector
  spans come with ids, times, links and facts as they were said
  one that refuses costs nothing but the spans, and they are counted
"""

import os
import sys
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from support.processes import eventually
from support.traces import collecting

from corechain.service.otlp import OtlpTraces
from corechain.service.settings import InvalidSetting
from corechain.service.traced_http import SampledAside, sampled_aside, traced
from corechain.service.tracing import (
    CURRENT,
    NO_TRACES,
    Context,
    Span,
    batch_context,
    context_of,
    traceparent_of,
)
from corechain_indexer.settings import Settings

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
KNOWN = Context(TRACE, SPAN)
FIELD = traceparent_of(KNOWN)


class Kept:
    """Traces that are looked at."""

    on = True

    def __init__(self, ratio: float = 0.0) -> None:
        self.ratio, self.spans = ratio, list[Span]()

    def emit(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None:
        pass


class Path:
    """A direct path that takes everything."""

    most_bytes, timeout_s = 10, 1.0

    def takes(self, method: bytes, target: bytes, headers: Any) -> bool:
        return target == b"/v1/reports"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
def test_a_context_is_read_as_it_was_written(trace: bytes, span: bytes) -> None:
    context = Context(trace, span)
    wanted = context if any(trace) and any(span) else None
    assert context_of(traceparent_of(context)) == wanted


@given(st.binary(max_size=60))
def test_anything_else_counts_as_absent(field: bytes) -> None:
    assert context_of(field) is None


@pytest.mark.parametrize(
    ("field", "is_sampled"),
    [
        (FIELD, True),
        (FIELD.removesuffix(b"01") + b"00", False),
        (FIELD.removesuffix(b"01") + b"03", True),
        (FIELD.upper(), False),
        (b"ff" + FIELD[2:], False),
        (b"cc" + FIELD[2:] + b"-what-will-be", True),
        (FIELD + b"x", False),
        (b"00-" + b"0" * 32 + FIELD[35:], False),
    ],
)
def test_versions_and_flags_are_read_as_the_specification_says(
    field: bytes, is_sampled: bool
) -> None:
    assert (context_of(field) == KNOWN) is is_sampled


def test_a_batchs_trace_is_known_to_whoever_knows_its_commitment() -> None:
    commitment = bytes(range(26))
    assert batch_context(commitment) == Context(commitment[:16], commitment[16:24])


def test_without_traces_the_fast_way_and_the_application_are_what_they_were() -> None:
    path, app = Path(), object()
    assert sampled_aside(path, NO_TRACES) is path  # type: ignore[arg-type, comparison-overlap]
    assert traced(app, NO_TRACES, "gateway") is app


@pytest.mark.parametrize(
    ("field", "ratio", "is_direct"),
    [
        (None, 0.0, True),
        (None, 1.0, False),
        (FIELD, 0.0, False),
        (FIELD.removesuffix(b"01") + b"00", 1.0, True),
        (b"nonsense", 1.0, True),
    ],
)
def test_only_sampled_requests_leave_the_fast_way(
    field: bytes | None, ratio: float, is_direct: bool
) -> None:
    path = SampledAside(Path(), Kept(ratio))  # type: ignore[arg-type]
    headers = [(b"host", b"here")] + ([(b"traceparent", field)] if field else [])
    assert path.takes(b"POST", b"/v1/reports", headers) is is_direct
    assert not path.takes(b"POST", b"/v1/other", [])
    sampled = [value for name, value in headers if name == b"traceparent" and context_of(value)]
    assert len(sampled) == (not is_direct), "the application finds the field"


async def test_a_sampled_request_is_a_span_and_known_to_who_works_for_it() -> None:
    seen: list[Context | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(CURRENT.get())
        await send({"type": "http.response.start", "status": 409, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def deaf(message: Any) -> None:
        pass

    traces = Kept()
    for headers in ([], [(b"traceparent", FIELD)]):
        scope = {"type": "http", "method": "POST", "path": "/v1/reports/7", "headers": headers}
        await traced(app, traces, "gateway")(scope, deaf, deaf)
    (span,) = traces.spans
    assert seen == [None, span.context]
    assert CURRENT.get() is None
    assert (span.context.trace, span.parent, span.serves) == (TRACE, SPAN, True)
    assert (span.name, span.stage) == ("POST /v1/reports", "gateway")
    assert span.facts["http.response.status_code"] == 409
    assert span.began <= span.ended


def telling(counter: "Counter[str]") -> Any:
    def told(outcome: str, count: int) -> None:
        counter[outcome] += count

    return told


async def test_spans_reach_a_collector_as_they_were_said() -> None:
    told: Counter[str] = Counter()
    link, began = Context(os.urandom(16), os.urandom(8)), time.time() - 5
    with collecting() as collector:
        traces = OtlpTraces(collector.url, 0.0, "corechain-test", "1", telling(told))
        own = KNOWN.child()
        traces.emit(Span("bus", "append", own, began, began + 1, SPAN, [link], {"lane": 3}))
        traces.emit(Span("aggregator", "seal", KNOWN, began, began + 2))
        await traces.close()
        assert eventually(lambda: told["sent"] == 2)
    seen = {one.name: one for one in collector.spans}
    append, seal = seen["append"], seen["seal"]
    assert (append.trace, append.span, append.parent) == (TRACE, own.span, SPAN)
    assert (append.service, append.stage, append.links) == ("corechain-test", "bus", (link.trace,))
    assert append.facts["lane"] == 3
    assert append.ended - append.began == pytest.approx(1e9, rel=1e-3)
    assert (seal.trace, seal.span, seal.parent) == (TRACE, SPAN, b"")


async def test_a_collector_that_refuses_costs_the_spans_and_they_are_counted() -> None:
    told: Counter[str] = Counter()
    with collecting() as collector:
        collector.refuses = True
        traces = OtlpTraces(collector.url, 0.0, "corechain-test", "1", telling(told))
        traces.emit(Span("bus", "append", KNOWN, time.time(), time.time()))
        await traces.close()
        assert eventually(lambda: told["lost"] == 1)
    assert not collector.spans


REQUIRED = {
    "rpc_url": "http://127.0.0.1:1",
    "deployment": "31337.json",
    "database_url": "postgresql://127.0.0.1:1/a",
    "redis_url": "redis://127.0.0.1:1/0",
    "data_urls": "http://127.0.0.1:1/{commitment}",
}


def test_without_the_extra_a_collector_is_refused_by_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(**REQUIRED, traces_url="http://127.0.0.1:1/v1/traces")  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "corechain.service.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # type: ignore[arg-type]
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InvalidSetting, match="INDEXER_TRACES_URL needs packages"):
        settings.traces("INDEXER_", "corechain-api", lambda outcome, count: None)


def test_without_a_collector_nothing_is_imported_for_traces() -> None:
    assert Settings(**REQUIRED).traces("INDEXER_", "api", lambda *_: None) is NO_TRACES  # type: ignore[arg-type]
