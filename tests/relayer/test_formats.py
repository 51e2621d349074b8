"""Samples of public documentation, each to the values that a person reads in them."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from corechain_relayer.bridge.errors import (
    InvalidMapping,
    MissingTime,
    NothingMeasured,
)
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message, Profile
from relayer.uploads import (
    AT,
    CLOCK,
    CWOP,
    CWOP_COMPRESSED,
    OPENAQ,
    SAMPLES,
    STREAMS,
    WUNDERGROUND,
    read,
    totals,
    values,
)


def test_ecowitt_is_imperial_whatever_its_app_shows():
    upload = read("ecowitt", SAMPLES["ecowitt"])
    assert values(upload) == {
        "air_temperature": 8.78,
        "relative_humidity": 91.0,
        "pressure": 1001.18,
        "wind_direction": 261.0,
        "wind_speed": 4.0,
        "wind_gust": 6.6,
        "solar_irradiance": 57.2,  # 57.25: half to even
    }
    assert totals(upload) == {"yearlyrainin": 797.99, "dailyrainin": 0.3}
    assert [item.name for item in upload.counters] == ["yearlyrainin", "dailyrainin"]


def test_an_indoor_sensor_is_no_climate():
    message = Message(b"dateutc=now&tempinf=66.0&humidityin=51&co2=733&pm25_co2=4")
    with pytest.raises(NothingMeasured):
        read("ecowitt", message)


def test_a_station_that_says_now_is_taken_at_the_time_of_receipt():
    upload = read("ecowitt", Message(b"dateutc=now&tempf=50"))
    assert values(upload, CLOCK.now) == {"air_temperature": 10.0}


def test_wunderground_by_get():
    upload = read("wunderground", SAMPLES["wunderground"])
    assert values(upload, AT - 3562) == {
        "air_temperature": 21.11,
        "dew_point": 20.11,
        "relative_humidity": 90.0,
        "pressure": 985.44,
        "wind_direction": 230.0,
        "wind_speed": 5.36,
        "wind_gust": 5.36,
        "visibility": 18.52,
    }
    assert FORMATS["wunderground"].identity(SAMPLES["wunderground"]) == "KCASANFR5"


def test_wunderground_by_post_says_the_same():
    posted = Message(WUNDERGROUND.encode(), content_type="application/x-www-form-urlencoded")
    assert read("wunderground", posted) == read("wunderground", SAMPLES["wunderground"])


def test_the_rolling_hour_of_rain_is_no_counter():
    upload = read("wunderground", Message(query="dateutc=now&tempf=50&rainin=0.34"))
    assert upload.counters == ()


def test_sensor_community_sends_text_in_pascal_without_a_time():
    profile = Profile(elevation_m=100.0)
    upload = read("sensor-community", SAMPLES["sensor-community"], profile)
    assert values(upload, CLOCK.now) == {
        "pm10": 0.4,
        "pm2_5": 0.2,
        "air_temperature": 20.47,
        "relative_humidity": 69.02,
        "pressure": 1017.89,
    }
    assert FORMATS["sensor-community"].identity(SAMPLES["sensor-community"]) == "12331981"


def test_a_barometer_of_unknown_elevation_measures_no_sea_level_pressure():
    upload = read("sensor-community", SAMPLES["sensor-community"])
    assert "pressure" not in values(upload, CLOCK.now)
    assert upload.skipped["BME280_pressure"] == "NeedsElevation"


def test_a_barometer_without_a_thermometer_cannot_be_reduced():
    body = b'{"sensordatavalues":[{"value_type":"BMP_pressure","value":"98000"},{"value_type":'
    upload = read(
        "sensor-community",
        Message(body + b'"SDS_P1","value":"1"}]}'),
        Profile(elevation_m=100.0),
    )
    assert upload.skipped == {"BMP_pressure": "NeedsTemperature"}


@pytest.mark.parametrize(
    ("pressure", "celsius", "reason"),
    [
        ("10000", "20", None),
        ("9999", "20", "OutOfRange"),
        ("150000", "20", None),
        ("150001", "20", "OutOfRange"),
        ("98000", "100", None),
        ("98000", "100.01", "OutOfRange"),
        ("98000", "-100", None),
        ("98000", "-100.01", "OutOfRange"),
    ],
)
def test_what_no_barometer_on_earth_has_shown_is_not_reduced(pressure, celsius, reason):
    body = (
        b'{"sensordatavalues":[{"value_type":"BME280_pressure","value":"%s"},'
        b'{"value_type":"BME280_temperature","value":"%s"}]}'
    ) % (pressure.encode(), celsius.encode())
    upload = read("sensor-community", Message(body), Profile(elevation_m=0.0))
    assert upload.skipped.get("BME280_pressure") == reason


def test_a_rain_gauge_cannot_have_counted_less_than_nothing():
    upload = read("ecowitt", Message(b"dateutc=now&tempf=50&dailyrainin=-0.01&yearlyrainin=0"))
    assert totals(upload) == {"yearlyrainin": 0}
    assert upload.skipped == {"dailyrainin": "OutOfRange"}


def test_a_hostile_upload_does_not_fill_the_log_with_reasons():
    fields = b",".join(b'"temperature_%d":"x","humidity_%d":"y"' % (n, n) for n in range(99))
    body = b'{"dev_eui":"1C","reported_at":1640345517,"decoded":{"payload":{"co2":400,%s}}}'
    assert len(read("helium", Message(body % fields)).skipped) == 64


def test_cwop_in_fahrenheit_with_rain_in_hundredths():
    upload = read("cwop", SAMPLES["cwop"])
    assert values(upload, AT - 57) == {
        "air_temperature": 12.22,
        "relative_humidity": 50.0,
        "wind_direction": 32.0,
        "wind_speed": 2.24,
        "wind_gust": 3.58,
    }
    assert totals(upload) == {"P": 12.19}
    assert upload.skipped == {"b": "NeedsElevation"}
    assert FORMATS["cwop"].identity(SAMPLES["cwop"]) == "CW0003"


def test_an_altimeter_setting_is_reduced_with_the_temperature_of_the_air():
    level = values(read("cwop", SAMPLES["cwop"], Profile(elevation_m=0.0)), AT - 57)
    high = values(read("cwop", SAMPLES["cwop"], Profile(elevation_m=300.0)), AT - 57)
    assert level["pressure"] == 1024.5
    # 12.2 °C where the standard atmosphere has 13.05: a heavier column, a higher pressure.
    assert 1024.5 < high["pressure"] < 1025.0


def test_humidity_00_of_cwop_is_saturation():
    upload = read("cwop", Message(CWOP.replace(b"h50", b"h00")))
    assert values(upload, AT - 57)["relative_humidity"] == 100.0


def test_cwop_below_zero_fahrenheit_with_dots_for_what_is_not_known():
    body = CWOP.replace(b"_032/005g008t054", b"_.../...g...t-05")
    assert values(read("cwop", Message(body)), AT - 57) == {
        "air_temperature": -20.56,
        "relative_humidity": 50.0,
    }


def test_cwop_with_a_compressed_position():
    upload = read("cwop", Message(CWOP_COMPRESSED))
    assert values(upload, AT - 57) == {
        "air_temperature": 7.22,
        "relative_humidity": 84.0,
        "wind_direction": 228.0,
        "wind_speed": 0.0,
        "wind_gust": 0.45,
    }


def test_cwop_without_a_position():
    body = b"CW0003>APRS,TCPIP*:_12241131c220s004g005t077r000p000P000h50b09900wRSW"
    assert values(read("cwop", Message(body)), AT - 57)["wind_direction"] == 220.0


def test_cwop_names_the_day_before_at_midnight_and_the_month_before_on_the_first():
    new_year = 1_640_995_230  # 2022-01-01 00:00:30 UTC
    clock = replace(CLOCK, now=new_year)
    body = CWOP.replace(b"241131z", b"312358z")
    upload = read("cwop", Message(body), clock=clock)
    assert {item.at for item in upload.measurements} == {new_year - 150}


def test_cwop_in_local_time():
    body = CWOP.replace(b"241131z", b"241231/")
    upload = read("cwop", Message(body), Profile(zone=ZoneInfo("Europe/Berlin")))
    assert {item.at for item in upload.measurements} == {AT - 57}


def test_sensorthings_takes_data_arrays_and_leaves_sentinels():
    profile = Profile(mapping=parse_mapping(STREAMS))
    upload = read("sensorthings", SAMPLES["sensorthings"], profile)
    assert values(upload, AT - 57) == {"air_temperature": 20.0, "relative_humidity": 65.0}
    assert values(upload, AT - 27) == {"air_temperature": 30.0}
    assert upload.skipped == {"2": "NoValue"}


def test_sensorthings_takes_a_single_observation():
    one = b'{"phenomenonTime":"2021-12-24T11:31:57Z","result":4.5,"Datastream":{"@iot.id":1}}'
    profile = Profile(mapping=parse_mapping(STREAMS))
    assert values(read("sensorthings", Message(one), profile)) == {"air_temperature": 4.5}


def test_sensorthings_needs_to_be_told_what_a_datastream_is():
    with pytest.raises(InvalidMapping):
        read("sensorthings", SAMPLES["sensorthings"])


def test_openaq_leaves_dead_sensors_and_what_is_no_metric():
    clock = replace(CLOCK, max_age_s=7 * 86_400)
    upload = read("openaq", SAMPLES["openaq"], clock=clock)
    assert values(upload, AT - 1917) == {"pm2_5": 11.7}
    assert upload.skipped == {"o3": "UnmappedParameter", "temperature": "TimestampTooOld"}


def test_openaq_in_fahrenheit():
    upload = read("openaq", Message(OPENAQ))
    assert values(upload, AT - 1917 - 365 * 86_400) == {"air_temperature": 5.0}


def test_openaq_measurements_are_of_the_end_of_their_period():
    body = b"""{"results":[{"value":-999.0,"parameter":{"name":"pm10","units":"ug/m3"},
     "period":{"datetimeTo":{"utc":"2021-12-24T11:00:00Z"}}},
     {"value":7.5,"parameter":{"name":"pm10","units":"mg/m3"},
     "period":{"datetimeFrom":{"utc":"2021-12-24T10:00:00Z"},
     "datetimeTo":{"utc":"2021-12-24T11:31:57Z"}}},
     {"parameter":"pm25","value":8,"unit":"parsec","date":{"utc":"2021-12-24T11:31:57Z"}}]}"""
    upload = read("openaq", Message(body))
    assert values(upload) == {"pm10": 7500.0}
    assert upload.skipped == {"pm10": "NoValue", "pm25": "UnknownUnit"}


def test_openaq_v2_nests_its_measurements():
    body = b"""{"results":[{"location":"Roof","measurements":[{"parameter":"pm25","value":8.25,
     "lastUpdated":"2021-12-24T11:31:57+00:00","unit":"\xc2\xb5g/m\xc2\xb3"}]}]}"""
    assert values(read("openaq", Message(body))) == {"pm2_5": 8.2}


def test_weatherxm_counts_its_rain():
    upload = read("weatherxm", SAMPLES["weatherxm"], Profile(elevation_m=0.0))
    assert values(upload) == {
        "air_temperature": 9.8,
        "dew_point": 7.2,
        "relative_humidity": 84.0,
        "wind_speed": 2.61,
        "wind_gust": 4.4,
        "wind_direction": 203.0,
        "pressure": 1009.9,
        "solar_irradiance": 57.3,
    }
    assert totals(upload) == {"precipitation_accumulated": 4.32}


def test_weatherxm_without_a_time_is_refused():
    with pytest.raises(MissingTime):
        read("weatherxm", Message(b'{"temperature":9.8}'))
