"""The clients' streams over real sockets: whatever ends a connection, every event comes once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http import Script, answers
from support.processes import PATIENCE_S, until

from corechain import AsyncClient, Client, CursorExpired, CursorUnknown, Deployment
from corechain.protocol.errors import InvalidValue
from corechain.steps import ApiUnavailable
from corechain.streaming import EventLines, Resuming
from indexer.event_books import Books, books_on
from indexer.served_streams import Served, served_on


def deployment() -> Deployment:
    return Deployment(31337, {})


@dataclass
class Api:
    """An API that can be killed and comes back at its port."""

    books: Books
    served: Served
    stack: AsyncExitStack

    async def kill(self) -> None:
        await self.stack.aclose()

    async def start(self) -> None:
        served = served_on(self.books, self.served.port)
        self.served = await self.stack.enter_async_context(served)

    @property
    def urls(self) -> tuple[str, str, str, Deployment]:
        url = f"http://127.0.0.1:{self.served.port}"
        return url, url, url, deployment()


@asynccontextmanager
async def running(books: Books) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        yield Api(books, await stack.enter_async_context(served_on(books)), stack)


async def read_blocking(api: Api, since: str, heard: list[Any]) -> None:
    def read() -> None:
        with Client(*api.urls) as client, client.stream(since) as stream:
            for event in stream:
                heard.append(event)
                if len(heard) == 6:
                    return

    await asyncio.to_thread(read)


async def read_async(api: Api, since: str, heard: list[Any]) -> None:
    async with AsyncClient(*api.urls) as client, client.stream(since) as stream:
        async for event in stream:
            heard.append(event)
            if len(heard) == 6:
                return


@pytest.mark.parametrize("read", [read_blocking, read_async])
async def test_a_client_goes_on_after_the_server_was_killed(
    tables: str, bus_url: str, read: Callable[[Api, str, list[Any]], Any]
) -> None:
    async with books_on(tables, bus_url) as books, running(books) as api:
        heard: list[Any] = []
        since = (await books.log.cursor(0)).text
        reading = asyncio.create_task(read(api, since, heard))
        await api.served.verified(2)
        await until(lambda: len(heard) == 2)
        await api.kill()
        await books.undo(1)
        await books.finalise(1)
        await books.tell()
        await api.start()
        await until(lambda: len(heard) == 4)
        await api.served.verified(2)
        async with asyncio.timeout(PATIENCE_S):
            await reading
        assert [event.id for event in heard] == [1, 2, 3, 4, 5, 6]
        kinds = [(event.type, event.batch_id) for event in heard]
        assert kinds == await books.story()


async def test_a_client_is_told_by_name_why_its_cursor_is_of_no_use(
    tables: str, bus_url: str
) -> None:
    async with books_on(tables, bus_url) as books, running(books) as api:
        old = (await books.log.cursor(0)).text
        await api.served.verified()
        await books.pool.execute("update batch_event_log set pruned = 1")
        await until(lambda: api.served.stream.newest.position == 1)
        api.served.stream.newest.kept.clear()
        async with AsyncClient(*api.urls) as client:
            with pytest.raises(CursorUnknown):
                await anext(client.stream("nonsense"))
            with pytest.raises(CursorExpired) as refused:
                await anext(client.stream(old))
            assert refused.value.newest == (await books.log.cursor(1)).text
            async with client.stream(refused.value.newest, finality="finalised") as stream:
                await books.finalise(1)
                await books.tell()
                assert (await anext(stream)).type == "final"
                assert stream.cursor == (await books.log.cursor(2)).text


async def test_a_client_that_nobody_answers_gives_up_after_its_patience() -> None:
    with answers(Script(503, b"{}")) as url:
        client = Client(url, url, url, deployment())
        with client, pytest.raises(ApiUnavailable):
            await asyncio.to_thread(next, client.stream(patience_s=0.1))


EVENT = (
    b'{"type":"new","cursor":"c","id":1,"batch_id":2,"commitment":"0x%s","block":3,'
    b'"block_hash":"0x%s","transaction":"0x%s","finality":"pending","of a later version":true}'
) % (b"0" * 52, b"0" * 64, b"0" * 64)
SENT = b"retry: 2000\nid: a\n\n:\n\nid: b\nevent: new\ndata: " + EVENT + b"\n\nid: c\r\n\r\n"


@given(st.lists(st.integers(1, 40), min_size=1))
def test_lines_mean_the_same_however_they_are_cut(cuts: list[int]) -> None:
    lines, found, at = EventLines(), [], 0
    for cut in (cuts * len(SENT))[: len(SENT)]:
        found += lines.feed(SENT[at : at + cut])
        at += cut
    assert [place for place, _ in found] == ["a", "a", "b", "c"]
    assert [event.batch_id for _, event in found if event is not None] == [2]


@given(st.floats(0, 1_000), st.lists(st.booleans(), max_size=30))
def test_pauses_grow_until_something_comes_and_never_beyond_the_patience(
    patience_s: float, arrivals: list[bool]
) -> None:
    state, now, alone_since, last = Resuming(None, "pending", patience_s), 0.0, 0.0, 0.0
    for arrives in arrivals:
        if arrives:
            state.arrived("x")
            alone_since, last = now, 0.0
        try:
            pause = state.pause_after(ApiUnavailable("away"), now)
        except ApiUnavailable:
            assert now + min(30.0, max(0.5, 2 * last)) - alone_since > patience_s
            return
        assert pause == min(30.0, max(0.5, 2 * last))
        now, last = now + pause, pause


def test_an_api_that_is_busy_is_asked_again_when_it_says_but_not_tomorrow() -> None:
    state = Resuming(None, "pending", 1e9)
    asked = (7.0, 0.0, 86_400.0)
    assert [state.pause_after(ApiUnavailable("busy", 503, s), 0.0) for s in asked] == [7, 1, 300]


@pytest.mark.parametrize(
    "wish",
    [
        {"since": ""},
        {"since": "é"},
        {"finality": "safe"},
        {"patience_s": -1},
        {"device": []},
    ],
)
def test_what_no_server_can_answer_is_not_sent(wish: dict[str, Any]) -> None:
    client = Client(*["http://127.0.0.1:1"] * 3, deployment())
    with client, pytest.raises(InvalidValue):
        client.stream(**wish)
