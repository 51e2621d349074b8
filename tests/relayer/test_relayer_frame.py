"""A frame comes back as it was packed; a damaged or forged one is never taken for another.

given a frame that a gateway has sealed
  when it is opened with the key, in its place, it is vouched for
  when anything of it, its place or its time is another, it is not, and its signatures decide
given a frame without a seal, of this version or the first
  when it is whole, it is read; when a bit of it is another, it is set aside
"""

import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.tracing import Context
from corechain_relayer.bus.frame import (
    NO_KEYS,
    FrameKeys,
    MalformedFrame,
    OpenedFrame,
    Place,
    frame_of,
    key_id,
    open_frame,
    pack_frame,
    seal_frame,
    spans_of,
    unpack_frame,
)
from corechain_relayer.bus.opener import FrameOpener
from corechain_relayer.metrics import Metrics

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
TIMES = st.integers(0, 2**64 - 1)
OLD, NEW, FOREIGN = (bytes([number]) * 32 for number in (1, 2, 3))
KEYS, PLACE = FrameKeys((OLD,)), Place(31337, b"\x11" * 20, 3)
ELSEWHERE = {
    "chain": replace(PLACE, chain_id=1),
    "registry": replace(PLACE, registry=b"\x12" * 20),
    "lane": replace(PLACE, lane=2),
}


def sealed(at: int, reports: list[SignedReport]) -> bytes:
    return frame_of(at, reports, KEYS, PLACE).content


def of_version_1(at: int, reports: list[SignedReport]) -> bytes:
    """As a gateway before version 2 wrote it."""
    packed = b"".join(report.pack() for report in reports)
    return b"CCFR\x01" + at.to_bytes(8, "big") + zlib.crc32(packed).to_bytes(4, "big") + packed


def content(opened: OpenedFrame) -> tuple[int, list[SignedReport]]:
    return opened.received_at_ms, list(opened.columns.reports())


@given(TIMES, FRAMES)
def test_a_sealed_frame_comes_back_unchanged_and_vouched_for(
    at: int, reports: list[SignedReport]
) -> None:
    opened = open_frame(sealed(at, reports), KEYS, PLACE)
    assert opened.vouched
    assert content(opened) == (at, reports)
    assert frame_of(at, reports, KEYS, PLACE).spans == spans_of(opened.columns)


@given(TIMES, FRAMES)
def test_a_frame_without_a_key_comes_back_unchanged_and_is_vouched_for_by_nobody(
    at: int, reports: list[SignedReport]
) -> None:
    opened = open_frame(pack_frame(at, reports), KEYS, PLACE)
    assert opened.doubt == "no key"
    assert content(opened) == (at, reports)
    assert list(unpack_frame(pack_frame(at, reports)).reports) == reports


@given(TIMES, FRAMES)
def test_a_frame_of_the_first_version_is_still_read(at: int, reports: list[SignedReport]) -> None:
    opened = open_frame(of_version_1(at, reports), KEYS, PLACE)
    assert opened.doubt == "version 1"
    assert content(opened) == (at, reports)


@given(FRAMES, st.sampled_from(sorted(ELSEWHERE)))
def test_a_frame_is_vouched_for_in_its_own_place_alone(
    reports: list[SignedReport], moved: str
) -> None:
    opened = open_frame(sealed(5, reports), KEYS, ELSEWHERE[moved])
    assert opened.doubt == "wrong seal"
    assert content(opened) == (5, reports)


@given(FRAMES, st.data())
def test_no_bit_of_a_sealed_frame_can_be_turned(
    reports: list[SignedReport], data: st.DataObject
) -> None:
    whole = sealed(5, reports)
    packed = bytearray(whole)
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        opened = open_frame(bytes(packed), KEYS, PLACE)
    except MalformedFrame:
        return
    assert not opened.vouched


@given(FRAMES, st.data())
def test_a_turned_bit_of_a_frame_without_a_seal_is_found(
    reports: list[SignedReport], data: st.DataObject
) -> None:
    first = data.draw(st.booleans())
    packed = bytearray((of_version_1 if first else pack_frame)(5, reports))
    # In version 1 the time stood before the checksum; in version 2 a turned bit of the key's id
    # makes it the frame of an unknown key, whose signatures decide.
    free = range(5, 13) if first else range(13, 17)
    place = data.draw(st.sampled_from([p for p in range(len(packed)) if p not in free]))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedFrame):
        open_frame(bytes(packed))


@given(FRAMES, st.data())
def test_a_torn_frame_is_never_vouched_for(
    reports: list[SignedReport], data: st.DataObject
) -> None:
    whole = data.draw(st.sampled_from([sealed(5, reports), pack_frame(5, reports)]))
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert not open_frame(torn, KEYS, PLACE).vouched
    except MalformedFrame:
        return
    assert whole.startswith(sealed(5, reports)[:17]), "without a key a torn frame is found"


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        unpack_frame(data)


