"""A frame: accepted reports of one lane, packed, with the gateway's time and its seal.

`"CCFR" ‖ version u8 = 2 ‖ received at u64 (ms) ‖ key id u32 ‖ seal (16 bytes) ‖ reports`, integers
big-endian. The seal is BLAKE2b (RFC 7693) with 16 bytes, keyed by a key of ours, over chain id,
registry, lane, time and reports: who holds the key knows that one of us has checked the signatures,
and a frame is good for no other deployment, lane or time. Key id 0: no key, the seal is a checksum
that finds damage and stops no forger. Version 1 had only a CRC-32, and is still read.

A frame with sampled reports has version 3: between seal and reports, and under the seal,
`count u8 ‖ count × (trace id, 16 bytes ‖ span id, 8 bytes)`. All others stay what they were.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from hmac import compare_digest

from corechain.protocol.errors import MalformedReport, ProtocolError
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.reading import DeviceId, SignedReport
from corechain.service.tracing import SPAN_BYTES, TRACE_BYTES, Context

MAGIC, VERSION, FIRST_VERSION, TRACED_VERSION = b"CCFR", 2, 1, 3
MOST_MARKS = 64
"""Contexts of sampled requests in a frame; those beyond it end at the gateway."""
_MARK_BYTES = TRACE_BYTES + SPAN_BYTES
SEAL_BYTES = 16
"""A guess succeeds once in 2^128, and costs a look at the bus each time."""
KEY_BYTES = 32
NO_KEY = 0

_START = struct.Struct(">4sBQ")
_FIRST_HEAD = struct.Struct(">4sBQI")
_HEAD = struct.Struct(f">4sBQI{SEAL_BYTES}s")
_BOUND = struct.Struct(">32s20sIQ")
# The seal is of a version, too: who changes that byte alone must not move where reports begin.
_PERSONS = {VERSION: b"CoreChain frame2", TRACED_VERSION: b"CoreChain frame3"}
_ID_PERSON = b"CoreChain key id"


class MalformedFrame(ProtocolError):
    """The bytes on the bus are not a frame: written by something else, or damaged."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame is valid: a deployment, and a lane's number on its bus."""

    chain_id: int
    registry: bytes
    lane: int


