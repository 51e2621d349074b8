"""A query has two ways through the server, and nobody can tell which one was taken."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.processes import PATIENCE_S

from corechain.service.http_server import bind, http_server
from corechain_indexer.api.direct import DirectQueries
from corechain_indexer.api.routes import ENDPOINTS
from indexer.support import Driven, World, device_of

_DRAWN = re.compile(rb"(?i)date: [^\r]*\r\n")
_HEAD = re.compile(rb"(HTTP/1\.1 [^\r]*\r\n)((?:[^\r\n]+\r\n)*)\r\n")


def _sorted(head: re.Match[bytes]) -> bytes:
    return head[1] + b"".join(sorted(head[2].splitlines(keepends=True))) + b"\r\n"


@asynccontextmanager
async def both(indexer: Driven) -> AsyncIterator[tuple[int, int]]:
    """Ports of one API behind two servers, the first with the direct path."""
    api = indexer.indexer.api()
    app = api.app(queries=True)
    servers, ports, tasks = [], [], []
    for direct in (DirectQueries(api), None):
        listener = bind("X_", "127.0.0.1", 0)
        server = http_server(app, 100, 75, direct)
        servers.append(server)
        ports.append(listener.getsockname()[1])
        tasks.append(asyncio.create_task(server.serve(sockets=[listener])))
        await server.until_started()
    try:
        yield ports[0], ports[1]
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


async def said(port: int, *pieces: bytes) -> bytes:
    """All that the server writes until it hangs up, without dates, fields in one order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            return _HEAD.sub(_sorted, _DRAWN.sub(b"", await reader.read()))
    finally:
        writer.close()


def get(target: str, *fields: str, method: str = "GET", last: bool = True) -> bytes:
    more = "".join(f"{field}\r\n" for field in fields)
    end = "connection: close\r\n" if last else ""
    return f"{method} {target} HTTP/1.1\r\nhost: x\r\n{more}{end}\r\n".encode()


def targets(world: World) -> list[str]:
    device = device_of(world)
    filled = {"device": device, "id": "1", "position": "0", "owner": "0x" + "11" * 20}
    filled["resource"] = "Things"
    paths = [re.sub(r"{(\w+)}", lambda m: filled[m[1]], item.path) for item in ENDPOINTS]
    return [
        *paths,
        f"/v1/readings?device={device}&limit=2",
        f"/v1/readings?limit=2&device={device}&metric=1&proofs=true",
        f"/v1/latest?device={device}",
        f"/v1/series?device={device}&metric=4",
        f"/v1/statistics?device={device}&metric=1&from=0&to=1400000000",
        f"/v1/latest?device={device}&device={device}",
        f"/v1/latest?device={device}%",
        "/v1/latest?device=%30%78",
        f"/v1/readings?device={device}&%66orma%74=csv",
        "/v1/devices?limit=1&format=ndjson",
        "/v1/latest?nonsense=1",
        "/v1/batches?limit=0",
        "/v1/batches/",
        "/v1/batches/99",
        "/v1/batches/%31",
        "/v1/batches/1/readings/99999/proof",
        "/v1/devices/0x00",
        "/v1/devices/ü",
        "/v1/channels/a/b",
        "/v1/unknown",
        "/sensorthings/v1x1/Things",
        "/sensorthings/v1.1/ObservedProperties?$top=1",
        "http://x/v1/status",
        "/v1/status#x",
    ]


async def test_both_ways_write_the_same_bytes(indexer: Driven, world: World) -> None:
    world.add()
    await indexer.until_verified(1)
    async with both(indexer) as (direct, roundabout):
        for target in targets(world):
            asked = get(target)
            assert await said(direct, asked) == await said(roundabout, asked), target
        device = device_of(world)
        for fields in (
            ["content-length: 0"],
            ["content-length: 3"],
            ["transfer-encoding: chunked"],
            ["expect: 100-continue"],
            ["accept-encoding: gzip"],
            ["accept: application/json"],
            ["accept: text/csv"],
            ["x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https"],
        ):
            asked = get(f"/v1/latest?device={device}", *fields) + b"0\r\n\r\n"
            assert await said(direct, asked) == await said(roundabout, asked), fields
        tag = re.search(rb"etag: ([^\r]+)", await said(direct, get("/v1/devices")))
        assert tag is not None
        held = get("/v1/devices", f"if-none-match: {tag[1].decode()}")
        assert (await said(direct, held)).startswith(b"HTTP/1.1 304 ")
        assert await said(direct, held) == await said(roundabout, held)
        for method in ("HEAD", "POST", "OPTIONS"):
            asked = get("/v1/status", method=method)
            assert await said(direct, asked) == await said(roundabout, asked), method


