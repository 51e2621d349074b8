"""Queries that somebody means ill with (research/relayer.md, 3.6; OWASP API Security Top 10, 2023).

Whatever is asked, the answer is data or problem details, and nothing is changed by asking. What
belongs to other rooms is tested there: values of every kind in every place (test_queries_fuzz),
payments of others (test_payments), API keys (test_limits), formulas in tables (here and
test_media_formats), streams (test_stream), heads and bodies on the wire (tests/service).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from support.processes import PATIENCE_S

from corechain.service.http_server import bind, http_server
from corechain.service.settings import InvalidSetting
from corechain_indexer import store
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.direct import DirectQueries
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.settings import load_settings
from indexer.support import Driven, World, device_of, get

INJECTED = (
    "'; drop table batch; --",
    '1" or "1"="1',
    "1) union select 1,2,3 --",
    "$1",
    "batch_id desc",
    "%(device)s",
    "\\'; select pg_sleep(60); --",
    "{{7*7}}",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "http://169.254.169.254/latest/meta-data",
    "file:///etc/passwd",
    "\x1b[31mred\r\nset-cookie: a=b",
)
PAGE = "https://dapp.example"
QUERIES = Path(store.__file__).parent / "sql" / "queries"
PATTERNS = r"\bi?like\b|\bsimilar to\b|~|\bregexp|\bexecute\b"
METHODS = ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "NONSENSE")


@pytest_asyncio.fixture
async def api(world: World, indexer: Driven) -> AsyncIterator[httpx.AsyncClient]:
    world.add(hours=2)
    await indexer.settle()
    async with indexer.api() as client:
        yield client


async def test_nothing_that_is_put_into_a_query_changes_or_opens_anything(
    world: World, indexer: Driven, api: httpx.AsyncClient
) -> None:
    before = await indexer.tables()
    for endpoint in ENDPOINTS:
        for text in INJECTED:
            places = dict.fromkeys(endpoint.path_parameters, quote(text, safe=""))
            response = await api.get(
                endpoint.path.format(**places),
                params=dict.fromkeys(endpoint.parameters, text),
                headers={"x-request-id": "a" * 99, "referer": "javascript:alert(1)"},
            )
            assert response.status_code in (400, 404), (endpoint.path, text)
            assert response.headers["content-type"] == "application/problem+json"
            assert "set-cookie" not in response.headers
            assert not re.search(r"select |pg_|Traceback|root:", response.text)
    assert await indexer.tables() == before


async def test_what_asks_for_too_much_is_refused_at_once(
    world: World, api: httpx.AsyncClient
) -> None:
    device = device_of(world)
    many = [("device", device)] * 500
    for path, query in (
        ("/v1/batches", {"offset": "1000000000"}),
        ("/v1/batches", {"limit": "1000000"}),
        ("/v1/batches", {"limit": "-1"}),
        ("/v1/readings", many),
        ("/v1/readings", {"device": device, "sort": "value"}),
        ("/v1/readings", {"device": device, "from": "9" * 400}),
        ("/v1/series", {"device": device, "metric": "1", "bucket": "1"}),
        ("/v1/readings", {"device": f"{device},{device}"}),
        ("/v1/readings", {"device": device, "metric": "%" * 5_000}),
    ):
        problem = (await api.get(path, params=query)).json()
        assert problem["type"].rpartition(":")[2] in ("InvalidQuery", "UnknownMetric"), query
    cursor = (await get(api, "/v1/readings", device=device, limit=1))["next_cursor"]
    await get(api, "/v1/batches", 400, cursor=cursor)


def test_no_query_looks_at_what_it_skips_or_matches_by_pattern() -> None:
    """Deep pages, `%` bombs and expensive expressions need words that our SQL does not have."""
    for path in (QUERIES / f"{name}.sql" for name in ("reads", "readings", "epochs", "vouchers")):
        code = re.sub(r"--.*", "", path.read_text()).lower()
        assert not re.search(r"\bi?like\b|\bsimilar to\b|~|\bregexp|\bexecute\b", code), path
        assert not re.search(r"\boffset\s+(?!0\b)", code), path


async def test_text_of_a_data_source_is_no_formula_in_a_table(
    indexer: Driven, api: httpx.AsyncClient
) -> None:
    await indexer.indexer.pool.execute(
        "update batch_file set state = 'mismatch', reason = '=HYPERLINK(\"http://x\")'"
    )
    table = (await api.get("/v1/batches?format=csv")).text
    assert "\"'=HYPERLINK(" in table


async def test_only_methods_that_read_are_taken(api: httpx.AsyncClient) -> None:
    for path in ("/v1/batches", "/v1/status", "/health", "/openapi.json"):
        for method in (
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "TRACE",
            "PROPFIND",
            "NONSENSE",
        ):
            response = await api.request(method, path, headers={"x-http-method-override": "GET"})
            assert response.status_code == 405, (method, path)
            assert response.json()["type"].endswith("MethodNotAllowed")
            assert response.headers["allow"] == "GET, HEAD, OPTIONS"
        head, whole = await api.head(path), await api.get(path)
        assert (head.status_code, head.headers["content-type"]) == (
            whole.status_code,
            whole.headers["content-type"],
        )


async def test_every_path_says_which_methods_it_takes(api: httpx.AsyncClient) -> None:
    paths = [re.sub(r"{\w+}", "x", endpoint.path) for endpoint in ENDPOINTS]
    ours = ("/v1/events", "/v1/batches/stream", "/openapi.json", "/health", "/ready", "/metrics")
    for path in (*paths, *ours):
        for fields in ({}, {"origin": PAGE, "access-control-request-method": "GET"}):
            response = await api.options(path, headers=fields)
            assert (response.status_code, response.content) == (204, b""), path
            assert response.headers["allow"] == "GET, HEAD, OPTIONS"
            assert "content-length" not in response.headers
    for path in ("/v1/unknown", "/", "/v1/batches/"):
        assert (await api.options(path)).status_code == 404


async def test_methods_of_the_stream_that_do_not_read_are_refused(api: httpx.AsyncClient) -> None:
    for method in ("POST", "DELETE"):
        response = await api.request(method, "/v1/events")
        assert response.status_code == 405
        assert response.json()["type"].endswith("MethodNotAllowed")
        assert "GET" in response.headers["allow"]
    behind = await api.get("/v1/events")  # as the application is asked: behind another request
    assert (behind.status_code, behind.json()["status"]) == (503, 503)


# ----------------------------------------------------------------------- other pages' scripts


@asynccontextmanager
async def shown_to(indexer: Driven, *origins: str) -> AsyncIterator[str]:
    """The address of an API that lets these pages read, with both ways through the server."""
    api = indexer.indexer.api()
    api.cors = Cors(frozenset(origins))
    listener = bind("X_", "127.0.0.1", 0)
    server = http_server(api.app(queries=True), 100, 75, DirectQueries(api))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.until_started()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def readable(response: httpx.Response) -> str | None:
    assert "access-control-allow-credentials" not in response.headers
    return response.headers.get("access-control-allow-origin")


async def test_a_page_reads_what_it_may_and_nothing_with_credentials(indexer: Driven) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": "GET",
        "access-control-request-headers": "x-api-key",
    }
    paths = ("/v1/status", "/v1/batches?limit=0", "/v1/unknown", "/openapi.json", "/v1/devices")
    for origins, ours, theirs in (
        ((), None, None),
        (("*",), "*", "*"),
        ((PAGE, "http://localhost:3000"), PAGE, None),
    ):
        async with (
            shown_to(indexer, *origins) as url,
            httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as api,
        ):
            for path in paths:
                assert readable(await api.get(path, headers={"origin": PAGE})) == ours
                assert readable(await api.get(path, headers={"origin": PAGE + ".evil"})) == theirs
                assert readable(await api.get(path, headers={"origin": "null"})) == theirs
            vary = (await api.get("/v1/devices")).headers["vary"].lower()
            assert ("origin" in vary) == (len(origins) > 1)
            preflight = await api.options("/v1/devices", headers=asked)
            assert readable(preflight) == ours
            assert preflight.status_code == 204
            plain = await api.options("/v1/devices", headers={"origin": PAGE})
            assert (readable(plain), plain.headers["allow"]) == (ours, "GET, HEAD, OPTIONS")
            if not origins:
                assert "OPTIONS" in preflight.headers["allow"]
            if ours is not None:
                allowed = preflight.headers["access-control-allow-headers"].split(", ")
                # What our own page sends, and what @x402/fetch does.
                stock = {"payment-signature", "access-control-expose-headers"}
                assert {"x-api-key", *stock} <= {*allowed}
            assert (await api.options("/v1/unknown", headers=asked)).status_code == 404
            assert readable(await api.get("/health", headers={"origin": PAGE})) is None


def test_an_origin_that_no_browser_writes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RPC_URL": "http://x", "DEPLOYMENT": "x", "DATABASE_URL": "postgresql://x",
        "REDIS_URL": "redis://x", "DATA_URLS": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"INDEXER_{name}", value)
    monkeypatch.setenv("INDEXER_CORS_ORIGINS", f"{PAGE}, http://[::1]:3000 ,*")
    assert load_settings().cors_allowed == {PAGE, "http://[::1]:3000", "*"}
    for wrong in (
        f"{PAGE}/",
        "dapp.example",
        "https://*.example",
        "HTTPS://A.B",
        "null",
        ",",
        " , ",
    ):
        monkeypatch.setenv("INDEXER_CORS_ORIGINS", wrong)
        with pytest.raises(InvalidSetting, match="INDEXER_CORS_ORIGINS"):
            load_settings()
    monkeypatch.setenv("INDEXER_CORS_ORIGINS", "")
    assert not load_settings().cors_allowed
    monkeypatch.setenv("INDEXER_DATA_URLS", ",")
    with pytest.raises(InvalidSetting, match=r"INDEXER_DATA_URLS.*list of nothing"):
        load_settings()


async def test_paths_and_escapes_that_are_none_are_problems(api: httpx.AsyncClient) -> Any:
    for target in (
        "/v1/devices/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1//devices", "/v1/devices%00",
        "/v1/devices/%ff%fe", "/v1/devices?limit=%ff", "/v1/devices?limit=%", "/v1/devices?%00=1",
        "/v1/devices?=1", "/v1/devices?limit=1&limit=2", "/v1/batches/%F0%9F%92%A9", "/V1/devices",
        "/v1/devices;limit=1", "/v1/%64evices/x", "/.env", "/v1/batches/1%3Fstate=x", "/admin",
    ):  # fmt: skip
        response = await api.get(target)
        assert response.status_code in (400, 404), target
        assert response.headers["content-type"] == "application/problem+json", target
