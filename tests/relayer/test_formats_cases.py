"""What stations get wrong, for every format in which it can happen: the right value, or a named
refusal.

given a format and a message of one temperature (or rain total) at one time
  ├── a sentinel, as a number or as a text: no value, and never -999 °C
  ├── a clock at year 1, 1970 or 2000: ClockNotSet, or the time of the server that passed it on
  ├── milliseconds: the same second
  ├── a local time that happened twice or never: by its name
  ├── a rain total that falls back: what has fallen since, or nothing
  └── a secret anywhere in it: in no refusal, log, metric or answer
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from structlog.testing import capture_logs

from corechain_relayer.bridge.book import Known, take
from corechain_relayer.bridge.errors import (
    AmbiguousTime,
    ClockNotSet,
    NonexistentTime,
    NothingMeasured,
)
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.upload import Message, Profile
from relayer.bridges import Stage
from relayer.uploads import AT, CLOCK, read, values

ISO, STAMP = "2021-12-24T11:31:57Z", "2021-12-24 11:31:57"
STREAMS = parse_mapping(
    '[[rule]]\npath="1"\nmetric="air_temperature"\nunit="Cel"\n'
    '[[rule]]\npath="2"\nmetric="precipitation"\nunit="mm"\ncounter=true\n'
)
MAPPED = 'time="at"\n[[rule]]\npath="t"\nmetric="air_temperature"\nunit="Cel"\n' + (
    '[[rule]]\npath="rain"\nmetric="precipitation"\nunit="mm"\ncounter=true\n'
)
OWN = parse_mapping(MAPPED)
BERLIN = ZoneInfo("Europe/Berlin")


def form(fields: dict[str, Any]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def ttn(fields: dict[str, Any], at: Any) -> Any:
    return {"uplink_message": {"received_at": at, "decoded_payload": fields}}


def chirpstack(fields: dict[str, Any], at: Any) -> Any:
    return {"time": at, "object": fields}


def streams(fields: dict[str, Any], at: Any) -> Any:
    names = ["phenomenonTime", "result"]
    return [
        {"Datastream": {"@iot.id": stream}, "components": names, "dataArray": [[at, value]]}
        for stream, value in fields.items()
    ]


def openaq(fields: dict[str, Any], at: Any) -> Any:
    return {
        "results": [
            {"parameter": {"name": name, "units": "c"}, "value": value, "datetime": {"utc": at}}
            for name, value in fields.items()
        ]
    }


@dataclass(frozen=True)
class Way:
    """How a format says a temperature, a rain total and a time. `body` makes a message of fields
    and a time; an empty `rain` or `time`: it has none."""

    name: str
    body: Callable[[dict[str, Any], Any], Any]
    temperature: str
    rain: str = ""
    time: Any = ISO
    profile: Profile = field(default_factory=Profile)
    is_server: bool = False
    """Its times are a server's: another one stands in for a wrong one."""

    def message(self, fields: dict[str, Any], at: Any = None) -> Message:
        made = self.body(fields, self.time if at is None else at)
        if isinstance(made, bytes):
            return Message(made)
        return Message(json.dumps(made).encode())


WAYS = [
    Way("ecowitt", lambda f, at: form({"dateutc": at} | f), "tempf", "yearlyrainin", STAMP),
    Way("wunderground", lambda f, at: form({"dateutc": at} | f), "tempf", "dailyrainin", STAMP),
    Way(
        "sensor-community",
        lambda f, at: {"sensordatavalues": [{"value_type": n, "value": v} for n, v in f.items()]},
        "BME280_temperature",
        time=None,
    ),
    Way("ttn", ttn, "temperature", "rain_total", is_server=True),
    Way("chirpstack", chirpstack, "temperature_1", "rain_total", is_server=True),
    Way(
        "helium",
        lambda f, at: {"reported_at": at, "decoded": {"payload": f}},
        "temperature",
        "rain_total",
        AT,
    ),
    Way("sensorthings", streams, "1", "2", profile=Profile(mapping=STREAMS)),
    Way("json", lambda f, at: {"at": at} | f, "t", "rain", profile=Profile(mapping=OWN)),
    Way("archive", lambda f, at: {"time": at} | f, "air_temperature"),
    Way("openaq", openaq, "temperature"),
    Way(
        "weatherxm",
        lambda f, at: {"timestamp": at} | f,
        "temperature",
        "precipitation_accumulated",
    ),
]
BY_NAME = {way.name: way for way in WAYS}
TIMED = [way for way in WAYS if way.time is not None]
ALL = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
SENTINELS = [-999, -7999, 32767, 65535, "-999", "-7999", "32767", "65535", "nan", "NaN", "", None]


