"""The series in a real InfluxDB 2: the suite that Postgres passes (tests/support/series.py), and
what only this server can get wrong. `make test-influx` runs this; the plain suite has no InfluxDB.

given a bucket
  ├── it passes the suite of every store of series
  ├── its points are those of Postgres, one by one, with tags and fields as documented
  ├── its series are as many as devices and metrics, whatever the number of batches
  ├── what another life left in it is gone before it is filled
  └── a bucket that forgets is not asked for what it may have forgotten
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from support.influx import ORG, TOKEN, InfluxServer
from support.series import DAY_S, DEVICES, HOUR_S, START, Kept, SeriesSuite, hourly

from corechain.service.database import create_pool, migrate, writer
from corechain_indexer.export import Exporter
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.backed import BackedSeries
from corechain_indexer.store.influx import InfluxSeries, open_series
from corechain_indexer.store.points import LAST_S
from corechain_indexer.store.series import SegmentSeries

if TYPE_CHECKING:
    from corechain.service.database import Database

LOCK = "corechain indexer series"


@asynccontextmanager
async def opened(database: str) -> AsyncIterator["Database"]:
    await migrate(database, MIGRATIONS)
    pool = create_pool(database)
    await pool
    yield pool
    await pool.close()


async def export(database: str, series: Any, sink: SeriesSink | None = None) -> None:
    """One session of the exporter, until the outbox is empty."""
    async with writer(database, LOCK) as connection:
        exporter = Exporter(connection, sink or SeriesSink(series, Metrics()))
        while await exporter.step():
            pass


@pytest_asyncio.fixture
async def kept(database: str, influx: InfluxSeries) -> AsyncIterator[Kept]:
    async with opened(database) as pool:
        yield Kept(pool, influx, lambda: export(database, influx))


class TestInflux(SeriesSuite):
    """Whatever the exporter has told InfluxDB."""


async def test_the_points_are_those_of_postgres_with_the_documented_tags_and_fields(
    kept: Kept, influx_server: InfluxServer, bucket: str
) -> None:
    await kept.verify(7, hourly(hours=1, value=-250))
    rows = influx_server.flux(f'from(bucket: "{bucket}") |> range(start: 0)')
    assert {row["_field"]: row["_value"] for row in rows} == {"value": "-2.5", "scaled": "-250"}
    for row in rows:
        assert row["_measurement"] == "corechain_reading"
        assert (row["device"], row["metric"], row["unit"]) == (
            "0x" + DEVICES[0].hex(), "air_temperature", "Cel",
        )  # fmt: skip
        assert row["_time"] == "2013-02-01T00:00:00.000000007Z"


async def test_a_hundred_batches_make_no_more_series_than_one(
    kept: Kept, influx_server: InfluxServer, bucket: str
) -> None:
    for number in range(1, 101):
        await kept.verify(number, hourly(first=START + number, hours=1), settle=False)
    await kept.settle()
    query = f'import "influxdata/influxdb"\ninfluxdb.cardinality(bucket: "{bucket}", start: -100y)'
    assert [row["_value"] for row in influx_server.flux(query)] == ["1"]
    assert [b.count for b in await kept.ask()] == [100]


async def test_what_another_life_has_left_is_gone_before_it_is_filled(
    kept: Kept, influx_server: InfluxServer, bucket: str
) -> None:
    device = "0x" + DEVICES[0].hex()
    ours = f"corechain_reading,device={device},metric=air_temperature,unit=Cel"
    influx_server.write(f"{ours} value=1,scaled=100i {START}000000099\nother,a=b c=1 5", bucket)
    await kept.verify(1, hourly())
    await kept.is_exact()
    query = f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._measurement == '
    assert influx_server.flux(query + '"other")'), "what is not ours stays"


async def test_a_database_restored_from_a_copy_fills_the_bucket_anew(
    kept: Kept, influx_server: InfluxServer
) -> None:
    await kept.verify(1, hourly())
    await kept.pool.execute("update sink set target = '' where name = 'series'")
    await kept.verify(2, hourly(DEVICES[1]))
    await kept.is_exact()


async def test_a_time_that_influxdb_has_not_is_told_and_postgres_answers_for_it(
    kept: Kept, database: str
) -> None:
    reasons: list[str] = []
    backed = BackedSeries([kept.series], SegmentSeries(kept.pool), reasons.append)  # type: ignore[arg-type]
    sink = SeriesSink(kept.series, Metrics())  # type: ignore[arg-type]
    await kept.verify(1, hourly(hours=1), settle=False)
    await kept.verify(2, hourly(first=LAST_S + 1, hours=1), settle=False)
    await export(database, None, sink)
    assert "1 readings of 1 batches" in sink.sentences()[0]
    assert "after the year 2262" in sink.sentences()[0]
    kept.series = backed
    await kept.is_exact()
    assert reasons == ["refused"]
    assert len(await kept.ask(end=START + DAY_S)) == 1
    assert reasons == ["refused"]


async def test_a_bucket_that_forgets_is_not_asked_for_what_it_may_have_forgotten(
    database: str, influx_server: InfluxServer
) -> None:
    influx_server.create_bucket("forgetful", kept_s=DAY_S)
    series = open_series(influx_server.url, TOKEN, ORG, "forgetful")
    reasons: list[str] = []
    try:
        async with opened(database) as pool:
            now = START + 30 * DAY_S
            backed = BackedSeries([series], SegmentSeries(pool), reasons.append, lambda: now)
            await export(database, series)
            kept = Kept(pool, backed)
            assert await kept.ask(start=now - DAY_S + HOUR_S) == []
            assert reasons == []
            await kept.ask(start=now - DAY_S - HOUR_S)
            assert reasons == ["retention"]
    finally:
        await series.close()
        influx_server.delete_bucket("forgetful")


async def test_a_bucket_with_a_name_that_flux_would_read_as_code_is_just_a_name(
    database: str, influx_server: InfluxServer
) -> None:
    name = "${1 + 1} or \\x41"  # the server itself refuses quotation marks
    influx_server.create_bucket(name)
    series = open_series(influx_server.url, TOKEN, ORG, name)
    try:
        async with opened(database) as pool:
            kept = Kept(pool, series, lambda: export(database, series))
            await kept.verify(1, hourly())
            await kept.is_exact()
            assert await series.kept_s() == 0
    finally:
        await series.close()
        influx_server.delete_bucket(name)
