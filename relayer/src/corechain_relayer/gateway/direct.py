"""`POST /v1/reports` past the application: a short body goes from the parser into its frame.

A task, a scope and two messages a request cost more than all that the gateway does with a single
report. What is long, or has to wait for a look at the chain, takes the way of `Endpoints.reports`.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial

from corechain.protocol.errors import MalformedReport, ProtocolError
from corechain.service.direct import Answer, DirectRequest, Fields
from corechain_relayer.gateway.app import REPORTS, Endpoints
from corechain_relayer.gateway.body import (
    BodyTimeout,
    headers_of,
    media_type,
    prefers_receipt,
)
from corechain_relayer.gateway.service import INLINE_BYTES
from corechain_relayer.receipts.wish import Wish

_TARGET = REPORTS.encode()


@dataclass(slots=True)
class DirectReports:
    """A `DirectPath`. A request's `context` is its media type, and what it wishes: receipts (one
    element) or nothing."""

    endpoints: Endpoints
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)

    def takes(self, method: bytes, target: bytes, headers: Fields) -> bool:
        return target == _TARGET and method == b"POST"

    @property
    def most_bytes(self) -> int:
        return min(INLINE_BYTES, self.endpoints.bodies.one)

    @property
    def timeout_s(self) -> float:
        return self.endpoints.bodies.timeout_s

    def begin(self, request: DirectRequest) -> None:
        try:
            self.endpoints.gateway.require_room()
            headers = headers_of(request.headers)
            wish = [Wish()] if prefers_receipt(headers) else []
            request.context = media_type(headers), wish
        except Exception as error:
            self._end(request, error)

    def chunk(self, request: DirectRequest, chunk: bytes) -> None:
        try:
            self.endpoints.bodies.take(len(chunk))
        except ProtocolError as error:
            self._end(request, error)
        else:
            request.add(chunk)

    def handle(self, request: DirectRequest) -> None:
        (kind, wish), body = request.context, bytes(request.body)
        try:
            peer, done = partial(_peer, request), partial(self._end, request)
            if not self.endpoints.gateway.take_straight(kind, body, peer, done, *wish):
                task = asyncio.get_running_loop().create_task(self._accept(request, kind, body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except Exception as error:
            self._end(request, error)

    async def _accept(self, request: DirectRequest, kind: str, body: bytes) -> None:
        try:
            peer = partial(_peer, request)
            _, wish = request.context
            take = self.endpoints.gateway.accept
            answer: Answer | Exception = await take(kind, body, peer, *wish)
        except Exception as error:
            answer = error
        self._end(request, answer)

    def body_late(self, request: DirectRequest) -> None:
        self._end(request, BodyTimeout(f"the body did not arrive within {self.timeout_s:g} s"))

    def left(self, request: DirectRequest) -> None:
        self._end(request, MalformedReport("the client left before the end of the body"))

    def _end(self, request: DirectRequest, answer: Answer | Exception) -> None:
        """Whatever went wrong, an answer; the body counts no more."""
        self.endpoints.bodies.held -= len(request.body)
        request.body = b""
        if isinstance(answer, ProtocolError):
            answer = self.endpoints.refusal(answer)
        elif isinstance(answer, Exception):
            answer = self.endpoints.breakdown(REPORTS, answer)
        request.answer(answer)


def _peer(request: DirectRequest) -> str:
    return request.peer
