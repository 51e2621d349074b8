"""A whole index, from chain and data files, with its readings on shards.

given the same chain, mirrored by an index with four shards and by one without
  ├── both answer every query alike, before and after a reorg
  ├── the audit of the divided one is clean, and finds what was tampered with on a shard
  └── a rebuild divides it, and what comes next may be divided otherwise
given a shard that is away
  ├── the query API says which one, and serves newest values from the cache on
  └── mirror and API in one process stay ready, and warn of the loops that wait
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.databases import Databases
from support.processes import PATIENCE_S

from corechain.service.errors import WrongDatabase
from corechain.service.supervision import stop_all
from corechain_indexer.api.sensorthings.paths import ROOT as STA
from corechain_indexer.audit import Auditor
from corechain_indexer.following import Role
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.service import Indexer
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.shards.databases import owner_of
from corechain_indexer.store.shards.keeping import ShardKeeper
from indexer.conftest import OTHER_LIFE
from indexer.shards_without_chain import four_shards, rename
from indexer.support import CELL, HOUR_S, START, Driven, World, driven, get, more_keys, settings_of


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    with four_shards(databases) as urls:
        yield urls


@pytest.fixture
def other_database(databases: Databases) -> Iterator[str]:
    url = databases.migrated("indexer", MIGRATIONS, OTHER_LIFE)
    yield url
    databases.drop(url)


@pytest_asyncio.fixture
async def divided(
    world: World, bus_url: str, shard_urls: list[str], database: str, other_database: str
) -> AsyncIterator[tuple[Driven, Driven]]:
    """Two indexes of one chain: one with shards, one without."""
    redis = bus_url.rpartition("/")[0] + "/9"
    parted = settings_of(world, other_database, redis, shard_urls=" ".join(shard_urls))
    whole = settings_of(world, database, bus_url)
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(driven(one, world)) for one in (parted, whole)]
        yield made[0], made[1]


def spread(world: World) -> None:
    """Gives it a device of another shard than the others'."""
    known = {owner_of(key.identity.device, 4) for key in world.keys}
    more = next(k for k in more_keys(0, 50) if owner_of(k.identity.device, 4) not in known)
    world.register([more])
    world.keys = [*world.keys, more]


async def answers(index: Driven, world: World) -> dict[str, Any]:
    """What both must say of every device, and what they say of all."""
    window = {"from_": START, "to": START + 200 * HOUR_S, "metric": "air_temperature"}
    found: dict[str, Any] = {}
    async with index.api() as api:
        for key in world.keys:
            device = "0x" + key.identity.device.hex()
            asked = window | {"device": device}
            found[device] = [
                await get(api, "/v1/latest", device=device),
                await get(api, "/v1/readings", device=device, limit=7),
                await get(api, "/v1/readings", proofs=True, **asked),
                await get(api, "/v1/series", bucket=3600, **asked),
                await get(api, "/v1/statistics", **asked),
                await get(api, "/v1/history", device=device),
                await get(api, f"{STA}/Datastreams('{device}:air_temperature')/Observations",
                          **{"$orderby": "phenomenonTime desc", "$top": 5, "$count": "true"}),
            ]  # fmt: skip
        region = {"cell": f"{CELL:015x}", "resolution": 7}
        found["region"] = await get(api, "/v1/statistics", **region, **window)
        found["history"] = await get(api, "/v1/history", **region)
        found["batches"] = await get(api, "/v1/batches")
        found["things"] = await get(api, f"{STA}/Things", **{"$expand": "Locations,Datastreams"})
        found["observations"] = await get(api, f"{STA}/Observations", **{"$top": 1000})
    return found


async def test_an_index_with_shards_answers_as_one_without(
    divided: tuple[Driven, Driven], world: World, shard_urls: list[str]
) -> None:
    parted, whole = divided
    spread(world)
    keeper = ShardKeeper(parted.indexer.pool, parted.indexer.shards)  # type: ignore[arg-type]
    world.add(hours=4)
    fork = world.fork_here()
    world.add(hours=5)

    async def agree(batches: int) -> None:
        for index in divided:
            await index.until_verified(batches)
        theirs, ours = await answers(whole, world), await answers(parted, world)
        assert ours == theirs
        assert len(ours["batches"]["items"]) == batches
        assert all(ours["0x" + key.identity.device.hex()][0]["items"] for key in world.keys)

    await agree(2)
    fork.return_to()
    world.add(hours=3)
    world.add(hours=2)
    for index in divided:
        await index.settle()
    await agree(3)
    while await keeper.step():
        pass
    await parted.settle()
    await agree(3)
    assert await parted.indexer.pool.fetchval("select count(*) from segment") == 0
    await audits_are_clean(parted)


