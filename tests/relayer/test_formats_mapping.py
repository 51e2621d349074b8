"""Mapping files and archives, to the values that a person reads in them."""

from zoneinfo import ZoneInfo

import pytest

from corechain_relayer.bridge.errors import (
    ClockNotSet,
    InvalidMapping,
    MalformedUpload,
    MissingTime,
)
from corechain_relayer.bridge.formats.archive import rows
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.upload import Message, Profile
from relayer.uploads import (
    AT,
    CLOCK,
    COMMUNITY_CSV,
    NOBODY,
    read,
    totals,
    values,
)

MAPPING = """
time = "ts"
timezone = "Europe/Berlin"
identity = "serial"
items = "rows"
[[rule]]
path = "t.0"
metric = "air_temperature"
unit = "Cel"
scale = 0.1
[[rule]]
path = ["rain.total"]
metric = "precipitation"
unit = "mm"
counter = true
"""


def test_a_mapping_finds_values_by_path_scales_and_counts():
    body = b"""{"serial":"A1","rows":[{"ts":"2021-12-24 12:31:57","t":[215],"rain.total":12.5},
      {"ts":"2021-12-24 12:31:58","t":[-9999]},{"ts":"","t":[1]}]}"""
    profile = Profile(mapping=parse_mapping(MAPPING))
    upload = read("json", Message(body), profile)
    assert values(upload) == {"air_temperature": 21.5}
    assert totals(upload) == {"rain.total": 12.5}
    assert upload.skipped == {"t.0": "NoValue", "time": "MalformedUpload"}


def test_a_station_of_unknown_format_needs_a_mapping():
    with pytest.raises(InvalidMapping):
        read("json", Message(b"{}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rule = 1",
        "x = ",
        "hello = 1\n[[rule]]\npath='a'\nmetric='co2'\nunit='[ppm]'",
        "[[rule]]\npath='a'\nmetric='nothing'\nunit='Cel'",
        "[[rule]]\npath='a'\nmetric='co2'\nunit='furlong'",
        "[[rule]]\npath='a'\nmetric='co2'\nunit='Cel'",
        "[[rule]]\npath='a'\nmetric='co2'\nunit='[ppm]'\nscale='x'",
        "[[rule]]\npath='a'\nmetric='co2'\nunit='[ppm]'\ncounter=true",
        "[[rule]]\npath=3\nmetric='co2'\nunit='[ppm]'",
        "[[rule]]\npath='a'\nmetric='co2'\nunit='[ppm]'\nzero=1",
        "timezone='Mars/Olympus'\n[[rule]]\npath='a'\nmetric='co2'\nunit='[ppm]'",
    ],
)
def test_a_mapping_that_says_nothing_or_something_else_is_refused(text):
    with pytest.raises(InvalidMapping):
        parse_mapping(text)


def imported(content, kind="csv", profile=NOBODY, clock=CLOCK):
    return list(rows(content.splitlines(keepends=True), kind, profile, clock))


def test_an_archive_of_sensor_community():
    first, second = imported(COMMUNITY_CSV, profile=Profile(elevation_m=250.0))
    assert values(first, AT - 148) == {
        "air_temperature": 7.43,
        "relative_humidity": 82.1,
        "pressure": 1016.61,
    }
    assert values(second) == {"relative_humidity": 82.3}
    assert second.skipped == {"temperature": "NoValue", "pressure": "NeedsTemperature"}


def test_an_archive_with_our_own_columns_where_a_bad_row_costs_itself():
    content = (
        b"observed_at,air_temperature,pressure\n1640345517,8.5,1013.25\n"
        b"nonsense,8.5,1013.25\n1640345518,8.5\n1640345519,9.25,\n"
    )
    found = imported(content)
    assert values(found[0]) == {"air_temperature": 8.5, "pressure": 1013.25}
    assert [type(item) for item in found[1:3]] == [MalformedUpload, MalformedUpload]
    assert values(found[3], AT + 2) == {"air_temperature": 9.25}


def test_an_archive_in_ndjson():
    content = b'\xef\xbb\xbf{"time":1640345517000,"co2":412}\n[]\n{"co2":1}\n{"time":5,"co2":1}\n'
    found = imported(content, "ndjson")
    assert values(found[0]) == {"co2": 412.0}
    kinds = [type(item) for item in found[1:]]
    assert kinds == [MalformedUpload, MissingTime, ClockNotSet]


def test_the_hour_that_happens_twice_is_told_apart_by_the_rows_around_it():
    head = b"time,air_temperature\n"
    times = (b"01:30", b"02:00", b"02:30", b"02:00", b"02:30", b"03:00")
    content = head + b"".join(b"2021-10-31 %s,8\n" % time for time in times)
    found = imported(content, profile=Profile(zone=ZoneInfo("Europe/Berlin")))
    utc = [upload.measurements[0].at - 1_635_636_600 for upload in found]
    assert utc == [0, 1800, 3600, 5400, 7200, 9000]


def test_a_file_without_columns_is_refused():
    for content in (b"", b"a,a\n1,2\n"):
        with pytest.raises(MalformedUpload):
            imported(content)
