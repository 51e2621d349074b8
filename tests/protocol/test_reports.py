"""The two forms of a report, and what is not one."""

import json
import math
from contextlib import suppress

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import (
    HighS,
    InvalidCell,
    InvalidSignature,
    MalformedReport,
    ProtocolError,
    UnknownMetric,
    ValueOutOfRange,
)
from corechain.protocol.reading import (
    DeviceId,
    Observation,
    Reading,
    Report,
    SignedReport,
    unpack_reports,
)
from corechain.protocol.report_json import report_from_json, report_to_json, reports_from_json
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.protocol.vocabulary import METRICS, metric

CELL = 0x872A1072BFFFFFF
codes = st.sampled_from([item.code for item in METRICS])
observations = st.builds(
    Observation,
    codes,
    st.builds(
        lambda *place: h3.str_to_int(h3.latlng_to_cell(*place)),
        st.floats(-90, 90),
        st.floats(-180, 180),
        st.integers(0, 15),
    ),
    st.integers(0, 2**40 - 1),
    st.integers(-(2**31), 2**31 - 1),
)
devices = st.binary(min_size=20, max_size=20).map(DeviceId)
signed = st.builds(
    SignedReport,
    st.builds(
        Report.of,
        devices,
        st.integers(0, 2**64 - 1),
        st.lists(observations, min_size=1, max_size=5),
    ),
    st.binary(min_size=64, max_size=64),
)
PLAIN = SignedReport(Report.of(DeviceId(bytes(20)), 7, [Observation(1, CELL, 3, 4)]), bytes(64))


def document(**changes):
    return report_to_json(PLAIN) | changes


def observation(**changes):
    (item,) = report_to_json(PLAIN)["observations"]
    return document(observations=[item | changes])


@given(st.lists(signed, max_size=5))
def test_packed_reports_come_back_as_they_were(items):
    assert unpack_reports(b"".join(item.pack() for item in items)) == items


@given(signed)
def test_json_reports_come_back_as_they_were(item):
    assert report_from_json(json.dumps(report_to_json(item)).encode()).signed == item


@given(signed, st.data())
def test_a_cut_packed_report_is_refused(item, data):
    packed = item.pack()
    with pytest.raises(MalformedReport):
        unpack_reports(packed[: data.draw(st.integers(1, len(packed) - 1))])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_break_the_decoders(data):
    for decode in (unpack_reports, reports_from_json):
        with suppress(MalformedReport, ValueOutOfRange):
            decode(data)


@given(observations, devices, st.sampled_from([1, 3]))
def test_a_reading_comes_back_as_it_was(item, device, flag):
    reading = Reading(item.metric, item.cell, device, item.observed_at, item.value, flag)
    assert Reading.unpack(reading.pack()) == reading
    assert len(reading.pack()) == 40


@given(st.lists(st.builds(Reading, codes, st.integers(0, 2**64 - 1), devices,
                          st.integers(0, 2**40 - 1), st.just(0)), max_size=9))  # fmt: skip
def test_readings_sort_as_their_bytes(items):
    assert [item.pack() for item in sorted(items)] == sorted(item.pack() for item in items)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (observation(value=2**31), ValueOutOfRange),
        (observation(value=-(2**31) - 1), ValueOutOfRange),
        (observation(value=1.5), ValueOutOfRange),
        (observation(value=1e300), ValueOutOfRange),
        (observation(value=True), MalformedReport),
        (observation(value="4"), MalformedReport),
        (observation(value=None), MalformedReport),
        (observation(observed_at=-1), ValueOutOfRange),
        (observation(observed_at=2**40), ValueOutOfRange),
        (observation(metric=999), UnknownMetric),
        (observation(metric="phlogiston"), UnknownMetric),
        (observation(cell="xyz"), MalformedReport),
        (observation(cell="٣" * 15), MalformedReport),
        (observation(cell="0" * 15), InvalidCell),
        (observation(cell="f" * 16), InvalidCell),
        (observation(extra=1), MalformedReport),
        (document(observations=[]), MalformedReport),
        (document(sequence=-1), ValueOutOfRange),
        (document(sequence=2**64), ValueOutOfRange),
        (document(device="0x12"), MalformedReport),
        (document(device="00" * 20), MalformedReport),
        (document(device="0x" + "g" * 40), MalformedReport),
        (document(signature="0x" + "0" * 126), MalformedReport),
        (document(signature="0x" + "0" * 128 + "1d"), InvalidSignature),
        (document(signature="0x" + "00" * 32 + "f" * 64 + "1b"), HighS),
        (document(admin=True), MalformedReport),
        ([1], MalformedReport),
        ("text", MalformedReport),
        (None, MalformedReport),
    ],
)
def test_a_report_outside_the_schema_is_refused_by_name(change, error):
    with pytest.raises(error):
        report_from_json(json.dumps(change).encode())


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_numbers_that_are_none_are_out_of_range(number):
    body = json.dumps(document()).encode().replace(b'"value": 4', b'"value": ' + number)
    assert number in body
    with pytest.raises(ValueOutOfRange):
        report_from_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xef\xbb\xbf{}",
        b"{}{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"device":' * 50_000,
    ],
)
def test_what_is_not_json_is_malformed(body):
    answers = []
    try:
        answers = reports_from_json(body)
    except ProtocolError as error:
        answers = [error]
    assert [type(answer) for answer in answers] == [MalformedReport]


@pytest.mark.parametrize("key", ["device", "sequence", "signature", "value", "metric", "chain_id"])
def test_a_repeated_key_is_refused(key):
    body = json.dumps(document(chain_id=1)).encode()
    doubled = body.replace(f'"{key}":'.encode(), f'"{key}": 1, "{key}":'.encode(), 1)
    assert doubled != body
    with pytest.raises(MalformedReport):
        report_from_json(doubled)


def test_an_escaped_key_cannot_hide_a_repetition():
    body = json.dumps(document()).encode().replace(b'"sequence"', b'"s\\u0065quence"')
    with pytest.raises(MalformedReport):
        report_from_json(body)


def test_one_bad_report_does_not_take_the_others_with_it():
    body = json.dumps([document(), document(device="0x"), document(sequence=8)]).encode()
    first, second, third = reports_from_json(body)
    assert first.signed.report.sequence == 7
    assert isinstance(second, MalformedReport)
    assert third.signed.report.sequence == 8


def test_declared_chain_and_registry_are_handed_on():
    declared = report_from_json(
        json.dumps(document(chain_id=5, registry="0x" + "ab" * 20)).encode()
    )
    assert (declared.chain_id, declared.registry) == (5, b"\xab" * 20)


@pytest.mark.parametrize("count", [0, 1025])
def test_a_report_carries_one_to_1024_observations(count):
    with pytest.raises(MalformedReport):
        Report.of(DeviceId(bytes(20)), 1, [Observation(1, 2, 3, 4)] * count)


@given(st.floats())
def test_a_float_becomes_the_nearest_integer_or_is_refused(value):
    kind = metric("air_temperature")
    if math.isfinite(value) and -21_000_000 < value < 21_000_000:
        assert abs(kind.to_wire(value) - value * 100) <= 0.5 + abs(value) * 1e-12
    else:
        try:
            wire = kind.to_wire(value)
        except ValueOutOfRange:
            return
        assert -(2**31) <= wire < 2**31


def test_a_metric_is_found_by_code_and_name_only():
    assert metric(1) is metric("air_temperature")
    for unknown in (0, "AIR_TEMPERATURE", ""):
        with pytest.raises(UnknownMetric):
            metric(unknown)
    assert SECP256K1_ORDER > 2**255
