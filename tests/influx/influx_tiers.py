"""Downsampled points in a real InfluxDB 2 are those of Postgres, whatever came late or was undone.

given readings, downsampled to minutes, hours and days
  ├── each tier has count, sum, least and greatest of every window, as Postgres counts them
  ├── what comes late, and what a reorg undid, changes every tier; windows without readings go
  ├── the tasks make the same points from the same readings
  ├── a killed server, and an exporter that is killed halfway, end with the same points
  ├── tiers that are missing are named, and readings are written all the same
  └── readings that are kept no more leave their downsampled points as they are
"""

import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from support.influx import ORG, TOKEN, InfluxServer
from support.series import DAY_S, DEVICES, HOUR_S, START, TEMPERATURE, Item, Kept, hourly

from corechain.service.database import create_pool, migrate, writer
from corechain_indexer.downsampling import Downsampling
from corechain_indexer.export import Exporter
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.influx import InfluxSeries, open_series
from corechain_indexer.store.influx_tiers import InfluxTiers
from corechain_indexer.store.points import NANO, Span, name_of
from corechain_indexer.store.series import Bucket, SegmentSeries
from corechain_indexer.store.tiers import TIERS, Tier, task

LOCK = "corechain indexer series"


@dataclass
class World:
    """Verified readings, and an InfluxDB that is told of them."""

    kept: Kept
    server: InfluxServer
    series: InfluxSeries
    tiers: InfluxTiers
    bucket: str
    url: str
    sink: SeriesSink = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As a process that has just started."""
        metrics = Metrics()
        made = Downsampling(self.tiers, "series", "1", metrics, pass_s=0.0)
        self.sink = SeriesSink(self.series, metrics, downsampling=made)

    async def export(self, *, steps: int = 10_000) -> None:
        """One session of the exporter, until it has nothing to do."""
        async with writer(self.url, LOCK) as connection:
            exporter = Exporter(connection, self.sink)
            for _ in range(steps):
                if not await exporter.step() and not await self.left():
                    break

    async def export_without(self) -> None:
        """As `export`, of a sink that downsamples nothing."""
        async with writer(self.url, LOCK) as connection:
            exporter = Exporter(connection, self.sink)
            while await exporter.step():
                pass

    async def left(self) -> bool:
        """Of what the next pass can do."""
        made = self.sink.downsampling
        assert made is not None
        ended = int(made.clock()) - made.settled_s - DAY_S
        query = "select exists (select from series_stale where last_at < $1)"
        return bool(await self.kept.pool.fetchval(query, ended)) and not made.away

    def rows(self, tier: Tier) -> dict[tuple[str, str], dict[int, dict[str, int]]]:
        found: dict[tuple[str, str], dict[int, dict[str, int]]] = {}
        for row in self.server.flux(
            f'from(bucket: "{tier.bucket(self.bucket)}") |> range(start: 0, stop: 9000000000) '
            "|> map(fn: (r) => ({r with at: int(v: r._time)}))"
        ):
            windows = found.setdefault((row["device"], row["metric"]), {})
            window = windows.setdefault(int(row["at"]) // NANO, {})
            window[row["_field"]] = int(row["_value"])
        return found

    async def is_exact(self) -> None:
        """Every tier has the buckets of Postgres, and no others."""
        postgres = SegmentSeries(self.kept.pool)
        seen = {(i[0], i[1]) for items in self.kept.standing.values() for i in items}
        for tier in TIERS:
            rows = self.rows(tier)
            named = {("0x" + device.hex(), name_of(metric)) for device, metric in seen}
            assert set(rows) == named, tier
            for device, metric in seen:
                found = rows["0x" + device.hex(), name_of(metric)]
                wanted = await postgres.read(device, metric, 0, 2**40, tier.every_s, 10**6)
                assert [Bucket(at, **found[at]) for at in sorted(found)] == list(wanted), tier


@pytest_asyncio.fixture
async def world(database: str, influx_server: InfluxServer, bucket: str) -> AsyncIterator[World]:
    for tier in TIERS:
        influx_server.create_bucket(tier.bucket(bucket))
    await migrate(database, MIGRATIONS)
    pool: Any = create_pool(database)
    await pool
    series = open_series(influx_server.url, TOKEN, ORG, bucket)
    kept = Kept(pool, SegmentSeries(pool))
    yield World(kept, influx_server, series, InfluxTiers(series), bucket, database)
    await series.close()
    await pool.close()
    for tier in TIERS:
        influx_server.delete_bucket(tier.bucket(bucket))


def any_items(rng: random.Random, first: int = START) -> list[Item]:
    """Readings of a few devices and two metrics; some of them many days late."""
    found = {}
    for _ in range(rng.randint(1, 40)):
        late = rng.choice((0, 0, 0, 0, HOUR_S, 40 * DAY_S))
        at = first + rng.choice((rng.randrange(300), rng.randrange(2 * DAY_S))) - late
        found[rng.choice(DEVICES[:4]), TEMPERATURE, at] = rng.randrange(-900, 2_100)
    return [(*key, value) for key, value in found.items()]


async def test_every_tier_is_exact_after_any_story_of_late_readings_and_reorgs(
    world: World,
) -> None:
    rng = random.Random(20)
    for step in range(1, 19):
        if world.kept.standing and rng.random() < 0.3:
            await world.kept.undo(*sorted(world.kept.standing)[-rng.randint(1, 3) :])
        else:
            items = [(d, m, at, 1_000 + v // 10) for d, m, at, v in any_items(rng)]
            await world.kept.verify(step, items, settle=False)
        if rng.random() < 0.3:
            await world.export()
            await world.is_exact()
    await world.export()
    await world.is_exact()


async def test_windows_whose_readings_are_undone_go_at_every_tier(world: World) -> None:
    await world.kept.verify(1, hourly(hours=30), settle=False)
    await world.kept.verify(2, hourly(DEVICES[1], hours=2, first=START + 5 * DAY_S), settle=False)
    await world.export()
    await world.is_exact()
    await world.kept.undo(2)
    await world.export()
    assert [len(world.rows(tier)) for tier in TIERS] == [1, 1, 1]
    await world.is_exact()


def run_by_itself(server: InfluxServer, flux: str, end: int) -> None:
    """Runs a task as its schedule would when the window that ends at `end` is over."""
    org = server.told("GET", f"/api/v2/orgs?org={ORG}")["orgs"][0]["id"]
    made = server.told("POST", "/api/v2/tasks", {"orgID": org, "flux": flux})
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    path = f"/api/v2/tasks/{made['id']}/runs"
    run = server.told("POST", path, {"scheduledFor": when})
    ended = time.monotonic() + 60
    while time.monotonic() < ended:
        said = server.told("GET", f"{path}/{run['id']}")
        if said["status"] in ("success", "failed", "canceled"):
            break
        time.sleep(0.1)
    assert said["status"] == "success", said
    server.told("DELETE", f"/api/v2/tasks/{made['id']}")


async def test_the_tasks_make_the_points_that_corrections_make(world: World) -> None:
    first = START - START % DAY_S
    rng = random.Random(3)
    items = [
        (d, TEMPERATURE, first + rng.randrange(120), rng.randrange(1_900, 2_100))
        for d in DEVICES[:3]
    ]
    await world.kept.verify(1, items, settle=False)
    downsampling, world.sink.downsampling = world.sink.downsampling, None
    await world.export_without()
    world.sink.downsampling = downsampling
    for tier, ends in zip(TIERS, ((60, 120), (HOUR_S,), (DAY_S,)), strict=True):
        assert world.rows(tier) == {}
        for end in ends:
            run_by_itself(world.server, task(tier, world.bucket), first + end)
    await world.is_exact()


async def test_an_exporter_that_is_killed_at_any_query_ends_with_every_window(
    world: World,
) -> None:
    class Killed(Exception):
        pass

    class Mortal(InfluxTiers):
        life = 0

        async def remake(self, tier: Tier, windows: Span, *, vanished: bool) -> int:
            done = await InfluxTiers.remake(self, tier, windows, vanished=vanished)
            type(self).life -= 1
            if self.life == 0:
                raise Killed
            return done

    await world.kept.verify(1, hourly(hours=30), settle=False)
    for life in range(1, 8):
        world.tiers = Mortal(world.series)
        Mortal.life = life
        await world.kept.verify(life + 1, hourly(DEVICES[life], hours=life * 9), settle=False)
        if life > 2:
            await world.kept.undo(life)
        world.begin()
        with suppress(Killed):
            await world.export()
    world.tiers = InfluxTiers(world.series)
    world.begin()
    await world.export()
    await world.is_exact()


async def test_tiers_that_are_missing_are_named_and_readings_are_written_all_the_same(
    world: World,
) -> None:
    world.server.delete_bucket(TIERS[1].bucket(world.bucket))
    await world.kept.verify(1, hourly(), settle=False)
    await world.export()
    assert "there is no bucket" in world.sink.sentences()[0]
    assert "influx setup --check" in world.sink.sentences()[0]
    assert await world.kept.pool.fetchval("select count(*) from outbox where sink = 'series'") == 0
    world.server.create_bucket(TIERS[1].bucket(world.bucket))
    await world.export()
    assert world.sink.sentences() == []
    await world.is_exact()


async def test_readings_that_are_kept_no_more_leave_their_windows_as_they_are(
    world: World,
) -> None:
    await world.kept.verify(1, hourly(hours=3), settle=False)
    await world.export()
    raw = await world.series.find(world.bucket)
    path = f"/api/v2/buckets/{raw.bucket_id}"
    rules = [{"type": "expire", "everySeconds": 30 * DAY_S}]
    world.server.told("PATCH", path, {"retentionRules": rules})
    before = [world.rows(tier) for tier in TIERS]
    await world.kept.pool.execute("update sink set target = '' where name = 'series'")
    await world.export()
    assert [world.rows(tier) for tier in TIERS] == before


async def test_what_is_turned_off_and_on_again_misses_nothing(world: World) -> None:
    await world.kept.verify(1, hourly(), settle=False)
    await world.export()
    world.sink = SeriesSink(world.series, Metrics())
    await world.kept.verify(2, hourly(DEVICES[1]), settle=False)
    await world.export_without()
    world.begin()
    await world.export()
    await world.is_exact()
