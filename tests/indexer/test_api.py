"""The query API over HTTP: every path, its proofs, its refusals, its price.

given verified batches
  ├── every path of the table answers, and the OpenAPI document describes it
  ├── pages put together are everything, once
  ├── proofs verify against the commitment and in the contract
  ├── what is wrong in a query is refused by name and counted
  └── when queries cost something: a voucher pays once, and for one request
"""

import asyncio
import json
import re
from typing import Any

import h3
import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from corechain.account import account_from_key
from corechain.answers import device_bounds, parse_proven_reading, parse_statistics
from corechain.async_client import AsyncClient
from corechain.devnet.settings import ADMIN_KEY, PROPOSER_KEY
from corechain.http import LoopClients
from corechain.protocol.rewards import (
    DEFAULT_RULES,
    EpochScore,
    Owner,
    RewardTree,
    points_by_owner,
    split_down,
)
from corechain.protocol.vocabulary import metric
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Block, Rpc
from corechain_indexer.api import statistics
from corechain_indexer.api.openapi import document
from corechain_indexer.api.params import Params, encode_cursor, values_of
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.errors import InvalidQuery, SeriesUnavailable
from corechain_indexer.following import Role
from corechain_indexer.store.series import SegmentSeries
from indexer.support import (
    CELL,
    HOUR_S,
    START,
    Driven,
    World,
    device_of,
    driven,
    get,
    settings_of,
)

NOBODY = "0x" + "11" * 20
EMISSION = 10**18


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    for _ in range(3):
        world.add(hours=4)
    await indexer.settle()
    return indexer


async def test_every_path_answers(world: World, served: Driven) -> None:
    device = device_of(world)
    asked = {
        "/v1/devices/{device}": {},
        "/v1/readings": {"device": device},
        "/v1/statistics": {"device": device, "metric": "pressure"},
        "/v1/series": {"device": device, "metric": "pressure"},
        "/v1/latest": {"device": device},
    }
    missing = {"/v1/rewards/{owner}": 404, "/v1/channels/{id}": 404}
    places = {"device": device, "id": "1", "position": "0", "owner": "0x" + "11" * 20}
    async with served.api() as api:
        for endpoint in ENDPOINTS:
            values = places | ({"id": "0x" + "22" * 32} if "channels" in endpoint.path else {})
            path = endpoint.path.format(**values)
            await get(api, path, missing.get(endpoint.path, 200), **asked.get(endpoint.path, {}))
        for path in ("/health", "/ready", "/metrics", "/openapi.json"):
            assert (await api.get(path)).status_code == 200


def test_the_openapi_document_describes_every_path() -> None:
    made = document(ENDPOINTS, "1")
    streams = {"/v1/events", "/v1/batches/stream"}
    assert set(made["paths"]) == {endpoint.path for endpoint in ENDPOINTS} | streams
    refs = set(re.findall(r"#/components/schemas/([\w]+)", json.dumps(made)))
    assert refs <= made["components"]["schemas"].keys()
    for endpoint in ENDPOINTS:
        operation = made["paths"][endpoint.path]["get"]
        named = {p["name"] for p in operation["parameters"]}
        assert named == {*endpoint.path_parameters, *endpoint.parameters}
        assert ("402" in operation["responses"]) == endpoint.paid


async def test_status_counts_what_is_there(world: World, served: Driven) -> None:
    async with served.api() as api:
        status = await get(api, "/v1/status")
        while not status["node_answers"]:  # on a loaded machine it may be late
            assert status["head_block"] is status["lag_blocks"] is None
            status = await get(api, "/v1/status")
        assert status["batches"] == {"verified": 3}
        assert status["readings"] == 3 * 2 * 2 * 4
        assert status["rejections"] == 3 * 2
        assert status["lag_blocks"] == 0


