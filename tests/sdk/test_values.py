"""What users give: every usual form of a value is taken, and what is wrong is named.

given a device, owner, cell, metric, time, number in another form
  ├── hex, degrees, names, datetimes, other libraries' integers become the protocol's own
  └── a naive datetime, a fraction, NaN, a bool are refused with what is right
"""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st
from support.batches import CELL, KEYS

from corechain import (
    InvalidValue,
    Observation,
    P256Key,
    Report,
    Secp256k1Key,
    account_from_key,
    cell_of,
    metric,
)
from corechain.flows import Question
from corechain.protocol.errors import (
    InvalidCell,
    UnknownMetric,
    ValueOutOfRange,
)
from corechain.protocol.values import address, number, octets, seconds, whole
from corechain.readings import ReadingsQuestion

DEVICE = KEYS[0].identity.device
HEX = "0x" + DEVICE.hex()
CHECKED = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
NOON = datetime(2013, 2, 1, 12, tzinfo=UTC)
NOON_S, EAST = 1_359_720_000, timezone(timedelta(hours=5))


class Int64:
    """An integer of another library: numpy's can be an index and a float."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    def __float__(self):
        return float(self.value)


class Float64(float):
    """numpy's is a float, too."""


class Timestamp(datetime):
    """pandas' is a datetime, too."""


class Datetime64:
    """What is seen of numpy's."""

    class dtype:
        kind = "M"

    def astype(self, _):
        return 0

    def __index__(self):
        raise TypeError


# ---------------------------------------------------------------------- forms that are taken


@given(st.binary(min_size=20, max_size=20))
def test_bytes_and_hex_are_the_same_octets(raw):
    forms = (
        raw,
        bytearray(raw),
        memoryview(raw),
        raw.hex(),
        "0x" + raw.hex(),
        "0X" + raw.hex().upper(),
        to_checksum_address(raw),
    )
    assert {address("device", form) for form in forms} == {raw}


@given(st.integers(-(2**200), 2**200))
def test_whole_numbers_of_any_library_are_the_same(value):
    forms = (value, Int64(value), str(value))
    assert {whole("n", form, -(2**200), 2**200) for form in forms} == {value}


@given(st.integers(-(2**53), 2**53))
def test_a_float_without_a_fraction_is_a_whole_number(value):
    """As pandas makes of integers when one is missing."""
    for form in (float(value), Float64(value), Decimal(value), Fraction(value)):
        assert whole("n", form, -(2**53), 2**53) == value


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1)),
    st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_an_aware_datetime_is_its_second(moment, zone):
    aware = moment.replace(tzinfo=zone)
    assert seconds("start", aware) == math.floor(aware.timestamp())
    assert seconds("start", Timestamp.fromtimestamp(aware.timestamp(), zone)) == seconds("s", aware)


def test_every_form_of_an_observation_is_the_same_observation():
    plain = Observation(1, CELL, NOON_S, 2150)
    for kind in (1, "1", "air_temperature", metric("air_temperature"), Int64(1)):
        for place in (CELL, f"{CELL:x}", f"0x{CELL:X}", Int64(CELL)):
            for moment in (
                NOON_S,
                NOON,
                NOON.astimezone(timezone(timedelta(hours=5))),
                str(NOON_S),
            ):
                for value in (2150, "2150", 2150.0, Int64(2150)):
                    assert Observation(kind, place, moment, value) == plain
    assert Observation.in_unit("air_temperature", CELL, NOON, 21.5) == plain
    assert Observation.in_unit("air_temperature", CELL, NOON, Decimal("21.5")) == plain


def test_degrees_are_the_cell_around_them():
    place = (40.6413, -73.7781)
    found = cell_of(*place)
    assert f"{found:x}".startswith("87"), "resolution 7"
    assert cell_of(*place, resolution=9) != found
    assert Observation.in_unit("pressure", place, NOON, 1013.25).cell == found
    assert Question("pressure", HEX, place, NOON, NOON).cell == found
    assert Observation(4, place, NOON, 1).cell == found


def test_every_form_of_a_question_is_the_same_question():
    plain = Question(metric(1), DEVICE, CELL, NOON_S, NOON_S + 60)
    given_ = Question("air_temperature", HEX, f"{CELL:x}", NOON, NOON + timedelta(minutes=1))
    assert given_ == plain
    assert given_.params() == plain.params()
    bulk = ReadingsQuestion(HEX, "air_temperature", NOON, None)
    assert bulk == ReadingsQuestion(DEVICE, metric(1), NOON_S, None)