def measured(way, message, profile=None):
    """What an upload holds; nothing where it is refused for that."""
    try:
        return read(way.name, message, profile or way.profile)
    except NothingMeasured:
        return None


@ALL
@pytest.mark.parametrize("sentinel", SENTINELS, ids=repr)
def test_a_sentinel_is_no_value_in_any_format(way, sentinel):
    if way.name in ("ecowitt", "wunderground") and sentinel is None:
        sentinel = "null"
    found = measured(way, way.message({way.temperature: sentinel}))
    assert found is None or found.measurements == ()


@ALL
@pytest.mark.parametrize("sentinel", SENTINELS[:4], ids=repr)
def test_a_sentinel_of_a_rain_gauge_is_no_total_in_any_format(way, sentinel):
    if way.rain:
        found = measured(way, way.message({way.rain: sentinel}))
        assert found is None or found.counters == ()


def test_cwop_writes_no_sentinels_but_dots():
    packet = b"CW0003>APRS,TCPIP*:@241131z4220.45N/07128.59W_.../...g...t...P...h..b....."
    with pytest.raises(NothingMeasured):
        read("cwop", Message(packet))


UNSET = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:12Z", "2000-01-01T00:00:00Z", 12, 0]


@pytest.mark.parametrize("way", TIMED, ids=lambda way: way.name)
@pytest.mark.parametrize("unset", UNSET)
def test_a_clock_that_was_never_set_is_named_or_replaced(way, unset):
    if way.time == STAMP and isinstance(unset, str):
        unset = unset.replace("T", " ").rstrip("Z")
    message = way.message({way.temperature: 20}, unset)
    if way.is_server:
        (found,) = read(way.name, message, way.profile).measurements
        assert found.at == CLOCK.now
        return
    try:
        upload = read(way.name, message, way.profile)
    except NothingMeasured:  # formats in which a row costs itself alone
        assert way.name in ("sensorthings", "openaq")
    except ClockNotSet:
        assert way.name not in ("sensorthings", "openaq")
    else:
        assert upload.measurements == ()
        assert set(upload.skipped.values()) == {"ClockNotSet"}


@pytest.mark.parametrize("way", TIMED, ids=lambda way: way.name)
def test_milliseconds_are_the_same_second(way):
    for at in (AT, AT * 1000 + 433, str(AT * 1000), AT * 10**6):
        upload = read(way.name, way.message({way.temperature: 20}, at), way.profile)
        assert list(values(upload)) == ["air_temperature"], at


LOCAL = ("sensorthings", "json", "archive", "weatherxm")
TIMES = [("2021-10-31 02:30:00", AmbiguousTime), ("2021-03-28 02:30:00", NonexistentTime)]


@pytest.mark.parametrize(("text", "expected"), TIMES)
@pytest.mark.parametrize("name", LOCAL)
def test_a_local_time_that_happened_twice_or_never_is_named(name, text, expected):
    way = BY_NAME[name]
    profile = Profile(zone=BERLIN, mapping=way.profile.mapping)
    message = way.message({way.temperature: 20}, text)
    if name == "sensorthings":
        assert read(name, message, profile).skipped == {"1": expected.__name__}
        return
    with pytest.raises(expected):
        read(name, message, profile)


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_time_of_winter_and_of_summer(name):
    way = BY_NAME[name]
    profile = Profile(zone=BERLIN, mapping=way.profile.mapping)
    for text, at in (("2021-12-24 12:31:57", AT), ("2021-07-24 13:31:57", 1_627_126_317)):
        (found,) = read(name, way.message({way.temperature: 20}, text), profile).measurements
        assert found.at == at


