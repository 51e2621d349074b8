"""uvicorn's protocol with an end for clients that are silent, slow, or never read.

uvicorn limits only the time between two requests. A socket that sends nothing, or half a head, or
does not read its answer would keep its place for ever (slow-loris); ten thousand header fields are
a dictionary of ten thousand entries to whoever reads them. And with a way past the application for
the one path of a service that carries the load (`corechain.service.direct`).
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from corechain.protocol.errors import Overloaded, ProtocolError
from corechain.protocol.problems import problem_title, problem_type
from corechain.service.direct import DirectRequest, Fields
from corechain.service.retry import spread_s
from corechain.service.streams import StreamRequest, Streams

HEAD_TIMEOUT_S = 10.0
"""From the first byte of a request (or from the connection) to the end of its head."""
STALLED_TIMEOUT_S = 60.0
"""How long a client may leave our answer unread; one that reads slowly starts it anew."""
MAX_HEAD_BYTES = 64 << 10
"""Request line and header fields; the parser itself has no limit."""
MAX_HEADER_FIELDS = 100
"""Browsers behind proxies send about 30; 100 is what Apache and Go's HTTP/2 servers stop at, too.
Trailers count."""
RETRY_AFTER_S = 5
"""Connections that are kept alive free their places slowly."""
PROBES = (b"/health", b"/ready", b"/metrics")
PROBES_ROOM = 32
"""Connections beyond the limit for who asks whether the service lives: of the files that it keeps
for itself (`http_server.OWN_FILES`)."""
PROBLEM = b"application/problem+json"
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""`uri-host [":" port]` (RFC 9110, section 7.2): a name, an IPv4 address, or an IPv6 address in
brackets. Empty is allowed: of a target without an authority."""


class MalformedHttp(ProtocolError):
    """The bytes are no HTTP request."""

    status = 400


class HeadTooLarge(ProtocolError):
    """The header fields of the request are too many, or too long (RFC 6585, section 5)."""

    status = 431


