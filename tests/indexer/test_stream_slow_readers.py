"""Who does not read or does not answer loses its place, and nobody else notices."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.limits import within
from support.processes import PATIENCE_S, until
from websockets.asyncio.client import connect
from websockets.frames import OP_CLOSE, OP_PING, OP_TEXT, Frame

from corechain.service.streams import StreamRequest
from corechain_indexer.api import newest as tail
from corechain_indexer.api import stream as module
from corechain_indexer.api import subscribers
from corechain_indexer.api.subscribers import SocketSubscriber
from indexer.served_streams import EVENTS, closing, deaf_client, hear, serving, story


async def test_a_subscriber_that_answers_no_ping_loses_its_place(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.1)
    async with serving(tables, bus_url) as served:
        with deaf_client(served):
            await until(lambda: served.dropped("lost") == 1)
            assert await served.places_taken(0)


async def test_a_subscriber_that_leaves_is_not_counted_as_lost(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
        async with connect(served.url()) as subscriber, client.stream("GET", served.http()):
            await hear(subscriber)
            await subscriber.send("what it says is not listened to")
            await subscriber.send(b"\x00binary neither")
            await within(PATIENCE_S, await subscriber.ping())
            assert await served.places_taken(2)
        assert await served.places_taken(0)
        assert served.dropped("lost") == 0


async def test_a_subscriber_that_never_reads_loses_its_place_and_the_others_notice_nothing(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_LIMIT_S", 0.2)
    # So large that no kernel takes them.
    monkeypatch.setattr(subscribers, "MAX_MESSAGE_BYTES", 1 << 30)
    async with serving(tables, bus_url) as served:
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
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 5)
    monkeypatch.setattr(module, "STALLED_LIMIT_S", PATIENCE_S)
    async with serving(tables, bus_url) as served, connect(served.url()) as subscriber:
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


async def test_a_message_too_large_ends_the_connection(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served:
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
