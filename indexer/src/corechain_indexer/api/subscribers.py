"""Subscribers on the wire: WebSocket (RFC 6455) and Server-Sent Events (WHATWG HTML, 9.2).

No task, no queue: a protocol on a transport, a place in the log, and a frame that was encoded once
for all. `permessage-deflate` is never agreed on: it would compress every frame anew for everyone
(its state is per connection), and an event has 400 bytes.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from typing import TYPE_CHECKING, Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from corechain.protocol.errors import CursorExpired, Overloaded, ProtocolError
from corechain.service.http_protocol import problem_bytes
from corechain.service.streams import StreamRequest
from corechain_indexer.errors import TooManyRequests, Unavailable, UnknownApiKey

if TYPE_CHECKING:
    from corechain_indexer.store.events import BatchEvent

NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
SERVICE_RESTART, TRY_AGAIN_LATER = 1012, 1013
"""Close codes of the IANA registry of WebSocket."""
PRIVATE = 4000
"""A refusal with an HTTP status of ours is closed by 4000 and that: 4400, 4410."""
CLOSING_LIMIT_S = 5.0
"""From our goodbye to the end of the connection."""
MAX_MESSAGE_BYTES = 64 << 10
"""Subscribers have nothing to say; a larger message ends the connection."""
UNACKNOWLEDGED_LIMIT_MS = 60_000
"""TCP_USER_TIMEOUT: a peer whose machine is gone acknowledges nothing. Nothing else tells of one
that listens to Server-Sent Events, which nobody answers."""
RETRY_MS = 2_000
"""Before a browser connects again; it waits this long even after a mere hiccup."""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
GONE = 1 << 63
"""The position of one that nothing is sent to any more."""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

_encode = msgspec.json.encode


def frame(opcode: int, payload: bytes) -> bytes:
    """An unfragmented, unmasked frame (RFC 6455, section 5.2): what a server sends."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def close_frame(code: int, why: str) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + why.encode()[:123])


def text_of(event: "BatchEvent") -> bytes:
    return frame(TEXT, _encode(event))


def first_text_of(event: "BatchEvent") -> bytes | None:
    """As it was before there were cursors: without final events, by the old names."""
    if event.type == "final":
        return None
    type_ = "verified" if event.type == "new" else "retracted"
    head = {"type": type_, "id": event.id, "batch_id": event.batch_id}
    head |= {"commitment": event.commitment, "cursor": event.cursor}
    if event.type == "undone":
        return frame(TEXT, _encode(head))
    window = {"window_start": event.window_start, "window_end": event.window_end}
    return frame(TEXT, _encode(head | {"readings": event.readings} | window))


def server_sent(event: "BatchEvent") -> bytes:
    fields = (event.cursor.encode(), event.type.encode(), _encode(event))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % fields


class Subscriber(asyncio.Protocol, ABC):
    """One connection. `position` is the newest event that it was sent, or that is not for it;
    `descriptor` that of its socket, which is another one's when the connection is lost."""

    __slots__ = (
        "_drained",
        "_has_begun",
        "alive",
        "descriptor",
        "group",
        "joined",
        "left",
        "paused",
        "position",
        "request",
        "transport",
    )
    transport: asyncio.Transport

    def __init__(
        self,
        request: StreamRequest,
        joined: Callable[["Subscriber"], None],
        left: Callable[["Subscriber", str], None],
    ) -> None:
        self.request, self.joined, self.left = request, joined, left
        self.position, self.paused, self.alive = GONE, False, True
        self.group: Any = None  # of `wishes`, which knows us
        self._has_begun = False
        self._drained: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by class.
        self.transport = cast(asyncio.Transport, transport)
        self.request.connections.add(self)
        peer = transport.get_extra_info("socket")
        self.descriptor: int = peer.fileno()
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_LIMIT_MS)
        self.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.request.connections.discard(self)
        self.position = GONE
        self._wake()
        self.left(self, self._loss(exc))

    def _loss(self, exc: Exception | None) -> str:
        """Why it is gone, for the metrics; nothing where that is how one leaves."""
        return "lost"

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()

    def shutdown(self) -> None:
        """The server stops."""
        self.dismiss(SERVICE_RESTART, "the service restarts")

    # ------------------------------------------------------------------ the stream's calls

    async def drained(self) -> None:
        """Returns when the kernel has taken nearly all, or the connection is lost."""
        if self.paused and self.position != GONE:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _end(self) -> None:
        """Nothing is sent after this; what was sent before has a limit to leave."""
        self.position = GONE
        self._wake()
        asyncio.get_running_loop().call_later(CLOSING_LIMIT_S, self.transport.abort)

    def dismiss(self, code: int, why: str) -> None:
        """Ends a stream, or one that has not begun yet."""
        if self._has_begun:
            self._say_goodbye(code, why)
        else:
            self.refuse(Unavailable(why))

    @abstractmethod
    def greet(self, cursor: str) -> bool:
        """Begins the stream after a cursor; False where it was refused."""

    @abstractmethod
    def refuse(self, error: ProtocolError) -> None:
        """Instead of `greet`."""

    @abstractmethod
    def _say_goodbye(self, code: int, why: str) -> None:
        """The last that is sent; then `_end`."""

    @abstractmethod
    def beat(self, cursor: str | None) -> None:
        """A sign of life, with the cursor of one that has all up to it."""


def problem_of(error: ProtocolError) -> bytes:
    if isinstance(error, CursorExpired):
        return problem_bytes(error, catch_up="/v1/batches", since=error.newest)
    return problem_bytes(error)


