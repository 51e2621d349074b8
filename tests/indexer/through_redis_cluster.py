"""The indexer on a Redis Cluster of three masters and three replicas: `make test-cluster`.

given queries of newest values, all the time
  ├── while a slot is moved to another master, every answer is right, and none comes from Postgres
  ├── when a master is killed (-9), every answer is right; Postgres gives those that it had, until
  │   its replica has taken over; then the cluster answers all of them again
  └── the same when it is killed while all of its slots move to another master
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.crc import key_slot
from support.cluster import record
from support.processes import until

from corechain.devnet.valkey_cluster import ValkeyCluster
from indexer.support import Driven, World, driven, get, settings_of


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@asynccontextmanager
async def asked(
    api: httpx.AsyncClient, devices: list[str], truth: dict[str, object]
) -> AsyncIterator[list[float]]:
    """Asks in turn until the end; how long each took. Every answer has to be the true one."""
    took: list[float] = []

    async def ask() -> None:
        while True:
            for device in devices:
                began = time.monotonic()
                assert await newest(api, device) == truth[device]
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.005)

    task = asyncio.create_task(ask())
    try:
        yield took
        assert not task.done(), task.exception()
    finally:
        task.cancel()


async def newest(api: httpx.AsyncClient, device: str) -> object:
    return (await get(api, "/v1/latest", device=device))["items"]


def bypassed(driving: Driven) -> float:
    """Questions that Postgres had to answer."""
    families = driving.indexer.metrics.registry.collect()
    found = (sample for family in families for sample in family.samples)
    name = "corechain_bypassed_total"
    return sum(s.value for s in found if s.name == name and s.labels["store"] == "cache")


async def test_newest_values_survive_a_reshard_and_a_failover(
    world: World, database: str, cluster: ValkeyCluster
) -> None:
    settings = settings_of(world, database, cluster.url)
    world.register_more()
    world.add(hours=3)
    async with driven(settings, world) as driving, driving.api() as api:
        await driving.settle()
        devices = [row["device"] for row in (await get(api, "/v1/devices"))["items"]]
        truth = {device: await newest(api, device) for device in devices}
        truth = {device: items for device, items in truth.items() if items}
        devices = list(truth)
        (key,) = await driving.indexer.redis.keys(f"*{devices[0][2:]}")
        slot = key_slot(key)
        async with asked(api, devices, truth) as took:
            await until(lambda: len(took) > 100)
            before, calm = bypassed(driving), len(took)
            owner = cluster.owner_of(slot)
            target = next(node for node in cluster.masters() if node is not owner)
            await asyncio.to_thread(cluster.move, slot, owner, target)
            more = len(took) + 100
            await until(lambda: len(took) > more)
            assert bypassed(driving) == before, "every one was answered by the cluster"
            moved = len(took)
            killed = time.monotonic()
            target.kill()
            await until(lambda: _has_owner(cluster, slot))
            failover_s = round(time.monotonic() - killed, 1)
            await until(lambda: _settled(driving, took))
            cached_s = round(time.monotonic() - killed, 1)
            target.start()
            await asyncio.to_thread(cluster.wait_until_whole)
            source, other = (
                cluster.owner_of(slot),
                next(node for node in cluster.masters() if node is not cluster.owner_of(slot)),
            )
            await asyncio.to_thread(cluster.begin_move_all, source, other)
            source.kill()
            await until(lambda: _has_owner(cluster, slot))
            await until(lambda: _settled(driving, took))
            source.start()
            await asyncio.to_thread(cluster.wait_until_whole)
            await until(lambda: _settled(driving, took))
        record(
            "valkey",
            kills={target.name: 1, f"{source.name}, while its slots moved": 1},
            resharded_slots=1,
            failover_s=failover_s,
            cache_answers_again_s=cached_s,
            queries=len(took),
            queries_wrong=0,
            by_postgres=bypassed(driving),
            p95_before_ms=_p95_ms(took[:calm]),
            p95_reshard_ms=_p95_ms(took[calm:moved]),
            p95_during_ms=_p95_ms(took[moved:]),
        )


def _has_owner(cluster: ValkeyCluster, slot: int) -> bool:
    try:
        return cluster.owner_of(slot) is not None
    except StopIteration:
        return False


async def _settled(driving: Driven, took: list[float]) -> bool:
    """A hundred answers, and none of them by Postgres."""
    before, count = bypassed(driving), len(took)
    await until(lambda: len(took) > count + 100)
    return bypassed(driving) == before


def _p95_ms(took: list[float]) -> float:
    return round(1e3 * sorted(took)[int(0.95 * len(took))], 1)
