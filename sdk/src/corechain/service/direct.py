"""Requests that are answered inside the protocol class: no task, no ASGI messages, no routes.

For the hot paths of a service. `BoundedProtocol` parses the request, and hands over what is short,
whole and plain; everything else goes to the application, whose answer is the same.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields as ASGI has them: names in lower case."""


class Answer(NamedTuple):
    """A whole response but for what the server adds: length, date, connection."""

    status: int
    headers: Fields
    body: bytes

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """With the length, for ASGI."""
        return [*self.headers, (b"content-length", b"%d" % len(self.body))]


class Connection(Protocol):
    """What an answer needs of the connection that its request came by."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def default_fields(self) -> bytes: ...

    def on_response_complete(self) -> None: ...

    def origin(self, headers: Fields) -> tuple[str, str]: ...


class _Deaf:
    """The event that uvicorn sets on a request: here nobody waits for it."""

    def set(self) -> None:
        pass


_DEAF = _Deaf()


class DirectRequest:
    """A request under way. For uvicorn it stands where its own RequestResponseCycle does, so it
    has the attributes of that which uvicorn reads or sets: all but `_…`, `target`, `headers`,
    `context`."""

    __slots__ = (
        "_connection",
        "_timer",
        "body",
        "context",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "target",
    )

    def __init__(
        self, connection: Connection, target: bytes, headers: Fields, keep_alive: bool
    ) -> None:
        self.target, self.headers, self.keep_alive = target, headers, keep_alive
        self.body: bytes | bytearray = b""
        self.context: Any = None  # whatever the direct path wants to remember
        self.more_body, self.response_complete, self.disconnected = True, False, False
        self.message_event = _DEAF
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str:
        """The address that it came from; behind a proxy that is trusted, the one it names."""
        return self.origin[0]

    @property
    def origin(self) -> tuple[str, str]:
        """(address, scheme) of the client, as `peer`."""
        return self._connection.origin(self.headers)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that runs."""
        return self._connection.loop

    def add(self, chunk: bytes) -> None:
        if not self.body:
            self.body = chunk
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)  # one byte at a time would be quadratic otherwise
        self.body += chunk

    def answer(self, answer: Answer) -> None:
        """Once, at any time; nothing happens when it is answered, or its client has left."""
        if self.response_complete:
            return
        self.response_complete = True
        self.stop_waiting()
        if self.disconnected:
            return
        self._connection.transport.write(self._bytes(answer))
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def _bytes(self, answer: Answer) -> bytes:
        """In one piece: two writes would be two system calls."""
        parts = [STATUS_LINE[answer.status], self._connection.default_fields()]
        for name, value in answer.headers:
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        if answer.status != HTTPStatus.NOT_MODIFIED:
            # A 304 has no body; a length would be that of the answer that is not sent (RFC 9110,
            # section 8.6).
            parts.append(b"content-length: %d\r\n" % len(answer.body))
        parts += (b"\r\n", answer.body)
        return b"".join(parts)

    def wait_for_body(self, direct: "DirectPath") -> None:
        """The rest has so much time, however it drips."""
        if self._timer is None:
            late = self._connection.loop.call_later
            self._timer = late(direct.timeout_s, direct.body_late, self)

    def stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class DirectPath(Protocol):
    """Answers the requests of some methods and paths. No call may raise."""

    def takes(self, method: bytes, target: bytes, headers: Fields) -> bool:
        """Whether it answers these. `target`: path and query, as the request line has them."""

    @property
    def most_bytes(self) -> int:
        """Of a body; a longer one is the application's."""

    @property
    def timeout_s(self) -> float:
        """From the end of the head to the end of the body."""

    def begin(self, request: DirectRequest) -> None:
        """The head is there. To answer now is to refuse: nobody reads the body."""

    def chunk(self, request: DirectRequest, chunk: bytes) -> None:
        """Some of the body is there."""

    def handle(self, request: DirectRequest) -> None:
        """All of it is there: answer, now or later."""

    def body_late(self, request: DirectRequest) -> None:
        """The body was not there in time: answer."""

    def left(self, request: DirectRequest) -> None:
        """The client is gone before the end of its body."""
