"""An event goes past the transports, and is whole, in order and only once all the same."""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import PATIENCE_S

from corechain.protocol import native
from corechain.service.command import new_event_loop
from corechain.service.send_each import by_one, send_each
from corechain.service.streams import StreamRequest
from corechain_indexer.api import fan_out
from corechain_indexer.api.fan_out import CHUNK, chunks, frames, pass_on
from corechain_indexer.api.newest import Encoded
from corechain_indexer.api.stream import NOTHING
from corechain_indexer.api.subscribers import SocketSubscriber, server_sent, text_of
from corechain_indexer.api.wishes import Group
from corechain_indexer.store.contents import Filter
from corechain_indexer.store.events import BatchEvent, Cursor

IMPLEMENTATIONS = [by_one, send_each] if native.function("send_each") else [by_one]
SMALL_BUFFER = 8 << 10
STATES = ("ready", "kernel full", "transport holds some", "has it", "thrown out", "left")
EVENT_NUMBER = 5


@dataclass(eq=False)
class Connected:
    """A subscriber, and the other end of its connection. `before`: what was sent to it earlier."""

    subscriber: SocketSubscriber
    client: socket.socket
    before: bytes = b""

    def fill(self) -> None:
        """Until the kernel takes no more."""
        try:
            while True:
                taken = os.write(self.subscriber.descriptor, b"e" * 4096)
                self.before += b"e" * taken
        except BlockingIOError:
            return

    def become(self, state: str) -> None:
        self.subscriber.position = EVENT_NUMBER - (state != "has it")
        if state in ("kernel full", "transport holds some"):
            self.fill()
        if state == "transport holds some":
            self.subscriber.transport.write(b"t" * 100)
            self.before += b"t" * 100
        if state == "thrown out":
            self.subscriber.transport.abort()
        if state == "left":
            self.client.close()

    async def rest(self) -> bytes:
        """All that comes until the end of the connection."""
        heard, loop = b"", asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            while part := await loop.sock_recv(self.client, 1 << 16):
                heard += part
        return heard


async def connected(count: int) -> list[Connected]:
    loop, made = asyncio.get_running_loop(), []
    come: asyncio.Queue[SocketSubscriber] = asyncio.Queue()

    def protocol() -> SocketSubscriber:
        request = StreamRequest(b"/v1/events", [], True, set(), lambda: b"")
        return SocketSubscriber(request, come.put_nowait, lambda _, __: None)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    async with await loop.create_server(protocol, sock=listener):
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            made.append(Connected(await come.get(), client))
    return made


async def heard_after(states: list[str], data: bytes) -> None:
    members = await connected(len(states))
    for member, state in zip(members, states, strict=True):
        member.become(state)
    late = pass_on([member.subscriber for member in members], EVENT_NUMBER, data)
    assert all(subscriber.paused for subscriber in late)
    for member, state in zip(members, states, strict=True):
        assert member.subscriber.position >= EVENT_NUMBER
        if state in ("kernel full", "transport holds some"):
            # More than a transport holds before it asks for a pause.
            assert (member.subscriber in late) == (len(data) > 64 << 10)
        member.subscriber.transport.close()
        if state == "left":
            continue
        expected = member.before + (b"" if state in ("has it", "thrown out") else data)
        try:
            assert await member.rest() == expected
        except ConnectionResetError:
            assert state == "thrown out"
        finally:
            member.client.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, new_event_loop], ids=["asyncio", "own"])
@pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS, ids=["python", "native"][: len(IMPLEMENTATIONS)]
)
@settings(max_examples=15)
@given(
    states=st.lists(st.sampled_from(STATES), min_size=1, max_size=6),
    size=st.sampled_from([400, 300_000]),
)
def test_each_hears_an_event_whole_and_after_what_it_was_sent_before(
    implementation: Callable[..., object],
    loop: Callable[[], asyncio.AbstractEventLoop],
    states: list[str],
    size: int,
) -> None:
    data = os.urandom(16) * (size // 16)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=loop) as runner:
        patch.setattr(fan_out, "send_each", implementation)
        runner.run(heard_after(states, data))


def subscriber(position: int = 0) -> SocketSubscriber:
    request = StreamRequest(b"/v1/events", [], True, set(), lambda: b"")
    made = SocketSubscriber(request, lambda _: None, lambda _, __: None)
    made.position = position
    return made


@settings(max_examples=30)
@given(st.integers(0, 5 * CHUNK), st.integers(1, 1 << 40))
def test_each_is_in_one_chunk_of_every_event(count: int, number: int) -> None:
    members = [subscriber() for _ in range(count)]
    turned = [one for chunk in chunks(members, number) for one in chunk]
    assert len(turned) == count
    assert set(turned) == set(members)


@settings(max_examples=20)
@given(st.integers(100, 1_000), st.integers(1, 1 << 30))
def test_nobody_is_among_the_last_all_the_time(count: int, first: int) -> None:
    """In forty events in a row, nobody is in the last tenth more often than six times."""
    members = [subscriber() for _ in range(count)]
    late = dict.fromkeys(members, 0)
    for number in range(first, first + 40):
        turned = [one for chunk in chunks(members, number) for one in chunk]
        for one in turned[-count // 10 :]:
            late[one] += 1
    assert max(late.values()) <= 6


def event(kind: str, number: int) -> BatchEvent:
    cursor = Cursor(bytes(6), number, 0).text
    return BatchEvent(
        type=kind, cursor=cursor, id=number, batch_id=number, commitment="0x00", block=1,
        block_hash="0x00", transaction="0x00", readings=1, rejected=0, window_start=0,
        window_end=0, finality="pending",
    )  # fmt: skip


def test_groups_that_are_sent_the_same_are_sent_it_in_one_go() -> None:
    devices = [Group(text_of, False, Filter(frozenset({bytes([n]) * 20}))) for n in range(9)]
    browsers, careful = Group(server_sent, False), Group(text_of, True)
    for group in (*devices, browsers, careful):
        group.live = {subscriber(), subscriber()}
    encoded = Encoded(event("undone", 7))
    found = frames((*devices, browsers, careful), encoded, NOTHING)
    text, sent = text_of(encoded.event), server_sent(encoded.event)
    assert {data: len(members) for data, members in found.items()} == {text: 18, sent: 2, None: 2}
    assert set(found[None]) == careful.live
