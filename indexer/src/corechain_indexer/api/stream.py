"""WebSocket subscribers of verified and undone batches, fed from Redis.

Who stays connected misses nothing: where something may have been missed, the connection ends, and
the subscriber catches up by `/v1/batches`.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.latest import CHANNEL, told

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

QUEUE = 256
TRY_AGAIN_LATER, SERVICE_RESTART = 1013, 1012
"""Close codes of the IANA registry of WebSocket."""
NO_CLOSE_CODES = (1005, 1006)
SUBSCRIBING_LIMIT_S = 3.0
"""How long a subscriber waits for a subscription to Redis before it is sent away."""
IDLE_S = 5.0
"""After so long without a message Redis is pinged, and must have answered as long after."""


@dataclass(eq=False, slots=True)
class _Subscriber:
    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    dropped: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = TRY_AGAIN_LATER
    why: str = ""

    def drop(self, code: int, why: str) -> None:
        self.code, self.why = code, why
        self.dropped.set()


@dataclass(slots=True)
class BatchStream:
    """One subscription to Redis for all subscribers of this process."""

    redis: "Redis"
    max_subscribers: int
    metrics: Metrics
    _subscribers: set[_Subscriber] = field(default_factory=set)
    _listening: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """One session. Raises CacheUnavailable when Redis goes away."""
        try:
            async with self.redis.pubsub() as pubsub:
                await told(pubsub.subscribe(CHANNEL))
                await self._forward(pubsub)
        finally:
            self._listening.clear()
            self._interrupt()

    async def _forward(self, pubsub: "PubSub") -> None:
        heard = time.monotonic()
        while True:
            message: Any = await told(pubsub.get_message(timeout=IDLE_S))
            if message is not None:
                heard = time.monotonic()
                self._take(message)
            elif time.monotonic() - heard > 2 * IDLE_S:
                # The other side may be gone without a word: its silence would look like peace.
                raise CacheUnavailable("the subscription does not answer")
            else:
                await told(pubsub.ping())

    def _take(self, message: Any) -> None:
        if message["type"] == "subscribe":
            self._listening.set()
        elif message["type"] == "message":
            self.publish(message["data"].decode())

    def _interrupt(self) -> None:
        """What is announced from now on, nobody here hears."""
        for subscriber in list(self._subscribers):
            self._drop(subscriber, SERVICE_RESTART, "interrupted")

    def _drop(self, subscriber: _Subscriber, code: int, why: str) -> None:
        if not subscriber.dropped.is_set():
            self.metrics.subscribers_dropped.labels(why).inc()
            subscriber.drop(code, why)

    def publish(self, message: str) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber.queue.put_nowait(message)
            except asyncio.QueueFull:
                self._drop(subscriber, TRY_AGAIN_LATER, "too slow")

    async def serve(self, socket: WebSocket) -> None:
        """Sends batches until the subscriber leaves, falls too far behind or does not answer."""
        if len(self._subscribers) >= self.max_subscribers:
            await _send_away(socket, "too many subscribers")
            return
        subscriber = _Subscriber()
        # It has its place before it waits: many that wait are as many as many that listen.
        self._subscribers.add(subscriber)
        self.metrics.subscribers.set(len(self._subscribers))
        try:
            await self._serve(socket, subscriber)
        finally:
            self._subscribers.discard(subscriber)
            self.metrics.subscribers.set(len(self._subscribers))

    async def _serve(self, socket: WebSocket, subscriber: _Subscriber) -> None:
        try:
            async with asyncio.timeout(SUBSCRIBING_LIMIT_S):
                await self._listening.wait()
        except TimeoutError:
            await _send_away(socket, "no announcements at the moment")
            return
        # Only now: from the handshake on, a subscriber misses nothing.
        await socket.accept()
        await self._pump(socket, subscriber)

    async def _pump(self, socket: WebSocket, subscriber: _Subscriber) -> None:
        sending = asyncio.create_task(_send(socket, subscriber))
        leaving = asyncio.create_task(_gone(socket))
        dropping = asyncio.create_task(subscriber.dropped.wait())
        tasks: list[asyncio.Task[Any]] = [sending, leaving, dropping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if subscriber.dropped.is_set():
            # Its place is free at once; the goodbye has a limit of its own (BoundedWebSocket).
            self._subscribers.discard(subscriber)
            await _close(socket, subscriber.code, subscriber.why)
        elif leaving.cancelled() or leaving.result() in NO_CLOSE_CODES:
            self.metrics.subscribers_dropped.labels("lost").inc()


async def _send_away(socket: WebSocket, why: str) -> None:
    """Refused after the handshake, because no client reads why it was refused one."""
    await socket.accept()
    await _close(socket, TRY_AGAIN_LATER, why)


async def _close(socket: WebSocket, code: int, why: str) -> None:
    """Says goodbye; who is gone already does not have to hear it."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(code, why)


async def _send(socket: WebSocket, subscriber: _Subscriber) -> None:
    while True:
        await socket.send_text(await subscriber.queue.get())


async def _gone(socket: WebSocket) -> int:
    """The close code, when the other side closes; what it says is not listened to."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return int(message.get("code") or NO_CLOSE_CODES[0])
