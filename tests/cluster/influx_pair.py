"""Two InfluxDB 2 servers, killed one after the other while batches are verified and undone. `make
test-cluster` runs this where `make influx` has built the server.

given two servers that `corechain indexer influx setup` made ready, and an exporter for each
  when one is killed (-9) under writes, comes back, and then the other
  ├── queries are answered all the while, exactly, by the one that lives or by Postgres
  └── both end with the readings and the downsampled points of Postgres, and no others
given a replication stream of InfluxDB's own from one to the other
  └── it makes up writes after a kill, and carries no deletes: why the exporter tells each server
"""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.cluster import record
from support.influx import BUCKET, ORG, PROGRAM, TOKEN, InfluxServer
from support.processes import PATIENCE_S, eventually, until
from support.series import DEVICES, HOUR_S, START, TEMPERATURE, Item, Kept, hourly

from corechain.protocol.reading import Reading
from corechain.service.bell import until_woken
from corechain.service.database import create_pool, migrate, writer
from corechain.service.supervision import stop_all
from corechain_indexer.export import Exporter
from corechain_indexer.influx_setup import ADMIN, EXPORTER, set_up
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.settings import Settings
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.archive import NO_ARCHIVE
from corechain_indexer.store.backed import BackedSeries
from corechain_indexer.store.opened import influxes_of
from corechain_indexer.store.points import NANO
from corechain_indexer.store.series import Bucket, SegmentSeries
from corechain_indexer.store.tiers import TIERS
from corechain_indexer.wiring import series_sinks_of

BATCHES, KILLS = 60, 2
"""Batches a round: calm, and around each kill of each server."""
CALM = DEVICES[0]
"""Its readings do not change: each answer about it can be compared."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[InfluxServer]]:
    if not PROGRAM.is_file():
        pytest.skip("InfluxDB is not built: make influx")
    with ExitStack() as stack:
        yield [stack.enter_context(InfluxServer(tmp_path / name)) for name in ("one", "two")]


def settings_of(pair: list[InfluxServer], folder: Path) -> Settings:
    """Both servers made ready as an operator does it, and the token that came of it."""
    folder.mkdir()
    (folder / ADMIN).write_text(f"{TOKEN},{TOKEN}")
    values: dict[str, Any] = {
        "rpc_url": "http://127.0.0.1:1",
        "deployment": Path("unused.json"),
        "database_url": "postgresql://127.0.0.1/unused",
        "redis_url": "redis://127.0.0.1/0",
        "data_urls": "http://127.0.0.1/{commitment}",
        "influx_url": ",".join(server.url for server in pair),
        "influx_downsamples": True,
    }
    said: list[str] = []
    set_up(Settings.model_validate(values), folder, said)
    assert said, "there was something to do"
    values["influx_token"] = (folder / EXPORTER).read_text().strip()
    return Settings.model_validate(values)


@dataclass
class Site:
    """Verified batches in Postgres, both exporters at work, and a reader of both servers."""

    kept: Kept
    sinks: list[SeriesSink]
    tasks: list[asyncio.Task[None]]
    """Ended with the site."""
    bypassed: Counter[str]
    next_batch: int = 1
    rng: random.Random = field(default_factory=lambda: random.Random(12))

    async def batches(self, count: int) -> None:
        """Verifies new ones; now and then a reorg takes some of the newest."""
        for _ in range(count):
            number, self.next_batch = self.next_batch, self.next_batch + 1
            await self.kept.verify(number, some_items(self.rng, number), settle=False)
            if self.rng.random() < 0.15:
                newest = sorted(self.kept.standing)[-self.rng.randint(1, 3) :]
                await self.kept.undo(*(batch for batch in newest if batch > 1))

    async def is_answered_by_the_other(self, away: SeriesSink) -> None:
        """Waits until the server that lives has been told of everything; then it answers."""
        others = [sink.name for sink in self.sinks if sink is not away]
        told = "select not exists (select from outbox where sink = any($1::text[]))"
        await until(lambda: self.kept.pool.fetchval(told, others))
        wanted = self.kept.expected(CALM, TEMPERATURE, HOUR_S)

        async def by_influx() -> bool:
            assert isinstance(self.kept.series, BackedSeries)
            before = self.bypassed.total()
            assert await self.kept.ask(CALM) == wanted
            return self.bypassed.total() == before

        await until(by_influx)

    async def is_told(self) -> None:
        """Waits until both have been told of everything, and have downsampled it."""

        async def empty() -> bool:
            outbox = "select not exists (select from outbox where sink like 'series%')"
            stale = "select not exists (select from series_stale)"
            fetched = self.kept.pool.fetchval
            return bool(await fetched(outbox)) and bool(await fetched(stale))

        await until(empty)
        await until(lambda: not any(sink.away for sink in self.sinks))


def some_items(rng: random.Random, number: int) -> list[Item]:
    """Twenty readings of a few devices within two minutes, shared with the batches around; some of
    them days late. None of the calm one's."""
    first = START + 30 * number
    places = {
        (rng.choice(DEVICES[1:6]), first + rng.randrange(120) - rng.choice((0, 0, 0, 400_000)))
        for _ in range(20)
    }
    return [(device, TEMPERATURE, at, rng.randrange(1_900, 2_100)) for device, at in places]


