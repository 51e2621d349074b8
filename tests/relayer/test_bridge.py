"""The bridge on its own disk: stations, uploads, refusals, what survives. No gateway is there."""

import asyncio
import stat

import httpx
import pytest
from structlog.testing import capture_logs
from support.http import Script, answers

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import InvalidValue, Overloaded
from corechain.protocol.keys import verify
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.reading import unpack_report
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bridge import admin
from corechain_relayer.bridge.errors import InvalidMapping
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message
from corechain_relayer.bridge.keys import KeyFolder, KeyMissing, new_key
from corechain_relayer.bridge.poller import Poller
from corechain_relayer.bridge.sender import GatewayUnavailable, WrongDeployment
from corechain_relayer.bridge.service import KEYS
from corechain_relayer.bridge.stations import NameTaken, NoSuchStation
from relayer.bridges import CELL, DEPLOYMENT, Stage, ecowitt, stamp
from relayer.uploads import PASSKEY, SAMPLES, STATION_KEY, WUNDERGROUND

FOREVER = 10**9
DOMAIN = registry_domain(DEPLOYMENT.chain_id, DEPLOYMENT.address("DeviceRegistry"))


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path)
    yield found
    await found.bridge.close()


def queued(stage):
    """The reports that wait, in order."""
    return [unpack_report(item.report)[0] for item in stage.bridge.store.head(FOREVER)]


async def test_an_upload_becomes_a_report_that_a_marked_key_has_signed(stage):
    station = stage.station("roof", "ecowitt")
    async with stage.client() as client:
        path = f"/ecowitt/{stage.tokens['roof']}"
        answer = await client.post(path, data=ecowitt(tempf=47.8, humidity=91))
    assert (answer.status_code, answer.text) == (200, "success\n")
    (signed,) = queued(stage)
    key = KeyFolder(stage.bridge.settings.data_dir / KEYS).of(station.device)
    verify(key.identity, report_digest(DOMAIN, signed.report), signed.signature)
    assert signed.report.device == station.device
    assert provenance_of(station.device) is Provenance.BRIDGE
    assert [(o.metric, o.value) for o in signed.report.observations()] == [(1, 878), (3, 9100)]
    assert {f"{o.cell:x}" for o in signed.report.observations()} == {CELL}


async def test_weather_underground_on_its_own_path_with_the_token_as_station_key(stage):
    stage.station("garden", "wunderground", identity="KCASANFR5")
    right = {"ID": "kcasanfr5", "PASSWORD": stage.tokens["garden"], "tempf": "50"}
    path = "/weatherstation/updateweatherstation.php"
    async with stage.client() as client:
        taken = await client.get(path, params=right | {"dateutc": stamp()})
        wrong = await client.get(path, params=right | {"ID": "another", "dateutc": "now"})
        guess = await client.get(path, params=right | {"PASSWORD": "x", "dateutc": "now"})
    assert (taken.status_code, taken.text) == (200, "success\n")
    assert [answer.status_code for answer in (wrong, guess)] == [401, 401]
    assert len(queued(stage)) == 1


async def test_stations_behind_one_webhook_share_a_bearer_and_are_told_apart_by_identity(stage):
    first = stage.station("one", "ttn", identity="0004A30B001C0530")
    stage.station("two", "ttn", identity="0004A30B001C0531", token=stage.tokens["one"])
    live = SAMPLES["ttn"].body.replace(b"2021-12-24T11:31:57.912Z", stamp().encode() + b"Z")
    headers = {"authorization": f"Bearer {stage.tokens['one']}"}
    async with stage.client() as client:
        taken = await client.post("/ttn", content=live, headers=headers)
        other = live.replace(b"0004A30B001C0530", b"0004A30B001C0599")
        unknown = await client.post("/ttn", content=other, headers=headers)
        nobody = await client.post("/ttn", content=live)
    assert taken.json()["accepted"] == 4
    assert taken.json()["skipped"] == {"NeedsElevation": 1}
    assert [answer.status_code for answer in (unknown, nobody)] == [401, 401]
    assert [signed.report.device for signed in queued(stage)] == [first.device]


async def test_an_upload_that_comes_twice_is_answered_twice_and_sent_once(stage):
    stage.station("roof", "ecowitt")
    upload, path = ecowitt(tempf=50), f"/ecowitt/{stage.tokens['roof']}"
    async with stage.client() as client:
        codes = [(await client.post(path, data=upload)).status_code for _ in range(2)]
    assert codes == [200, 200]
    assert len(queued(stage)) == 1


async def test_sequences_rise_also_in_a_file_that_was_restored_from_a_backup(stage):
    stage.station("roof", "ecowitt")
    async with stage.client() as client:
        for ago_s in (30, 20, 10):
            path = f"/ecowitt/{stage.tokens['roof']}"
            await client.post(path, data=ecowitt(ago_s, tempf=50))
    sequences = [signed.report.sequence for signed in queued(stage)]
    assert sequences == sorted(set(sequences))
    # The clock is in them: what was used before the backup was made is below.
    assert sequences[0] > 1_700_000_000


