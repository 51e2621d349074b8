"""A frame: reports that travel, are checked and are stored together (DESIGN: the law of frames).

`Columns` is what a frame is parsed into, once a process: plain buffers, for a loop, numpy or C to
read without a copy. `FrameVerifier.verify_all` checks all signatures of a frame by one call. This
is the reference; `corechain-native` does the same and agrees on every input.
"""

import hashlib
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from corechain.protocol import native
from corechain.protocol.eip712 import Domain, digest_of_report, report_digest
from corechain.protocol.errors import MalformedReport, ProtocolError
from corechain.protocol.keys import DeviceIdentity, verify
from corechain.protocol.reading import (
    MAX_OBSERVATIONS,
    OBSERVATION_BYTES,
    SIGNATURE_BYTES,
    DeviceId,
    Report,
    SignedReport,
)

_HEAD = struct.Struct(">20sQH")
_IDS = struct.Struct("20s")
DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Columns:
    """Packed reports and where everything in them lies; n reports with m observations in all.

    `starts` (n + 1) are byte offsets into `packed`: report i is packed[starts[i]:starts[i + 1]].
    `firsts` (n + 1) are indexes into the observations' columns, likewise. Integers are in the
    machine's byte order, times in seconds, values in the metric's scaled units.
    """

    packed: bytes
    starts: "array[int]"
    firsts: "array[int]"
    devices: bytes
    """20 bytes a report."""
    sequences: "array[int]"
    metrics: "array[int]"
    cells: "array[int]"
    times: "array[int]"
    values: "array[int]"
    _ids: list[DeviceId] = field(default_factory=list, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.sequences)

    def device(self, index: int) -> DeviceId:
        return DeviceId(self.devices[20 * index : 20 * index + 20])

    def device_ids(self) -> list[DeviceId]:
        """One a report, in order. The same list each time, which nobody may change: an id that is
        the same object is hashed once."""
        if len(self._ids) != len(self):
            # By one step, as threads share a frame.
            self._ids[:] = [device for (device,) in _IDS.iter_unpack(self.devices)]
        return self._ids

    def count(self, index: int) -> int:
        """How many observations a report has."""
        return self.firsts[index + 1] - self.firsts[index]

    def report_bytes(self, index: int) -> bytes:
        """A signed report as it was packed."""
        return self.packed[self.starts[index] : self.starts[index + 1]]

    def signature(self, index: int) -> bytes:
        end = self.starts[index + 1]
        return self.packed[end - SIGNATURE_BYTES : end]

    def report(self, index: int) -> SignedReport:
        """As an object: for errors, answers and the slow paths."""
        start, end = self.starts[index] + _HEAD.size, self.starts[index + 1] - SIGNATURE_BYTES
        report = Report(self.device(index), self.sequences[index], self.packed[start:end])
        return SignedReport(report, self.signature(index))

    def reports(self) -> Iterator[SignedReport]:
        return map(self.report, range(len(self)))

    def select(self, indexes: Sequence[int]) -> "Columns":
        """The columns of some of the reports, in the order given."""
        return columns_of(b"".join(map(self.report_bytes, indexes)))


_native_columns = native.function("columns")
_native_digests = native.function("content_digests")
_native_size = native.function("reports_size")


def columns_of(packed: bytes) -> Columns:
    """Parses packed reports. Raises MalformedReport when they end inside a report, or when a report
    has no observation or more than 1,024."""
    found = None if _native_columns is None else _native_columns(packed)
    # What the native decoder refuses, the reference refuses in words.
    return parse_columns(packed) if found is None else Columns(packed, *found)


def parse_columns(packed: bytes) -> Columns:
    """`columns_of` in pure Python."""
    starts, firsts = array("I", [0]), array("I", [0])
    devices, sequences = bytearray(), array("Q")
    bodies: list[bytes] = []
    offset = 0
    while offset < len(packed):
        device, sequence, count, body = _head_at(packed, offset)
        devices += device
        sequences.append(sequence)
        bodies.append(body)
        offset += _HEAD.size + len(body) + SIGNATURE_BYTES
        starts.append(offset)
        firsts.append(firsts[-1] + count)
    fields = _observation_columns(b"".join(bodies))
    return Columns(packed, starts, firsts, bytes(devices), sequences, *fields)


def columns_at(data: bytes, offset: int, reports: int) -> Columns:
    """The columns of so many packed reports from an offset on, whatever lies behind them. Raises
    MalformedReport, which counts bytes from the beginning of `data`."""
    size = None if _native_size is None else _native_size(data, offset, reports)
    if size is None:
        size = _size_of(data, offset, reports)
    return columns_of(data[offset : offset + size])