class TargetTooLong(ProtocolError):
    """The request target is too long."""

    status = 414


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose next request head, or whose reader, does not come in time."""

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    """Ends a connection that is kept alive for nothing; it outlives the requests meanwhile."""
    _idle_until: float = 0.0
    timeout_keep_alive_task: asyncio.TimerHandle | None
    """uvicorn's; here the timer above while no request is under way, else None."""
    _head_bytes: int | None = None
    """Of the head that is coming in; None between heads."""
    _refused: ProtocolError | None = None
    """What is wrong with the head, where the parser finds nothing."""
    _due: ProtocolError | None = None
    """What is said after the answers that are due."""
    _before: Any = None
    """The request before the last one."""

    refused: Callable[[ProtocolError], None] = staticmethod(lambda error: None)
    """Hears of every request that has its answer here, and never reaches the application."""

    streams: Streams | None = None
    """Who takes connections over, if anybody does."""
    _taken: tuple[bytes, Fields] | None = None
    """Target and header fields of a stream's request: what follows it is not the application's."""

    most: int | None
    """Connections that are served at a time; None: no limit."""

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.most, self.limit_concurrency = self.limit_concurrency, None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        if self._taken is not None:  # a request behind that of a stream has no answer
            return
        self._head_bytes = None
        self._require_good_head()
        self._require_room()
        self._before = self.cycle
        if self._is_stream(is_websocket=False):
            self._taken = self.url, self.headers
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._taken is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._taken is None:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._taken is not None and not self.transport.is_closing():
            self._hand_over(*self._taken, is_websocket=False)
            return
        if self._head_bytes is None and self.timeout_keep_alive_task is not None:
            # Answered in this very step: the next request may come as late as after any other.
            self._stop_waiting()
        elif self._is_between_requests():
            # Not anew for each byte: dripping a head is no way to keep a place.
            self._await_head()
            self._limit_head(len(data))
        else:
            self._stop_waiting()
        self._limit_fields()

    # ------------------------------------------------------------------ heads

    def _require_good_head(self) -> None:
        """Raises what is wrong with a head that the parser takes; the parser turns it into an error
        of its own, whose answer is `send_400_response`."""
        size, hosts, host = 0, 0, b""
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts, host = hosts + 1, value
        if len(self.url) > MAX_HEAD_BYTES:
            self._refused = TargetTooLong(f"the target is over {MAX_HEAD_BYTES} bytes")
        elif len(self.headers) > MAX_HEADER_FIELDS:
            self._refused = HeadTooLarge(f"more than {MAX_HEADER_FIELDS} header fields")
        elif size > MAX_HEAD_BYTES:
            self._refused = HeadTooLarge(f"the head is over {MAX_HEAD_BYTES} bytes")
        elif self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refused = MalformedHttp("speak HTTP/1.1")
        elif hosts > 1:
            # A proxy that goes by the other one than we do is led past its rules (RFC 9112,
            # section 3.2).
            self._refused = MalformedHttp("more than one Host")
        elif not hosts and self.parser.get_http_version() == "1.1":
            self._refused = MalformedHttp("no Host")
        elif not _HOST.fullmatch(host):
            self._refused = MalformedHttp("Host is no name or address with a port")
        if self._refused is not None:
            raise self._refused

    def _require_room(self) -> None:
        """uvicorn refuses too, but says neither what nor when to come again."""
        if self.most is None or max(len(self.connections), len(self.tasks)) < self.most:
            return
        # Or a full service would be taken for a dead one, and be restarted in the storm.
        is_probe = self.url in PROBES and len(self.connections) < self.most + PROBES_ROOM
        if not is_probe:
            self._refused = Overloaded("too many connections")
            raise self._refused

    def _limit_head(self, size: int) -> None:
        if self._head_bytes is None:  # the rest of a body whose answer is out already
            return
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            is_target = len(self.url) > MAX_HEAD_BYTES - size
            kind = TargetTooLong if is_target and not self.headers else HeadTooLarge
            self._refuse(kind(f"the head is over {MAX_HEAD_BYTES} bytes"))

    def _limit_fields(self) -> None:
        """Of a head that is not whole yet, and trailers: they join the fields of their head."""
        fields: Fields | None = self.headers  # None before the first request
        if fields is not None and len(fields) > MAX_HEADER_FIELDS:
            self._refuse(HeadTooLarge(f"more than {MAX_HEADER_FIELDS} header fields"))

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what its parser refuses, as a problem document."""
        self._refuse(self._refused or MalformedHttp(msg))

    def _refuse(self, error: ProtocolError) -> None:
        """The last answer of this connection: where the next request would begin is not known."""
        if self.transport.is_closing():
            return
        if self.pipeline and self.cycle.more_body:
            # It waits for its turn and will never be whole: this is its answer.
            self.pipeline.popleft()
            self.cycle = self._before
        if self._is_answered() or self.cycle.more_body:
            self._write_last(error)
        else:
            # Written now, it would be taken for the answer of the request under way.
            self._due = error
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer: a new one for each answer costs as much as parsing."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self._await_request()
        if self._due is not None and self._is_answered():
            self._write_last(self._due)

    def _write_last(self, error: ProtocolError) -> None:
        self.refused(error)
        body = problem_bytes(error)
        fields = b"content-type: %s\r\ncontent-length: %d\r\n" % (PROBLEM, len(body))
        if isinstance(error, Overloaded):
            fields += b"retry-after: %d\r\n" % spread_s(RETRY_AFTER_S)
        head = STATUS_LINE[error.status] + self.default_fields() + fields
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def default_fields(self) -> bytes:
        """What every answer has: the date, which uvicorn renews each second."""
        return _serialised(tuple(self.server_state.default_headers))

    # ------------------------------------------------------------------ silence

    def _await_request(self) -> None:
        """One timer for as many requests as come before it ends: it then looks when the last answer
        was written, and goes on for what is left."""
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)
        self.timeout_keep_alive_task = self._idle_timer

    def _unset_keepalive_if_required(self) -> None:
        self.timeout_keep_alive_task = None

    def _look_if_idle(self) -> None:
        self._idle_timer = None
        if self.timeout_keep_alive_task is None:
            return  # a request is under way: its answer sets it anew
        left = self._idle_until - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._look_if_idle)
            self.timeout_keep_alive_task = self._idle_timer
        else:
            self.timeout_keep_alive_handler()

    def _forget_idle_timer(self) -> None:
        self._unset_keepalive_if_required()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._forget_idle_timer()  # or it would hold the connection's memory until it ends
        self.resume_writing()
        super().connection_lost(exc)

    def _should_upgrade(self) -> bool:
        """A WebSocket is asked for by GET (RFC 6455, section 4.1). Any other method goes on as the
        request that it is: the library that takes over would neither answer nor hang up. So does
        one behind a request that is under way, whose answer would be lost."""
        is_plain = self.parser.get_method() != b"GET" or not self._is_answered()
        return not is_plain and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        if self._is_stream(is_websocket=True):
            self._hand_over(self.url, self.headers, is_websocket=True)
        else:
            super().handle_websocket_upgrade()

    # ------------------------------------------------------------------ streams

    def _is_stream(self, *, is_websocket: bool) -> bool:
        """Whether a stream takes this connection: for a GET without a body that is alone on it."""
        if self.streams is None or self.parser.get_method() != b"GET" or not self._is_answered():
            return False
        # An upgrade is asked for by the head; the library that takes it over comes to us later.
        if not is_websocket and self.parser.should_upgrade() and self._should_upgrade():
            return False
        return self.streams.wants(self.url, self.headers, is_websocket)

    def _hand_over(self, target: bytes, headers: Fields, *, is_websocket: bool) -> None:
        assert self.streams is not None
        self._stop_waiting()
        self._forget_idle_timer()
        self.connections.discard(self)
        request = StreamRequest(
            target,
            headers,
            is_websocket,
            self.connections,
            self.default_fields,
            self.origin(headers)[0],
        )
        protocol = self.streams.protocol(request)
        self.transport.set_protocol(protocol)
        # As after `connection_lost`: the transport is all that is left, and it is not ours.
        self.parser = None  # type: ignore[assignment]
        protocol.connection_made(self.transport)

    def origin(self, headers: Fields) -> tuple[str, str]:
        """Address and scheme of the connection."""
        return self.client[0] if self.client else "", str(self.scheme)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open for its last answer: who sends no more (`shutdown` of
        one direction) may still read. uvicorn hangs up on the request under way."""
        if self.transport.get_protocol() is not self or self._is_answered():
            return False
        if self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALLED_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _is_between_requests(self) -> bool:
        """No request is under way, and the connection is still ours (no websocket's)."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return False
        return self._is_answered()

    def _is_answered(self) -> bool:
        """Whether every request whose head is there has its whole answer."""
        # uvicorn declares the cycle of the first request before there is one.
        cycle: RequestResponseCycle | DirectRequest | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def problem_bytes(error: ProtocolError, **more: object) -> bytes:
    """Problem details (RFC 9457) as JSON, with members of the error's own."""
    title = problem_title(type(error))
    document = {"type": problem_type(error), "title": title, "status": error.status}
    return msgspec.json.encode(document | {"detail": str(error)} | more)


@lru_cache(maxsize=2)  # one a second, shared by all connections
def _serialised(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(b"%s: %s\r\n" % field for field in fields)