async def test_a_pipeline_is_answered_in_order_whichever_way_each_request_takes(
    indexer: Driven, world: World
) -> None:
    world.add()
    await indexer.until_verified(1)
    first, last = get("/v1/status", last=False), get("/v1/batches/1")
    unknown = get("/v1/unknown", last=False)
    async with both(indexer) as (direct, roundabout):
        for asked in (first + last, first + unknown + last, unknown + first + last):
            assert await said(direct, asked) == await said(roundabout, asked)


weight = st.sampled_from(["", ";q=0", ";q=0.1", "; Q=0.5", ";q=1", ";q=2", ";q="])
CHOICES = {
    "accept": ["application/json", "text/csv", "*/*", "APPLICATION/*", "text/event-stream", ""],
    "accept-encoding": ["gzip", "zstd", "identity", "*", "br", "GZip", ""],
    "if-none-match": ["*", '"a"', "TAG", 'W/"a"', '"', ""],
}


@st.composite
def lines(draw: st.DrawFn, name: str) -> list[str]:
    """Up to two lines of a field, each a list of what there is to choose."""
    many = st.lists(st.tuples(st.sampled_from(CHOICES[name]), weight), max_size=3)
    found = draw(st.lists(many, max_size=2))
    tags = name == "if-none-match"
    return [
        f"{name}: " + ", ".join(value if tags else value + q for value, q in line) for line in found
    ]


PLACES = st.sampled_from(["/v1/devices", "/v1/batches/99", "/v1/status", "/v1/batches/stream"])


@given(questions=st.lists(st.tuples(PLACES, *map(lines, CHOICES)), min_size=8, max_size=12))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=5,
    deadline=None,
)
async def test_whatever_a_client_accepts_or_holds_both_ways_say_the_same(
    indexer: Driven, questions: list[tuple[str, list[str], list[str], list[str]]]
) -> None:
    async with both(indexer) as (direct, roundabout):
        found = re.search(rb"etag: ([^\r]+)", await said(direct, get("/v1/devices")))
        tag = found[1].decode() if found else '"none"'
        for target, *fields in questions:
            asked = get(target, *(line.replace("TAG", tag) for field in fields for line in field))
            assert await said(direct, asked) == await said(roundabout, asked), asked


async def test_a_short_answer_is_coded_where_it_may_not_go_as_it_is(indexer: Driven) -> None:
    async with both(indexer) as ports:
        for port in ports:
            coded = await said(port, get("/v1/status", "accept-encoding: identity;q=0, gzip"))
            assert b"content-encoding: gzip" in coded
            refused = await said(port, get("/v1/status", "accept-encoding: identity;q=0"))
            assert refused.startswith(b"HTTP/1.1 406 ")
            split = ("accept-encoding: gzip;q=0.5", "accept-encoding: identity;q=0")
            assert b"content-encoding: gzip" in await said(port, get("/v1/status", *split))


@pytest.fixture
def asked() -> bytes:
    return get("/v1/batches?limit=1", last=False) + get("/v1/status")


@given(cuts=st.lists(st.integers(0, 200), max_size=4))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=15,
)
async def test_however_a_request_is_cut_its_answer_is_the_same(
    indexer: Driven, asked: bytes, cuts: list[int]
) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(asked)), len(asked)]
    pieces = [asked[a:b] for a, b in pairwise(places)]
    async with both(indexer) as (direct, roundabout):
        assert await said(direct, *pieces) == await said(roundabout, asked)


async def test_a_mistake_of_ours_is_an_internal_error_on_both_ways(
    indexer: Driven, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object, params: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("corechain_indexer.api.handlers.Handlers.status", broken)
    async with both(indexer) as (direct, roundabout):
        with capture_logs() as lines:
            answer = await said(direct, get("/v1/status"))
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert answer == await said(roundabout, get("/v1/status"))
        assert [line["event"] for line in lines] == ["request failed"] * 2


async def test_a_full_api_refuses_before_it_does_anything(indexer: Driven, world: World) -> None:
    api = indexer.indexer.api()
    with bind("X_", "127.0.0.1", 0) as listener:
        server = http_server(api.app(queries=True), 100, 75, DirectQueries(api))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.until_started()
        port = listener.getsockname()[1]
        api.gates.all.most = api.gates.all.waiting = 0
        first = await said(port, get("/v1/status"))
        assert first.startswith(b"HTTP/1.1 503 ")
        assert b"urn:corechain:error:Overloaded" in first
        assert b"retry-after: " in first
        assert indexer.metric("corechain_requests_refused_total", reason="Overloaded") == 1
        api.gates.all.most = api.gates.all.waiting = 10
        assert (await said(port, get("/v1/status"))).startswith(b"HTTP/1.1 200 ")
        server.should_exit = True
        await serving
