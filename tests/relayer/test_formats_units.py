"""Units, numbers and times: each against figures of other sources."""

from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.vocabulary import METRICS, metric
from corechain_relayer.bridge.errors import (
    AmbiguousTime,
    InvalidMapping,
    MalformedUpload,
    NonexistentTime,
)
from corechain_relayer.bridge.formats.clocks import from_epoch, instant
from corechain_relayer.bridge.formats.numbers import number_of
from corechain_relayer.bridge.formats.pressure import at_sea_level, from_altimeter
from corechain_relayer.bridge.formats.units import UNITS, DoesNotFit, scaled, unit_of

BERLIN = ZoneInfo("Europe/Berlin")

# NIST SP 811 (inches of mercury, miles, knots), ICAO (29.92 inHg), UCUM, and by definition.
FIGURES = [
    ("32", "[degF]", "air_temperature", 0),
    ("212", "[degF]", "air_temperature", 10_000),
    ("-40", "[degF]", "air_temperature", -4_000),
    ("273.15", "K", "air_temperature", 0),
    ("29.92", "[in_i'Hg]", "pressure", 101_320),
    ("760", "mm[Hg]", "pressure", 101_325),
    ("101325", "Pa", "pressure", 101_325),
    ("101.325", "kPa", "pressure", 101_325),
    ("100", "[mi_i]/h", "wind_speed", 4_470),
    ("100", "[kn_i]", "wind_speed", 5_144),
    ("36", "km/h", "wind_speed", 1_000),
    ("1", "[in_i]", "precipitation", 2_540),
    ("1.5", "cm", "precipitation", 1_500),
    ("10", "[nmi_i]", "visibility", 1_852),
    ("10", "[mi_i]", "visibility", 1_609),
    ("0.51", "1", "relative_humidity", 5_100),
    ("0.0125", "mg/m3", "pm2_5", 125),
    ("412000", "[ppb]", "co2", 412),
    ("0.8", "kW/m2", "solar_irradiance", 8_000),
]


@pytest.mark.parametrize(("value", "unit", "name", "wire"), FIGURES)
def test_a_figure_of_another_source(value, unit, name, wire):
    assert scaled(number_of(value), UNITS[unit], metric(name)) == wire


def test_every_metric_has_its_own_unit_in_the_table_and_keeps_its_values():
    for item in METRICS:
        assert scaled(Fraction(7), UNITS[item.unit], item) == 7 * item.scale


def test_a_unit_of_another_dimension_is_refused():
    with pytest.raises(InvalidMapping):
        scaled(Fraction(7), UNITS["Pa"], metric("co2"))


def test_usual_ways_to_write_units():
    spellings = {"µg/m³": "ug/m3", "C": "Cel", "°F": "[degF]", "mb": "mbar", "hPa": "hPa"}
    assert {text: unit_of(text).code for text in spellings} == spellings


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_value_that_comes_in_its_own_unit_is_rounded_and_nothing_else(value):
    own = metric("air_temperature")
    try:
        found = scaled(Fraction(repr(value)), UNITS["Cel"], own)
    except DoesNotFit:
        assert abs(value) * own.scale > 2**31 - 1
    else:
        assert abs(found - Fraction(repr(value)) * own.scale) <= Fraction(1, 2)


@given(st.integers(1_000_000_000, 4_000_000_000))
def test_one_moment_in_all_the_ways_that_stations_write_it(at):
    moment = datetime.fromtimestamp(at, UTC)
    ways = [at, at * 10**3 + 999, at * 10**6, at * 10**9, float(at), str(at), f"{at}.25"]
    ways += [moment.isoformat(), moment.strftime("%Y-%m-%d %H:%M:%S")]
    ways += [moment.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"), moment.astimezone(BERLIN).isoformat()]
    assert {instant(way) for way in ways} == {at}


@given(st.datetimes(datetime(1980, 1, 1), datetime(2037, 1, 1)))
def test_local_times_agree_with_the_database_of_zones(naive):
    text = naive.strftime("%Y-%m-%d %H:%M:%S")
    try:
        found = instant(text, BERLIN)
    except AmbiguousTime:
        assert (
            naive.replace(tzinfo=BERLIN).utcoffset()
            != naive.replace(tzinfo=BERLIN, fold=1).utcoffset()
        )
    except NonexistentTime:
        back = datetime.fromtimestamp(naive.replace(tzinfo=BERLIN).timestamp(), BERLIN)
        assert back.replace(tzinfo=None, microsecond=0) != naive.replace(microsecond=0)
    else:
        back = datetime.fromtimestamp(found, BERLIN).replace(tzinfo=None)
        assert back == naive.replace(microsecond=0)


def test_the_hour_that_happens_twice_alone_is_refused_and_with_an_offset_taken():
    with pytest.raises(AmbiguousTime):
        instant("2021-10-31 02:30:00", BERLIN)
    assert instant("2021-10-31 02:30:00+01:00", BERLIN) == 1_635_643_800


def test_offsets_from_utc_that_places_have_had_and_no_other():
    noon = 1_640_347_200
    assert instant("2021-12-25T03:59+15:59") == instant("2021-12-24T12:00Z") == noon
    assert instant("2021-12-23 23:30:00-1230") == noon
    for text in ("2021-12-24T12:00+16:00", "2021-12-24T12:00+01:60"):
        with pytest.raises(MalformedUpload):
            instant(text)


def test_a_leap_second_is_the_second_before_it():
    assert instant("2016-12-31T23:59:60Z") == instant("2016-12-31T23:59:59Z") == 1_483_228_799


def test_the_last_second_and_the_first_millisecond_that_a_number_can_mean():
    assert instant(10**11 - 1) == 10**11 - 1
    assert instant(10**11) == 10**8


def test_the_hour_that_the_clocks_skip_is_refused():
    with pytest.raises(NonexistentTime):
        instant("2021-03-28 02:30:00", BERLIN)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2021-13-01 00:00:00", "2021-02-29 00:00", "9999-12-31T23:59:59-15:00", "-5"],
)
def test_a_text_that_is_no_time_is_refused(text):
    with pytest.raises(MalformedUpload):
        instant(text, BERLIN)


@pytest.mark.parametrize(
    "text",
    [None, True, "2021-01-01 00:00:61", "2021-01-01 00:00:00+99:99", "1" * 30, [], -1, 1e300],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(MalformedUpload):
        instant(text, BERLIN)


def test_nanoseconds_are_seconds_too():
    assert from_epoch(1_640_345_517_123_456_789) == 1_640_345_517


# 1,000 m, 10 °C: 900 hPa there are some 1,013 at the sea (WMO-No. 8's formula by hand: column at
# 286.4 K, exp(0.034163 * 1000 / 286.4) = 1.1267).
def test_a_station_pressure_at_sea_level():
    assert at_sea_level(900.0, 1000.0, 10.0) == pytest.approx(1014.0, abs=0.2)
    assert at_sea_level(1013.25, 0.0, 10.0) == 1013.25


def test_the_standard_atmosphere_is_its_own_altimeter_setting():
    """ICAO: 898.75 hPa at 1,000 m."""
    assert from_altimeter(1013.25, 1000.0) == pytest.approx(898.75, abs=0.1)
    assert from_altimeter(1024.5, 0.0) == pytest.approx(1024.5)
