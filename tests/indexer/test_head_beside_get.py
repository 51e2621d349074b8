"""HEAD says of every path what GET would begin with (RFC 9110, section 9.3.2)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from support.processes import PATIENCE_S, until

from corechain.service.http_server import bind, http_server
from corechain_indexer.api.app import Api
from corechain_indexer.store.events import Cursor, EventLog, EventNumbers
from indexer.support import Driven, World
from indexer.test_direct_queries import targets

STREAMS = ("/v1/events", "/v1/batches/stream")
STREAM = {"accept": "text/event-stream"}
TAKES_NONE = ("application/json", "text/event-stream;q=0", "text/event-stream; q=0, */*", "*/*;q=0")
TAKES_ONE = ("*/*", "text/*;q=0.1", "TEXT/Event-Stream", "application/json, */*;q=0.1", "")


@dataclass
class Answering:
    """An API on a socket, its streams included."""

    api: Api
    client: httpx.AsyncClient
    url: str

    async def began(self, method: str, target: str, **fields: str) -> tuple[int, Mapping[str, str]]:
        async with self.client.stream(method, self.url + target, headers=fields) as response:
            if method == "HEAD":
                assert await response.aread() == b""
            return response.status_code, {
                name: value
                for name, value in response.headers.items()
                # The date, and how the connection goes on: a stream's ends with it.
                if name not in ("date", "connection", "transfer-encoding")
            }

    async def alike(self, target: str, **fields: str) -> int:
        head, whole = [await self.began(method, target, **fields) for method in ("HEAD", "GET")]
        assert head == whole, target
        return head[0]


@asynccontextmanager
async def answering(indexer: Driven) -> AsyncIterator[Answering]:
    api = indexer.indexer.api()
    with bind("X_", "127.0.0.1", 0) as listener:
        server = http_server(api.app(queries=True), 100, 75, streams=api.stream)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        listening = asyncio.create_task(api.stream.listen())
        await server.until_started()
        await until(api.stream.newest.ready.is_set)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                yield Answering(api, client, url)
        finally:
            server.should_exit = True
            await serving
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_the_head_of_every_path_is_that_of_its_answer(world: World, indexer: Driven) -> None:
    world.add(hours=2)
    await indexer.settle()
    async with answering(indexer) as answers:
        asked = [target for target in targets(world) if target.startswith("/")]
        asked += ["/openapi.json", "/health", "/v1/nothing", "/v1/batches/stream"]
        found = {await answers.alike(target) for target in asked}
        assert {200, 400, 404} <= found


async def test_who_does_not_accept_a_stream_is_sent_none(indexer: Driven) -> None:
    async with answering(indexer) as answers:
        for accept in TAKES_NONE:
            for path in STREAMS:
                assert await answers.alike(path, accept=accept) == 406, (path, accept)
        for accept in TAKES_ONE:
            assert await answers.alike("/v1/events", accept=accept) == 200, accept
            named = accept.lower() == "text/event-stream"
            assert await answers.alike("/v1/batches/stream", accept=accept) == (
                200 if named else 406
            )
        response = await answers.client.get(answers.url + "/v1/batches/stream")
        assert response.json()["type"].endswith("NotAcceptable")
        assert "Accept" in response.json()["detail"]
        assert "text/event-stream" in response.json()["detail"]


async def test_the_head_of_a_stream_says_what_it_would_begin_with_or_be_refused_by(
    world: World, indexer: Driven
) -> None:
    world.add(hours=2)
    await indexer.settle()
    log = EventLog(indexer.indexer.pool)
    old = (await log.cursor(0)).text
    async with indexer.indexer.pool.acquire() as connection:
        while await EventNumbers(connection, 1_000).step():
            pass
    newest = (await log.head()).newest
    now = (await log.cursor(newest)).text
    await indexer.indexer.pool.execute("update batch_event_log set pruned = $1", newest)
    foreign = Cursor(bytes(6), 0, 0).text
    queries = {"": 200, f"?since={now}": 200, f"?since={old}": 410, f"?since={foreign}": 400}
    queries |= {"?since=nonsense": 400, "?finality=maybe": 400, "?limit=1": 400}
    async with answering(indexer) as answers:
        answers.api.stream.newest.kept.clear()
        for path in STREAMS:
            for query, status in queries.items():
                assert await answers.alike(path + query, **STREAM) == status, query
            resumed = STREAM | {"last-event-id": old}
            assert await answers.alike(f"{path}?since={now}", **resumed) == 410
        answers.api.stream.max_subscribers = 0
        assert [await answers.alike(path, **STREAM) for path in STREAMS] == [503, 503]