async def test_status_is_of_the_mirror_while_the_node_is_away(served: Driven) -> None:
    class Away(Rpc):
        async def head(self) -> Block:
            raise NodeUnavailable("away")

    node, served.indexer.rpc = served.indexer.rpc, Away("http://127.0.0.1:9")
    try:
        async with served.api() as api:
            status = await get(api, "/v1/status")
    finally:
        served.indexer.rpc = node
    assert status["node_answers"] is False
    assert status["head_block"] is status["lag_blocks"] is None
    assert status["indexed_block"] > 0
    assert status["batches"] == {"verified": 3}


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
async def test_pages_are_everything_once(world: World, served: Driven, limit: int) -> None:
    async with served.api() as api:
        for path, total, params in (
            ("/v1/readings", 24, {"device": device_of(world)}),
            ("/v1/batches", 3, {}),
            ("/v1/devices", 2, {}),
            ("/v1/batches/1/rejections", 2, {}),
        ):
            found: list[Any] = []
            cursor: dict[str, str] = {}
            while True:
                page = await get(api, path, limit=limit, **params, **cursor)
                found += page["items"]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert len(found) == total == len({json.dumps(item) for item in found})


async def test_a_reading_is_proven_to_the_contract(world: World, served: Driven) -> None:
    async with served.api() as api:
        rows = (await get(api, "/v1/readings", device=device_of(world), metric="1"))["items"]
        assert {row["provenance"] for row in rows} == {"device"}
        for row in rows[:3]:
            path = f"/v1/batches/{row['batch_id']}/readings/{row['position']}/proof"
            answer = await get(api, path)
            assert answer["provenance"] == "device"
            proven = parse_proven_reading(answer, row["batch_id"])
            proven.verify(world.chain.commitment_of)
            world.chain.prove_reading(proven)
            assert proven.reading.value == row["value"]


async def test_statistics_are_proven_to_the_contract(world: World, served: Driven) -> None:
    end = START + 3 * 24 * HOUR_S
    params = {"metric": "air_temperature", "device": device_of(world), "cell": f"{CELL:015x}"}
    async with served.api() as api:
        answer = await get(api, "/v1/statistics", **params, from_=START, to=end)
    parsed = parse_statistics(answer)
    device = world.keys[0].identity.device
    bounds = device_bounds(metric("air_temperature"), CELL, device, START, end)
    found = parsed.verify(world.chain.commitment_of, [bounds], (START, end))
    assert found.count == 12
    for part in parsed.parts:
        assert world.chain.prove_range(part) == part.claimed


async def test_batches_in_between_are_shown_as_skipped(world: World, served: Driven) -> None:
    day = START + 24 * HOUR_S
    params = {"metric": "1", "device": device_of(world), "from_": day, "to": day + 23 * HOUR_S}
    async with served.api() as api:
        answer = await get(api, "/v1/statistics", **params)
        assert [part["batch_id"] for part in answer["parts"]] == [2]
        nothing = await get(api, "/v1/statistics", **(params | {"metric": "co2"}))
        assert (nothing["count"], nothing["parts"], nothing["skipped"]) == (0, [], [])


async def test_series_of_minutes_are_those_of_the_hours(world: World, served: Driven) -> None:
    params = {"metric": "air_temperature", "device": device_of(world)}
    window = {"from_": START, "to": START + 3 * 24 * HOUR_S}
    async with served.api() as api:
        hourly = (await get(api, "/v1/series", **params, **window))["items"]
        fine = (await get(api, "/v1/series", **params, **window, bucket=60))["items"]
        # To a minute that ends before the next reading, and from one that begins after the first.
        few = {"from_": START + 61, "to": START + HOUR_S + 30}
        some = (await get(api, "/v1/series", **params, **few, bucket=60))["items"]
    assert [b["start"] for b in fine] == [b["start"] for b in hourly]  # on the hour
    assert fine == hourly
    assert [b["start"] for b in some] == [START + HOUR_S]


async def test_a_series_says_where_it_goes_on(world: World, served: Driven) -> None:
    params = {"metric": "air_temperature", "device": device_of(world)}
    async with served.api() as api:
        whole = await get(api, "/v1/series", **params)
        assert whole["next_from"] is None
        found: list[Any] = []
        start = 0
        while start is not None:
            page = await get(api, "/v1/series", **params, limit=5, from_=start)
            assert len(page["items"]) <= 5
            found += page["items"]
            start = page["next_from"]
    assert found == whole["items"]


