"""A node that says what a test wants it to say, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = Callable[[Any], tuple[int, bytes]]
"""From a decoded request to HTTP status and body."""


def result(value: Any) -> Reply:
    """Answers every call with one result."""

    def reply(request: Any) -> tuple[int, bytes]:
        return 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()

    return reply


def body(content: bytes, status: int = 200) -> Reply:
    """Answers every call with these bytes."""
    return lambda request: (status, content)


class OddNode:
    """`reply` may be changed at any time."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            size = next(int(x[15:]) for x in lines if x.startswith(b"content-length:"))
            status, content = self.reply(json.loads(await reader.readexactly(size)))
            opening = f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\n\r\n"
            writer.write(opening.encode() + content)
            await writer.drain()


@asynccontextmanager
async def stream_server(handle: Handler) -> AsyncIterator[str]:
    """The URL of a server on which each connection is a call of `handle`. No connection outlives
    it: one that outlived its loop would fail whichever test runs when it is collected."""
    running: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            await handle(reader, writer)
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        tasks = [task for task in running if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def odd_node(reply: Reply) -> AsyncIterator[OddNode]:
    node = OddNode(reply)
    async with stream_server(node.serve) as node.url:
        yield node
