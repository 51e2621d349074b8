"""New heads by websocket, with polling as what is always there.

given a node that pushes heads
  ├── the mirror looks at once, not at the next poll
  └── after a lost connection, or a long silence, it listens again
given a node that does not, or pushes nonsense, or is silent
  ├── the mirror goes on by polling
  └── nobody else is held up
given several nodes that must agree
  └── it looks when as many have pushed a head as must agree on it
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.balancer import balancer
from support.node import stream_server
from support.processes import PATIENCE_S, until
from websockets.asyncio.server import ServerConnection, serve

from corechain.service.chain_reader import ChainReader
from corechain.service.errors import NodeUnavailable
from corechain.service.known_chain import Change, Known, UpToDate
from corechain_indexer import heads
from corechain_indexer.heads import HeadWatch, Rumours, pushed_head, websocket_of
from indexer.support import Driven, World, driven, settings_of

HASH = "0x" + "ab" * 32
ACCEPTED = '{"jsonrpc":"2.0","id":1,"result":"0x1"}'


def push(number: int = 1, name: str = HASH) -> str:
    result = {"number": hex(number), "hash": name}
    params = {"subscription": "0x1", "result": result}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})


@dataclass
class Pusher:
    """A websocket server that sends a script to whoever connects, and then is silent or closes."""

    script: list[str | bytes] = field(default_factory=list)
    closes: bool = False
    connections: int = 0
    asked: list[Any] = field(default_factory=list)
    url: str = ""

    async def serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        self.asked.append(json.loads(await socket.recv()))
        for message in self.script:
            await socket.send(message)
        if not self.closes:
            await socket.wait_closed()


@asynccontextmanager
async def pusher(*script: str | bytes, **behaviour: Any) -> AsyncIterator[Pusher]:
    made = Pusher(list(script), **behaviour)
    async with serve(made.serve, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a/path"
        yield made


@asynccontextmanager
async def watching(*urls: str, **options: Any) -> AsyncIterator[list[None]]:
    """What grows with every head that is worth a look."""
    seen: list[None] = []
    watch = HeadWatch(urls, 1, lambda: seen.append(None), **options)
    task = asyncio.create_task(watch.run_forever())
    try:
        yield seen
        assert not task.done(), "it ends only by cancellation"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_pushed_heads_are_taken_at_a_path_too() -> None:
    async with pusher(ACCEPTED, push(1), push(2, "0x" + "cd" * 32)) as node:
        async with watching(node.url) as seen:
            await until(lambda: len(seen) == 2)
        assert node.asked[0]["params"] == ["newHeads"]


async def test_a_head_that_is_pushed_twice_is_worth_one_look() -> None:
    async with pusher(ACCEPTED, push(1), push(1), push(2)) as node, watching(node.url) as seen:
        await until(lambda: len(seen) >= 2)
        assert len(seen) == 2


@pytest.mark.parametrize(
    "script",
    [
        ["no JSON"],
        [b"\xff\xfe"],
        ["[]"],
        ["[" * 100_000],
        ['{"id":1,"error":{"code":-32601,"message":"no subscriptions"}}'],
        [ACCEPTED, '{"method":"eth_subscription","params":{"result":{"number":"0x1"}}}'],
        [ACCEPTED, '{"method":"eth_subscription","params":[]}'],
        [ACCEPTED, "x" * (2 << 20)],
        [],
    ],
    ids=["text", "bytes", "array", "deep", "refusal", "no hash", "no params", "huge", "closed"],
)
async def test_nonsense_ends_the_connection_and_it_is_tried_again(script: list[Any]) -> None:
    async with (
        pusher(*script, closes=True) as node,
        watching(node.url, first_pause_s=0.01) as seen,
    ):
        await until(lambda: node.connections >= 3)
        assert seen == []
        node.script, node.closes = [ACCEPTED, push()], False
        await until(lambda: len(seen) == 1)


async def test_a_silent_socket_is_opened_again() -> None:
    async with pusher(ACCEPTED) as node, watching(node.url, silent_s=0.05, first_pause_s=0.01):
        await until(lambda: node.connections >= 3)


NOT_HERE, BUSY, AWAY = "405 Method Not Allowed", "429 Too Many Requests", "503 Unavailable"
DATES = (
    "date: Mon, 30 Nov 2026 08:00:00 GMT\r\nretry-after: Mon, 30 Nov 2026 08:01:30 GMT",
    "retry-after: Mon, 30 Nov 1926 08:00:00 GMT",
)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(NOT_HERE, "")] * 6, [5, 10, 20, 40, 60, 60]),
        (
            [
                (BUSY, "retry-after: 30"),
                (AWAY, DATES[0]),
                (AWAY, DATES[1]),
                (NOT_HERE, "retry-after: 90"),
                (BUSY, "Retry-After: 7\r\nretry-after: 70"),
                (BUSY, "retry-after: 99999999999999999999"),
                (AWAY, "retry-after: -90"),
                (AWAY, "retry-after: soon"),
            ],
            [30, 90, 20, 40, 70, 120, 60, 60],
        ),
    ],
)
async def test_a_node_without_websockets_is_asked_less_and_less_often_and_as_it_asks(
    answers: list[tuple[str, str]], expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)

    async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, fields = next(left, answers[-1])
        more = f"{fields}\r\n" if fields else ""
        writer.write(f"HTTP/1.1 {status}\r\n{more}content-length: 0\r\n\r\n".encode())
        await writer.drain()

    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async with stream_server(speaks_http) as url:
        monkeypatch.setattr(heads.asyncio, "sleep", noted)
        async with watching(url) as seen, asyncio.timeout(PATIENCE_S):
            while len([pause for pause in pauses if pause >= 5]) < len(expected):
                await sleep(0.01)
        assert seen == []
    assert [pause for pause in pauses if pause >= 5][: len(expected)] == expected


async def test_one_node_that_cannot_push_holds_up_no_other() -> None:
    nobody = ("http://127.0.0.1:9", "ws://[::1")
    async with pusher(ACCEPTED, push()) as node, watching(*nobody, node.url) as seen:
        await until(lambda: len(seen) == 1)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a:1/x?y", "ws://a:1/x?y"),
        ("https://a/key", "wss://a/key"),
        ("ws://a:8546", "ws://a:8546"),
        ("wss://a", "wss://a"),
    ],
)
def test_where_websockets_are_looked_for(url: str, address: str) -> None:
    assert websocket_of(url) == address


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["method", "params", "result", "number", "hash", "id"]), inner),
    max_leaves=8,
))  # fmt: skip
def test_whatever_a_node_pushes_is_a_head_or_an_outage(document: Any) -> None:
    try:
        found = pushed_head(json.dumps(document))
    except NodeUnavailable:
        return
    assert found is None or (isinstance(found[0], int) and len(found[1]) == 32)


# ----------------------------------------------------------------------- several nodes

A, B = (1, b"a"), (1, b"b")


def test_it_looks_when_as_many_have_pushed_a_head_as_must_agree() -> None:
    rumours = Rumours(2)
    for source in (0, 1, 2):
        rumours.opened(source)
    assert [rumours.heard(0, A), rumours.heard(1, B), rumours.heard(2, A)] == [False, False, True]
    assert not rumours.heard(1, A), "it has looked already"


def test_fewer_sockets_than_must_agree_are_enough() -> None:
    rumours = Rumours(2)
    rumours.opened(0)
    rumours.opened(1)
    assert not rumours.heard(0, A)
    rumours.closed(1)
    assert rumours.heard(0, B)


# -------------------------------------------------------------------------- the mirror


async def mirrored(world: World, database: str, redis: str, poll_s: float, **changes: Any) -> None:
    """A new block is mirrored by the running loops of a mirror."""
    async with driven(settings_of(world, database, redis, **changes), world) as index:
        await index.settle()
        index.mirror.poll_s = poll_s
        watch = index.indexer.follower._heads(index.mirror)
        running = [
            asyncio.create_task(x) for x in (index.mirror.run_forever(), watch.run_forever())
        ]

        async def is_there() -> bool:
            # Pushed again and again: the socket may not have been open at the first.
            world.rpc("evm_mine")
            tip = await index.indexer.pool.fetchval("select max(number) from block")
            return bool(tip > before)

        before = world.head
        await until(is_there, pause_s=0.2)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_the_mirror_looks_when_a_head_is_pushed(
    world: World, database: str, bus_url: str
) -> None:
    """It would not poll before the patience of the test is over."""
    await mirrored(world, database, bus_url, poll_s=2 * PATIENCE_S)


async def test_a_head_that_is_pushed_during_a_look_is_looked_at_next(
    world: World, indexer: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    look = ChainReader.look

    async def noted(reader: ChainReader, known: Known) -> Change:
        change = await look(reader, known)
        looks.append(None)
        if isinstance(change, UpToDate) and not pushed.is_set():
            pushed.set()
            indexer.mirror.new_head.set()  # too late for this look
            looks.clear()
        return change

    pushed = asyncio.Event()
    await indexer.settle()
    monkeypatch.setattr(ChainReader, "look", noted)
    indexer.mirror.poll_s = 2 * PATIENCE_S
    running = asyncio.create_task(indexer.mirror.run_forever())
    await until(lambda: pushed.is_set() and len(looks) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_silent_socket_does_not_delay_beyond_the_poll(
    world: World, database: str, bus_url: str
) -> None:
    async with pusher(ACCEPTED) as silent:
        socket = silent.url.replace("http", "ws")
        await mirrored(world, database, bus_url, ws_url=socket, poll_s=0.05)


async def test_without_websockets_the_mirror_polls(
    world: World, database: str, bus_url: str
) -> None:
    with balancer(world.chain.rpc_url) as node:  # it speaks HTTP only
        await mirrored(world, database, bus_url, rpc_url=node.url, poll_s=0.05)
