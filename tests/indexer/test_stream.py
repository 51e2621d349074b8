"""Subscribers over real sockets: each has every event after its cursor once, in order, whatever
goes away meanwhile; who does not read or does not answer loses its place, and nobody else notices.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from support.processes import PATIENCE_S, until
from support.valkey import command
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import OP_CLOSE, OP_PING, OP_TEXT, Frame

from corechain.devnet.servers import ValkeyServer
from corechain.service.errors import StoreUnavailable
from corechain.service.http_server import bind, http_server
from corechain.service.streams import StreamRequest
from corechain.service.supervision import Loops, sessions
from corechain_indexer.api import newest as tail
from corechain_indexer.api import stream as module
from corechain_indexer.api import subscribers
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.keys import KeyRing
from corechain_indexer.api.newest import Newest
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.api.subscribers import SocketSubscriber
from corechain_indexer.limits import Allowance
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.contents import BatchContents
from corechain_indexer.store.events import BatchEvent, Cursor, EventLog, LogHead
from corechain_indexer.store.quotas import Quotas
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


# ---------------------------------------------------------------------- what is sent


async def test_a_subscriber_hears_what_is_new_undone_and_final_from_its_cursor_on(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served:
        await served.verified(2)
        await until(lambda: served.stream.newest.position == 2)
        async with connect(served.url()) as subscriber:
            start = await hear(subscriber)
            assert start["type"] == "start"
            await served.books.undo(1)
            await served.books.finalise(1)
            await served.books.tell()
            heard = [("undone", 2), ("final", 1)]
            assert await story(subscriber, 2) == heard
        await served.verified()
        async with connect(served.url(since=start["cursor"])) as again:
            assert (await hear(again))["cursor"] == start["cursor"]
            assert await story(again, 3) == [*heard, ("new", 2)]
        async with connect(served.url(since=start["cursor"], finality="final")) as careful:
            await hear(careful)
            assert await story(careful, 1) == [("final", 1)]


async def test_a_client_of_before_there_were_cursors_hears_what_it_knows(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served, connect(served.url(PLAIN)) as subscriber:
        await served.verified()
        await served.books.finalise(1)
        await served.books.undo(0)
        await served.books.tell()
        said = await hear(subscriber)
        assert said.pop("cursor")
        assert said == {
            "type": "verified", "id": 1, "batch_id": 1, "commitment": f"0x{1:052x}",
            "readings": 7, "window_start": 100, "window_end": 200,
        }  # fmt: skip
        said = await hear(subscriber)
        assert (said["type"], said["batch_id"], said["id"]) == ("retracted", 1, 2)


async def test_a_browser_hears_the_same_as_server_sent_events_and_resumes_by_their_id(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served, httpx.AsyncClient() as client:
        await served.verified(3)
        begin = (await served.books.log.cursor(0)).text
        for url, headers in (
            (served.http(since=begin), {}),
            (served.http(), {"last-event-id": begin}),
            (served.http(since=await last(served)), {"last-event-id": begin}),
            (served.http(PLAIN, since=begin), {"accept": "text/event-stream"}),
        ):
            async with client.stream("GET", url, headers=headers) as response:
                assert response.headers["content-type"] == "text/event-stream"
                lines = aiter(response.aiter_lines())
                text = [await anext(lines) for _ in range(3 + 3 * 4)]
            assert text[:3] == ["retry: 2000", f"id: {begin}", ""]
            events = [json.loads(line.removeprefix("data: ")) for line in text[5::4]]
            assert [event["batch_id"] for event in events] == [1, 2, 3]
            assert text[3::4] == [f"id: {event['cursor']}" for event in events]
            assert set(text[4::4]) == {"event: new"}


async def last(served: Served) -> str:
    return (await served.books.log.cursor(3)).text


REFUSED = [
    ({"since": "nonsense"}, "CursorUnknown"),
    ({"since": ""}, "CursorUnknown"),
    ({"since": Cursor(bytes(6), 0, 0).text}, "CursorUnknown"),
    ({"until": "x"}, "InvalidQuery"),
    ({"finality": "safe"}, "InvalidQuery"),
]


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


async def test_what_cannot_be_served_is_refused_by_name(database: str, bus_url: str) -> None:
    async with serving(database, bus_url) as served:
        for query, error in REFUSED:
            assert (await refused(served, query, 400))["type"] == f"urn:corechain:error:{error}"
        assert await served.places_taken(0)


async def test_a_cursor_too_old_is_told_where_to_catch_up_and_where_to_go_on(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served:
        old = (await served.books.log.cursor(0)).text
        await served.verified()
        await served.books.pool.execute("update batch_event_log set pruned = 1")
        await served.books.pool.execute("delete from batch_event")
        await until(lambda: served.stream.newest.position == 1)
        served.stream.newest.kept.clear()
        problem = await refused(served, {"since": old}, 410)
        assert problem["type"] == "urn:corechain:error:CursorExpired"
        assert problem["catch_up"] == "/v1/batches"
        async with connect(served.url(since=problem["since"])) as resumed:
            assert (await hear(resumed))["type"] == "start"
            await served.verified()
            assert await story(resumed, 1) == [("new", 2)]


async def test_one_place_too_many_is_refused_and_may_come_again(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served, httpx.AsyncClient() as client:
        served.stream.max_subscribers = 1
        async with connect(served.url()) as subscriber:
            await hear(subscriber)
            response = await client.get(served.http())
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            async with connect(served.url()) as other:
                assert (await hear(other))["type"] == "urn:corechain:error:Overloaded"
                assert await closing(other) == subscribers.TRY_AGAIN_LATER
        assert await served.places_taken(0)
        async with connect(served.url()) as welcome:
            assert (await hear(welcome))["type"] == "start"


async def test_a_request_that_is_no_websocket_is_told_which_version_is_spoken(
    database: str, bus_url: str
) -> None:
    async with serving(database, bus_url) as served, httpx.AsyncClient() as client:
        headers = {"upgrade": "websocket", "connection": "upgrade"}
        response = await client.get(served.http(), headers=headers)
        assert response.status_code == 426
        assert response.headers["sec-websocket-version"] == "13"
        assert await served.places_taken(0)
        assert (await client.post(served.http())).status_code == 404


async def test_a_page_may_read_the_stream_and_to_open_it_counts_as_a_request(
    database: str, bus_url: str
) -> None:
    page = {"origin": "https://page.example"}
    async with serving(database, bus_url) as served, httpx.AsyncClient() as client:
        served.stream.cors = Cors(frozenset(page.values()))
        twice_a_day, today = Allowance(0, 0, 2), lambda: 1_700_000_000.0
        quotas = Quotas(served.books.redis)
        served.stream.admission = Admission(
            quotas, Metrics(), KeyRing({}), anonymous=twice_a_day, clock=today
        )
        for _ in range(2):
            async with client.stream("GET", served.http(), headers=page) as response:
                assert response.status_code == 200
                assert response.headers["access-control-allow-origin"] == page["origin"]
        response = await client.get(served.http(), headers=page)
        assert (response.status_code, response.json()["status"]) == (429, 429)
        assert int(response.headers["retry-after"]) > 0
        assert response.headers["access-control-allow-origin"] == page["origin"]
        async with connect(served.url()) as other:
            assert (await hear(other))["type"] == "urn:corechain:error:TooManyRequests"
            assert await closing(other) == 4429
        response = await client.get(served.http(), headers={"x-api-key": "nobody's"})
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert await served.places_taken(0)


# ---------------------------------------------------------------------- what goes away


class AwayLog(EventLog):
    """Postgres does not answer."""

    async def head(self) -> LogHead:
        raise StoreUnavailable("away")

    async def after(self, number: int, limit: int) -> list[BatchEvent]:
        raise StoreUnavailable("away")


@dataclass
class Reader:
    """Reads events from a cursor on, in connections that end at any moment."""

    served: Callable[[], Served]
    cursor: str
    heard: list[int] = field(default_factory=list)
    _pass_s: float = 0.02

    async def read(self, until_event: int) -> None:
        """As a client would: again from the last cursor, whatever ended the connection."""
        while not self.heard or self.heard[-1] < until_event:
            with suppress(ConnectionClosed, OSError):
                async with connect(self.served().url(since=self.cursor)) as connection:
                    await self._read_some(connection, until_event)

    async def _read_some(self, connection: ClientConnection, until_event: int) -> None:
        while not self.heard or self.heard[-1] < until_event:
            said = json.loads(await connection.recv())
            assert said["type"] in ("start", "new", "undone", "final"), said
            self.cursor = said["cursor"]
            if said["type"] != "start":
                self.heard.append(said["id"])


@asynccontextmanager
async def reading(served: Callable[[], Served], until_event: int) -> AsyncIterator[Reader]:
    reader = Reader(served, (await served().books.log.cursor(0)).text)
    task = asyncio.create_task(reader.read(until_event))
    try:
        yield reader
        async with asyncio.timeout(PATIENCE_S):
            await task
    finally:
        task.cancel()
    assert reader.heard == list(range(1, until_event + 1))


async def test_nothing_is_missed_or_told_twice_while_redis_loses_everything_and_goes_away(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "AWAY_S", 0.2)
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with serving(database, valkey.url) as served:
            async with reading(lambda: served, 50) as reader:
                await served.verified(10)
                await until(lambda: len(reader.heard) == 10)
                command(valkey.port, "FLUSHALL")
                await served.verified(10)
                valkey.kill()
                for _ in range(10):
                    await served.books.verify()
                await served.books.number()
                # By Postgres alone: nobody had to connect again.
                await until(lambda: len(reader.heard) == 30)
                valkey.start()
                served.books.restart_relay()
                await served.verified(20)
            assert served.dropped("interrupted") == 0


async def test_nothing_is_missed_while_the_api_restarts_and_a_reorg_comes_meanwhile(
    database: str, bus_url: str
) -> None:
    async with books_on(database, bus_url) as books:
        cursor = (await books.log.cursor(0)).text
        async with served_on(books) as served, connect(served.url(since=cursor)) as subscriber:
            await hear(subscriber)
            await served.verified(2)
            assert await story(subscriber, 2) == [("new", 1), ("new", 2)]
        cursor = (await books.log.cursor(2)).text
        # Nobody serves; what was read is taken back.
        await books.undo(0)
        await books.verify()
        await books.tell()
        async with served_on(books) as served, connect(served.url(since=cursor)) as subscriber:
            await hear(subscriber)
            heard = await story(subscriber, 3)
            # One reorg, one moment: in whichever order Postgres deletes.
            assert sorted(heard[:2]) == [("undone", 1), ("undone", 2)]
            assert heard[2] == ("new", 1)


async def test_whoever_is_connected_stays_and_misses_nothing_while_postgres_is_away(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(database, bus_url) as served, connect(served.url()) as subscriber:
        cursor = (await hear(subscriber))["cursor"]
        await served.verified(2)
        assert await story(subscriber, 2) == [("new", 1), ("new", 2)]
        served.stream.newest.log = AwayLog(served.books.pool)
        served.stream.newest.kept.clear()
        # It needs Postgres, which is away.
        async with connect(served.url(since=cursor)) as other:
            assert (await hear(other))["type"] == "urn:corechain:error:Unavailable"
            assert await closing(other) == subscribers.TRY_AGAIN_LATER
        await served.verified()
        assert await story(subscriber, 1) == [("new", 3)]


async def test_a_log_that_was_made_anew_ends_every_stream_of_the_old_one(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "BLOCK_MS", 50)
    async with serving(database, bus_url) as served:
        await served.verified()
        async with connect(served.url()) as subscriber:
            cursor = (await hear(subscriber))["cursor"]
            await served.books.log.renew()
            assert await closing(subscriber) == subscribers.SERVICE_RESTART
        assert served.dropped("interrupted") == 1
        async with connect(served.url(since=cursor)) as again:
            assert (await hear(again))["type"] == "urn:corechain:error:CursorUnknown"


async def test_a_subscriber_far_behind_is_brought_up_from_postgres_while_events_come(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 10)
    monkeypatch.setattr(module, "PAGE", 7)
    async with serving(database, bus_url) as served:
        await served.verified(60)
        await until(lambda: served.stream.newest.position == 60)
        async with reading(lambda: served, 90):
            for _ in range(6):
                await served.verified(5)


# ---------------------------------------------------------------------- who does not read


async def test_a_subscriber_that_answers_no_ping_loses_its_place(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.1)
    async with serving(database, bus_url) as served:
        with deaf_client(served):
            await until(lambda: served.dropped("lost") == 1)
            assert await served.places_taken(0)


async def test_a_subscriber_that_leaves_is_not_counted_as_lost(database: str, bus_url: str) -> None:
    async with serving(database, bus_url) as served, httpx.AsyncClient() as client:
        async with connect(served.url()) as subscriber, client.stream("GET", served.http()):
            await hear(subscriber)
            await subscriber.send("what it says is not listened to")
            await subscriber.send(b"\x00binary neither")
            await asyncio.wait_for(await subscriber.ping(), PATIENCE_S)
            assert await served.places_taken(2)
        assert await served.places_taken(0)
        assert served.dropped("lost") == 0


async def test_a_subscriber_that_never_reads_loses_its_place_and_the_others_notice_nothing(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_LIMIT_S", 0.2)
    # So large that no kernel takes them.
    monkeypatch.setattr(subscribers, "MAX_MESSAGE_BYTES", 1 << 30)
    async with serving(database, bus_url) as served:
        with deaf_client(served, EVENTS):
            assert await served.places_taken(1)
            (deaf,) = served.stream._subscribers
            deaf.transport.write(b"x" * (10 << 20))
            async with connect(served.url()) as other:
                await hear(other)
                await served.verified()
                assert await story(other, 1) == [("new", 1)]
                await until(lambda: served.dropped("too slow") == 1)
                assert await served.places_taken(1)


async def test_a_subscriber_that_falls_behind_all_that_is_kept_may_come_back_with_its_cursor(
    database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 5)
    monkeypatch.setattr(module, "STALLED_LIMIT_S", PATIENCE_S)
    async with serving(database, bus_url) as served, connect(served.url()) as subscriber:
        cursor = (await hear(subscriber))["cursor"]
        (behind,) = served.stream._subscribers
        behind.paused = True  # as its transport says when the kernel takes no more
        await served.verified(20)
        await until(lambda: served.stream.newest.position == 20)
        behind.resume_writing()
        # The one event that was on its way to it, then the goodbye.
        assert await story(subscriber, 1) == [("new", 1)]
        assert await closing(subscriber) == subscribers.TRY_AGAIN_LATER
        assert served.dropped("too slow") == 1
        async with connect(served.url(since=cursor)) as again:
            await hear(again)
            assert await story(again, 20) == [("new", number) for number in range(1, 21)]


async def test_a_message_too_large_ends_the_connection(database: str, bus_url: str) -> None:
    async with serving(database, bus_url) as served:
        async with connect(served.url()) as subscriber:
            await subscriber.send("x" * (subscribers.MAX_MESSAGE_BYTES + 1))
            assert await closing(subscriber) == 1009
        assert await served.places_taken(0)


class Wire(asyncio.Transport):
    """Keeps what is written. Its socket is connected to nothing."""

    def __init__(self, own: socket.socket) -> None:
        super().__init__({"socket": own})
        self.written, self.is_closed = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


FRAMES = st.lists(
    st.tuples(st.sampled_from([OP_TEXT, OP_PING]), st.binary(max_size=200)), max_size=5
)


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_frames_mean_the_same_however_they_are_cut(
    frames: list[tuple[Any, bytes]], cuts: list[int]
) -> None:
    said = [Frame(op, data[: 125 if op == OP_PING else None]) for op, data in frames]
    said.append(Frame(OP_CLOSE, b"\x03\xe8"))
    sent = b"".join(frame.serialize(mask=True) for frame in said)
    with socket.socket() as own:
        wire = Wire(own)
        request = StreamRequest(b"/v1/events", [], True, set(), lambda: b"")
        subscriber = SocketSubscriber(request, lambda _: None, lambda _, __: None)
        subscriber.connection_made(wire)
        at = 0
        for cut in (cuts * (len(sent) // sum(cuts) + 1))[: len(sent)]:
            subscriber.data_received(sent[at : at + cut])
            at += cut
    pongs = [subscribers.frame(subscribers.PONG, f.data) for f in said if f.opcode is OP_PING]
    assert wire.written == b"".join(pongs) + subscribers.frame(subscribers.CLOSE, b"\x03\xe8")
    assert wire.is_closed
