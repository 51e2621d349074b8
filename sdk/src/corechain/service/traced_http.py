"""Sampled requests as spans: beside the fast way past the application, which stays as it is."""

import os
import random
import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corechain.service.direct import DirectPath, DirectRequest, Fields
from corechain.service.tracing import (
    CURRENT,
    SPAN_BYTES,
    TRACE_BYTES,
    TRACEPARENT,
    Context,
    Span,
    Traces,
    context_of,
    traceparent_of,
)

MOST_PATH = 200
"""Of a path in a span: who asks chooses it."""


def _parent_in(headers: Fields) -> bytes | None:
    return next((value for name, value in headers if name == TRACEPARENT), None)


@dataclass(slots=True)
class SampledAside:
    """A `DirectPath` that leaves sampled requests to the application, whose answer is the same:
    there `Traced` makes their spans, and the fast way stays as it is for all others."""

    inner: DirectPath
    traces: Traces

    def takes(self, method: bytes, target: bytes, headers: Fields) -> bool:
        return self.inner.takes(method, target, headers) and not self._samples(headers)

    def _samples(self, headers: Fields) -> bool:
        known = _parent_in(headers)
        if known is not None:
            return context_of(known) is not None
        if random.random() >= self.traces.ratio:
            return False
        # The parser's own list: the application finds the field as if the client had sent it.
        fields = cast("MutableSequence[tuple[bytes, bytes]]", headers)
        context = Context(os.urandom(TRACE_BYTES), os.urandom(SPAN_BYTES))
        fields.append((TRACEPARENT, traceparent_of(context)))
        return True

    @property
    def most_bytes(self) -> int:
        return self.inner.most_bytes

    @property
    def timeout_s(self) -> float:
        return self.inner.timeout_s

    def begin(self, request: DirectRequest) -> None:
        self.inner.begin(request)

    def chunk(self, request: DirectRequest, chunk: bytes) -> None:
        self.inner.chunk(request, chunk)

    def handle(self, request: DirectRequest) -> None:
        self.inner.handle(request)

    def body_late(self, request: DirectRequest) -> None:
        self.inner.body_late(request)

    def left(self, request: DirectRequest) -> None:
        self.inner.left(request)


@dataclass(frozen=True, slots=True)
class Traced:
    """An application whose sampled requests are spans, and `CURRENT` while they are answered."""

    app: ASGIApp
    traces: Traces
    stage: str
    shown: Callable[[str], str] = str
    """What of a path a span may show: it may hold a secret."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = _parent_in(scope["headers"]) if scope["type"] == "http" else None
        parent = None if known is None else context_of(known)
        if parent is None:
            await self.app(scope, receive, send)
            return
        status, began, own = 0, time.time(), parent.child()

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        token = CURRENT.set(own)
        try:
            await self.app(scope, receive, noting)
        finally:
            CURRENT.reset(token)
            self.traces.emit(self._span(scope, own, parent, began, status))

    def _span(self, scope: Scope, own: Context, parent: Context, began: float, status: int) -> Span:
        path = self.shown(scope["path"])[:MOST_PATH]
        facts: dict[str, str | int] = {
            "http.request.method": scope["method"],
            "http.response.status_code": status,
            "url.path": path,
        }
        # The first two parts: the others are ids, and a name is of all requests of a kind.
        name = f"{scope['method']} {'/'.join(path.split('/')[:3])}"
        ended = time.time()
        return Span(self.stage, name, own, began, ended, parent.span, facts=facts, serves=True)


def traced(app: Any, traces: Traces, stage: str, shown: Callable[[str], str] = str) -> Any:
    """The application itself where traces are off."""
    return Traced(app, traces, stage, shown) if traces.on else app


def sampled_aside(direct: DirectPath | None, traces: Traces) -> DirectPath | None:
    """The direct path itself where traces are off."""
    return direct if direct is None or not traces.on else SampledAside(direct, traces)
