"""What HTTP alone costs a request: CPU of a process that answers and does nothing else.

python bench/http_layers.py

`bare` is an asyncio.Protocol on httptools, the floor of any server on that parser; `asgi` an empty
application on the server of our services; `direct` the direct path of that server. Single reports
over 256 connections, as in bench/gateway.py.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httptools
import psutil
import uvloop
from starlette.types import Receive, Scope, Send

from corechain.service.direct import Answer, DirectRequest, Fields
from corechain.service.http_server import bind, http_server

ANSWER = b'{"accepted":1,"results":[]}'
HEAD = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n"
REQUESTS, CONNECTIONS, ROUNDS = 20_000, 256, 3
BODY = bytes(113)
REQUEST = (
    b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: application/vnd.corechain.reports\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY


class Bare(asyncio.Protocol):
    """Parses, and answers at the end of each request."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_body(self, body: bytes) -> None:
        self.body = body

    def on_message_complete(self) -> None:
        self.transport.write(HEAD % len(ANSWER) + ANSWER)


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the body and answers."""
    await receive()
    headers = [(b"content-length", b"%d" % len(ANSWER)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


async def serve(layer: str) -> None:
    with bind("BENCH_", "127.0.0.1", 0) as listener:
        listener.listen(4096)
        print(listener.getsockname()[1], flush=True)
        if layer == "bare":
            server = await asyncio.get_running_loop().create_server(Bare, sock=listener)
            await server.serve_forever()
        direct = Direct() if layer == "direct" else None
        await http_server(empty, 1_000, 75, direct).serve(sockets=[listener])


class Direct:
    """A direct path that does nothing: what `corechain.service.direct` adds to `Bare`."""

    most_bytes, timeout_s = 1_000, 30.0

    answer = Answer(202, ((b"content-type", b"application/json"),), ANSWER)

    def takes(self, method: bytes, target: bytes, headers: Fields) -> bool:
        return target == b"/v1/reports" and method == b"POST"

    def begin(self, request: DirectRequest) -> None:
        pass

    def chunk(self, request: DirectRequest, chunk: bytes) -> None:
        request.add(chunk)

    def handle(self, request: DirectRequest) -> None:
        request.answer(self.answer)

    def body_late(self, request: DirectRequest) -> None:
        pass

    def left(self, request: DirectRequest) -> None:
        pass


@contextmanager
def serving(layer: str) -> Iterator[tuple[psutil.Process, int]]:
    child = subprocess.Popen([sys.executable, __file__, layer], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield psutil.Process(child.pid), int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()


async def ask(port: int, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(REQUEST)
        await reader.readuntil(b"]}")
    writer.close()


async def ask_all(port: int) -> None:
    count = REQUESTS // CONNECTIONS
    await asyncio.gather(*(ask(port, count) for _ in range(CONNECTIONS)))


def cost_us(layer: str) -> float:
    with serving(layer) as (process, port):
        found = []
        for _ in range(ROUNDS):
            before = sum(process.cpu_times()[:2])
            uvloop.run(ask_all(port))
            found.append(1e6 * (sum(process.cpu_times()[:2]) - before) / REQUESTS)
        return statistics.median(found)


def main() -> None:
    if len(sys.argv) > 1:
        uvloop.run(serve(sys.argv[1]))
        return
    for layer in ("bare", "direct", "asgi"):
        line = {"what": f"HTTP alone: {layer}", "us": round(cost_us(layer), 2)}
        print(json.dumps(line | {"load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
