"""Traces: spans of sampled requests, and of every batch. Off unless a collector is named.

A request is sampled where its `traceparent` (W3C Trace Context, level 1) says so, or by a share of
those without one. Nothing else of a report's way costs anything: its context goes along on the bus
(frames of version 3), and where reports become a batch, spans link. A batch's trace needs nobody to
carry it: its id is the beginning of the commitment, which every service knows.
"""

import os
import random
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

TRACE_BYTES, SPAN_BYTES = 16, 8
TRACEPARENT = b"traceparent"
# A later version may have more behind the flags; version ff is none.
_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class Context(NamedTuple):
    """Where in a trace somebody is: ids of 16 and 8 bytes."""

    trace: bytes
    span: bytes

    def child(self) -> "Context":
        """A new span of the same trace."""
        return Context(self.trace, os.urandom(SPAN_BYTES))


class Sampled(NamedTuple):
    """A request, or a message, that is sampled: its own span, and the id of that one's parent."""

    own: Context
    parent: bytes


CURRENT: ContextVar[Context | None] = ContextVar("corechain trace", default=None)
"""Of the request that a task works for, where it is sampled."""


@dataclass(frozen=True, slots=True)
class Span:
    """A finished step. Times in seconds since 1970. `parent`: the id of a span of the same trace;
    empty for the first. `stage`: the part of us that did it. `serves`: it answered a request."""

    stage: str
    name: str
    context: Context
    began: float
    ended: float
    parent: bytes = b""
    links: Sequence[Context] = ()
    facts: Mapping[str, str | int] = field(default_factory=dict)
    serves: bool = False


class Traces(Protocol):
    """Who takes spans. `ratio`: of requests without `traceparent` that are sampled."""

    @property
    def on(self) -> bool: ...

    @property
    def ratio(self) -> float: ...

    def emit(self, span: Span) -> None:
        """Never waits and never raises: what the collector does not take in time is dropped."""

    async def close(self) -> None: ...


class NoTraces:
    """Takes nothing, and is asked for nothing: `on` is looked at first."""

    on, ratio = False, 0.0

    def emit(self, span: Span) -> None:
        pass

    async def close(self) -> None:
        pass


NO_TRACES = NoTraces()


def context_of(traceparent: bytes) -> Context | None:
    """None for what is malformed (it counts as absent, by the specification) or not sampled."""
    found = _PARENT.fullmatch(traceparent)
    if found is None or not int(found[3], 16) & _SAMPLED:
        return None
    trace, span = bytes.fromhex(found[1].decode()), bytes.fromhex(found[2].decode())
    return Context(trace, span) if any(trace) and any(span) else None


def sampled(traceparent: bytes, ratio: float) -> Sampled | None:
    """By the field, or by a share of those without one (empty)."""
    if traceparent:
        parent = context_of(traceparent)
    elif ratio and random.random() < ratio:
        parent = Context(os.urandom(TRACE_BYTES), os.urandom(SPAN_BYTES))
    else:
        return None
    return None if parent is None else Sampled(parent.child(), parent.span)


def traceparent_of(context: Context) -> bytes:
    """The header field that says so."""
    return b"00-%s-%s-01" % (context.trace.hex().encode(), context.span.hex().encode())


def batch_context(commitment: bytes) -> Context:
    """The trace of a batch and its first span. `commitment`: 26 bytes."""
    return Context(commitment[:TRACE_BYTES], commitment[TRACE_BYTES : TRACE_BYTES + SPAN_BYTES])