async def test_what_a_station_is_told_when_something_is_wrong(stage):
    stage.station("roof", "ecowitt")
    path = f"/ecowitt/{stage.tokens['roof']}"
    unset = {"dateutc": "1970-01-01 00:01:00", "tempf": "50"}
    async with stage.client() as client:
        answers_ = {
            "UnknownStation": await client.post("/ecowitt/nobody", data=ecowitt(tempf=1)),
            "NotFound": await client.post("/telegram/nobody", data=ecowitt(tempf=1)),
            "NothingMeasured": await client.post(path, data=ecowitt(uv=1)),
            "ClockNotSet": await client.post(path, data=unset),
            "FutureTimestamp": await client.post(path, data=ecowitt(-3_600, tempf=1)),
            "TimestampTooOld": await client.post(path, data=ecowitt(9 * 86_400, tempf=1)),
            "BodyTooLarge": await client.post(path, content=b"x" * (257 << 10)),
            "UnsupportedMediaType": await client.post(
                path, content=b"x", headers={"content-encoding": "gzip"}
            ),
        }
    for name, answer in answers_.items():
        assert answer.json()["type"] == f"urn:corechain:error:{name}"
        assert 400 <= answer.status_code < 500
        assert f'reason="{name}"' in stage.metrics()
    assert queued(stage) == []


async def test_no_secret_of_a_station_is_in_logs_metrics_or_answers(stage):
    stage.station("roof", "ecowitt")
    stage.station("garden", "wunderground", identity="KCASANFR5")
    token, key = stage.tokens["roof"], stage.tokens["garden"]
    secrets = (PASSKEY, STATION_KEY, token, key)
    spoilt = SAMPLES["ecowitt"].body.replace(b"tempf=47.8", b"tempf=1&tempf=2")
    said = []
    with capture_logs() as logs:
        async with stage.client() as client:
            for path in (f"/ecowitt/{token}", f"/ecowitt/{token}x", f"/ecowitt/{token}/more"):
                for body in (SAMPLES["ecowitt"].body, spoilt, b"\xff" + spoilt):
                    said.append((await client.post(path, content=body)).text)
            for query in (WUNDERGROUND, WUNDERGROUND.replace(STATION_KEY, key)):
                path = f"/weatherstation/updateweatherstation.php?{query}"
                said.append((await client.get(path)).text)
                said.append((await client.get(path + "&tempf=1")).text)
    assert logs
    everything = repr(logs) + "".join(said) + stage.metrics()
    assert not any(secret in everything for secret in secrets)


async def test_a_full_queue_refuses_before_anything_is_taken(tmp_path):
    stage = Stage.at(tmp_path, max_reports=1)
    stage.station("roof", "ecowitt")
    path = f"/ecowitt/{stage.tokens['roof']}"
    async with stage.client() as client:
        first = await client.post(path, data=ecowitt(20, tempf=50))
        full = await client.post(path, data=ecowitt(10, tempf=51))
        stage.bridge.store.settle([], 0)
        (waiting,) = stage.bridge.store.head(1)
        assert (first.status_code, full.status_code) == (200, 503)
        assert full.headers["retry-after"] == "60"
        stage.bridge.store._query("done", id=waiting.id)
        again = await client.post(path, data=ecowitt(10, tempf=51))
    assert again.status_code == 200
    assert len(queued(stage)) == 1
    await stage.bridge.close()


async def test_a_station_whose_key_is_gone_is_refused_and_not_acknowledged(stage):
    station = stage.station("roof", "ecowitt")
    (stage.bridge.settings.data_dir / KEYS / f"{station.device.hex()}.key").write_text("no key")
    async with stage.client() as client:
        answer = await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
    assert answer.status_code == 503
    assert queued(stage) == []
    with pytest.raises(KeyMissing):
        stage.bridge.intake.keys.of(station.device)


async def test_a_disk_that_fails_is_an_outage_and_no_acknowledgement(stage):
    stage.station("roof", "ecowitt")
    stage.bridge.store.close()
    async with stage.client() as client:
        answer = await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        ready = await client.get("/ready")
    assert answer.status_code == 503
    assert ready.json()["failing"] == ["store"]
    with pytest.raises(StoreUnavailable):
        stage.bridge.store.depth()


async def test_a_removed_station_uploads_no_more_and_its_name_is_free(stage):
    old = stage.station("roof", "ecowitt")
    path = f"/ecowitt/{stage.tokens['roof']}"
    stage.bridge.store.remove("roof", 1)
    async with stage.client() as client:
        assert (await client.post(path, data=ecowitt(tempf=50))).status_code == 401
    new = stage.station("roof", "ecowitt")
    assert new.device != old.device
    assert [one.device for one in stage.bridge.store.stations()] == [new.device]