def test_a_report_takes_its_device_in_hex():
    observations = (item for item in [Observation(1, CELL, NOON_S, 5)])
    assert Report.of(HEX, "7", observations) == Report.of(
        DEVICE, 7, [Observation(1, CELL, NOON_S, 5)]
    )


def test_keys_and_accounts_take_hex_and_never_show_it():
    secret = "0x" + "61" * 32
    assert Secp256k1Key(secret) == Secp256k1Key(bytes.fromhex("61" * 32))
    assert P256Key(secret).identity == P256Key(bytes.fromhex("61" * 32)).identity
    assert account_from_key(secret).address == account_from_key("61" * 32).address
    for kind in (Secp256k1Key, P256Key, account_from_key):
        for wrong in (
            secret[:-2],
            secret + "61",
            bytes(32),
            b"\xff" * 32,
            None,
            7,
            "61" * 31 + "zz",
        ):
            with pytest.raises(InvalidValue, match="secret: takes 32 bytes") as caught:
                kind(wrong)
            assert "6161" not in str(caught.value)
            assert "ffff" not in repr(caught.value.value)


# ---------------------------------------------------------------------- forms that are refused


@pytest.mark.parametrize(
    ("ask", "right"),
    [
        (lambda: seconds("start", NOON.replace(tzinfo=None)), "start: a datetime without a time"),
        (lambda: seconds("start", date(2013, 2, 1)), "start: takes whole seconds"),
        (lambda: seconds("start", Datetime64()), "numpy.datetime64 has no time zone"),
        (lambda: seconds("start", 1.5), "start: takes whole seconds"),
        (lambda: seconds("end", True), "end: takes whole seconds"),
        (lambda: seconds("end", math.nan), "end: takes whole seconds"),
        (lambda: seconds("end", -1), "end does not fit"),
        (lambda: seconds("end", datetime(1900, 1, 1, tzinfo=UTC)), "end does not fit"),
        (lambda: address("device", "0x12"), "device: takes 20 bytes, or 0x and 40 hex digits"),
        (lambda: address("device", HEX + " "), "device: takes 20 bytes"),
        (lambda: address("owner", CHECKED.replace("ffF", "FfF")), "owner: .* no checksum"),
        (lambda: address("owner", CHECKED.replace("2266", "2267")), "owner: .* no checksum"),
        (lambda: address("device", DEVICE.decode("latin-1")), "device: takes 20 bytes"),
        (lambda: octets("id", 5, 32), "id: takes 32 bytes.*; given was 5"),
        (lambda: whole("limit", 10**30, 1, 9), "limit does not fit .* from 1 to 9"),
        (lambda: whole("limit", 10**5000, 1, 9), "a number of 16610 bits"),
        (lambda: whole("limit", 1.5, 1, 9), "limit: takes a whole number from 1 to 9"),
        (lambda: whole("limit", "٣", 1, 9), "limit: takes a whole number"),
        (lambda: number("value", "1.5"), "value: takes a finite number"),
        (lambda: Observation(1, CELL, NOON, 21.5), "Observation.in_unit takes the metric's unit"),
        (lambda: Observation.in_unit(1, CELL, NOON, "21.5"), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, CELL, NOON, None), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, CELL, NOON, True), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, (91, 0), NOON, 1.0), "latitude: takes degrees"),
        (lambda: Observation.in_unit(1, (1, 2, 3), NOON, 1.0), "cell: takes a pair"),
        (lambda: Question(1, HEX, CELL, 5, 4), "start: is not after the end, 4"),
        (lambda: ReadingsQuestion(HEX, None, NOON_S, 4), "start: is not after the end, 4"),
        (lambda: Report.of(DEVICE, 1, [1]), r"observations\[0\]: takes Observations"),
        (lambda: Report.of(DEVICE, 1, None), "observations: takes Observations"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(ask, right):
    with pytest.raises((InvalidValue, ValueOutOfRange), match=right):
        ask()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_a_value_that_no_reading_holds_is_out_of_range(value):
    with pytest.raises(ValueOutOfRange):
        metric("pressure").to_wire(value)


def test_a_metric_that_is_none_is_told_what_is_close():
    for wrong, hint in (
        ("temperature ", "air_temperature"),
        ("presure", "pressure"),
        (None, "co2"),
    ):
        with pytest.raises(UnknownMetric, match=hint):
            metric(wrong)
    for wrong in (True, 0, -1, 99, 1.5, [], "", "²", b"pressure"):
        with pytest.raises(UnknownMetric):
            metric(wrong)


def test_a_number_that_is_no_cell_is_refused_where_degrees_would_be_taken():
    for wrong in (5, "ffffffffffffffff", 2**64 - 1):
        with pytest.raises(InvalidCell):
            Question(1, HEX, wrong, 0, 1)
