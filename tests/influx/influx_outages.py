"""Whatever a real InfluxDB 2 does, nothing waits for it, and in the end it has Postgres's readings.

given an exporter that copies verified batches
  ├── killed (-9) in the middle of writes and retractions: it ends with all points, and no others
  ├── hanging: a query waits once, then Postgres answers at once
  ├── with a token that is taken back, or a bucket that is gone: named, and caught up
  ├── with a bucket that was made anew: filled from the beginning
  ├── 413, 429 with Retry-After, 503: in smaller parts, later, again
  └── lines that it refuses for what they are: counted and named, the others are written
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from support.faults import HANG, PASS, FaultProxy
from support.influx import BUCKET, ORG, TOKEN, InfluxServer
from support.odd_http import Asked, Odd, OddProxy
from support.processes import until
from support.series import DAY_S, DEVICES, START, Kept, hourly

from corechain.protocol.reading import Reading
from corechain.service.bell import until_woken
from corechain.service.database import create_pool, migrate, writer
from corechain.service.settings import load
from corechain.service.supervision import stop_all
from corechain_indexer.export import Exporter
from corechain_indexer.influx_settings import InfluxSettings, SetupSettings
from corechain_indexer.influx_setup import ADMIN, EXPORTER, set_up
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.store import MIGRATIONS, backed
from corechain_indexer.store.backed import BackedSeries
from corechain_indexer.store.influx import InfluxSeries, open_series
from corechain_indexer.store.points import NANO
from corechain_indexer.store.series import SegmentSeries


class InfluxedSettings(InfluxSettings):
    ENV_PREFIX = "INDEXER_"


LOCK = "corechain indexer series"
ERROR = b'{"code":"%b","message":"%b"}'


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[object]:
    await migrate(database, MIGRATIONS)
    pool = create_pool(database)
    await pool
    yield pool
    await pool.close()


@pytest.fixture
def own_influx(tmp_path: Path) -> Iterator[InfluxServer]:
    with InfluxServer(tmp_path / "influx") as server:
        yield server


@pytest.fixture
def odd(influx_server: InfluxServer) -> Iterator[OddProxy]:
    with OddProxy(influx_server.port) as proxy:
        yield proxy


@asynccontextmanager
async def exporting(
    database: str,
    url: str,
    bucket: str = BUCKET,
    token: str = TOKEN,
    again: Callable[[], str] | None = None,
) -> AsyncIterator[tuple[SeriesSink, InfluxSeries]]:
    """The exporter as the service runs it, in a task of its own."""
    series = open_series(url, token, ORG, bucket, again)
    sink = SeriesSink(series, Metrics())
    async with writer(database, LOCK) as connection:
        step = partial(sink.patiently, Exporter(connection, sink).step)
        task = asyncio.create_task(until_woken(step, asyncio.Event(), 0.05))
        try:
            yield sink, series
        finally:
            await stop_all([task])
            await series.close()


async def is_told(kept: Kept) -> None:
    """Waits until nothing is left to tell."""

    async def empty() -> bool:
        query = "select not exists (select from outbox where sink = 'series')"
        return bool(await kept.pool.fetchval(query))

    await until(empty)


async def has_begun(kept: Kept) -> None:
    """Waits until the bucket is cleared, and known: what is written before that goes."""

    async def known() -> bool:
        return bool(await kept.pool.fetchval("select target <> '' from sink where name = 'series'"))

    await until(known)


async def has_all_points(kept: Kept, server: InfluxServer, bucket: str = BUCKET) -> None:
    """Point by point, those of Postgres."""
    query = (
        f'from(bucket: "{bucket}") |> range(start: 0, stop: 9000000000) '
        '|> filter(fn: (r) => r._field == "scaled") '
        "|> map(fn: (r) => ({r with at: string(v: int(v: r._time))})) |> group()"
    )
    found = [(row["device"], int(row["at"]), int(row["_value"])) for row in server.flux(query)]
    wanted = []
    for row in await kept.pool.fetch("select batch_id, leaves from batch_file"):
        for start in range(0, len(row["leaves"]), 40):
            r = Reading.unpack(row["leaves"][start : start + 40])
            at = r.observed_at * NANO + row["batch_id"] % NANO
            wanted.append(("0x" + r.device.hex(), at, r.value))
    assert sorted(found) == sorted(wanted)


async def test_a_server_that_is_killed_again_and_again_ends_with_every_point(
    database: str, pool: object, own_influx: InfluxServer
) -> None:
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, own_influx.url) as (sink, _):
        for number in range(1, 41):
            device = DEVICES[number % 5]
            await kept.verify(number, hourly(device, 24, START + number), settle=False)
            if number % 8 == 0:
                own_influx.kill()
                await kept.undo(number - 1, number)
                if number == 16:
                    await until(lambda: sink.away)  # at least once it is seen to be away
                own_influx.start()
        await is_told(kept)
        await until(lambda: not sink.away)
    await has_all_points(kept, own_influx)
    assert own_influx.flux(f'from(bucket: "{BUCKET}") |> range(start: 0) |> first()')


async def test_a_server_that_hangs_delays_a_query_once(
    database: str, pool: object, influx_server: InfluxServer, bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(backed, "READ_LIMIT_S", 0.2)
    monkeypatch.setattr(backed, "AWAY_S", 3_600.0)
    reasons: list[str] = []
    with FaultProxy(influx_server.port) as proxy:
        async with exporting(database, f"http://127.0.0.1:{proxy.port}", bucket) as (_, series):
            copy = BackedSeries([series], SegmentSeries(pool), reasons.append)  # type: ignore[arg-type]
            kept = Kept(pool, copy)  # type: ignore[arg-type]
            await kept.verify(1, hourly(), settle=False)
            await is_told(kept)
            proxy.become(HANG)
            for _ in range(20):
                await kept.is_exact()
            assert set(reasons) == {"away"}
            known = copy.asked_in_turn[0].away_until
            await kept.ask()
            assert copy.asked_in_turn[0].away_until == known, "nobody asked it again"
            await kept.verify(2, hourly(DEVICES[1]), settle=False)
            proxy.become(PASS)
            copy.asked_in_turn[0].away_until = 0.0
            await is_told(kept)
            reasons.clear()
            await kept.is_exact()


async def test_a_token_that_is_not_taken_is_named_and_nothing_is_lost(
    database: str, pool: object, influx_server: InfluxServer, bucket: str
) -> None:
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    await kept.verify(1, hourly(), settle=False)
    async with exporting(database, influx_server.url, bucket, "another-token") as (sink, _):
        await until(lambda: sink.away)
        assert "401 Unauthorized" in sink.sentences()[0]
    async with exporting(database, influx_server.url, bucket):
        await is_told(kept)
    await has_all_points(kept, influx_server, bucket)


async def test_a_bucket_that_was_made_anew_is_filled_from_the_beginning(
    database: str, pool: object, influx_server: InfluxServer
) -> None:
    influx_server.create_bucket("fleeting")
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, influx_server.url, "fleeting") as (sink, series):
        copy = BackedSeries([series], SegmentSeries(pool))  # type: ignore[arg-type]
        await kept.verify(1, hourly(), settle=False)
        await is_told(kept)
        kept.series = copy
        await kept.is_exact()
        influx_server.delete_bucket("fleeting")
        await kept.verify(2, hourly(DEVICES[1]), settle=False)
        await until(lambda: sink.away)
        assert "404 Not Found" in sink.sentences()[0] or "no bucket" in sink.sentences()[0]
        influx_server.create_bucket("fleeting")
        await kept.is_exact()
        await is_told(kept)
        await until(lambda: not sink.away)
        await kept.is_exact()
    await has_all_points(kept, influx_server, "fleeting")
    influx_server.delete_bucket("fleeting")


async def test_a_bucket_and_a_token_that_are_gone_are_made_anew_by_setup_while_we_run(
    database: str, pool: object, influx_server: InfluxServer, tmp_path: Path
) -> None:
    url, name = influx_server.url, "fleeting"
    layout = SetupSettings.model_validate({"influx_url": url, "influx_bucket": name})
    (tmp_path / ADMIN).write_text(TOKEN)
    set_up(layout, tmp_path, [])
    environment = {"INDEXER_INFLUX_URL": url, "INDEXER_INFLUX_TOKEN_FILE": f"{tmp_path / EXPORTER}"}
    settings = load(InfluxedSettings, environment)
    kept, (token,) = Kept(pool, SegmentSeries(pool)), settings.influx_tokens  # type: ignore[arg-type]
    now = partial(settings.influx_token_now, 0)
    async with exporting(database, url, name, token, now) as (sink, _):
        await kept.verify(1, hourly(), settle=False)
        await is_told(kept)
        influx_server.delete_bucket(name)
        for one in influx_server.told("GET", "/api/v2/authorizations")["authorizations"]:
            if one["description"].endswith("of fleeting"):
                influx_server.told("DELETE", f"/api/v2/authorizations/{one['id']}")
        await kept.verify(2, hourly(DEVICES[1]), settle=False)
        await until(lambda: "INDEXER_INFLUX_TOKEN" in sink.away)
        assert (
            'corechain_access_refused_total{setting="INDEXER_INFLUX_TOKEN"}'
            in sink.metrics.exposition().decode()
        )
        said: list[str] = []
        set_up(layout, tmp_path, said)
        assert any("fleeting: made it" in one for one in said)
        await is_told(kept)
        await until(lambda: not sink.away)
    await has_all_points(kept, influx_server, name)
    influx_server.delete_bucket(name)


def is_write(asked: Asked) -> bool:
    return asked.path.startswith("/api/v2/write")


def lines_in(asked: Asked) -> list[bytes]:
    assert asked.headers["Content-Encoding"] == "gzip"
    return gzip.decompress(asked.body).splitlines()


async def test_a_request_that_is_too_large_is_halved_until_it_is_not(
    database: str, pool: object, influx_server: InfluxServer, bucket: str, odd: OddProxy
) -> None:
    def small(asked: Asked) -> Odd | None:
        if is_write(asked) and len(lines_in(asked)) > 10:
            return Odd(413, ERROR % (b"request too large", b"too large"))
        return None

    odd.rule = small
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, odd.url, bucket) as (sink, _):
        await kept.verify(1, hourly(hours=48), settle=False)
        await is_told(kept)
        assert sink.sentences() == []
    await has_all_points(kept, influx_server, bucket)


async def test_a_server_that_is_busy_is_asked_again_when_it_wants_to_be(
    database: str, pool: object, influx_server: InfluxServer, bucket: str, odd: OddProxy
) -> None:
    answers = [
        Odd(429, ERROR % (b"too many requests", b"slow down"), {"Retry-After": "1"}),
        Odd(503, ERROR % (b"unavailable", b"later"), {"Retry-After": "Wed, 21 Oct 2026 07:28:00"}),
        Odd(500, b"<html>not ours"),
    ]
    odd.rule = lambda asked: answers.pop(0) if answers and is_write(asked) else None
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, odd.url, bucket) as (sink, _):
        await kept.verify(1, hourly(), settle=False)
        await until(lambda: "429" in sink.away)
        await is_told(kept)
    assert answers == []
    await has_all_points(kept, influx_server, bucket)


async def test_points_beyond_the_retention_are_named_and_the_others_are_written(
    database: str, pool: object, influx_server: InfluxServer
) -> None:
    influx_server.create_bucket("short", kept_s=DAY_S)
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, influx_server.url, "short") as (sink, _):
        await kept.verify(1, hourly(hours=3), settle=False)
        await kept.verify(2, hourly(first=START + 50 * 365 * DAY_S, hours=2), settle=False)
        await is_told(kept)
        assert "refused 3 readings of 1 batches" in sink.sentences()[0]
        assert "retention" in sink.sentences()[0]
        await kept.undo(1)
        await is_told(kept)
        await until(lambda: sink.sentences() == [])
    await has_all_points(kept, influx_server, "short")
    influx_server.delete_bucket("short")


async def test_a_field_of_another_type_is_refused_and_postgres_answers_for_its_time(
    database: str, pool: object, influx_server: InfluxServer, bucket: str
) -> None:
    reasons: list[str] = []
    async with exporting(database, influx_server.url, bucket) as (sink, series):
        copy = BackedSeries([series], SegmentSeries(pool), reasons.append)  # type: ignore[arg-type]
        kept = Kept(pool, copy)  # type: ignore[arg-type]
        await is_told(kept)
        await has_begun(kept)
        # A week has a shard of its own, and its own types.
        influx_server.write(f'corechain_reading,a=b scaled="text" {START}000000000', bucket)
        await kept.verify(1, hourly(hours=3), settle=False)
        await kept.verify(2, hourly(first=START + 60 * DAY_S, hours=2), settle=False)
        await is_told(kept)
        assert "refused 3 readings of 1 batches" in sink.sentences()[0]
        assert "field type conflict" in sink.sentences()[0]
        await kept.is_exact()
        assert set(reasons) == {"refused"}
        reasons.clear()
        assert len(await kept.ask(start=START + 50 * DAY_S)) == 2
        assert reasons == []


async def test_one_bad_line_is_found_among_good_ones(
    database: str, pool: object, influx_server: InfluxServer, bucket: str, odd: OddProxy
) -> None:
    """A server that refuses a request whole for one line, without a count."""

    def strict(asked: Asked) -> Odd | None:
        if is_write(asked) and any(b"scaled=2137i" in line for line in lines_in(asked)):
            return Odd(400, ERROR % (b"invalid", b"unable to parse"))
        return None

    odd.rule = strict
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, odd.url, bucket) as (sink, _):
        await kept.verify(1, hourly(hours=48), settle=False)
        await is_told(kept)
        assert "refused 1 readings of 1 batches" in sink.sentences()[0]
    rows = influx_server.flux(
        f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._field == "scaled")'
    )
    assert sorted(int(row["_value"]) for row in rows) == [
        value for value in range(2_130, 2_178) if value != 2_137
    ]


async def test_a_server_that_refuses_everything_is_not_asked_for_each_line(
    database: str, pool: object, bucket: str, odd: OddProxy
) -> None:
    odd.rule = lambda asked: Odd(400, b"no") if is_write(asked) else None
    kept = Kept(pool, SegmentSeries(pool))  # type: ignore[arg-type]
    async with exporting(database, odd.url, bucket) as (sink, _):
        await kept.verify(1, hourly(hours=24 * 30), settle=False)
        await is_told(kept)
        assert "refused 720 readings" in sink.sentences()[0]
    assert len([asked for asked in odd.asked if is_write(asked)]) < 200