def test_a_new_key_has_the_mark_and_is_not_written_over(tmp_path):
    key, folder = new_key(), KeyFolder(tmp_path / "keys")
    assert provenance_of(key.identity.device) is Provenance.BRIDGE
    folder.keep(key)
    assert folder.of(key.identity.device) == key
    with pytest.raises(FileExistsError):
        folder.keep(key)


async def test_files_of_a_bridge_are_its_owners_alone(stage):
    stage.station("roof", "ecowitt")
    folder = stage.bridge.settings.data_dir
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((folder / KEYS).stat().st_mode) == 0o700


def test_names_are_taken_once_and_unknown_ones_are_refused(stage):
    stage.station("roof", "ecowitt")
    with pytest.raises(NameTaken):
        stage.station("roof", "ttn")
    for step in (stage.bridge.store.named, lambda name: stage.bridge.store.remove(name, 0)):
        with pytest.raises(NoSuchStation):
            step("cellar")


MAPPING = '[[rule]]\npath="t"\nmetric="air_temperature"\nunit="Cel"\n'
WRONG = [
    {"kind": "carrier pigeon"},
    {"name": ""},
    {"name": "two\nlines"},
    {"elevation_m": 20_000.0},
    {"timezone": "Mars/Olympus"},
    {"token": "short"},
    {"url": "http://127.0.0.1/x", "every_s": 60},
    {"kind": "openaq", "url": "http://127.0.0.1/x"},
    {"kind": "openaq", "url": "ftp://127.0.0.1/x", "every_s": 60},
    {"kind": "openaq", "url": "http://127.0.0.1/x", "every_s": 60, "header": "no colon"},
    {"kind": "openaq", "every_s": 60},
]


@pytest.mark.parametrize("change", WRONG)
def test_a_station_that_cannot_be_is_refused_before_a_key_is_made(stage, change):
    fields = {"name": "roof", "kind": "ecowitt"} | change
    with pytest.raises(InvalidValue):
        stage.station(**fields)
    assert not (stage.bridge.settings.data_dir / KEYS).exists()


def test_a_station_of_no_known_format_needs_a_mapping(stage):
    with pytest.raises(InvalidMapping):
        stage.station("roof", "json")
    with pytest.raises(InvalidValue):
        admin._cell(admin.NewStation("roof", "json", mapping=MAPPING))
    by_degrees = admin.NewStation("r", "json", latitude=40.7, longitude=-74.0, mapping=MAPPING)
    assert admin._checked(by_degrees)["cell"] == f"{admin._cell(by_degrees):015x}"


async def test_uploads_that_come_together_share_a_write_and_each_has_its_own_answer(stage):
    """All are waiting before the first is begun: one write carries them all."""
    stage.station("roof", "ecowitt")
    stage.station("lost", "ecowitt")
    keys = stage.bridge.settings.data_dir / KEYS
    (keys / f"{stage.bridge.store.named('lost').device.hex()}.key").unlink()
    writes, group = [], stage.bridge.store.group
    stage.bridge.store.group = lambda steps: writes.append(len(steps)) or group(steps)
    kind = FORMATS["ecowitt"]

    def upload(name, ago_s, text="tempf=50"):
        body = f"dateutc={stamp(ago_s).replace(' ', '+')}&{text}"
        return stage.bridge.intake.upload(kind, Message(body.encode()), stage.tokens[name])

    found = await asyncio.gather(
        *(upload("roof", 100 - n) for n in range(20)),
        upload("lost", 5),
        upload("roof", 4, "uv=3"),
        upload("roof", 3),
        return_exceptions=True,
    )
    names = [type(one).__name__ for one in found]
    assert names == ["list"] * 20 + ["Unavailable", "NothingMeasured", "list"]
    assert len(queued(stage)) == 21
    assert writes == [23]


async def test_a_mistake_of_ours_is_logged_by_its_place_and_not_in_its_words(stage):
    """An error's words may quote what was sent."""

    def broken(steps):
        raise ValueError(f"cannot read {PASSKEY}")

    stage.bridge.store.group = broken
    transport = httpx.ASGITransport(stage.bridge.app(), raise_app_exceptions=False)
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
            answer = await client.post("/ecowitt/nobody", data=ecowitt(tempf=50))
    assert answer.status_code == 500
    (said,) = logs
    assert (said["event"], said["kind"]) == ("request failed", "ValueError")
    assert "gather.py" in said["trace"]
    assert PASSKEY not in repr(logs) + answer.text


async def test_a_mistake_of_ours_leaves_no_client_waiting(stage):
    stage.bridge.store.group = lambda steps: 1 / 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await stage.bridge.intake.upload(FORMATS["ecowitt"], Message(b"tempf=1"), "nobody")