async def test_a_device_that_moved_has_all_its_cells_or_is_refused(
    world: World, indexer: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [int(cell, 16) for cell in sorted(h3.cell_to_children("852a1073fffffff", 7))[:20]]
    batch = world.sealed_at(cells)
    world.commit(batch)
    await indexer.settle()
    params = {"metric": "1", "device": device_of(world)}
    async with indexer.api() as api:
        answer = await get(api, "/v1/statistics", **params)
        assert len(answer["parts"]) == answer["count"] == len(cells)
        assert [int(part["low"][6:22], 16) for part in answer["parts"]] == cells
        monkeypatch.setattr(statistics, "MAX_PARTS", 19)
        # Another question, or the answer that is kept would do.
        problem = await get(api, "/v1/statistics", 400, **params, from_=1)
        assert problem["type"].endswith("InvalidQuery")
        assert "20 cells" in problem["detail"]
        assert "`from` and `to`" in problem["detail"]
        narrow = await get(api, "/v1/statistics", **params, cell=f"{cells[19]:x}")
        assert narrow["count"] == 1


async def test_series_add_up_to_the_statistics(world: World, served: Driven) -> None:
    params = {"metric": "air_temperature", "device": device_of(world)}
    async with served.api() as api:
        hourly = (await get(api, "/v1/series", **params))["items"]
        daily = (await get(api, "/v1/series", **params, bucket=86_400))["items"]
        whole = await get(api, "/v1/statistics", **params)
    assert (len(hourly), len(daily)) == (12, 3)
    for field in ("count", "sum"):
        assert sum(b[field] for b in hourly) == sum(b[field] for b in daily) == whole[field]
    assert min(b["min"] for b in daily) == whole["min"]
    assert daily[0]["mean"] == daily[0]["sum"] / daily[0]["count"] / 100


async def test_rejections_say_why(served: Driven) -> None:
    async with served.api() as api:
        (first, *_) = (await get(api, "/v1/batches/1/rejections"))["items"]
    assert (first["reasons"], first["value"], first["metric"]) == (["range"], 46_866, 5)


@pytest.mark.parametrize(
    ("path", "params", "status", "name"),
    [
        ("/v1/readings", {}, 400, "InvalidQuery"),
        ("/v1/readings", {"device": "0x12"}, 400, "InvalidQuery"),
        ("/v1/readings", {"device": NOBODY, "metirc": "1"}, 400, "InvalidQuery"),
        (
            "/v1/readings",
            {"device": NOBODY, "metric": "phlogiston"},
            422,
            "UnknownMetric",
        ),
        ("/v1/readings", {"device": NOBODY, "from": 5, "to": 4}, 400, "InvalidQuery"),
        ("/v1/readings", {"device": NOBODY, "from": "-1"}, 400, "InvalidQuery"),
        ("/v1/readings", {"device": NOBODY, "cursor": "AAAA"}, 400, "InvalidQuery"),
        ("/v1/readings", {"device": ["0x" + "11" * 20] * 2}, 400, "InvalidQuery"),
        ("/v1/batches", {"limit": 0}, 400, "InvalidQuery"),
        ("/v1/batches", {"limit": 1001}, 400, "InvalidQuery"),
        ("/v1/batches", {"limit": "1e3"}, 400, "InvalidQuery"),
        ("/v1/batches", {"state": "odd"}, 400, "InvalidQuery"),
        ("/v1/batches/99", {}, 404, "UnknownBatch"),
        ("/v1/batches/0", {}, 400, "InvalidQuery"),
        ("/v1/batches/x", {}, 400, "InvalidQuery"),
        ("/v1/batches/1/readings/9999/proof", {}, 400, "InvalidQuery"),
        ("/v1/statistics", {"metric": "1"}, 400, "InvalidQuery"),
        ("/v1/statistics", {"device": NOBODY}, 400, "InvalidQuery"),
        ("/v1/statistics", {"cell": "zz"}, 400, "InvalidQuery"),
        *(
            ("/v1/statistics", {"device": NOBODY, "metric": "1", "cell": c}, 400, "InvalidQuery")
            for c in ("f" * 16, "0" * 15, "8" * 15, "172a1072bffffff", "872a1072fffffff")
        ),
        *(
            ("/v1/series", {"device": NOBODY, "metric": "1"} | window, 400, "InvalidQuery")
            for window in (
                {"bucket": 60},
                {"bucket": 30, "from": 0, "to": 1},
                {"bucket": 90, "from": 0, "to": 1},
                {"bucket": 60, "from": 0, "to": 7 * 86_400 + 1},
            )
        ),
        ("/v1/series", {"bucket": 4000}, 400, "InvalidQuery"),
        ("/v1/series", {"metric": "1"}, 400, "InvalidQuery"),
        ("/v1/latest", {}, 400, "InvalidQuery"),
        ("/v1/devices/0x" + "11" * 20, {}, 404, "UnknownDevice"),
        ("/v1/devices/nobody", {}, 400, "InvalidQuery"),
        ("/v1/rewards/0x" + "11" * 20, {}, 404, "NotFound"),
        ("/v1/channels/0x12", {}, 400, "InvalidQuery"),
        ("/v1/channels", {"payer": "x"}, 400, "InvalidQuery"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(
    served: Driven, path: str, params: dict[str, Any], status: int, name: str
) -> None:
    async with served.api() as api:
        response = await api.get(path, params=params)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == f"urn:corechain:error:{name}"
        metrics = (await api.get("/metrics")).text
    assert f'corechain_requests_refused_total{{reason="{name}"}} 1.0' in metrics


async def test_a_batch_without_its_file_proves_nothing(world: World, indexer: Driven) -> None:
    world.commit(world.sealed(), publish=False)
    while await indexer.mirror.step():
        pass
    async with indexer.api() as api:
        assert (await get(api, "/v1/batches/1"))["state"] == "pending"
        problem = await get(api, "/v1/batches/1/readings/0/proof", 404)
        assert problem["type"].endswith("NotFound")


async def test_a_store_that_is_down_is_unavailable_not_broken(served: Driven) -> None:
    async with served.api() as api:
        await served.indexer.pool.close()
        await served.indexer.readers.close()
        problem = await get(api, "/v1/batches", 503)
        assert problem["type"].endswith("Unavailable")
        assert "database" in (await get(api, "/ready", 503))["failing"]
        assert (await get(api, "/health"))["status"] == "ok"


async def test_who_only_answers_is_ready_without_cache_and_node(
    world: World, database: str, bus_url: str
) -> None:
    settings = settings_of(world, database, "redis://127.0.0.1:9/0", rpc_url="http://127.0.0.1:9")
    async with driven(settings, world) as served:
        for roles, failing in (([Role.API], []), (list(Role), ["cache", "node"])):
            served.indexer.prepared.set()
            _, document = await served.indexer.api(roles=roles).health.report()
            assert document.get("failing", []) == failing
            told = " ".join(document.get("warnings", []))
            assert all(f"{name} is away" in told for name in ("cache", "node")) == (not failing)


@given(
    st.one_of(
        st.text(st.sampled_from("ab=&;%+2f \xe9")).map(lambda text: text.encode("latin-1")),
        st.binary(max_size=30),
    )
)
def test_a_query_string_is_read_as_starlette_reads_it(query: bytes) -> None:
    theirs = Request({"type": "http", "query_string": query, "headers": []}).query_params
    ours = [(name, value) for name, values in values_of(query).items() for value in values]
    assert sorted(ours) == sorted(theirs.multi_items())


cursors = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40)), max_size=5)


def params_of(**query: str) -> Params:
    text = httpx.QueryParams(query)
    return Params(Request({"type": "http", "query_string": str(text).encode(), "headers": []}))


@given(cursors)
def test_a_cursor_comes_back_as_it_was(place: list[int | bytes]) -> None:
    assert params_of(cursor=encode_cursor(place)).cursor(place) == place


@given(st.text(max_size=60))
def test_a_made_up_cursor_is_refused_or_harmless(text: str) -> None:
    try:
        place = params_of(cursor=text).cursor([b"", 0])
    except InvalidQuery:
        return
    assert isinstance(place[0], bytes)
    assert isinstance(place[1], int)


# ------------------------------------------------------------------------ rewards


async def test_a_root_that_comes_out_pays_its_owner(world: World, served: Driven) -> None:
    owner = Owner(bytes.fromhex(account_from_key(ADMIN_KEY).address[2:]))
    score = EpochScore()
    for row in await served.indexer.pool.fetch("select leaves from batch_file"):
        packed = row["leaves"]
        score.add(packed[i : i + 40] for i in range(0, len(packed), 40))
    owners = {key.identity.device: owner for key in world.keys}
    amounts = split_down(EMISSION, points_by_owner(score.points(DEFAULT_RULES), owners))
    world.propose(1, RewardTree(amounts).root, EMISSION)
    world.pass_time(3)
    await served.settle()
    await asyncio.sleep(2.1)  # the window of the devnet, by the clock of the API
    async with served.api() as api:
        (epoch,) = (await get(api, "/v1/epochs"))["items"]
        assert (epoch["state"], epoch["bridge_weight_bps"]) == ("verified", 5_000)
        claim = await get(api, "/v1/rewards/0x" + owner.hex())
    assert claim["cumulative"] == str(EMISSION)
    proof = [bytes.fromhex(node[2:]) for node in claim["proof"]]
    account = account_from_key(PROPOSER_KEY)
    before = world.chain.balance_of(owner)
    to = account_from_key(ADMIN_KEY).address
    async with owners_client(world, served) as client:
        assert await client.rewards_claimable(owner)
        world.chain.send(account, "CoreToken", "claim", to, EMISSION, claim["position"], proof)
        assert world.chain.balance_of(owner) == before + EMISSION
        assert not await client.rewards_claimable(owner), "the contract takes it once"


def owners_client(world: World, served: Driven) -> AsyncClient:
    here = "http://indexer"
    made = AsyncClient(here, here, world.chain.rpc_url, world.chain.deployment)
    made.__dict__["_clients"] = LoopClients(served.api)
    return made


async def test_a_root_that_does_not_come_out_is_not_served(world: World, served: Driven) -> None:
    owner = Owner(bytes.fromhex(account_from_key(ADMIN_KEY).address[2:]))
    world.propose(1, RewardTree({owner: EMISSION + 1}).root, EMISSION)
    world.pass_time(3)
    await served.settle()
    async with served.api() as api:
        assert (await get(api, "/v1/epochs"))["items"][0]["state"] == "mismatch"
        await get(api, "/v1/rewards/0x" + owner.hex(), 404)


# ------------------------------------------------------------------ series


async def test_a_series_database_that_is_down_is_bypassed_and_told_later(
    world: World, database: str, bus_url: str
) -> None:
    settings = settings_of(
        world, database, bus_url, influx_url="http://127.0.0.1:9", influx_reads=True
    )
    world.add(hours=1)
    async with driven(settings, world) as indexer:
        with pytest.raises(SeriesUnavailable):
            await indexer.settle()
        pool = indexer.indexer.pool
        assert await pool.fetchval("select count(*) from outbox where sink = 'series'") == 1
        async with indexer.api() as api:
            found = await get(api, "/v1/series", metric="1", device=device_of(world))
            assert [bucket["count"] for bucket in found["items"]] == [1]
            metrics = (await api.get("/metrics")).text
        assert 'corechain_bypassed_total{reason="away",store="series"} 1.0' in metrics


async def test_a_series_database_that_is_down_is_named_and_leaves_the_service_ready(
    world: World, database: str, bus_url: str
) -> None:
    settings = settings_of(world, database, bus_url, influx_url="http://127.0.0.1:9")
    async with driven(settings, world) as driving:
        indexer = driving.indexer
        step = next(e.step for e in driving.exporter.exporters if e.sink is indexer.series_sink)
        assert await indexer.series_sink.patiently(step), "it is tried again"
        assert isinstance(indexer.series, SegmentSeries), "nobody reads from it unless he says so"
        async with driving.api() as api:
            ready = await get(api, "/ready")
            assert "InfluxDB is not told what changes: Client" in ready["warnings"][0]
            assert "corechain_series_away 1.0" in (await api.get("/metrics")).text
