"""What the OpenAPI document says of the streams is what a subscriber meets."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from support.processes import until

from corechain_indexer.api.openapi import document
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.api.wishes import PARAMETERS
from corechain_indexer.store.events import Cursor
from indexer.served_streams import EVENTS, PLAIN, Served, serving

DOCUMENT = document(ENDPOINTS, "1")
STREAM = {"accept": "text/event-stream"}


def operation(path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path]["get"]
    return found


def require(schema: dict[str, Any], value: Any) -> None:
    """Raises ValidationError where a value is not as the schema says."""
    jsonschema.validate(value, schema | {"components": DOCUMENT["components"]})


def data_of(lines: list[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line[6:]) for line in lines if line.startswith("data: "))


async def read(served: Served, path: str, since: str, count: int) -> list[dict[str, Any]]:
    lines: list[str] = []
    url = served.http(path, since=since)
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", url, headers=STREAM) as response,
    ):
        assert response.headers["content-type"] in operation(path)["responses"]["200"]["content"]
        async for line in response.aiter_lines():
            lines.append(line)
            if sum(line.startswith("data: ") for line in lines) == count:
                break
    return list(data_of(lines))


@pytest.mark.parametrize("path", [EVENTS, PLAIN])
async def test_every_kind_of_event_is_as_the_document_says(
    tables: str, bus_url: str, path: str
) -> None:
    media = operation(path)["responses"]["200"]["content"]["text/event-stream"]
    async with serving(tables, bus_url) as served:
        begin = (await served.books.log.cursor(0)).text
        await served.verified(2)
        await served.books.undo(1)
        await served.books.finalise(1)
        await served.books.tell()
        events = await read(served, path, begin, 4)
    assert {event["type"] for event in events} == {"new", "undone", "final"}
    for event in events:
        require(media["x-itemSchema"], event)
        assert event.keys() == DOCUMENT["components"]["schemas"]["BatchEvent"]["properties"].keys()


async def test_every_refusal_is_as_the_document_says(tables: str, bus_url: str) -> None:
    async with serving(tables, bus_url) as served, httpx.AsyncClient() as client:
        old = (await served.books.log.cursor(0)).text
        await served.verified()
        await served.books.pool.execute("update batch_event_log set pruned = 1")
        await until(lambda: served.stream.newest.position == 1)
        served.stream.newest.kept.clear()
        unknown = Cursor(bytes(6), 0, 0).text
        for status, query in (
            (400, {"since": unknown}),
            (400, {"since": "nonsense"}),
            (400, {"finality": "safe"}),
            (400, {"limit": "1"}),
            (410, {"since": old}),
        ):
            response = await client.get(served.http(**query))
            told = operation(EVENTS)["responses"][str(status)]["content"]
            assert response.status_code == status
            require(told[response.headers["content-type"]]["schema"], response.json())


@pytest.mark.parametrize("path", [EVENTS, PLAIN])
def test_the_document_has_every_parameter_of_the_streams(path: str) -> None:
    named = {item["name"] for item in operation(path)["parameters"] if item["in"] == "query"}
    assert named == set(PARAMETERS)