async def audits_are_clean(index: Driven) -> None:
    """But for a row that is changed on a shard."""
    made, shards = index.indexer, index.indexer.shards
    assert shards is not None
    addresses = [contract.address for contract in made.deployment.contracts.values()]
    auditor = Auditor(made.pool, made.rpc, addresses, 100)
    newest = await made.pool.fetchval("select max(number) from block")
    report = await auditor.audit(0, newest)
    assert (report.is_clean, report.batches) == (True, 3), report
    for shard in shards.all:
        await shard.pool.execute("update segment set sum = sum + 1 where position = 0")
    assert not (await auditor.audit(0, newest)).is_clean


async def test_a_rebuild_divides_an_index_and_the_next_one_may_have_other_shards(
    world: World, database: str, bus_url: str, shard_urls: list[str]
) -> None:
    world.add()
    undivided = settings_of(world, database, bus_url)
    four = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls))
    two = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls[:2]))
    async with driven(undivided, world) as index:
        await index.until_verified(1)
        before = (await answers(index, world)) | {"batches": None}
    await forget_everything(four)  # the way from no shards to some
    async with driven(four, world) as index:
        await index.until_verified(1)
        assert (await answers(index, world)) | {"batches": None} == before
    with pytest.raises(WrongDatabase, match="is divided over 4"):
        await forget_everything(two)
    await forget_everything(four)
    async with driven(two, world) as index:
        await index.until_verified(1)
        assert (await answers(index, world)) | {"batches": None} == before


async def stays_ready(indexer: Indexer, api: httpx.AsyncClient) -> None:
    """Also when loops of the mirror have found the shard away, and wait for it."""
    loops = indexer.loops(list(Role), indexer.api())
    tasks = [asyncio.create_task(loop()) for loop in loops]
    try:
        async with asyncio.timeout(PATIENCE_S):
            while "shard keeper" not in indexer.supervised.unwell():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        found = await get(api, "/ready")
        assert any(why.startswith("shard keeper waits") for why in found["warnings"])
    finally:
        await stop_all(tasks)


async def test_queries_of_a_shard_that_is_away_are_503_and_say_so(
    world: World, database: str, bus_url: str, shard_urls: list[str], postgres: str
) -> None:
    spread(world)
    devices = [key.identity.device for key in world.keys]
    lost = owner_of(devices[0], 4)
    world.add()
    parted = settings_of(world, database, bus_url, shard_urls=" ".join(shard_urls))
    async with driven(parted, world) as index, index.api() as api:
        await index.until_verified(1)
        name = shard_urls[lost].rpartition("/")[2]
        await rename(postgres, shard_urls[lost], f"{name}_away")
        for device in devices:
            said = await api.get("/v1/readings", params={"device": "0x" + device.hex()})
            is_lost = owner_of(device, 4) == lost
            assert said.status_code == (503 if is_lost else 200), said.text
            if is_lost:
                assert said.json()["type"] == "urn:corechain:error:Unavailable"
                assert said.json()["detail"].startswith(f"shard {lost}: ")
        # Newest values are in the cache, whoever has the segments.
        await get(api, "/v1/latest", device="0x" + devices[0].hex())
        assert any(why.startswith(f"shard {lost} is away") for why in index.indexer.warnings())
        for role, shown in ((Role.API, 0.0), (Role.MIRROR, 1.0)):  # who asks them all the time
            index.indexer.loops([role], index.indexer.api())
            assert index.metric("corechain_shard_away", shard=str(lost)) == shown
        await stays_ready(index.indexer, api)
        await rename(postgres, shard_urls[lost].rpartition("/")[0] + f"/{name}_away", name)
        await get(api, "/v1/readings", device="0x" + devices[0].hex())
