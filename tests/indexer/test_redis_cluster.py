"""The indexer on a Redis Cluster: a real server in cluster mode, which refuses two slots at once.

given a server that has all slots
  ├── newest values come from it, are corrected after a reorg, and are those of Postgres
  ├── events of batches are on its stream, quotas are counted by it
  ├── the names of the URL are asked for again, however the nodes call themselves
  └── when it is gone, Postgres answers, and each process counts for itself
"""

from collections.abc import Iterator

import pytest
from redis.asyncio.cluster import RedisCluster

from corechain.devnet.valkey_cluster import ValkeyCluster
from corechain_indexer.relay import stream_key
from corechain_indexer.store.cluster import cluster_of
from corechain_indexer.store.lives import lives_of
from indexer.support import World, device_of, driven, get, settings_of


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with ValkeyCluster(folder, masters=1, replicas=False) as running:
        yield running


async def test_cache_stream_and_quotas_work_on_a_cluster(
    world: World, database: str, cluster: ValkeyCluster
) -> None:
    settings = settings_of(world, database, cluster.url, anonymous_per_day=1_000)
    world.add(hours=2)
    async with driven(settings, world) as driving, driving.api() as api:
        await driving.settle()
        fork = world.fork_here()
        world.add(hours=1)
        await driving.settle()
        fork.return_to()
        world.add(hours=3)
        await driving.settle()
        one = device_of(world)
        first = await get(api, "/v1/latest", device=one)
        assert first["items"], first
        again = await api.get("/v1/latest", params={"device": one})
        assert again.json()["items"] == first["items"]
        assert driving.metric("corechain_bypassed_total", store="cache", reason="missing") == 0
        assert "r=998" in again.headers["ratelimit"], "of a thousand, by the cluster"
        key = stream_key(world.chain.deployment.chain_id)
        assert await driving.indexer.redis.xlen(key) > 0
        # As a name it is another one than what the nodes call themselves.
        named = cluster_of(cluster.url.replace("127.0.0.1", "127.1"))
        assert await named.ping()
        [run] = await lives_of(named)
        assert run
        assert run in cluster.nodes[0].ask("INFO", "server"), "of a cluster of one, too"
        started = [node.host for node in named.nodes_manager.startup_nodes.values()]
        await named.aclose()
        assert set(started) == {"127.1"}, "asked for again when all nodes have moved"
        for node in cluster.nodes:
            node.kill()
        without = await api.get("/v1/latest", params={"device": one})
        assert without.json()["items"] == first["items"]


def test_the_url_of_a_cluster_names_hosts_user_and_password() -> None:
    found: RedisCluster = cluster_of("rediss+cluster://some:p%40ss@one,two:7000")
    nodes = {(node.host, node.port) for node in found.startup_nodes}  # type: ignore[attr-defined]
    assert nodes == {("one", 6379), ("two", 7000)}
    assert found.connection_kwargs["username"] == "some"
    assert found.connection_kwargs["password"] == "p@ss"
