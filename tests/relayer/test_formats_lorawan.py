"""Uplinks of LoRaWAN devices, to the values that a person reads in them."""

import pytest

from corechain.protocol.errors import FutureTimestamp
from corechain_relayer.bridge.errors import (
    NothingMeasured,
)
from corechain_relayer.bridge.formats.mapping import parse_mapping
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message, Profile
from relayer.uploads import (
    CHIRPSTACK,
    CLOCK,
    HELIUM,
    SAMPLES,
    TTN,
    read,
    values,
)


def test_ttn_takes_the_network_servers_time_and_not_a_gateways_of_the_year_one():
    upload = read("ttn", SAMPLES["ttn"], Profile(elevation_m=0.0))
    assert values(upload) == {
        "air_temperature": -1.5,
        "relative_humidity": 88.0,
        "pressure": 1002.3,
        "wind_speed": 3.4,
        "wind_direction": 270.0,
    }
    assert FORMATS["ttn"].identity(SAMPLES["ttn"]) == "0004a30b001c0530"


def test_ttn_without_a_normaliser():
    plain = TTN.replace(b'"normalized_payload"', b'"other"')
    assert values(read("ttn", Message(plain))) == {
        "air_temperature": -1.5,
        "relative_humidity": 88.0,
    }


def test_a_zero_that_a_decoder_leaves_out_is_a_zero_only_where_a_mapping_says_so():
    body = TTN.replace(b'"temperature":-1.5,"humidity":88,', b"").replace(b"normalized_", b"n_")
    with pytest.raises(NothingMeasured):
        read("ttn", Message(body))
    mapping = parse_mapping(
        '[[rule]]\npath="temperature"\nmetric="air_temperature"\nunit="Cel"\nwhen_missing=0'
    )
    assert values(read("ttn", Message(body), Profile(mapping=mapping))) == {"air_temperature": 0.0}


def test_a_join_is_no_error_and_no_measurement():
    joined = b'{"end_device_ids":{"device_id":"roof"},"join_accept":{"session_key_id":"A"}}'
    assert read("ttn", Message(joined)).measurements == ()
    status = Message(b'{"deviceInfo":{"devEui":"01"},"margin":3}', query="event=status")
    assert read("chirpstack", status).measurements == ()


def test_chirpstack_with_channels_of_cayenne():
    upload = read("chirpstack", SAMPLES["chirpstack"], Profile(elevation_m=0.0))
    assert values(upload) == {
        "air_temperature": 21.6,
        "relative_humidity": 45.5,
        "pressure": 1005.4,
    }
    assert FORMATS["chirpstack"].identity(SAMPLES["chirpstack"]) == "0101010101010101"


@pytest.mark.parametrize("wrong", [b"0001-01-01T00:00:00Z", b"1970-01-01T00:00:12Z"])
def test_chirpstack_whose_gateway_has_no_clock_takes_the_servers(wrong):
    body = CHIRPSTACK.replace(b"2021-12-24T11:31:57.433210+00:00", wrong)
    assert values(read("chirpstack", Message(body)))["air_temperature"] == 21.6
    neither = body.replace(b"nsTime", b"other")
    assert values(read("chirpstack", Message(neither)), CLOCK.now)["air_temperature"] == 21.6


def test_helium_in_milliseconds_and_in_seconds():
    expected = {"air_temperature": 12.4, "relative_humidity": 61.0}
    assert values(read("helium", SAMPLES["helium"])) == expected
    seconds = HELIUM.replace(b'"reported_at":1640345517123}', b'"reported_at":1640345517}')
    assert values(read("helium", Message(seconds))) == expected


def test_the_fourteen_digits_of_heliums_own_page_are_a_time_ahead():
    odd = HELIUM.replace(b'"reported_at":1640345517123}', b'"reported_at":15868685461234}')
    with pytest.raises(FutureTimestamp):
        read("helium", Message(odd))


def test_helium_with_a_decoder_of_ones_own():
    body = b'{"dev_eui":"1C","reported_at":1640345517,"decoded":{"payload":{"TempC_SHT":-3.25}}}'
    assert values(read("helium", Message(body))) == {"air_temperature": -3.25}