def test_cwop_in_local_time_that_happened_twice_or_never_is_named():
    packet = "CW0003>APRS,TCPIP*:@{}/4220.45N/07128.59W_032/005g008t054"
    for stamp, now, expected in (
        ("310230", 1_635_681_600, AmbiguousTime),  # noon of 2021-10-31 in UTC
        ("280230", 1_616_932_800, NonexistentTime),  # noon of 2021-03-28
    ):
        clock = type(CLOCK)(now)
        with pytest.raises(expected):
            read("cwop", Message(packet.format(stamp).encode()), Profile(zone=BERLIN), clock)


@pytest.mark.parametrize("way", [way for way in TIMED if way.rain], ids=lambda way: way.name)
def test_a_rain_total_that_falls_back_gives_what_has_fallen_since(way):
    known, found = Known(), []
    # Minutes apart: a rise, midnight (far below), a misreading (a little below), the total again.
    for minute, total in enumerate((5, 6.5, 0.5, 0.4, 0.75)):
        upload = read(way.name, way.message({way.rain: total}, AT - 600 + 60 * minute), way.profile)
        taken = take(upload, known)
        known = taken.known
        found.append([item.value for item in taken.observations])
    inch = 25.4 if way.time == STAMP else 1
    rise, since, more = (round(x * inch * 100) for x in (1.5, 0.5, 0.35))
    assert found == [[], [rise], [since], [], [more]]


# ------------------------------------------------------------------------------- secrets

SECRET = "5ECRET0123456789ABCDEF"
WITH_SECRETS: dict[str, Callable[[Way, dict[str, Any]], Message]] = {
    "beside": lambda way, f: _beside(way, f),
    "as value": lambda way, f: way.message(f | {way.temperature: SECRET}),
    "as time": lambda way, f: way.message(f, SECRET),
    "broken": lambda way, f: Message(way.message(f).body[:-1] + SECRET.encode()),
}


def _beside(way: Way, fields: dict[str, Any]) -> Message:
    """A PASSKEY, a password and a key where the format would have them."""
    made = way.message(fields)
    if made.body[:1] not in b"{[":
        return Message(made.body + f"&PASSKEY={SECRET}&PASSWORD={SECRET}&tempf={SECRET}".encode())
    extra = {"app_key": SECRET, "PASSKEY": SECRET, "Authorization": SECRET}
    document = json.loads(made.body)
    return Message(json.dumps(document | extra if isinstance(document, dict) else [extra]).encode())


@ALL
async def test_no_secret_of_any_format_is_said_again(way, tmp_path):
    stage = Stage.at(tmp_path)
    mapping = {"json": MAPPED, "sensorthings": '[[rule]]\npath="1"\nmetric="co2"\nunit="[ppm]"\n'}
    stage.station("roof", way.name, mapping=mapping.get(way.name))
    said, token = [], stage.tokens["roof"]
    headers = {"authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
    async with stage.client() as client:
        with capture_logs() as logs:
            for make in WITH_SECRETS.values():
                body = make(way, {way.temperature: 20}).body
                for path, more in (
                    (f"/{way.name}/{token}", {}),
                    (f"/{way.name}/{SECRET}", {}),
                    (f"/{way.name}/{token}?PASSWORD={SECRET}&tempf={SECRET}", {}),
                    (f"/{way.name}", headers),
                ):
                    answer = await client.post(path, content=body, headers=more)
                    said.append(_shown(answer))
    everything = repr(logs) + "".join(said) + stage.metrics()
    assert logs
    assert SECRET not in everything
    assert token not in everything
    await stage.bridge.close()


def _shown(answer: httpx.Response) -> str:
    return f"{answer.text} {dict(answer.headers)}"