def _size_of(data: bytes, offset: int, reports: int) -> int:
    end = offset
    for _ in range(reports):
        _, _, _, body = _head_at(data, end)
        end += _HEAD.size + len(body) + SIGNATURE_BYTES
    return end - offset


def content_digests(columns: Columns) -> bytes:
    """8 bytes a report that tell two reports of one sequence apart, whoever signed them. Never
    zero: zero says 'not known'."""
    if _native_digests is not None:
        return bytes(_native_digests(columns.packed, columns.starts))
    return b"".join(map(content_digest, _bodies(columns)))


def _bodies(columns: Columns) -> Iterator[bytes]:
    for start, end in pairwise(columns.starts):
        yield columns.packed[start : end - SIGNATURE_BYTES]


def content_digest(body: bytes) -> bytes:
    """Of one packed report without its signature."""
    digest = hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()
    return digest[:-1] + bytes([digest[-1] | 1])


def _head_at(packed: bytes, offset: int) -> tuple[bytes, int, int, bytes]:
    start = offset + _HEAD.size
    if start > len(packed):
        raise MalformedReport(f"the packed reports end inside the report at byte {offset}")
    device, sequence, count = _HEAD.unpack_from(packed, offset)
    end = start + count * OBSERVATION_BYTES
    if end + SIGNATURE_BYTES > len(packed):
        raise MalformedReport(f"the packed reports end inside the report at byte {offset}")
    if not 1 <= count <= MAX_OBSERVATIONS:
        raise MalformedReport(
            f"a report carries 1 to {MAX_OBSERVATIONS} observations of {OBSERVATION_BYTES} "
            f"bytes, not {count * OBSERVATION_BYTES} bytes"
        )
    return device, sequence, count, packed[start:end]


def _observation_columns(
    bodies: bytes,
) -> "tuple[array[int], array[int], array[int], array[int]]":
    return (
        _field("H", bodies, 0, 2),
        _field("Q", bodies, 2, 8),
        _field("Q", bodies, 10, 5),
        _field("i", bodies, 15, 4),
    )


def _field(typecode: str, bodies: bytes, first: int, size: int) -> "array[int]":
    """A big-endian field of `size` bytes of all observations, by a strided copy a byte: a step an
    observation would take ten times as long."""
    width = array(typecode).itemsize
    column = bytearray(width * (len(bodies) // OBSERVATION_BYTES))
    for place in range(size):
        at = size - 1 - place if sys.byteorder == "little" else width - size + place
        column[at::width] = bodies[first + place :: OBSERVATION_BYTES]
    return array(typecode, column)


@dataclass(frozen=True, slots=True)
class FrameVerifier:
    """Checks the signatures of whole frames. Safe to share between threads."""

    domain: Domain

    def verify_all(
        self, columns: Columns, identities: Sequence[DeviceIdentity]
    ) -> list[ProtocolError | None]:
        """One verdict a report, in order: None, or InvalidSignature or HighS. `identities` are the
        reports' devices, one a report."""
        assert len(identities) == len(columns), "one identity a report"
        places = enumerate(pairwise(columns.starts))
        return [
            self._fault_at(columns, index, start, end, identities[index])
            for index, (start, end) in places
        ]

    def verify_reports(
        self, reports: Sequence[SignedReport], identities: Sequence[DeviceIdentity]
    ) -> list[ProtocolError | None]:
        """The same of reports that are objects already."""
        pairs = zip(reports, identities, strict=True)
        return [self._fault(signed, identity) for signed, identity in pairs]

    def _fault(self, signed: SignedReport, identity: DeviceIdentity) -> ProtocolError | None:
        return _fault(identity, report_digest(self.domain, signed.report), signed.signature)

    def _fault_at(
        self, columns: Columns, index: int, start: int, end: int, identity: DeviceIdentity
    ) -> ProtocolError | None:
        signature = columns.packed[end - SIGNATURE_BYTES : end]
        body = columns.packed[start + _HEAD.size : end - SIGNATURE_BYTES]
        fields = columns.device(index), columns.sequences[index], body
        return _fault(identity, digest_of_report(self.domain, *fields), signature)


def _fault(identity: DeviceIdentity, digest: bytes, signature: bytes) -> ProtocolError | None:
    try:
        verify(identity, digest, signature)
    except ProtocolError as error:
        return error
    return None
