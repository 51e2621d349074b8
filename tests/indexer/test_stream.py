"""Subscribers over real sockets: who does not read, does not answer or cannot be served loses its
place, the others notice nothing, and who stays connected misses nothing."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from support.processes import PATIENCE_S, until
from support.valkey import command
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from corechain.devnet.servers import ValkeyServer
from corechain.service import websocket_protocol
from corechain.service.http_server import bind, http_server
from corechain_indexer.api import stream as module
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.latest import CHANNEL, connect_cache

PLACES, ANSWER_S = 2, 3.0
HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a deaf client is asked. What others have to answer in is longer than a machine
    pauses: `PING_TIMEOUT_S`, and twice `IDLE_S` for Redis."""
    for name in ("PING_INTERVAL_S", "STALLED_TIMEOUT_S", "CLOSING_LIMIT_S"):
        monkeypatch.setattr(websocket_protocol, name, 0.3)
    monkeypatch.setattr(websocket_protocol, "PING_TIMEOUT_S", ANSWER_S)
    monkeypatch.setattr(module, "SUBSCRIBING_LIMIT_S", 0.3)
    monkeypatch.setattr(module, "IDLE_S", ANSWER_S / 2)


@dataclass
class Served:
    """A stream that is served on a port, and its subscription to Redis."""

    stream: BatchStream
    port: int
    listening: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    async def announce(self, text: str) -> None:
        await self.stream.redis.publish(CHANNEL, text)

    def dropped(self, reason: str) -> float:
        return self.stream.metrics.subscribers_dropped.labels(reason)._value.get()

    async def places_taken(self, count: int) -> bool:
        await until(lambda: len(self.stream._subscribers) == count)
        return True


@asynccontextmanager
async def serving(redis_url: str) -> AsyncIterator[Served]:
    redis = connect_cache(redis_url)
    stream = BatchStream(redis, PLACES, Metrics())
    with bind("X_", "127.0.0.1", 0) as listener:
        server = http_server(Starlette(routes=[WebSocketRoute("/stream", stream.serve)]), 100, 75)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        listening = asyncio.create_task(stream.listen())
        # Before, whoever comes may be sent away.
        await until(stream._listening.is_set)
        yield Served(stream, listener.getsockname()[1], listening)
        listening.cancel()
        server.should_exit = True
        await task
        await asyncio.gather(listening, return_exceptions=True)
        await redis.aclose()


def deaf_client(port: int) -> socket.socket:
    """Has shaken hands, and reads nothing from then on. Its kernel takes little."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(HANDSHAKE)
    return client


async def closing(connection: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await connection.recv()
    return connection.close_code


async def test_a_subscriber_that_answers_no_ping_loses_its_place(bus_url: str) -> None:
    async with serving(bus_url) as served:
        with deaf_client(served.port):
            assert await served.places_taken(1)
            assert await served.places_taken(0)
            assert served.dropped("lost") == 1


async def test_a_subscriber_that_never_reads_loses_its_place_though_much_is_unsent(
    bus_url: str,
) -> None:
    async with serving(bus_url) as served:
        with deaf_client(served.port):
            assert await served.places_taken(1)
            for _ in range(40):
                served.stream.publish("x" * (1 << 18))  # ten megabytes: no kernel takes them
            assert await served.places_taken(0)
            async with connect(served.url) as other:
                await served.announce("still here")
                assert await asyncio.wait_for(other.recv(), PATIENCE_S) == "still here"


async def test_a_subscriber_that_falls_behind_is_let_go_and_its_place_is_free_at_once(
    bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PING_TIMEOUT_S", "STALLED_TIMEOUT_S", "CLOSING_LIMIT_S"):
        monkeypatch.setattr(websocket_protocol, name, 30.0)  # its goodbye may take long
    async with serving(bus_url) as served:
        with deaf_client(served.port):
            assert await served.places_taken(1)
            for _ in range(300):
                served.stream.publish("x" * (1 << 16))
            assert await served.places_taken(0)
            assert served.dropped("too slow") == 1


async def test_places_that_were_lost_are_given_to_others(bus_url: str) -> None:
    async with serving(bus_url) as served:
        with deaf_client(served.port), deaf_client(served.port):
            assert await served.places_taken(PLACES)
            # They may lose them at any moment from now on: as many as there are places, still.
            served.stream.max_subscribers = 0
            async with connect(served.url) as refused:
                assert await closing(refused) == module.TRY_AGAIN_LATER
            served.stream.max_subscribers = PLACES
            assert await served.places_taken(0)
            async with connect(served.url) as welcome:
                await served.announce("hello")
                assert await asyncio.wait_for(welcome.recv(), PATIENCE_S) == "hello"


async def test_a_subscriber_that_answers_keeps_its_place_and_whoever_leaves_is_not_counted(
    bus_url: str,
) -> None:
    async with serving(bus_url) as served:
        async with connect(served.url) as subscriber:
            await asyncio.sleep(ANSWER_S + 1.0)  # it was asked, and more than once
            await subscriber.send("what it says is not listened to")
            await subscriber.send(b"\x00binary neither")
            await served.announce(json.dumps({"batch_id": 1}))
            assert json.loads(await asyncio.wait_for(subscriber.recv(), PATIENCE_S)) == {
                "batch_id": 1
            }
        assert await served.places_taken(0)
        assert served.dropped("lost") == served.dropped("too slow") == 0


async def test_a_message_too_large_ends_the_connection(bus_url: str) -> None:
    async with serving(bus_url) as served:
        async with connect(served.url) as subscriber:
            await subscriber.send("x" * (websocket_protocol.MAX_MESSAGE_BYTES + 1))
            assert await closing(subscriber) == 1009
        assert await served.places_taken(0)


@pytest.mark.parametrize("way", ["kill", "pause"])
async def test_who_may_have_missed_something_is_told(tmp_path: Path, way: str) -> None:
    """Redis goes away, or falls silent: what is announced meanwhile is not heard here."""
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with serving(valkey.url) as served:
            async with connect(served.url) as subscriber:
                await served.announce("one")
                assert await asyncio.wait_for(subscriber.recv(), PATIENCE_S) == "one"
                if way == "kill":
                    valkey.kill()
                else:
                    command(valkey.port, "CLIENT", "PAUSE", "600000", "ALL")
                assert await closing(subscriber) == module.SERVICE_RESTART
            with pytest.raises(CacheUnavailable):
                await served.listening
            async with connect(served.url) as late:
                assert await closing(late) == module.TRY_AGAIN_LATER
            assert await served.places_taken(0)
            assert served.dropped("interrupted") == 1


async def test_a_quiet_redis_is_not_taken_for_a_lost_one(bus_url: str) -> None:
    async with serving(bus_url) as served, connect(served.url) as subscriber:
        # Longer than it may be without an answer.
        await asyncio.sleep(ANSWER_S + 1.0)
        await served.announce("at last")
        assert await asyncio.wait_for(subscriber.recv(), PATIENCE_S) == "at last"
        assert not served.listening.done()
