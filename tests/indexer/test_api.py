"""The query API over HTTP: every path, its proofs, its pages.

given verified batches
  ├── every path of the table answers, and the OpenAPI document describes it
  ├── pages put together are everything, once
  ├── proofs verify against the commitment and in the contract
  └── a root that comes out pays its owner, any other is not served
"""

import asyncio
import json
import re
from typing import Any

import h3
import pytest

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
from corechain_indexer.api.routes import ENDPOINTS
from indexer.support import CELL, HOUR_S, START, Driven, World, device_of, get

EMISSION = 10**18


async def test_every_path_answers(world: World, served: Driven) -> None:
    device = device_of(world)
    asked = {
        "/v1/devices/{device}": {},
        "/v1/readings": {"device": device},
        "/v1/statistics": {"device": device, "metric": "pressure"},
        "/v1/series": {"device": device, "metric": "pressure"},
        "/v1/history": {"device": device},
        "/v1/latest": {"device": device},
        "/v1/stations": {"metric": "pressure"},
    }
    missing = {"/v1/rewards/{owner}": 404, "/v1/channels/{id}": 404}
    places = {"device": device, "id": "1", "position": "0", "owner": "0x" + "11" * 20}
    places["resource"] = f"Things('{device}')"
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
