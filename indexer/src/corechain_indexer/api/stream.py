"""WebSocket subscribers of verified batches, fed from Redis. A slow one is let go."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from starlette.websockets import WebSocket, WebSocketDisconnect

from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.latest import CHANNEL

if TYPE_CHECKING:
    from redis.asyncio import Redis

QUEUE = 256
TRY_AGAIN_LATER = 1013


@dataclass(eq=False, slots=True)
class _Subscriber:
    queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    dropped: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class BatchStream:
    """One subscription to Redis for all subscribers of this process."""

    redis: "Redis"
    max_subscribers: int
    metrics: Metrics
    _subscribers: set[_Subscriber] = field(default_factory=set)

    async def listen(self) -> None:
        """One session. Raises CacheUnavailable when Redis goes away."""
        try:
            async with self.redis.pubsub() as pubsub:
                await pubsub.subscribe(CHANNEL)
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        self.publish(message["data"].decode())
        except (RedisError, OSError) as error:
            raise CacheUnavailable(f"{type(error).__name__}: {error}") from error
        raise CacheUnavailable("the subscription ended")

    def publish(self, message: str) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber.queue.put_nowait(message)
            except asyncio.QueueFull:
                self.metrics.subscribers_dropped.inc()
                subscriber.dropped.set()

    async def serve(self, socket: WebSocket) -> None:
        """Sends batches until the subscriber leaves or falls too far behind."""
        await socket.accept()
        if len(self._subscribers) >= self.max_subscribers:
            await socket.close(TRY_AGAIN_LATER, "too many subscribers")
            return
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        self.metrics.subscribers.set(len(self._subscribers))
        try:
            await self._pump(socket, subscriber)
        finally:
            self._subscribers.discard(subscriber)
            self.metrics.subscribers.set(len(self._subscribers))

    async def _pump(self, socket: WebSocket, subscriber: _Subscriber) -> None:
        tasks = [
            asyncio.create_task(work)
            for work in (_send(socket, subscriber), _gone(socket), subscriber.dropped.wait())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if subscriber.dropped.is_set():
            await socket.close(TRY_AGAIN_LATER, "too slow")


async def _send(socket: WebSocket, subscriber: _Subscriber) -> None:
    while True:
        await socket.send_text(await subscriber.queue.get())


async def _gone(socket: WebSocket) -> None:
    """Returns when the other side closes; what it says is not listened to."""
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        return
