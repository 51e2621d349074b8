"""A client that is silent, slow or never reads loses its place; the others notice nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from support.processes import PATIENCE_S, until

from corechain.service import http_protocol
from corechain.service.http_server import bind, http_server

LARGE = 64 << 20


async def hello(request: Request) -> Response:
    return Response(b"hello")


async def refuse_unread(request: Request) -> Response:
    """Answers before the body is there, as a limit on its size does."""
    return Response(b"too large", 413)


async def flood(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LARGE >> 20):
            yield bytes(1 << 20)

    return StreamingResponse(chunks())


@dataclass(frozen=True)
class Serving:
    port: int
    connections: set[Any]
    """Those that the server has not let go of."""


@asynccontextmanager
async def serving(most: int = 100, keep_alive_s: int = 75) -> AsyncIterator[Serving]:
    routes = [
        Route("/", hello),
        Route("/ready", hello),
        Route("/flood", flood),
        Route("/refuse", refuse_unread, methods=["POST"]),
    ]
    with bind("X_", "127.0.0.1", 0) as listener:
        server = http_server(Starlette(routes=routes), most, keep_alive_s)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        yield Serving(listener.getsockname()[1], server.server_state.connections)
        server.should_exit = True
        await task


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(http_protocol, "STALLED_TIMEOUT_S", 0.2)


async def closed_by_server(port: int, *pieces: bytes, pause_s: float = 0.05) -> bytes:
    """What a client that sends these pieces gets until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause_s)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def is_served(port: int) -> None:
    """Others notice nothing. Asked again where we ourselves were too slow for the short limits:
    the machine may pause between our connection and our request."""
    request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    async def answered() -> bool:
        return b"hello" in await closed_by_server(port, request, pause_s=0)

    await until(answered)


SILENT = {
    "nothing": [b""],
    "half a head": [b"GET / HTTP/1.1\r\nho"],
    "a head byte by byte": [bytes([byte]) for byte in b"GET / HTTP/1.1\r\nho"],
    "empty lines": [b"\r\n"] * 20,
    "half a second request": [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HT"],
    "the rest of a refused body, byte by byte": [
        b"POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n",
        *[b"x"] * 20,
    ],
}


@pytest.mark.parametrize("pieces", SILENT.values(), ids=SILENT.keys())
async def test_a_client_without_a_whole_request_loses_its_place(pieces: list[bytes]) -> None:
    async with serving() as server:
        await closed_by_server(server.port, *pieces)
        await is_served(server.port)


async def test_a_head_without_end_is_refused_before_it_fills_memory() -> None:
    line = b"x-header: " + b"a" * 10_000 + b"\r\n"
    async with serving() as server:
        port = server.port
        answer = await closed_by_server(port, b"GET / HTTP/1.1\r\n", *[line] * 50, pause_s=0)
        assert b"hello" not in answer
        first = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        second = await closed_by_server(port, first, b"GET / HTTP/1.1\r\n" + line * 50)
        assert second.count(b"hello") <= 1
        await is_served(port)


async def test_a_client_that_never_reads_loses_its_place() -> None:
    async with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
            await until(lambda: server.connections)
            await until(lambda: not server.connections)
            received = 0
            client.settimeout(PATIENCE_S)
            try:
                while chunk := await asyncio.to_thread(client.recv, 1 << 20):
                    received += len(chunk)
            except ConnectionResetError:
                pass
            assert received < LARGE
        await is_served(server.port)


async def test_a_kept_connection_outlives_the_limit_on_heads() -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(request)
            assert b"hello" in await reader.readuntil(b"hello")
            await asyncio.sleep(0.3)  # longer than a head may take
        writer.close()


async def test_a_kept_connection_has_one_timer_for_all_its_answers() -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        timers = []
        for _ in range(3):
            writer.write(request)
            assert b"hello" in await reader.readuntil(b"hello")
            (connection,) = server.connections
            timers.append(connection.timeout_keep_alive_task)
        assert timers[0] is timers[1] is timers[2]
        assert not timers[0].cancelled()
        # It ends, but the last answer was a moment ago: the connection stays.
        connection._look_if_idle()
        timers[0].cancel()
        assert connection.timeout_keep_alive_task not in (None, timers[0])
        writer.write(request)
        assert b"hello" in await reader.readuntil(b"hello")
        last = connection.timeout_keep_alive_task
        writer.close()
        await until(lambda: not server.connections)
        assert last.cancelled(), "or it holds the memory of a connection that is gone"


async def test_a_connection_is_not_kept_longer_than_set() -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving(keep_alive_s=1) as server:
        answers = await closed_by_server(server.port, request * 2)  # both are there at once
        assert answers.count(b"hello") == 2
        await until(lambda: not server.connections)


def test_small_writes_are_sent_at_once() -> None:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol.
    with bind("X_", "127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_a_connection_too_many_is_told_when_to_come_again() -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving(most=1) as server:  # uvicorn counts the connection that asks
        refused = await closed_by_server(server.port, request, pause_s=0)
        probe = await closed_by_server(
            server.port, b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
    assert b"hello" in probe, "a full service is no dead one"
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"urn:corechain:error:Overloaded" in refused
    assert 1 <= int(refused.partition(b"retry-after: ")[2].partition(b"\r\n")[0]) <= 10