@given(st.sampled_from([1, 2]), st.binary(max_size=60))
def test_what_only_begins_as_a_frame_is_none_that_is_vouched_for(version: int, rest: bytes) -> None:
    try:
        opened = open_frame(b"CCFR" + bytes([version]) + rest, KEYS, PLACE)
    except MalformedFrame:
        return
    assert not opened.vouched


def test_a_sound_checksum_over_no_reports_is_no_frame() -> None:
    rest = b"no report"
    head = b"CCFR\x01" + bytes(8) + zlib.crc32(rest).to_bytes(4, "big")
    with pytest.raises(MalformedFrame):
        unpack_frame(head + rest)


REPORT = SignedReport(Report.of(DeviceId(bytes(20)), 1, [Observation(1, 0, 9, 9)]), bytes(64))


def test_a_key_is_changed_without_a_stop() -> None:
    both, new = FrameKeys((NEW, OLD)), FrameKeys((NEW,))
    before, after = sealed(5, [REPORT]), frame_of(5, [REPORT], both, PLACE).content
    assert open_frame(before, both, PLACE).vouched
    assert open_frame(after, both, PLACE).vouched
    assert open_frame(after, new, PLACE).vouched
    assert open_frame(before, new, PLACE).doubt == "unknown key"


def test_who_has_no_key_or_another_one_vouches_for_nothing() -> None:
    frame = sealed(5, [REPORT])
    assert open_frame(frame, NO_KEYS, PLACE).doubt == "unknown key"
    assert open_frame(frame, FrameKeys((FOREIGN,)), PLACE).doubt == "unknown key"
    # Somebody who takes over the id of our key, too.
    forged = frame_of(5, [REPORT], FrameKeys((FOREIGN,)), PLACE).content
    renamed = forged[:13] + key_id(OLD).to_bytes(4, "big") + forged[17:]
    assert open_frame(renamed, KEYS, PLACE).doubt == "wrong seal"


def test_keys_are_shown_nowhere() -> None:
    assert OLD.hex() not in repr(KEYS)
    assert repr(OLD) not in repr(KEYS)


def test_frames_without_a_seal_are_counted_by_reason(capsys: Any) -> None:
    metrics = Metrics()
    opener = FrameOpener(KEYS, PLACE, metrics)
    for frame in (sealed(5, [REPORT]), pack_frame(5, [REPORT]), of_version_1(5, [REPORT])):
        assert opener.open(frame).received_at_ms == 5
        opener.open(frame)
    text = metrics.exposition().decode()
    assert 'corechain_frames_unvouched_total{reason="no key"} 2.0' in text
    assert 'corechain_frames_unvouched_total{reason="version 1"} 2.0' in text
    # Where a log goes is set for the whole process, by whichever test did it before.
    assert "".join(capsys.readouterr()).count("not vouched for") == 2


# ------------------------------------------------------------------ contexts of traces

MARKS = [Context(bytes([n + 1]) * 16, bytes([n + 1]) * 8) for n in range(70)]


def traced(reports: list[SignedReport], keys: FrameKeys = KEYS, marks: int = 2) -> bytes:
    packed = b"".join(report.pack() for report in reports)
    return seal_frame(7, packed, keys, PLACE, MARKS[:marks])


@given(FRAMES, st.booleans())
def test_contexts_go_along_only_where_one_of_us_vouches_for_them(
    reports: list[SignedReport], is_sealed: bool
) -> None:
    keys = KEYS if is_sealed else NO_KEYS
    opened = open_frame(traced(reports, keys), keys, PLACE)
    assert content(opened) == (7, reports)
    assert list(opened.marks) == (MARKS[:2] if is_sealed else [])


@given(FRAMES)
def test_a_frame_without_sampled_reports_is_what_it_was(reports: list[SignedReport]) -> None:
    assert traced(reports, marks=0) == sealed(7, reports)
    assert not open_frame(sealed(7, reports), KEYS, PLACE).marks


@given(FRAMES)
def test_a_frame_has_so_many_contexts_and_no_more(reports: list[SignedReport]) -> None:
    assert list(open_frame(traced(reports, marks=70), KEYS, PLACE).marks) == MARKS[:64]


@given(FRAMES, st.sampled_from([2, 3]))
def test_who_changes_the_version_alone_has_nobody_who_vouches(
    reports: list[SignedReport], version: int
) -> None:
    frame = sealed(7, reports) if version == 3 else traced(reports)
    changed = frame[:4] + bytes([version]) + frame[5:]
    try:
        opened = open_frame(changed, KEYS, PLACE)
    except MalformedFrame:
        return
    assert opened.doubt == "wrong seal"
    assert not opened.marks


@pytest.mark.parametrize("body", [b"", b"\x02" + bytes(30)])
def test_contexts_that_are_cut_off_make_no_frame(body: bytes) -> None:
    seal = KEYS.seal(PLACE, 7, body, 3)
    head = b"CCFR\x03" + (7).to_bytes(8, "big") + seal[0].to_bytes(4, "big") + seal[1]
    with pytest.raises(MalformedFrame):
        open_frame(head + body, KEYS, PLACE)
