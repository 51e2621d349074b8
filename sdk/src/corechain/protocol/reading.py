"""Observations, the reports that carry them, the readings they become (docs/protocol.md)."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NewType

from corechain.protocol.errors import MalformedReport, ValueOutOfRange
from corechain.protocol.vocabulary import I32_MAX, I32_MIN

DeviceId = NewType("DeviceId", bytes)
"""Last 20 bytes of the keccak-256 of a device's public key (secp256k1: its Ethereum address)."""

U40_MAX, U64_MAX = 2**40 - 1, 2**64 - 1
MAX_OBSERVATIONS = 1024
SIGNATURE_BYTES = 64

PASS, SUSPECT, FAIL = 1, 3, 4
"""QARTOD flags that the network uses."""

# struct has no 40-bit integer: a time is its high byte and its low 32 bits.
_OBSERVATION = struct.Struct(">HQBIi")
_READING = struct.Struct(">HQ20sBIiB")
_BODY_HEAD = struct.Struct(">20sQH")
OBSERVATION_BYTES, READING_BYTES, KEY_BYTES = _OBSERVATION.size, _READING.size, 35


def _fits(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueOutOfRange(field, value)


@dataclass(frozen=True, slots=True)
class Observation:
    """One value seen at one place and time; `value` in scaled units, time in seconds."""

    metric: int
    cell: int
    observed_at: int
    value: int

    def __post_init__(self) -> None:
        _fits("metric", self.metric, 0, 0xFFFF)
        _fits("cell", self.cell, 0, U64_MAX)
        _fits("observed_at", self.observed_at, 0, U40_MAX)
        _fits("value", self.value, I32_MIN, I32_MAX)

    def pack(self) -> bytes:
        at = self.observed_at
        return _OBSERVATION.pack(self.metric, self.cell, at >> 32, at & 0xFFFFFFFF, self.value)


def unpack_observations(packed: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(metric, cell, observed_at, value) tuples: the frame's fast path, no object an item."""
    for metric, cell, high, low, value in _OBSERVATION.iter_unpack(packed):
        yield metric, cell, high << 32 | low, value


@dataclass(frozen=True, slots=True)
class Report:
    """What a device signs: its id, its sequence number, its packed observations (19 bytes each)."""

    device: DeviceId
    sequence: int
    packed: bytes

    def __post_init__(self) -> None:
        if len(self.device) != 20:
            raise MalformedReport(f"a device id has 20 bytes, not {len(self.device)}")
        _fits("sequence", self.sequence, 0, U64_MAX)
        count, rest = divmod(len(self.packed), OBSERVATION_BYTES)
        if rest or not 1 <= count <= MAX_OBSERVATIONS:
            raise MalformedReport(
                f"a report carries 1 to {MAX_OBSERVATIONS} observations of {OBSERVATION_BYTES} "
                f"bytes, not {len(self.packed)} bytes"
            )

    @classmethod
    def of(cls, device: DeviceId, sequence: int, observations: Iterable[Observation]) -> "Report":
        return cls(device, sequence, b"".join(item.pack() for item in observations))

    @property
    def count(self) -> int:
        return len(self.packed) // OBSERVATION_BYTES

    def observations(self) -> list[Observation]:
        return [Observation(*fields) for fields in unpack_observations(self.packed)]

    def body(self) -> bytes:
        return _BODY_HEAD.pack(self.device, self.sequence, self.count) + self.packed


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report with the 64-byte signature of its device."""

    report: Report
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_BYTES:
            raise MalformedReport(f"a signature has 64 bytes, not {len(self.signature)}")

    def pack(self) -> bytes:
        return self.report.body() + self.signature


def unpack_report(data: bytes, offset: int = 0) -> tuple[SignedReport, int]:
    """The report at `offset` and the offset behind it. Raises MalformedReport."""
    start = offset + _BODY_HEAD.size
    if start > len(data):
        raise MalformedReport(f"the packed reports end inside the report at byte {offset}")
    device, sequence, count = _BODY_HEAD.unpack_from(data, offset)
    middle = start + count * OBSERVATION_BYTES
    end = middle + SIGNATURE_BYTES
    if end > len(data):
        raise MalformedReport(f"the packed reports end inside the report at byte {offset}")
    report = Report(DeviceId(device), sequence, data[start:middle])
    return SignedReport(report, data[middle:end]), end


def unpack_reports(data: bytes) -> list[SignedReport]:
    """All reports of a packed request body or frame. Raises MalformedReport."""
    reports, offset = [], 0
    while offset < len(data):
        report, offset = unpack_report(data, offset)
        reports.append(report)
    return reports


@dataclass(frozen=True, slots=True, order=True)
class Reading:
    """A leaf: an observation that was accepted. Ordered by its key, the first 35 packed bytes."""

    metric: int
    cell: int
    device: DeviceId
    observed_at: int
    value: int
    flag: int = PASS

    def pack(self) -> bytes:
        at = self.observed_at
        return _READING.pack(
            self.metric, self.cell, self.device, at >> 32, at & 0xFFFFFFFF, self.value, self.flag
        )

    @property
    def key(self) -> bytes:
        return self.pack()[:KEY_BYTES]

    @classmethod
    def unpack(cls, leaf: bytes) -> "Reading":
        if len(leaf) != READING_BYTES:
            raise MalformedReport(f"a reading has {READING_BYTES} bytes, not {len(leaf)}")
        metric, cell, device, high, low, value, flag = _READING.unpack(leaf)
        return cls(metric, cell, DeviceId(device), high << 32 | low, value, flag)


def pack_key(metric: int, cell: int, device: bytes, observed_at: int) -> bytes:
    """The 35-byte sort key of a reading, to bound a range."""
    return Reading(metric, cell, DeviceId(device), observed_at, 0).key


def leaf_value(leaf: bytes) -> int:
    """The value of a packed reading without unpacking the rest."""
    return int.from_bytes(leaf[35:39], "big", signed=True)
