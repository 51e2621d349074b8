"""Bad uploads: a typed refusal, for bounded work, that repeats no secret."""

import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol.errors import ProtocolError
from corechain_relayer.bridge.errors import InvalidMapping, MalformedUpload
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import MAX_FIELDS, Arrival, Message
from relayer.fuzz_formats import NAMES, SECRETS, run
from relayer.uploads import CLOCK, CWOP, ECOWITT, NOBODY, SAMPLES, WUNDERGROUND, read

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
    "deep JSON": lambda n: b"[" * n,
    "deep objects": lambda n: b'{"a":' * n,
    "many fields": lambda n: b"&".join(b"f%d=1" % i for i in range(n)),
    "one long field": lambda n: b"dateutc=" + b"9" * (5 * n),
    "long number": lambda n: (
        b'{"sensordatavalues":[{"value_type":"SDS_P1","value":1%s}]}' % (b"0" * n)
    ),
    "many packets": lambda n: b"CW1>APRS:@241131z4220.45N/07128.59W_032/005g008t054\n" * (n // 10),
    "no packet": lambda n: b"C" * (5 * n),
    "many values": lambda n: b'{"sensordatavalues":[%s{}]}' % (b"{}," * n),
}
SMALL, GROWTH = 10_000, 4


def calls_of(body):
    """Calls of Python and C functions while all formats read a body: the work, whatever machine
    does it. Steps inside of a regular expression are none: those get short texts alone."""
    counted, message = 0, Message(body)

    def count(frame, event, argument):
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for name in FORMATS:
            for step in (FORMATS[name].identity, lambda m: read(name, m)):  # noqa: B023
                with suppress(ProtocolError):
                    step(message)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("kind", HUGE)
def test_the_work_grows_no_faster_than_the_upload(kind):
    small, large = (calls_of(HUGE[kind](n)) for n in (SMALL, GROWTH * SMALL))
    assert large <= 1.1 * GROWTH * small


def test_a_line_longer_than_a_packet_can_be_is_refused_before_it_is_read():
    packet = CWOP.splitlines()[1]
    read("cwop", Message(packet + b"x" * (512 - len(packet))))
    with pytest.raises(MalformedUpload, match="512 bytes"):
        read("cwop", Message(packet + b"x" * (513 - len(packet))))


def test_a_format_that_needs_a_mapping_says_so():
    for name in ("json", "sensorthings"):
        with pytest.raises(InvalidMapping):
            FORMATS[name].read(Arrival(SAMPLES["sensorthings"], NOBODY, CLOCK))


def test_more_fields_than_any_station_has_are_refused():
    with pytest.raises(MalformedUpload):
        read("ecowitt", Message(HUGE["many fields"](MAX_FIELDS + 1)))