@asynccontextmanager
async def site_of(database: str, settings: Settings) -> AsyncIterator[Site]:
    await migrate(database, MIGRATIONS)
    pool: Any = create_pool(database)
    await pool
    metrics, tasks = Metrics(), []
    copies, bypassed = influxes_of(settings), Counter[str]()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(pool.close)
        sinks = series_sinks_of(settings, copies, metrics, NO_ARCHIVE)
        for sink in sinks:
            stack.push_async_callback(sink.close)
            assert sink.downsampling is not None
            sink.downsampling.pass_s = 0.5
            connection = await stack.enter_async_context(writer(database, f"test {sink.name}"))
            step = partial(sink.patiently, Exporter(connection, sink).step)
            tasks.append(asyncio.create_task(until_woken(step, asyncio.Event(), 0.05)))
        stack.push_async_callback(stop_all, tasks)
        reader = BackedSeries(copies, SegmentSeries(pool), lambda why: bypassed.update([why]))
        yield Site(Kept(pool, reader), sinks, tasks, bypassed)


def points_in(server: InfluxServer, bucket: str = BUCKET) -> list[tuple[str, int, str, int]]:
    """Device, time in nanoseconds, field and value of all points, in order."""
    query = (
        f'from(bucket: "{bucket}") |> range(start: 0, stop: 9000000000) '
        '|> filter(fn: (r) => r._field != "value") '
        "|> map(fn: (r) => ({r with at: string(v: int(v: r._time))})) |> group()"
    )
    rows = server.flux(query)
    return sorted((r["device"], int(r["at"]), r["_field"], int(r["_value"])) for r in rows)


async def points_of(kept: Kept) -> list[tuple[str, int, str, int]]:
    """The same of Postgres."""
    found = []
    for row in await kept.pool.fetch("select batch_id, leaves from batch_file"):
        for start in range(0, len(row["leaves"]), 40):
            r = Reading.unpack(row["leaves"][start : start + 40])
            at = r.observed_at * NANO + row["batch_id"] % NANO
            found.append(("0x" + r.device.hex(), at, "scaled", r.value))
    return sorted(found)


async def windows_of(kept: Kept, every_s: int) -> list[tuple[str, int, str, int]]:
    """What a tier has to hold, by Postgres."""
    found = []
    for device in DEVICES[:6]:
        segments = SegmentSeries(kept.pool)
        for b in await segments.read(device, TEMPERATURE, 0, 2**40, every_s, 10**6):
            fields = {"count": b.count, "sum": b.sum, "min": b.min, "max": b.max}
            for name, value in fields.items():
                found.append(("0x" + device.hex(), b.start * NANO, name, value))
    return sorted(found)


@dataclass
class Queries:
    """Asks about the calm device as long as it runs; how long each answer took, by phase."""

    site: Site
    wanted: list[Bucket]
    phase: str = "before"
    took_ms: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            found = await self.site.kept.ask(CALM)
            took = (time.perf_counter() - began) * 1_000
            self.took_ms.setdefault(self.phase, []).append(took)
            self.wrong += found != self.wanted
            await asyncio.sleep(0.02)

    def p95_ms(self, phase: str) -> float:
        return round(statistics.quantiles(self.took_ms[phase], n=20)[-1], 1)