class SocketSubscriber(Subscriber):
    """By WebSocket. What it says is not listened to, but for pings, pongs and goodbyes."""

    __slots__ = ("_buffer", "_is_closing", "_is_deaf", "shows_cursors")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._buffer, self._is_closing, self._is_deaf = b"", False, False
        # Not to clients of before there were cursors: they know neither greeting nor position.
        self.shows_cursors = True
        super().connection_made(transport)

    def _shake_hands(self) -> bool:
        """False where the request cannot be answered by a WebSocket: it was refused."""
        fields = dict(self.request.headers)
        key, version = fields.get(b"sec-websocket-key"), fields.get(b"sec-websocket-version")
        if key is None or version != b"13":
            more = b"sec-websocket-version: 13\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(STATUS_LINE[426] + self.request.default_fields() + more)
            self.transport.close()
            self.position = GONE
            return False
        accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
        fields_101 = b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
        head = STATUS_LINE[101] + self.request.default_fields() + fields_101 + accept
        self.transport.write(head + b"\r\n\r\n")
        self._has_begun = True
        return True

    def greet(self, cursor: str) -> bool:
        if not self._shake_hands():
            return False
        if self.shows_cursors:
            self.transport.write(frame(TEXT, _encode({"type": "start", "cursor": cursor})))
        return True

    def refuse(self, error: ProtocolError) -> None:
        """After the handshake: no client reads why it was refused one."""
        if not self._shake_hands():
            return
        again = isinstance(error, (Overloaded, Unavailable))
        self.transport.write(frame(TEXT, problem_of(error)))
        self.dismiss(TRY_AGAIN_LATER if again else PRIVATE + error.status, str(error))

    def _say_goodbye(self, code: int, why: str) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.transport.write(close_frame(code, why))
            self._end()

    def beat(self, cursor: str | None) -> None:
        self.alive = False
        self.transport.write(frame(PING, b""))
        if cursor is not None and self.shows_cursors:
            self.transport.write(frame(TEXT, _encode({"type": "position", "cursor": cursor})))

    # ------------------------------------------------------------------ what it says

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self.alive = True
        self._buffer += data
        while len(self._buffer) >= 2 and not self.transport.is_closing():
            if not self._take_frame():
                return

    def _take_frame(self) -> bool:
        """False when the rest of it is still to come."""
        first, second = self._buffer[0], self._buffer[1]
        size, start = second & 0x7F, 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(self._buffer[2:start], "big")
        if first & 0x70 or not second & 0x80:
            # An extension that nobody agreed on, or a client's frame without its mask.
            self._break_off(PROTOCOL_ERROR, "not as RFC 6455 has it")
            return False
        if len(self._buffer) >= start and size > MAX_MESSAGE_BYTES:
            self._break_off(TOO_BIG, "the message is too large")
            return False
        end = start + 4 + size
        if len(self._buffer) < end:
            return False
        mask, payload = self._buffer[start : start + 4], self._buffer[start + 4 : end]
        self._buffer = self._buffer[end:]
        self._hear(first & 0x0F, bytes(b ^ mask[i & 3] for i, b in enumerate(payload[:125])))
        return True

    def _hear(self, opcode: int, start: bytes) -> None:
        """`start`: up to 125 bytes, as long as a control frame may be."""
        if opcode == PING and not self._is_closing:
            self.transport.write(frame(PONG, start))
        elif opcode == CLOSE:
            self.position = GONE
            if not self._is_closing:
                self.transport.write(frame(CLOSE, start[:2]))
            self.left(self, "")
            self.transport.close()

    def _break_off(self, code: int, why: str) -> None:
        # Where its next frame would begin is not known.
        self._buffer, self._is_deaf = b"", True
        self.dismiss(code, why)
        # Its own goodbye is not heard any more: it hangs up when it sees that we have.
        if self.transport.can_write_eof():
            self.transport.write_eof()


class EventSourceSubscriber(Subscriber):
    """By Server-Sent Events. The end of the connection is the end of the answer: no lengths."""

    __slots__ = ()

    def greet(self, cursor: str) -> bool:
        self._has_begun = True
        head = STATUS_LINE[200] + self.request.default_fields() + (
            b"content-type: text/event-stream\r\ncache-control: no-store\r\n"
            # Else NGINX collects a buffer full before it passes anything on.
            b"x-accel-buffering: no\r\nconnection: close\r\n\r\n"
        )  # fmt: skip
        self.transport.write(head + b"retry: %d\nid: %s\n\n" % (RETRY_MS, cursor.encode()))
        return True

    def refuse(self, error: ProtocolError) -> None:
        body = problem_of(error)
        fields = b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body)
        if isinstance(error, (Overloaded, Unavailable)):
            fields += b"retry-after: 1\r\n"
        if isinstance(error, UnknownApiKey):
            fields += b"www-authenticate: Bearer\r\n"
        if isinstance(error, TooManyRequests):
            pairs = {"retry-after": str(error.retry_after_s), **error.headers}.items()
            fields += "".join(f"{name}: {value}\r\n" for name, value in pairs).encode()
        head = STATUS_LINE[error.status] + self.request.default_fields() + fields
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()
        self._end()

    def _say_goodbye(self, code: int, why: str) -> None:
        self.transport.write(b": %s\n\n" % why.encode())
        self.transport.close()
        self._end()

    def beat(self, cursor: str | None) -> None:
        # An id without data moves the browser's last id on, and shows nothing.
        self.transport.write(b":\n\n" if cursor is None else b"id: %s\n\n" % cursor.encode())

    def data_received(self, data: bytes) -> None:
        """A client has nothing to say here."""

    def _loss(self, exc: Exception | None) -> str:
        # It has no other way to say goodbye than to hang up.
        return "lost" if isinstance(exc, TimeoutError) else ""
