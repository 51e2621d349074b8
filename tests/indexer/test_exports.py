"""Lists as tables over HTTP: whole or by the page, of one chain, for the same price.

given verified batches
  ├── every form of every list holds what the JSON pages hold, with units, times and origins
  ├── one with a limit is a page, and says where the next one is
  └── a device that nobody has heard of is an empty table
given a rollback while an export is under way
  └── it is cut off: its body has no end
"""

import csv
import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from starlette.requests import Request

from corechain_indexer.api import exports
from corechain_indexer.api.exports import ExportCut
from corechain_indexer.api.media.formats import Format
from corechain_indexer.api.media.tables import READINGS
from corechain_indexer.api.params import Params
from corechain_indexer.api.routes import ENDPOINTS
from indexer.support import Driven, World, device_of, get

FORMS = ("ndjson", "csv", "arrow", "parquet")
PAGE = 5


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_LIMIT", PAGE)


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    for _ in range(2):
        world.add(hours=4)
    await indexer.settle()
    return indexer


def rows_of(response: httpx.Response) -> list[dict[str, Any]]:
    """Of any form, with text where a form has no types."""
    kind = response.headers["content-type"].partition(";")[0]
    if kind == "application/x-ndjson":
        return [json.loads(line) for line in response.text.splitlines()]
    if kind == "text/csv":
        return list(csv.DictReader(io.StringIO(response.text)))
    source = pa.py_buffer(response.content)
    if kind == "application/vnd.apache.parquet":
        return list(pq.read_table(source).to_pylist())
    return list(pa.ipc.open_stream(source).read_all().to_pylist())


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    def text(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else str(value)

    return [{name: text(value) for name, value in row.items()} for row in rows]


def lists(world: World) -> dict[str, dict[str, str]]:
    device = device_of(world)
    queries = {
        "/v1/readings": {"device": device},
        "/v1/series": {"device": device, "metric": "pressure"},
    }
    paths = (e.path.replace("{id}", "1") for e in ENDPOINTS if e.table is not None)
    return {path: queries.get(path, {}) for path in paths}


async def test_every_form_of_a_list_holds_all_of_it(world: World, served: Driven) -> None:
    async with served.api() as api:
        for path, query in lists(world).items():
            whole = await get(api, path, **query, limit=1000)
            texts = []
            for form in FORMS:
                response = await api.get(path, params={**query, "format": form})
                assert response.status_code == 200, response.text
                assert response.headers["vary"] == "Accept, Accept-Encoding"
                rows = rows_of(response)
                assert len(rows) == len(whole["items"]), (path, form)
                texts.append(as_text(rows))
            assert all(text == texts[0] for text in texts), path
            for row, item in zip(texts[0], whole["items"], strict=True):
                same = row.keys() & item.keys() - {"mean", "reasons"}
                numbers = [n for n in same if not row[n].endswith("Z")]
                assert [row[n] for n in numbers] == [as_text([item])[0][n] for n in numbers]
        assert len(texts[0]) == 0, "channels: an empty table is one too"


async def test_a_reading_has_its_unit_its_time_and_what_leads_to_the_chain(
    world: World, served: Driven
) -> None:
    query = {"device": device_of(world), "metric": "air_temperature"}
    async with served.api() as api:
        response = await api.get("/v1/readings", params={**query, "format": "arrow"})
        first = rows_of(response)[0]
        batch = await get(api, f"/v1/batches/{first['batch_id']}")
    assert (first["metric"], first["metric_name"], first["unit"]) == (1, "air_temperature", "Cel")
    assert first["quantity"] == first["value"] / 100
    assert first["time"].timestamp() == first["observed_at"]
    for name in ("transaction", "commitment", "readings_root", "block"):
        assert first[name] == batch[name]
    assert world.chain.commitment_of(first["batch_id"]).hex() == first["commitment"][2:]


async def test_a_table_with_a_limit_is_a_page_that_names_the_next(
    world: World, served: Driven
) -> None:
    query = {"device": device_of(world), "limit": "3", "format": "csv"}
    async with served.api() as api:
        for path, more in (("/v1/readings", {}), ("/v1/series", {"metric": "1"})):
            whole = rows_of(await api.get(path, params={**query, **more, "limit": "1000"}))
            found, link = [], f"?{httpx.QueryParams({**query, **more})}"
            while link:
                response = await api.get(path + link)
                found += rows_of(response)
                link = response.links.get("next", {}).get("url", "")
            assert found == whole
            assert len(found) > 6


async def test_the_head_of_an_export_names_no_length_that_its_body_has_not(
    world: World, served: Driven
) -> None:
    async with served.api() as api:
        for form in FORMS:
            query = {"device": device_of(world), "format": form}
            head, whole = [
                await api.request(method, "/v1/readings", params=query)
                for method in ("HEAD", "GET")
            ]
            assert head.content == b""
            assert whole.content
            assert dict(head.headers) == dict(whole.headers)
            assert "content-length" not in head.headers


async def test_what_is_wrong_in_an_export_is_said_before_it_begins(
    world: World, served: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served.api() as api:
        problem = await get(api, "/v1/readings", 400, device="0x12", format="csv")
        assert problem["type"].endswith("InvalidQuery")
        for form in FORMS:
            query = {"device": device_of(world), "proofs": "true", "format": form}
            problem = await get(api, "/v1/readings", 400, **query)
            assert problem["type"].endswith("InvalidQuery")
            assert "proofs" in problem["detail"]
        problem = await get(api, "/v1/status", 406, format="csv")
        assert problem["type"].endswith("NotAcceptable")
        nobody = await api.get("/v1/readings?device=0x" + "11" * 20, headers={"accept": "text/csv"})
        assert rows_of(nobody) == []
        assert nobody.text.startswith("device,metric,")
        monkeypatch.setattr(exports, "EXPORTS_AT_ONCE", 0)
        problem = await get(api, "/v1/devices", 503, format="csv")
        assert problem["type"].endswith("Unavailable")


async def test_an_export_is_cut_off_where_a_rollback_takes_its_blocks(
    world: World, indexer: Driven
) -> None:
    world.add(hours=4)
    fork = world.fork_here()
    world.add(hours=4)
    await indexer.settle()
    api = indexer.indexer.api()
    asked = []

    async def answer(params: Params) -> Any:
        asked.append(params.cursor([]) if params.has("cursor") else None)
        if len(asked) == 3:
            fork.return_to()
            for _ in range(3):
                world.pass_time(1)
            await indexer.settle()
        return await api.handlers.readings(params)

    query = f"device={device_of(world)}".encode()
    scope = {"type": "http", "headers": [], "path": "", "query_string": query}
    pages = await api.delivery.exports.whole(READINGS, Format.CSV, answer, Params(Request(scope)))
    parts: list[bytes] = []

    async def read() -> None:
        async for part in pages:
            parts.append(part)

    with pytest.raises(ExportCut):
        await read()
    assert len(parts) == 3, "a header line and two pages of the branch that is gone"
    assert indexer.metric("corechain_exports_cut_total", reason="ExportCut") == 1


async def test_a_rollback_of_newer_blocks_cuts_off_no_export_as_of_older_ones(
    world: World, indexer: Driven
) -> None:
    world.add(hours=8)
    await indexer.settle()
    block, fork = world.head, world.fork_here()
    world.add(hours=4)
    await indexer.settle()
    api, done = indexer.indexer.api(), []

    async def answer(params: Params) -> Any:
        if not done:
            done.append(fork.return_to())
            for _ in range(3):
                world.pass_time(1)
            await indexer.settle()
        return await api.handlers.readings(params)

    query = f"device={device_of(world)}&as_of={block}".encode()
    scope = {"type": "http", "headers": [], "path": "", "query_string": query}
    pages = await api.delivery.exports.whole(READINGS, Format.CSV, answer, Params(Request(scope)))
    body = b"".join([part async for part in pages])
    assert len(list(csv.reader(io.StringIO(body.decode())))) == 17