@dataclass(frozen=True, slots=True)
class FrameKeys:
    """Keys of 32 bytes that gateways and aggregators of one relayer share. The first one seals, all
    of them open: so a key is changed without a stop. Without any, no frame is vouched for."""

    keys: Sequence[bytes] = field(default=(), repr=False)
    by_id: Mapping[int, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert all(len(key) == KEY_BYTES for key in self.keys), "keys have 32 bytes"
        object.__setattr__(self, "by_id", {key_id(key): key for key in self.keys})

    def seal(
        self, place: Place, received_at_ms: int, packed: bytes, version: int = VERSION
    ) -> tuple[int, bytes]:
        """(key id, seal)."""
        if not self.keys:
            return NO_KEY, _checksum(received_at_ms, packed, version)
        return key_id(self.keys[0]), _mac(self.keys[0], place, received_at_ms, packed, version)


NO_KEYS = FrameKeys()
NOWHERE = Place(0, bytes(20), 0)


def key_id(key: bytes) -> int:
    """Names a key without revealing it. Never 0: that says "no key"."""
    return int.from_bytes(blake2b(key, digest_size=4, person=_ID_PERSON).digest(), "big") or 1


def _mac(key: bytes, place: Place, received_at_ms: int, packed: bytes, version: int) -> bytes:
    chain_id = place.chain_id.to_bytes(32, "big")
    mac = blake2b(digest_size=SEAL_BYTES, key=key, person=_PERSONS[version])
    mac.update(_BOUND.pack(chain_id, place.registry, place.lane, received_at_ms))
    mac.update(packed)
    return mac.digest()


def _checksum(received_at_ms: int, packed: bytes, version: int) -> bytes:
    """Of no place: nobody vouches for it anyway, and a dead letter is read anywhere."""
    check = blake2b(digest_size=SEAL_BYTES, person=_PERSONS[version])
    check.update(received_at_ms.to_bytes(8, "big"))
    check.update(packed)
    return check.digest()


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """A frame as it was parsed: reports in the order in which they came, and when, in milliseconds
    since 1970. `doubt` says why nobody vouches for its signatures; empty where one of us does."""

    received_at_ms: int
    columns: Columns
    doubt: str = ""
    marks: Sequence[Context] = ()
    """Contexts of the sampled requests among those that the frame holds."""

    @property
    def vouched(self) -> bool:
        """Whether one of us has checked the signatures."""
        return not self.doubt


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A frame's bytes, and the reports in it: a bus has to know their devices and sequences."""

    content: bytes
    columns: Columns

    @property
    def spans(self) -> dict[DeviceId, tuple[int, int]]:
        """Device → its lowest and highest sequence."""
        return spans_of(self.columns)


def seal_frame(
    received_at_ms: int,
    packed: bytes,
    keys: FrameKeys = NO_KEYS,
    place: Place = NOWHERE,
    marks: Sequence[Context] = (),
) -> bytes:
    """The bytes of a frame of packed reports, for one lane."""
    version = VERSION
    if marks:
        version, packed = TRACED_VERSION, _packed_marks(marks[:MOST_MARKS]) + packed
    seal = keys.seal(place, received_at_ms, packed, version)
    return _HEAD.pack(MAGIC, version, received_at_ms, *seal) + packed


def _packed_marks(marks: Sequence[Context]) -> bytes:
    return bytes((len(marks),)) + b"".join(mark.trace + mark.span for mark in marks)


def _divided(body: bytes) -> tuple[Sequence[Context], bytes]:
    """Contexts and reports of a frame of version 3. Raises MalformedFrame."""
    end = 1 + body[0] * _MARK_BYTES if body else 1
    if len(body) < end:
        raise MalformedFrame("the contexts of the frame are cut off")
    parts = [body[at : at + _MARK_BYTES] for at in range(1, end, _MARK_BYTES)]
    marks = [Context(part[:TRACE_BYTES], part[TRACE_BYTES:]) for part in parts]
    return marks, body[end:]


def open_frame(data: bytes, keys: FrameKeys = NO_KEYS, place: Place = NOWHERE) -> OpenedFrame:
    """What a frame holds, and whether one of us vouches for it. Raises MalformedFrame.

    A wrong seal is no error: somebody else's reports may be good, so their signatures decide.
    """
    if len(data) < _START.size or not data.startswith(MAGIC):
        raise MalformedFrame("not a frame")
    _, version, received_at_ms = _START.unpack_from(data)
    if version == FIRST_VERSION:
        return _opened(received_at_ms, _first_packed(data), "version 1")
    if version not in (VERSION, TRACED_VERSION) or len(data) < _HEAD.size:
        raise MalformedFrame(f"not a frame of version {VERSION}, or not all of it")
    *_, by, seal = _HEAD.unpack_from(data)
    packed = data[_HEAD.size :]
    doubt = _doubt(keys, place, by, seal, received_at_ms, packed, version)
    if version == VERSION:
        return _opened(received_at_ms, packed, doubt)
    marks, packed = _divided(packed)
    # Of a frame that nobody vouches for: its contexts are anybody's.
    return replace(_opened(received_at_ms, packed, doubt), marks=() if doubt else marks)


def _first_packed(data: bytes) -> bytes:
    if len(data) < _FIRST_HEAD.size:
        raise MalformedFrame(f"a frame has at least {_FIRST_HEAD.size} bytes, not {len(data)}")
    packed, checksum = data[_FIRST_HEAD.size :], _FIRST_HEAD.unpack_from(data)[-1]
    if zlib.crc32(packed) != checksum:
        raise MalformedFrame("the checksum of the frame does not match")
    return packed


def _doubt(
    keys: FrameKeys,
    place: Place,
    by: int,
    seal: bytes,
    received_at_ms: int,
    packed: bytes,
    version: int,
) -> str:
    if by == NO_KEY:
        if seal != _checksum(received_at_ms, packed, version):
            raise MalformedFrame("the checksum of the frame does not match")
        return "no key"
    key = keys.by_id.get(by)
    if key is None:
        return "unknown key"
    right = _mac(key, place, received_at_ms, packed, version)
    return "" if compare_digest(seal, right) else "wrong seal"


def _opened(received_at_ms: int, packed: bytes, doubt: str) -> OpenedFrame:
    try:
        return OpenedFrame(received_at_ms, columns_of(packed), doubt)
    except MalformedReport as error:
        raise MalformedFrame(str(error)) from error


# ------------------------------------------------------------------ reports as objects


@dataclass(frozen=True, slots=True)
class Frame:
    """Reports in the order in which they came, and when, in milliseconds since 1970."""

    received_at_ms: int
    reports: tuple[SignedReport, ...]


def pack_frame(received_at_ms: int, reports: Iterable[SignedReport]) -> bytes:
    """A frame that nobody vouches for: dead letters, and what is brought from lane to lane."""
    return seal_frame(received_at_ms, b"".join(report.pack() for report in reports))


def unpack_frame(data: bytes) -> Frame:
    """The reports of a frame, whoever vouches for it. Raises MalformedFrame."""
    opened = open_frame(data)
    return Frame(opened.received_at_ms, tuple(opened.columns.reports()))


def spans_of(columns: Columns) -> dict[DeviceId, tuple[int, int]]:
    """Device → its lowest and highest sequence among the reports."""
    spans: dict[DeviceId, tuple[int, int]] = {}
    for device, sequence in zip(columns.device_ids(), columns.sequences, strict=True):
        low, high = spans.get(device, (sequence, sequence))
        # Nearly always a device has one report in a frame, or ascending ones.
        spans[device] = (low, sequence) if sequence >= high else (min(low, sequence), high)
    return spans


def frame_of_columns(
    received_at_ms: int,
    columns: Columns,
    keys: FrameKeys = NO_KEYS,
    place: Place = NOWHERE,
    marks: Sequence[Context] = (),
) -> PackedFrame:
    content = seal_frame(received_at_ms, columns.packed, keys, place, marks)
    return PackedFrame(content, columns)


def frame_of(
    received_at_ms: int,
    reports: Iterable[SignedReport],
    keys: FrameKeys = NO_KEYS,
    place: Place = NOWHERE,
) -> PackedFrame:
    """The same of reports that are objects; without a key, a frame that nobody vouches for."""
    packed = b"".join(report.pack() for report in reports)
    return frame_of_columns(received_at_ms, columns_of(packed), keys, place)
