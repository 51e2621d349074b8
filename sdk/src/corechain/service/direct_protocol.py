"""The way past the application: `BoundedProtocol` with one `DirectPath`."""

from collections.abc import Callable
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from corechain.protocol.errors import ProtocolError
from corechain.service.direct import DirectPath, DirectRequest, Fields
from corechain.service.http_protocol import BoundedProtocol
from corechain.service.streams import Streams

_ROUNDABOUT = frozenset((b"transfer-encoding", b"expect", b"upgrade"))
"""Fields of requests that are left to the application: their bodies come by other rules."""


class DirectProtocol(BoundedProtocol):
    """Hands over the requests of some paths; all limits of `BoundedProtocol` hold for them as well.

    The parser is the same for both ways, so that what is no HTTP is refused before the way parts.
    """

    direct: DirectPath
    cycle: Any  # uvicorn's RequestResponseCycle, or a DirectRequest

    # ------------------------------------------------------------------ the parser's calls

    def on_message_begin(self) -> None:
        """Without what only the application reads."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        if not self._is_direct():
            self._prepare_scope()
            super().on_headers_complete()
            return
        self._head_bytes = None
        self._require_good_head()
        keep_alive = self.parser.should_keep_alive()
        self.cycle = DirectRequest(self, self.url, self.headers, keep_alive)
        self.direct.begin(self.cycle)

    def _prepare_scope(self) -> None:
        parsed = self.url, self.headers, self.expect_100_continue, self._head_bytes
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue, self._head_bytes = parsed
        self.scope["headers"] = self.headers

    def on_body(self, body: bytes) -> None:
        if type(self.cycle) is not DirectRequest:
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.direct.chunk(self.cycle, body)

    def on_message_complete(self) -> None:
        if type(self.cycle) is not DirectRequest:
            super().on_message_complete()
            return
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.stop_waiting()
            self.direct.handle(self.cycle)

    # ------------------------------------------------------------------ which way

    def _is_direct(self) -> bool:
        """Whether the request is plain, short, and alone. The order: what fails first comes
        first."""
        method = self.parser.get_method()
        if not self.direct.takes(method, self.url, self.headers):
            return False
        if self.parser.get_http_version() != "1.1" or not self._is_free():
            return False
        # Without a length a request has no body (RFC 9112, section 6.3): right for GET, and the
        # application says what is wrong with any other.
        length = b"0" if method == b"GET" else b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name in _ROUNDABOUT:
                return False
        if not length.isdigit() or int(length) > self.direct.most_bytes:
            return False
        # A stream's path may look like one of ours, and what follows a stream's request has none.
        return self._taken is None and not self._is_stream(is_websocket=False)

    def _is_free(self) -> bool:
        """Nothing of this connection is under way or unread, and there is room for it: else uvicorn
        queues the request, waits for the reader, or refuses."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self.flow.write_paused or self.transport.is_closing():
            return False
        return self.most is None or len(self.connections) < self.most

    def origin(self, headers: Fields) -> tuple[str, str]:
        """Address and scheme as uvicorn says them to the application, which names a proxy's client
        where the proxy is trusted (FORWARDED_ALLOW_IPS)."""
        address, scheme = super().origin(headers)
        if not isinstance(self.app, ProxyHeadersMiddleware):
            return address, scheme
        proxies = self.app.trusted_hosts
        if address not in proxies:
            return address, scheme
        forwarded = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                forwarded.append(value)
            elif name == b"x-forwarded-proto" and value.strip() in (b"http", b"https"):
                scheme = value.strip().decode()
        if not forwarded:
            return address, scheme
        named = proxies.get_trusted_client_address(b", ".join(forwarded).decode("latin-1"))[0]
        return named or address, scheme

    # ------------------------------------------------------------------ time

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if type(cycle) is DirectRequest and cycle.more_body and not cycle.response_complete:
            cycle.wait_for_body(self.direct)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycle = self.cycle
        if type(cycle) is DirectRequest and not cycle.response_complete:
            cycle.disconnected = True
            cycle.stop_waiting()
            if cycle.more_body:
                self.direct.left(cycle)


def protocol_with(
    direct: DirectPath | None,
    refused: Callable[[ProtocolError], None],
    streams: Streams | None = None,
) -> type[BoundedProtocol]:
    """What uvicorn makes an instance of for each connection of a server."""
    shared: dict[str, Any] = {"refused": staticmethod(refused), "streams": streams}
    if direct is None:
        return type("CountedProtocol", (BoundedProtocol,), shared)
    return type("DirectProtocol", (DirectProtocol,), {"direct": direct, **shared})
