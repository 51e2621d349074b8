"""uvicorn's protocol with an end for clients that are silent, slow, or never read.

uvicorn limits only the time between two requests. A socket that sends nothing, or half a head, or
does not read its answer would keep its place for ever (slow-loris).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_TIMEOUT_S = 10.0
"""From the first byte of a request (or from the connection) to the end of its head."""
STALLED_TIMEOUT_S = 60.0
"""How long a client may leave our answer unread; one that reads slowly starts it anew."""
MAX_HEAD_BYTES = 64 << 10
"""Request line and header fields; the parser itself has no limit."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose next request head, or whose reader, does not come in time."""

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _head_bytes: int | None = None
    """Of the head that is coming in; None between heads."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_bytes = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_between_requests():
            # Not anew for each byte: dripping a head is no way to keep a place.
            self._await_head()
            self._limit_head(len(data))
        else:
            self._stop_waiting()

    def _limit_head(self, size: int) -> None:
        if self._head_bytes is None:  # the rest of a body whose answer is out already
            return
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

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
        # uvicorn declares the cycle of the first request before there is one.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
