"""Streams that are served on a port, and who listens to them, for the tests of streams."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from support.processes import PATIENCE_S, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from corechain.service.http_server import bind, http_server
from corechain.service.supervision import Loops, sessions
from corechain_indexer.api.newest import Newest
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.contents import BatchContents
from indexer.event_books import KEY, Books, books_on

PLACES = 4
PLAIN, EVENTS = "/v1/batches/stream", "/v1/events"


@dataclass
class Served:
    """A stream that is served on a port."""

    books: Books
    stream: BatchStream
    port: int
    loops: Loops = field(default_factory=Loops)

    def url(self, path: str = EVENTS, **query: str) -> str:
        return str(httpx.URL(f"ws://127.0.0.1:{self.port}{path}", params=query))

    def http(self, path: str = EVENTS, **query: str) -> str:
        return self.url(path, **query).replace("ws://", "http://")

    async def verified(self, count: int = 1) -> None:
        for _ in range(count):
            await self.books.verify()
        await self.books.tell()

    def dropped(self, reason: str) -> float:
        return self.stream.metrics.subscribers_dropped.labels(reason)._value.get()

    async def places_taken(self, count: int) -> bool:
        await until(lambda: len(self.stream._subscribers) == count)
        return True


@asynccontextmanager
async def served_on(books: Books, port: int = 0) -> AsyncIterator[Served]:
    newest = Newest(books.redis, books.log, KEY)
    stream = BatchStream(newest, BatchContents(books.pool), PLACES, Metrics())
    loops = Loops()
    with bind("X_", "127.0.0.1", port) as listener:
        server = http_server(Starlette(), 100, 75, streams=stream)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        listening = asyncio.create_task(sessions("stream", stream.listen, lambda: None, loops))
        await until(stream.newest.ready.is_set)
        yield Served(books, stream, listener.getsockname()[1], loops)
        server.should_exit = True
        await task
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def serving(database: str, redis_url: str, **changes: Any) -> AsyncIterator[Served]:
    async with books_on(database, redis_url, **changes) as books, served_on(books) as served:
        yield served


def deaf_client(served: Served, path: str = PLAIN) -> socket.socket:
    """Has asked for the stream, and reads nothing from then on. Its kernel takes little."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", served.port))
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    client.sendall(head.encode() + HANDSHAKE)
    return client


HANDSHAKE = b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"


async def hear(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = json.loads(await connection.recv())
    return found


async def story(connection: ClientConnection, count: int) -> list[tuple[str, int]]:
    said = [await hear(connection) for _ in range(count)]
    return [(item["type"], item["batch_id"]) for item in said]


async def closing(connection: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await connection.recv()
    return connection.close_code


async def refused(served: Served, query: dict[str, str], status: int) -> dict[str, Any]:
    """The same either way."""
    async with httpx.AsyncClient() as client:
        response = await client.get(served.http(**query))
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    async with connect(served.url(**query)) as subscriber:
        assert await hear(subscriber) == problem
        assert await closing(subscriber) == 4000 + status
    return problem
