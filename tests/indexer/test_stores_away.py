"""The query API while what it reads from is away.

given a database, a cache, a node or a series database that is down
  └── what needs it says so by name; all else is answered, and told later
given a database that refuses our password
  └── the setting is named, the process stays alive, and is ready once the password is right
"""

import pytest
from support.guarded import OTHER, RIGHT, guarded_postgres
from support.processes import until

from corechain.devnet.postgres import PostgresServer
from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.following import Role
from corechain_indexer.store.series_groups import SeriesGroups
from indexer.support import Driven, World, device_of, driven, get, settings_of


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
        step = next(e.step for e in driving.exporter.exporters if e.sink is indexer.series_sinks[0])
        assert await indexer.series_sinks[0].patiently(step), "it is tried again"
        assert isinstance(indexer.series, SeriesGroups), "nobody reads from it unless he says so"
        async with driving.api() as api:
            ready = await get(api, "/ready")
            assert "InfluxDB is not told what changes: Client" in ready["warnings"][0]
            assert 'corechain_series_away{server="1"} 1.0' in (await api.get("/metrics")).text


async def test_a_password_that_is_changed_makes_it_unready_and_leaves_it_alive(
    world: World, database: str, bus_url: str, postgres_server: PostgresServer
) -> None:
    async with guarded_postgres(postgres_server) as guarded:
        settings = settings_of(world, guarded.url(database), bus_url)
        async with driven(settings, world) as served, served.api() as api:
            assert (await get(api, "/ready"))["status"] == "ok"
            await guarded.set(OTHER)

            async def is_named() -> bool:
                reasons = (await api.get("/ready")).json().get("reasons", {})
                return "refuses what INDEXER_DATABASE_URL says" in reasons.get("database", "")

            await until(is_named)
            assert (await get(api, "/health"))["status"] == "ok"
            assert "INDEXER_DATABASE_URL" in (await get(api, "/v1/epochs", 503))["detail"]
            counted = 'corechain_access_refused_total{setting="INDEXER_DATABASE_URL"}'
            assert counted in (await api.get("/metrics")).text
            await guarded.set(RIGHT)
            assert (await get(api, "/ready"))["status"] == "ok"
