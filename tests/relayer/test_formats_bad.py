"""Bad uploads: a typed refusal, in bounded time, that repeats no secret."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.errors import InvalidMapping, MalformedUpload
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Arrival, Message
from relayer.fuzz_formats import NAMES, SECRETS, run
from relayer.uploads import CLOCK, ECOWITT, NOBODY, SAMPLES, WUNDERGROUND, read

INPUTS = 500
"""A format; `make fuzz-formats` takes a million."""


@pytest.mark.parametrize("name", NAMES)
def test_mutated_uploads_are_read_or_refused_by_name(name):
    """Whatever else were raised would end the run; the seeds are near enough to be read at times,
    and far enough to be refused at times."""
    found = run(name, INPUTS, seed=7)
    assert found["read"]
    assert found["refused"]


@settings(max_examples=60)
@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200), st.text(max_size=60))
def test_any_bytes_are_refused_by_name(name, body, query):
    message = Message(body, query)
    for step in (lambda: FORMATS[name].identity(message), lambda: read(name, message)):
        try:
            step()
        except ProtocolError as error:
            assert error.name in ("MalformedUpload", "NothingMeasured", "InvalidMapping")  # noqa: PT017


@pytest.mark.parametrize("sample", [ECOWITT, WUNDERGROUND])
@pytest.mark.parametrize("damage", ["dateutc=x&", "&dateutc=x", "tempf=90&tempf=80&", "%zz&"])
def test_no_refusal_repeats_a_secret(sample, damage):
    text = damage + sample if damage.endswith("&") else sample.replace("dateutc", "d") + damage
    for name, message in (
        ("ecowitt", Message(text.encode())),
        ("wunderground", Message(query=text)),
    ):
        assert not any(secret in repr(message) for secret in SECRETS)
        try:
            upload = read(name, message)
        except ProtocolError as error:
            said = f"{error!s} {error!r}"
        else:
            said = repr(upload)
        assert not any(secret in said for secret in SECRETS)


HUGE = {
    "deep JSON": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "many fields": b"&".join(b"f%d=1" % n for n in range(200_000)),
    "one long field": b"dateutc=" + b"9" * 1_000_000,
    "long number": b'{"sensordatavalues":[{"value_type":"SDS_P1","value":1%s}]}' % (b"0" * 100_000),
    "many packets": b"CW1>APRS:@241131z4220.45N/07128.59W_032/005g008t054\n" * 20_000,
    "no packet": b"C" * 1_000_000,
    "many values": b'{"sensordatavalues":[%s{}]}' % (b"{}," * 100_000),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_upload_costs_a_moment(kind):
    """CPU, not wall: a step that grew with the square of the size would take minutes."""
    message = Message(HUGE[kind])
    started = time.process_time()
    for name in FORMATS:
        for step in (FORMATS[name].identity, lambda m: read(name, m)):  # noqa: B023
            try:
                step(message)
            except ProtocolError:
                continue
    assert time.process_time() - started < 20


def test_a_format_that_needs_a_mapping_says_so():
    for name in ("json", "sensorthings"):
        with pytest.raises(InvalidMapping):
            FORMATS[name].read(Arrival(SAMPLES["sensorthings"], NOBODY, CLOCK))


def test_more_fields_than_any_station_has_are_refused():
    with pytest.raises(MalformedUpload):
        read("ecowitt", Message(HUGE["many fields"]))
