"""A frame comes back as it was packed; a damaged one is never taken for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain_relayer.bus.frame import MalformedFrame, pack_frame, unpack_frame

OBSERVATIONS = st.builds(
    Observation,
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40 - 1),
    st.integers(-(2**31), 2**31 - 1),
)
REPORTS = st.builds(
    lambda device, sequence, items, signature: SignedReport(
        Report.of(DeviceId(device), sequence, items), signature
    ),
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**64 - 1),
    st.lists(OBSERVATIONS, min_size=1, max_size=3),
    st.binary(min_size=64, max_size=64),
)
FRAMES = st.lists(REPORTS, min_size=1, max_size=3)


@given(st.integers(0, 2**64 - 1), FRAMES)
def test_a_frame_comes_back_unchanged(at: int, reports: list[SignedReport]) -> None:
    frame = unpack_frame(pack_frame(at, reports))
    assert (frame.received_at_ms, list(frame.reports)) == (at, reports)


@given(FRAMES, st.data())
def test_a_flipped_bit_is_found(reports: list[SignedReport], data: st.DataObject) -> None:
    packed = bytearray(pack_frame(5, reports))
    # The time stands before the checksum and may read differently; it decides nothing.
    places = [place for place in range(len(packed)) if not 5 <= place < 13]
    place = data.draw(st.sampled_from(places))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedFrame):
        unpack_frame(bytes(packed))


@given(FRAMES, st.data())
def test_a_torn_frame_is_found(reports: list[SignedReport], data: st.DataObject) -> None:
    packed = pack_frame(5, reports)
    with pytest.raises(MalformedFrame):
        unpack_frame(packed[: data.draw(st.integers(0, len(packed) - 1))])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        unpack_frame(data)


def test_a_sound_checksum_over_no_reports_is_no_frame() -> None:
    import zlib

    rest = b"no report"
    head = b"CCFR\x01" + bytes(8) + zlib.crc32(rest).to_bytes(4, "big")
    with pytest.raises(MalformedFrame):
        unpack_frame(head + rest)
