"""What a client has already is not sent again, and nothing that has changed is taken for it.

given answers with their ETags
  ├── asked for again with them: 304, without a body, as long as nothing has happened
  ├── after anything that happens (blocks, verdicts, reorgs and the way back): a 304 only where the
  │   answer is the one that the client has
  └── another query, another form, another database: never
given an answer as of a block
  ├── final, and every batch up to it judged: kept for ever
  └── not final, or a file is still looked for: checked each time
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from corechain.devnet.postgres import PostgresServer
from corechain.service.database import create_pool, migrate
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.reads import Reads
from indexer.support import Driven, World, device_of, get

NOT_MODIFIED = 304


@pytest_asyncio.fixture
async def api(world: World, indexer: Driven) -> AsyncIterator[Any]:
    world.add(hours=2)
    await indexer.settle()
    async with indexer.api() as client:
        yield client


def questions(world: World) -> dict[str, dict[str, str]]:
    device = device_of(world)
    queries = {
        "/v1/readings": {"device": device},
        "/v1/series": {"device": device, "metric": "pressure"},
        "/v1/statistics": {"device": device, "metric": "pressure"},
        "/v1/history": {"device": device},
        "/v1/latest": {"device": device},
        "/v1/stations": {"metric": "pressure"},
    }
    places = {"device": device, "id": "1", "position": "0", "owner": device}
    places["resource"] = "Things"
    paths = (
        e.path.format(**places) for e in ENDPOINTS if not e.timed and "channels/" not in e.path
    )
    return {path: queries.get(path, {}) for path in paths}


async def test_what_a_client_has_is_not_sent_again(world: World, indexer: Driven, api: Any) -> None:
    for path, query in questions(world).items():
        first = await api.get(path, params=query)
        assert first.status_code == 200, (path, first.text)
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "no-cache"
        for held in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
            again = await api.get(path, params=query, headers={"if-none-match": held})
            assert (again.status_code, again.content) == (NOT_MODIFIED, b""), path
            assert again.headers["etag"] == tag
            assert again.headers["vary"] == first.headers["vary"]
        other = await api.get(path, params={**query, "limit": "7"}, headers={"if-none-match": tag})
        assert other.status_code != NOT_MODIFIED
    path, query = next(iter(questions(world).items()))
    tag = (await api.get(path, params=query)).headers["etag"]
    odd = ("", ",", '"', "W/", '"é"', "x" * 9_000, f"x{tag}", f"w/{tag[2:]}", f"*, {tag}", '"*"')
    for wrong in (*odd, f"{tag} {tag}"):
        response = await api.get(path, params=query, headers={"if-none-match": wrong.encode()})
        assert response.status_code == 200, wrong
    for wrong in odd[:6]:
        response = await api.get("/v1/devices", headers={"if-none-match": wrong.encode()})
        assert response.status_code == 200
    table = await api.get("/v1/devices?format=csv", headers={"if-none-match": tag})
    assert table.headers["etag"] != (await api.get("/v1/devices")).headers["etag"]


async def test_who_wants_nothing_that_there_is_is_sent_nothing(world: World, api: Any) -> None:
    asked = questions(world) | {"/v1/status": {}, "/openapi.json": {}}
    asked |= {"/v1/devices": {"format": "csv"}}
    for path, query in asked.items():
        first = await api.get(path, params=query)
        for method in ("GET", "HEAD"):
            for star in ("*", " * "):
                again = await api.request(
                    method, path, params=query, headers={"if-none-match": star}
                )
                assert (again.status_code, again.content) == (NOT_MODIFIED, b""), path
                for name in ("etag", "cache-control", "vary"):
                    assert again.headers.get(name) == first.headers.get(name), path
    for path, status in (("/v1/batches/99", 404), ("/v1/batches/x", 400), ("/v1/none", 404)):
        assert (await api.get(path, headers={"if-none-match": "*"})).status_code == status


async def test_tags_may_stand_in_several_lines(api: Any) -> None:
    tag = (await api.get("/v1/devices")).headers["etag"]
    for lines in (('"a"', tag), (tag, '"a"'), ('"a", "b"', f'"c",, {tag} ,')):
        fields = [("If-None-Match", line) for line in lines]
        assert (await api.get("/v1/devices", headers=fields)).status_code == NOT_MODIFIED, lines
    document = (await api.get("/openapi.json")).headers["etag"]
    again = await api.get("/openapi.json", headers={"if-none-match": f'"a", W/{document}'})
    assert again.status_code == NOT_MODIFIED


async def test_answers_that_change_with_the_clock_have_no_validator(api: Any) -> None:
    status = await api.get("/v1/status")
    assert "etag" not in status.headers
    assert status.headers["cache-control"] == "no-store"


async def test_no_validator_outlives_what_it_is_of(world: World, indexer: Driven, api: Any) -> None:
    """Step by step, through verdicts, blocks, reorgs and the way back: everything that the client
    ever had is offered again."""
    held: dict[str, list[tuple[str, Any]]] = {path: [] for path in questions(world)}
    found = {"kept": 0, "sent": 0}

    async def look() -> None:
        for path, query in questions(world).items():
            now = await api.get(path, params=query)
            for tag, answer in held[path]:
                again = await api.get(path, params=query, headers={"if-none-match": tag})
                if again.status_code == NOT_MODIFIED:
                    assert answer == now.json(), path
                    found["kept"] += 1
                else:
                    found["sent"] += 1
            if now.status_code == 200:
                held[path].append((now.headers["etag"], now.json()))

    await look()
    await look()
    late = world.commit(world.sealed(2), publish=False)
    await indexer.settle()
    await look()
    world.publish(late)
    await indexer.until_verified(2)
    await look()
    fork = world.fork_here()
    world.add(hours=1)
    await indexer.settle()
    await look()
    fork.return_to()
    world.add(hours=3)
    world.register_more()
    await indexer.settle()
    await look()
    world.rpc("anvil_mine", hex(70))
    await indexer.settle()
    await look()
    assert found["kept"] >= len(held)
    assert found["sent"] > 5 * len(held)


async def test_another_database_answers_for_itself(
    indexer: Driven, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database("validators_other")
    try:
        await migrate(url, MIGRATIONS)
        async with create_pool(url) as other:
            ours, theirs = Reads(indexer.indexer.pool), Reads(other)
            same = "update change set number = 7"
            await indexer.indexer.pool.execute(same)
            await other.execute(same)
            assert await ours.change() != await theirs.change()
    finally:
        postgres_server.drop_database("validators_other")


async def test_what_will_never_change_may_be_kept_for_ever(
    world: World, indexer: Driven, api: Any
) -> None:
    async def kept(block: int) -> str:
        response = await api.get("/v1/batches", params={"as_of": block})
        return str(response.headers["cache-control"])

    block = world.head
    assert await kept(block) == "no-cache", "not final"
    late = world.commit(world.sealed(2), publish=False)
    later = world.head
    world.rpc("anvil_mine", hex(70))
    await indexer.settle()
    assert "immutable" in await kept(block)
    assert await kept(later) == "no-cache", "a file may still come"
    world.publish(late)
    await indexer.until_verified(2)
    assert "immutable" in await kept(later)
    answer = await get(api, "/v1/batches", as_of=later)
    assert {item["finality"] for item in answer["items"]} == {"finalised"}