async def test_a_mistake_of_ours_with_one_upload_costs_no_other(stage):
    roof, unlucky = (stage.station(name, "ecowitt") for name in ("roof", "unlucky"))
    take = stage.bridge.store.take
    stage.bridge.store.take = lambda station, *rest: (
        1 / 0 if station.device == unlucky.device else take(station, *rest)
    )
    kind, message = FORMATS["ecowitt"], Message(b"tempf=50")
    found = await asyncio.gather(
        *(stage.bridge.intake.upload(kind, message, stage.tokens[n]) for n in ("roof", "unlucky")),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in found] == ["list", "ZeroDivisionError"]
    assert [signed.report.device for signed in queued(stage)] == [roof.device]


def test_local_times_are_of_the_stations_zone_or_its_mappings(stage):
    zoned = 'timezone = "Europe/Berlin"\n' + MAPPING
    for name, more, expected in (
        ("utc", {"mapping": MAPPING}, "UTC"),
        ("mapped", {"mapping": zoned}, "Europe/Berlin"),
        ("own", {"mapping": zoned, "timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
    ):
        stage.station(name, "json", **more)
        assert str(stage.bridge.store.named(name).profile.zone) == expected


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


# ------------------------------------------------------------- a gateway that is not well


async def sending(tmp_path, script):
    """A stage with one report in its queue, and the gateway that answers so."""
    with answers(script) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        try:
            await stage.bridge.sender.send_some()
        finally:
            await stage.bridge.client.close()
    return stage


def problem(name, status=400):
    return Script(status, b'{"type":"urn:corechain:error:%s","status":400}' % name.encode())


UNDECIDED = [
    Script(200, b"<html>welcome to the hotel's network</html>"),
    Script(202, b'{"accepted":1,"results":[]}'),
    Script(404, b'{"title":"no such page"}', "application/problem+json"),
    Script(302, b"", headers=(("location", "http://127.0.0.1:9/"),)),
    problem("Overloaded", 503),
    problem("SomethingNew"),
    problem("UnsupportedMediaType", 415),
]


@pytest.mark.parametrize("script", UNDECIDED)
async def test_an_answer_that_decides_nothing_keeps_the_report(tmp_path, script):
    with answers(script) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        before = stage.bridge.store.head(10)
        with pytest.raises(GatewayUnavailable):
            await stage.bridge.sender.send_some()
        assert stage.bridge.store.head(10) == before
        await stage.bridge.close()


async def test_signatures_of_another_network_halt_the_sender_and_lose_nothing(tmp_path):
    with answers(problem("InvalidSignature", 403)) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        with pytest.raises(WrongDeployment):
            await stage.bridge.sender.send_some()
        assert stage.bridge.store.depth() == 1
        await stage.bridge.close()


async def test_what_the_gateway_will_never_take_is_set_aside_with_its_reason(tmp_path):
    stage = await sending(tmp_path, problem("RevokedDevice", 403))
    assert stage.bridge.store.depth() == 0
    (row,) = stage.bridge.store.refused()
    assert (row["name"], row["reason"]) == ("roof", "RevokedDevice")
    assert 'corechain_bridge_reports_refused_total{reason="RevokedDevice"} 1.0' in stage.metrics()
    await stage.bridge.close()


async def test_one_refusal_of_a_whole_request_is_asked_for_report_by_report(tmp_path):
    """The gateway answers a request whose reports all have one fault with that alone."""
    with answers(problem("RevokedDevice", 403)) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            for ago_s in (30, 20, 10):
                path = f"/ecowitt/{stage.tokens['roof']}"
                await client.post(path, data=ecowitt(ago_s, tempf=50))
        waiting = [item.report for item in stage.bridge.store.head(10)]
        assert await stage.bridge.sender.send_some()
        rows = stage.bridge.store.refused()
        assert stage.bridge.store.depth() == 0
        assert sorted(row["report"] for row in rows) == sorted(waiting)
        assert {row["reason"] for row in rows} == {"RevokedDevice"}
        assert await stage.bridge.sender.send_some() is False
        assert "corechain_bridge_queue_oldest_seconds 0.0" in stage.metrics()
        await stage.bridge.close()


async def test_a_station_that_the_gateway_does_not_know_waits_and_holds_up_no_other(tmp_path):
    stage = await sending(tmp_path, problem("UnknownDevice", 404))
    sender = stage.bridge.sender
    assert stage.bridge.store.depth() == 1
    assert await sender.send_some() is False  # it is not asked about again yet
    assert len(sender.warnings()) == 1
    async with stage.client() as client:
        ready = await client.get("/ready")
    assert "are not in the registry" in ready.json()["warnings"][0]
    await stage.bridge.close()
