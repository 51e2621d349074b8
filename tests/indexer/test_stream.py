"""Subscribers over real sockets: what each is sent, from which event on, and how it is refused."""

import json

import httpx
import pytest
from support.processes import until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from corechain_indexer.api import subscribers
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.keys import KeyRing
from corechain_indexer.limits import Allowance
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.events import Cursor
from corechain_indexer.store.quotas import Quotas
from indexer.served_streams import PLAIN, Served, closing, hear, refused, serving, story


async def test_a_subscriber_hears_what_is_new_undone_and_final_from_its_cursor_on(
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served:
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
        for word in ("final", "finalised"):
            async with connect(served.url(since=start["cursor"], finality=word)) as careful:
                await hear(careful)
                assert await story(careful, 1) == [("final", 1)]


async def test_a_client_of_before_there_were_cursors_hears_what_it_knows(
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served, connect(served.url(PLAIN)) as subscriber:
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
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
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


async def test_what_cannot_be_served_is_refused_by_name(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served:
        for query, error in REFUSED:
            assert (await refused(served, query, 400))["type"] == f"urn:corechain:error:{error}"
        assert await served.places_taken(0)


async def test_a_cursor_too_old_is_told_where_to_catch_up_and_where_to_go_on(
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served:
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


async def test_one_place_too_many_is_refused_and_may_come_again(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
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
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
        headers = {"upgrade": "websocket", "connection": "upgrade"}
        response = await client.get(served.http(), headers=headers)
        assert response.status_code == 426
        assert response.headers["sec-websocket-version"] == "13"
        assert await served.places_taken(0)
        assert (await client.post(served.http())).status_code == 404


async def test_a_websocket_where_there_is_none_is_told_so_as_a_problem(
    tables: str, bus_url: str
) -> None:
    async with serving(tables, bus_url) as served:
        for path in ("/v1/status", "/v1/nothing"):
            with pytest.raises(InvalidStatus) as refusal:
                await connect(served.url(path))
            response = refusal.value.response
            assert response.status_code == 404
            assert response.headers["content-type"] == "application/problem+json"
            assert json.loads(response.body)["type"] == "urn:corechain:error:NotFound"
        async with connect(served.url()) as subscriber:
            assert (await hear(subscriber))["type"] == "start"


async def test_a_page_may_read_the_stream_and_to_open_it_counts_as_a_request(
    tables: str, bus_url: str
) -> None:
    page = {"origin": "https://page.example"}
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
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
