"""The bridge on its own disk: stations, uploads, refusals, what survives. No gateway is there."""

import stat

import pytest
from structlog.testing import capture_logs

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import InvalidValue
from corechain.protocol.keys import verify
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.reading import unpack_report
from corechain.service.errors import StoreUnavailable
from corechain_relayer.bridge import admin
from corechain_relayer.bridge.errors import InvalidMapping
from corechain_relayer.bridge.formats.registry import OWN_PATHS
from corechain_relayer.bridge.keys import KeyFolder, KeyMissing, new_key
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


async def test_every_path_says_which_methods_it_takes(stage):
    async with stage.client() as client:
        for path in ("/ecowitt/x", "/ecowitt/x/more", "/ttn", OWN_PATHS["wunderground"]):
            answer = await client.options(path)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST, PUT"
            refused = await client.delete(path)
            assert (refused.status_code, refused.headers["allow"]) == (405, answer.headers["allow"])
        assert (await client.options("/health")).headers["allow"] == "GET, HEAD, OPTIONS"
        for path in ("/telegram/x", "/telegram", "/"):
            assert (await client.options(path)).status_code == 404


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


def test_local_times_are_of_the_stations_zone_or_its_mappings(stage):
    zoned = 'timezone = "Europe/Berlin"\n' + MAPPING
    for name, more, expected in (
        ("utc", {"mapping": MAPPING}, "UTC"),
        ("mapped", {"mapping": zoned}, "Europe/Berlin"),
        ("own", {"mapping": zoned, "timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
    ):
        stage.station(name, "json", **more)
        assert str(stage.bridge.store.named(name).profile.zone) == expected
