"""Observations, the reports that carry them, the readings they become (docs/protocol.md)."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NewType

from corechain.protocol.errors import InvalidValue, MalformedReport
from corechain.protocol.places import cell as place
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.values import address, integer, items, one_of, seconds, whole
from corechain.protocol.vocabulary import I32_MAX, I32_MIN
from corechain.protocol.vocabulary import metric as metric_of

DeviceId = NewType("DeviceId", bytes)
"""Last 20 bytes of the keccak-256 of a device's public key (secp256k1: its Ethereum address)."""

U40_MAX, U64_MAX = 2**40 - 1, 2**64 - 1
MAX_OBSERVATIONS = 1024
SIGNATURE_BYTES = 64

PASS, SUSPECT, FAIL = 1, 3, 4
"""QARTOD flags that the network uses."""

# struct has no 40-bit integer: a time is its high byte and its low 32 bits.
OBSERVATION = struct.Struct(">HQBIi")
_READING = struct.Struct(">HQ20sBIiB")
BODY_HEAD = struct.Struct(">20sQH")
OBSERVATION_BYTES, READING_BYTES, KEY_BYTES = OBSERVATION.size, _READING.size, 35


@dataclass(frozen=True, slots=True)
class Observation:
    """One value seen at one place and time; `value` in scaled units, time in seconds.

    Takes a metric's name for its code, an H3 cell in hex or a pair of degrees, an aware datetime;
    `in_unit` takes the value in the metric's own unit. Raises InvalidValue, ValueOutOfRange,
    UnknownMetric, InvalidCell.
    """

    metric: int
    cell: int
    observed_at: int
    value: int

    def __post_init__(self) -> None:
        # One comparison a field for what is as it should be: every reading passes here.
        if not (
            type(self.metric) is int
            and 0 <= self.metric <= 0xFFFF
            and type(self.cell) is int
            and 0 <= self.cell <= U64_MAX
            and type(self.observed_at) is int
            and 0 <= self.observed_at <= U40_MAX
            and type(self.value) is int
            and I32_MIN <= self.value <= I32_MAX
        ):
            self._normalise()

    def _normalise(self) -> None:
        code = integer(self.metric)
        known = metric_of(self.metric).code if code is None else code
        given: Any = self.cell
        cell = None if isinstance(given, str) else integer(given)
        found = {
            "metric": whole("metric", known, 0, 0xFFFF),
            # Any number of 64 bits is well formed; whether it is a cell, the gateway judges.
            "cell": place("cell", given) if cell is None else whole("cell", cell, 0, U64_MAX),
            "observed_at": seconds("observed_at", self.observed_at),
            "value": _scaled(self.value),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @classmethod
    def in_unit(cls, metric: Any, cell: Any, observed_at: Any, value: float) -> "Observation":
        """With the value in the metric's own unit: 21.5 (Cel), 1013.25 (hPa). Refuses what is no
        H3 cell."""
        known = metric_of(metric)
        return cls(known.code, place("cell", cell), observed_at, known.to_wire(value))

    def pack(self) -> bytes:
        at = self.observed_at
        return OBSERVATION.pack(self.metric, self.cell, at >> 32, at & 0xFFFFFFFF, self.value)


def _scaled(value: object) -> int:
    if integer(value) is None:
        right = "takes scaled units, a whole number; Observation.in_unit takes the metric's unit"
        raise InvalidValue("value", value, right)
    return whole("value", value, I32_MIN, I32_MAX)


def unpack_observations(packed: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(metric, cell, observed_at, value) tuples: the frame's fast path, no object an item."""
    for metric, cell, high, low, value in OBSERVATION.iter_unpack(packed):
        yield metric, cell, high << 32 | low, value


@dataclass(frozen=True, slots=True)
class Report:
    """What a device signs: its id, its sequence number, its packed observations (19 bytes each)."""

    device: DeviceId
    sequence: int
    packed: bytes

    def __post_init__(self) -> None:
        if type(self.device) is not bytes:
            object.__setattr__(self, "device", address("device", self.device))
        if len(self.device) != 20:
            raise MalformedReport(f"a device id has 20 bytes, not {len(self.device)}")
        if type(self.sequence) is not int or not 0 <= self.sequence <= U64_MAX:
            object.__setattr__(self, "sequence", whole("sequence", self.sequence, 0, U64_MAX))
        one_of("packed", self.packed, bytes, "takes packed observations; see Report.of")
        count, rest = divmod(len(self.packed), OBSERVATION_BYTES)
        if rest or not 1 <= count <= MAX_OBSERVATIONS:
            raise MalformedReport(
                f"a report carries 1 to {MAX_OBSERVATIONS} observations of {OBSERVATION_BYTES} "
                f"bytes, not {len(self.packed)} bytes"
            )

    @classmethod
    def of(cls, device: DeviceId, sequence: int, observations: Iterable[Observation]) -> "Report":
        """Raises InvalidValue, MalformedReport."""
        observations = items("observations", observations, Observation, "takes Observations")
        return cls(device, sequence, b"".join(item.pack() for item in observations))

    @property
    def count(self) -> int:
        return len(self.packed) // OBSERVATION_BYTES

    def observations(self) -> list[Observation]:
        return [Observation(*fields) for fields in unpack_observations(self.packed)]

    def body(self) -> bytes:
        return BODY_HEAD.pack(self.device, self.sequence, self.count) + self.packed


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report with the 64-byte signature of its device."""

    report: Report
    signature: bytes

    def __post_init__(self) -> None:
        one_of("report", self.report, Report, "takes a Report")
        one_of("signature", self.signature, bytes, f"takes {SIGNATURE_BYTES} bytes")
        if len(self.signature) != SIGNATURE_BYTES:
            raise MalformedReport(f"a signature has 64 bytes, not {len(self.signature)}")

    def pack(self) -> bytes:
        return self.report.body() + self.signature


def unpack_report(data: bytes, offset: int = 0) -> tuple[SignedReport, int]:
    """The report at `offset` and the offset behind it. Raises MalformedReport."""
    start = offset + BODY_HEAD.size
    if start > len(data):
        raise MalformedReport(f"the packed reports end inside the report at byte {offset}")
    device, sequence, count = BODY_HEAD.unpack_from(data, offset)
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

    @property
    def provenance(self) -> Provenance:
        """Whether the device signed it, or a bridge for a station that cannot."""
        return provenance_of(self.device)

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
