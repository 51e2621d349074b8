"""A node that says what a test wants it to say, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                size = next(int(x[15:]) for x in lines if x.startswith(b"content-length:"))
                status, content = self.reply(json.loads(await reader.readexactly(size)))
                opening = f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\n\r\n"
                writer.write(opening.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()


@asynccontextmanager
async def odd_node(reply: Reply) -> AsyncIterator[OddNode]:
    node = OddNode(reply)
    server = await asyncio.start_server(node._serve, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield node
    finally:
        server.close()
