"""uvicorn's WebSocket protocol with an end for clients that do not read and do not answer.

uvicorn pings, but then closes politely: what was not read yet is flushed first, and to a client
that never reads that takes for ever, and its place with it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PING_INTERVAL_S, PING_TIMEOUT_S = 20.0, 20.0
STALLED_TIMEOUT_S = 20.0
"""How long a client may leave what we send unread; one that reads slowly starts it anew."""
CLOSING_LIMIT_S = 5.0
"""From a missed ping, or our own goodbye, to the end of the connection."""
MAX_MESSAGE_BYTES = 64 << 10
"""Subscribers have nothing to say; a larger message ends the connection."""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Aborts where uvicorn would wait."""

    _stall_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALLED_TIMEOUT_S, self._abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_soon()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            self._abort_soon()

    def _abort_soon(self) -> None:
        self.loop.call_later(CLOSING_LIMIT_S, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
