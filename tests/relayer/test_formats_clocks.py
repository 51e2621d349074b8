"""Clocks, sentinels and numbers: a named refusal, never a wrong value."""

from dataclasses import replace

import pytest

from corechain.protocol.errors import FutureTimestamp, TimestampTooOld
from corechain_relayer.bridge.errors import (
    ClockNotSet,
    MalformedUpload,
    NothingMeasured,
)
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.upload import Message, Profile
from relayer.uploads import (
    AT,
    CLOCK,
    ECOWITT,
    SAMPLES,
    STREAMS,
    read,
    values,
)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_refuses_a_clock_that_is_wrong_or_falls_back_on_its_servers(name):
    """At a time of receipt long before, after, and in the middle of what is believed."""
    profile = Profile(mapping=parse_mapping(STREAMS) if name == "sensorthings" else None)
    for clock in (replace(CLOCK, now=AT + 10**9, max_age_s=60), replace(CLOCK, now=AT - 10**8)):
        try:
            times = {m.at for m in read(name, SAMPLES[name], profile, clock).measurements}
        except (FutureTimestamp, TimestampTooOld, NothingMeasured):
            continue
        assert all(clock.now - 32 * 86_400 <= at <= clock.now for at in times)


@pytest.mark.parametrize("stamp", ["1970-01-01 00:03:10", "0001-01-01 00:00:00", "2000-1-1 0:0:0"])
def test_an_unset_clock_of_a_station_is_refused(stamp):
    body = ECOWITT.replace("2021-12-24+11:31:57", stamp.replace(" ", "+"))
    with pytest.raises(ClockNotSet):
        read("ecowitt", Message(body.encode()))


SENTINELS = ["-999", "-9999", "-7999", "-999.9", "32767", "65535", "nan", "NaN", "", "--", "null"]


@pytest.mark.parametrize("sentinel", SENTINELS)
def test_a_sentinel_never_becomes_a_value(sentinel):
    body = ECOWITT.replace("tempf=47.8", f"tempf={sentinel}")
    upload = read("ecowitt", Message(body.encode()))
    assert "air_temperature" not in values(upload)
    assert upload.skipped["tempf"] == "NoValue"


@pytest.mark.parametrize("wrong", ["1e999", "0x10", "٣", "1_0", "true", "47.8 F", "9" * 40])
def test_what_is_no_number_costs_its_field_alone(wrong):
    body = ECOWITT.replace("tempf=47.8", f"tempf={wrong}")
    upload = read("ecowitt", Message(body.encode()))
    assert upload.skipped["tempf"] == "NotANumber"
    assert values(upload)["relative_humidity"] == 91.0


def test_a_value_that_no_reading_can_hold_costs_its_field_alone():
    upload = read("ecowitt", Message(ECOWITT.replace("tempf=47.8", "tempf=1e12").encode()))
    assert upload.skipped["tempf"] == "OutOfRange"


def test_a_field_that_is_repeated_is_refused():
    with pytest.raises(MalformedUpload):
        read("ecowitt", Message(b"dateutc=now&tempf=50&tempf=90"))
