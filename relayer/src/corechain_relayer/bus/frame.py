"""A frame: the accepted reports of one request and one lane, packed, with the gateway's time.

`"CCFR" ‖ version u8 = 1 ‖ received at u64 (ms) ‖ crc32 u32 of the rest ‖ reports`. The checksum
finds a torn or flipped byte; it is no defence against a forger, the signatures are.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corechain.protocol.errors import MalformedReport, ProtocolError
from corechain.protocol.reading import DeviceId, SignedReport, unpack_reports

MAGIC, VERSION = b"CCFR", 1
_HEAD = struct.Struct(">4sBQI")


class MalformedFrame(ProtocolError):
    """The bytes on the bus are not a frame: written by something else, or damaged."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Reports in the order in which they came, and when, in milliseconds since 1970."""

    received_at_ms: int
    reports: tuple[SignedReport, ...]


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A frame's bytes, and what a bus has to know of them: the sequences of each device in it."""

    content: bytes
    spans: dict[DeviceId, tuple[int, int]]
    """Device → its lowest and highest sequence."""


def pack_frame(received_at_ms: int, reports: Iterable[SignedReport]) -> bytes:
    packed = b"".join(report.pack() for report in reports)
    return _HEAD.pack(MAGIC, VERSION, received_at_ms, zlib.crc32(packed)) + packed


def spans_of(reports: Iterable[SignedReport]) -> dict[DeviceId, tuple[int, int]]:
    """Device → its lowest and highest sequence among the reports."""
    spans: dict[DeviceId, tuple[int, int]] = {}
    for signed in reports:
        device, sequence = signed.report.device, signed.report.sequence
        low, high = spans.get(device, (sequence, sequence))
        spans[device] = min(low, sequence), max(high, sequence)
    return spans


def frame_of(received_at_ms: int, reports: Sequence[SignedReport]) -> PackedFrame:
    return PackedFrame(pack_frame(received_at_ms, reports), spans_of(reports))


def unpack_frame(data: bytes) -> Frame:
    """Raises MalformedFrame."""
    if len(data) < _HEAD.size:
        raise MalformedFrame(f"a frame has at least {_HEAD.size} bytes, not {len(data)}")
    magic, version, received_at_ms, checksum = _HEAD.unpack_from(data)
    packed = data[_HEAD.size :]
    if magic != MAGIC or version != VERSION:
        raise MalformedFrame("not a frame of version 1")
    if zlib.crc32(packed) != checksum:
        raise MalformedFrame("the checksum of the frame does not match")
    try:
        return Frame(received_at_ms, tuple(unpack_reports(packed)))
    except MalformedReport as error:
        raise MalformedFrame(str(error)) from error