async def test_two_servers_are_killed_in_turn_and_both_end_with_every_point(
    database: str, pair: list[InfluxServer], tmp_path: Path
) -> None:
    async with site_of(database, settings_of(pair, tmp_path / "secrets")) as site:
        await site.kept.verify(1, hourly(CALM, hours=48), settle=False)
        site.next_batch = 2
        queries = Queries(site, site.kept.expected(CALM, TEMPERATURE, HOUR_S))
        site.tasks.append(asyncio.create_task(queries.run()))
        await site.batches(BATCHES)
        await site.is_told()
        back_s = []
        for server, sink in zip(pair, site.sinks, strict=True):
            for _ in range(KILLS):
                queries.phase = "during"
                writing = asyncio.create_task(site.batches(BATCHES))
                at = site.next_batch + BATCHES // 3
                await until(lambda at=at: site.next_batch >= at)
                server.kill()
                await until(lambda sink=sink: sink.away)
                await writing
                await site.is_answered_by_the_other(sink)
                server.start()
                began = time.monotonic()
                await site.is_told()
                back_s.append(round(time.monotonic() - began, 1))
        queries.phase = "after"
        await site.batches(BATCHES)
        await site.is_told()
        wanted = await points_of(site.kept)
        lost, doubled = 0, 0
        for server in pair:
            found = points_in(server)
            lost += (Counter(wanted) - Counter(found)).total()
            doubled += (Counter(found) - Counter(wanted)).total()
            for tier in TIERS:
                windows = await windows_of(site.kept, tier.every_s)
                assert points_in(server, tier.bucket(BUCKET)) == windows, tier
        assert (lost, doubled, queries.wrong) == (0, 0, 0)
        assert not any(task.done() for task in site.tasks), "nobody gave up"
        record(
            "influx_pair",
            kills={"influxdb": 2 * KILLS},
            points=len(wanted),
            lost=lost,
            doubled=doubled,
            caught_up_s=back_s,
            queries=sum(map(len, queries.took_ms.values())),
            queries_wrong=queries.wrong,
            answered_by_postgres=dict(site.bypassed),
            p95_before_ms=queries.p95_ms("before"),
            p95_during_ms=queries.p95_ms("during"),
            p95_after_ms=queries.p95_ms("after"),
        )


async def test_a_stream_of_influxdb_itself_makes_up_writes_and_carries_no_deletes(
    pair: list[InfluxServer],
) -> None:
    source, target = pair
    orgs = [s.told("GET", f"/api/v2/orgs?org={ORG}")["orgs"][0]["id"] for s in pair]
    remote = source.told("POST", "/api/v2/remotes", {
        "name": "two", "orgID": orgs[0], "remoteURL": target.url, "remoteAPIToken": TOKEN,
        "remoteOrgID": orgs[1], "allowInsecureTLS": False,
    })  # fmt: skip
    source.told("POST", "/api/v2/replications", {
        "name": "readings", "orgID": orgs[0], "remoteID": remote["id"],
        "localBucketID": source.bucket_id(), "remoteBucketID": target.bucket_id(),
        "maxQueueSizeBytes": 64 << 20, "dropNonRetryableData": False, "maxAgeSeconds": 0,
    })  # fmt: skip
    head = "corechain_reading,device=0x01,metric=m,unit=1 value="
    for number in range(3):
        lines = [f"{head}{n}.0,scaled={n}i {START + 100 * number + n}000000000" for n in range(100)]
        source.write("\n".join(lines))
        if number == 1:
            target.kill()
    target.start()
    assert len(points_in(source)) == 300
    assert eventually(lambda: points_in(target) == points_in(source), PATIENCE_S)
    span = {"start": "1970-01-01T00:00:00Z", "stop": "2100-01-01T00:00:00Z"}
    path = f"/api/v2/delete?org={ORG}&bucket={BUCKET}"
    kind = {"Content-Type": "application/json"}
    status, _ = source.ask("POST", path, json.dumps(span), kind)
    assert status == 204
    assert points_in(source) == []
    # What is written after the delete arrives; the delete would have been before it.
    source.write(f"{head}7.0,scaled=7i {START}000000500")
    assert eventually(lambda: len(points_in(target)) != 300, PATIENCE_S)
    assert len(points_in(target)) == 301
