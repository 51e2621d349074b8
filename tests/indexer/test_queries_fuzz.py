"""Whatever stands in a query: the answer is data, or problem details that say what is wrong."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from corechain_indexer.api.params import FORMAT, FRESH, encode_cursor
from corechain_indexer.api.routes import ENDPOINTS, Endpoint
from indexer.support import CELL, Driven, World, device_of

NUMBERS = [
    sign * (2**bits + step)
    for bits in (15, 16, 31, 32, 40, 47, 48, 53, 63, 64, 127, 128, 256)
    for step in (-1, 0, 1)
    for sign in (1, -1)
]
TEXTS = [
    "", " ", "0", "-0", "+1", "1.0", "1e3", "0x1", "١٢", "²", "NaN", "inf", "null", "true", "1\0",
    "\0", "\ud7ff", "𝟙", "'; drop table reading; --", "%", "%s", "%00", "../..", "1/2", "a" * 5_000,
    "9" * 4_400, "0x" + "g" * 40, "0x" + "1" * 41, "0X" + "1" * 40, "pending\0",
    "air_temperature\n",
]  # fmt: skip
WRONG_PLACES: list[list[int | bytes]] = [
    [], [b""], [0], [2**31], [2**63 - 1], [-(2**63)], [2**63], [b"x" * 400], [b"\0"],
    [b"", 2**31, 0, 0, 0], [b"", 0, 2**62, 2**62, 2**31], 
    [b"\xff" * 20, 2**63 - 1, 0, 0, 2**63 - 1],
    [b"", -(2**63), -1, -1, -1], [0] * 5, [b""] * 5, [0] * 99,
]  # fmt: skip
CURSORS = [encode_cursor(place) for place in WRONG_PLACES] + [
    "e30=", "bnVsbA==", "W3RydWVd", "WzEuNV0=", "W251bGxd", "WyIwIl0=", "W1tdXQ==", "====", "-_-_",
]  # fmt: skip
EVERYWHERE = (*FRESH, FORMAT)
VALUES = [*map(str, NUMBERS), *TEXTS, *CURSORS]


@pytest_asyncio.fixture
async def api(world: World, indexer: Driven) -> Any:
    world.add(hours=2)
    await indexer.settle()
    async with indexer.api() as client:
        yield client


def sensible(endpoint: Endpoint, device: str) -> dict[str, str]:
    known = {"device": device, "metric": "1", "cell": f"{CELL:015x}"}
    return {name: value for name, value in known.items() if name in endpoint.parameters}


def filled(path: str, value: str) -> Iterator[str]:
    """The path with a value in each of its places, and sensible ones in the others."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    for wrong in names:
        places = {name: quote(value, safe="") if name == wrong else "1" for name in names}
        yield path.format(**places)


async def is_foreseen(api: httpx.AsyncClient, path: str, query: Any) -> None:
    response = await api.get(path, params=query)
    assert response.status_code < 500, (path, query, response.text)
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json", (path, query)
        assert response.json()["status"] == response.status_code


async def test_no_value_of_any_parameter_breaks_a_query(world: World, api: Any) -> None:
    device, tried = device_of(world), Counter[str]()
    for endpoint in ENDPOINTS:
        known = sensible(endpoint, device)
        places = dict.fromkeys(endpoint.path_parameters, "1") | {"resource": "Datastreams"}
        path = endpoint.path.format(**places)
        for name in (*endpoint.parameters, "unheard_of"):
            # A name is read by the same lines on every path: all values on the first, then another
            # part of them on each.
            part = 40 if name in EVERYWHERE else 5
            for value in VALUES[tried[name] % part :: part] if tried[name] else VALUES:
                await is_foreseen(api, path, {**known, name: value})
            tried[name] += 1
            await is_foreseen(api, path, [*known.items(), (name, "1"), (name, "2")])


async def test_no_place_in_a_path_breaks_a_query(world: World, api: Any) -> None:
    for endpoint in ENDPOINTS:
        for value in (*map(str, NUMBERS), *filter(None, TEXTS)):
            for path in filled(endpoint.path, value):
                await is_foreseen(api, path, {})


async def test_what_is_no_path_or_no_method_is_a_problem_too(api: Any) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/v1/batches/1/readings", "/v1/devices/"):
        await is_foreseen(api, path, {})
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = await api.request(method, "/v1/batches")
        assert (response.status_code, response.json()["status"]) == (405, 405)


async def test_a_cursor_beyond_its_columns_is_refused_or_ends(world: World, api: Any) -> None:
    for place in WRONG_PLACES:
        query = {"device": device_of(world), "cursor": encode_cursor(place)}
        response = await api.get("/v1/readings", params=query)
        assert response.status_code in (200, 400)


raw_queries = st.text(
    st.sampled_from("device=metric&cursor=%0001ffED+;,/?#[]\u0661\u00e9\U0001d7d9-"), max_size=80
)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(ENDPOINTS), raw_queries)
async def test_no_query_string_breaks_a_query(api: Any, endpoint: Endpoint, query: str) -> None:
    path = endpoint.path.format(**dict.fromkeys(endpoint.path_parameters, "1"))
    response = await api.get(f"{path}?{quote(query, safe='=&%+;')}")
    assert response.status_code < 500


async def test_a_value_that_only_the_database_finds_too_large_is_the_askers(
    world: World, indexer: Driven
) -> None:
    app = indexer.indexer.api()

    async def answer(params: Any) -> Any:
        return await indexer.indexer.pool.fetchval("select $1::integer", 2**40)

    request = Request({"type": "http", "query_string": b"", "headers": [], "path": "/v1/status"})
    response = await app._guarded(request, answer, ENDPOINTS[0])
    assert response.status_code == 400
    assert b"InvalidQuery" in response.body
