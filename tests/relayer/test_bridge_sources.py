"""Stations that do not push: sources that are polled, archives that are imported."""

import asyncio

import httpx
import pytest
from structlog.testing import capture_logs
from support.http import Script, answers

from corechain.protocol.errors import InvalidValue, Overloaded
from corechain.protocol.reading import unpack_report
from corechain_relayer.bridge import admin
from corechain_relayer.bridge.intake import Intake
from corechain_relayer.bridge.poller import Poller
from relayer.bridges import Stage, stamp
from relayer.uploads import SAMPLES

FOREVER = 10**9


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path)
    yield found
    await found.bridge.close()


def queued(stage):
    """The reports that wait, in order."""
    return [unpack_report(item.report)[0] for item in stage.bridge.store.head(FOREVER)]


# ------------------------------------------------------------------------------ polls


class Polled:
    """A station with a source, and a clock that the test moves."""

    def __init__(self, stage, url, **more):
        self.stage, self.now, bridge = stage, 0.0, stage.bridge
        stage.station("far", "weatherxm", url=url, every_s=60, **more)
        shared = (bridge.settings, bridge.store, bridge.intake, bridge.worker, bridge.metrics)
        self.poller = Poller(*shared, clock=lambda: self.now)

    async def look(self, after_s=0.0):
        self.now += after_s
        async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
            await self.poller.poll_due(client, group)
        return len(queued(self.stage))


async def test_a_polled_source_is_asked_when_it_is_due_and_what_it_repeats_is_sent_once(stage):
    body = SAMPLES["weatherxm"].body.replace(b"2021-12-24T12:31:57+01:00", stamp().encode() + b"Z")
    with answers(Script(200, body)) as url:
        polled = Polled(stage, url, header="X-API-Key: secret")
        assert [await polled.look(), await polled.look(59), await polled.look(2)] == [1, 1, 1]
    assert 'corechain_bridge_polls_total{outcome="ok"} 2.0' in stage.metrics()


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (Script(500, b""), "SourceUnavailable"),
        (Script(302, b"", headers=(("location", "http://169.254.169.254/"),)), "SourceUnavailable"),
        (Script(200, b"not json"), "MalformedUpload"),
        (Script(200, b"x" * (300 << 10)), "BodyTooLarge"),
        (Script(200, b"{", missing=5), "SourceUnavailable"),
    ],
)
async def test_a_source_that_answers_badly_is_counted_and_asked_again(stage, script, outcome):
    with answers(script) as url:
        polled = Polled(stage, f"{url}/?key=secret")
        with capture_logs() as logs:
            assert [await polled.look(), await polled.look(61)] == [0, 0]
    assert f'outcome="{outcome}"}} 2.0' in stage.metrics()
    assert "secret" not in repr(logs)


async def test_a_source_that_is_busy_is_left_alone_for_as_long_as_it_asks(stage):
    heard = []
    with answers(Script(503, b"", headers=(("retry-after", "200"),)), heard) as url:
        polled = Polled(stage, url)
        for _ in range(4):  # 0, 61, 122, 183 s
            await polled.look(61 * bool(heard))
        assert len(heard) == 1
        await polled.look(61)
    assert len(heard) == 2


async def test_a_mistake_of_ours_with_one_source_ends_no_other_poll(stage, monkeypatch):
    monkeypatch.setattr(Intake, "polled", None)
    with answers(Script(200, b"{}")) as url, capture_logs() as logs:
        polled = Polled(stage, url)
        assert [await polled.look(), await polled.look(61)] == [0, 0]
    assert 'outcome="Internal"} 2.0' in stage.metrics()
    assert [line["kind"] for line in logs if line["event"] == "poll failed"] == ["TypeError"] * 2


async def test_a_source_that_is_away_is_counted(stage):
    assert await Polled(stage, "http://127.0.0.1:9/").look() == 0
    assert 'outcome="SourceUnavailable"} 1.0' in stage.metrics()


# ------------------------------------------------------------------------------ imports


def imported(stage, content, kind="csv"):
    bridge = stage.bridge
    station, lines = bridge.store.named("archive"), content.splitlines(keepends=True)
    steps = admin.import_rows(bridge.store, station, bridge.intake.sign, lines, kind)
    return [(step.rows, step.observations, dict(step.skipped)) for step in steps][-1]


def archive(rows, first=0):
    head = b"time,air_temperature,wind_speed\n"
    return head + b"".join(
        b"%d,%d.5,%d\n" % (1_600_000_000 + 60 * n, n % 30, n % 9) for n in range(first, rows)
    )


def test_an_archive_that_is_imported_again_brings_only_what_is_new(stage):
    stage.station("archive", "archive")
    assert imported(stage, archive(300)) == (300, 600, {})
    assert imported(stage, archive(310)) == (310, 20, {"Duplicate": 2, "OutOfOrder": 598})
    reports = [signed.report for signed in queued(stage)]
    assert sum(report.count for report in reports) == 620
    sequences = [report.sequence for report in reports]
    assert sequences == sorted(set(sequences))


def test_an_import_stops_at_a_full_queue_and_goes_on_there(tmp_path):
    stage = Stage.at(tmp_path, max_reports=1)
    stage.station("archive", "archive")
    with pytest.raises(Overloaded):
        imported(stage, archive(300))
    store = stage.bridge.store
    for item in store.head(FOREVER):
        store._query("done", id=item.id)
    assert imported(stage, archive(300))[1] == 88
    store.close()


def test_a_file_is_known_by_its_name():
    assert [admin.kind_of(admin.Path(name)) for name in ("a.CSV", "b.jsonl")] == ["csv", "ndjson"]
    with pytest.raises(InvalidValue):
        admin.kind_of(admin.Path("a.xlsx"))
