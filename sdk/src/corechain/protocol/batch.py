"""Batches: header, commitment, and the data file from which anyone rebuilds both.

`seal` makes a data file from reports; `open_data_file` parses one, seals its reports again and
accepts it only when the very same bytes come out: so order, verdicts, context and roots are checked
at one stroke.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from corechain.protocol import quality
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.errors import (
    MalformedDataFile,
    MalformedReport,
    ReplayedSequence,
    UnknownDevice,
)
from corechain.protocol.hashing import Digest26, hash26, keccak
from corechain.protocol.keys import DeviceIdentity, KeyType, device_id
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.quality import RULES_HASH, Reason, State, StateKey, Verdict
from corechain.protocol.reader import COUNT, Reader
from corechain.protocol.reading import (
    FAIL,
    DeviceId,
    SignedReport,
    unpack_observations,
    unpack_report,
)
from corechain.protocol.statistics import StatisticsTree
from corechain.protocol.verifying import frame_verifier

MAGIC, VERSION = b"CCDF", 1
RING_SIZE = 8192
T = TypeVar("T")
HEAD = struct.Struct(">4sBHI26s26s32sQ20s")
DEVICE = struct.Struct(">20sB")
CONTEXT = struct.Struct(">20sHiBIBI")
VERDICT = struct.Struct(">BH")
LEAF = struct.Struct(">HQ20sBIiB")


class EmptyBatch(MalformedDataFile):
    """No observation was accepted: a batch has at least one leaf."""


class UnknownRules(MalformedDataFile):
    """The data file was sealed under another rule set than this program knows."""


def batch_id(lane: int, number: int) -> int:
    return lane << 32 | number


def lane_of(batch: int) -> int:
    return batch >> 32


def number_of(batch: int) -> int:
    return batch & 0xFFFFFFFF


def ancestor_of(number: int) -> int:
    """The number whose commitment is the header's `ancestor`; 0 means none.

    Without the smallest term of its skew-binary form (a greedy sum of 2^k − 1): such jumps lead
    from any batch to any older one in O(log n) steps (Myers 1983).
    """
    rest, term = number, 2**32 - 1
    while rest != term:
        if rest > term:
            rest -= term
        else:
            term >>= 1
    return number - term


@dataclass(frozen=True, slots=True)
class Header:
    """What the commitment covers besides the readings root. Windows in seconds."""

    batch_id: int
    previous: Digest26
    ancestor: Digest26
    statistics_root: Digest26
    reports_root: Digest26
    data_hash: bytes
    rules_hash: bytes
    reading_count: int
    report_count: int
    window_start: int
    window_end: int

    def words(self) -> tuple[bytes, ...]:
        """The eleven 32-byte words of `abi.encode`."""
        numbers = (self.reading_count, self.report_count, self.window_start, self.window_end)
        digests = (self.previous, self.ancestor, self.statistics_root, self.reports_root)
        return (
            self.batch_id.to_bytes(32, "big"),
            *(digest + bytes(6) for digest in digests),
            self.data_hash,
            self.rules_hash,
            *(number.to_bytes(32, "big") for number in numbers),
        )

    @property
    def rest_hash(self) -> bytes:
        return keccak(b"".join(self.words()))

    def commitment(self, readings_root: bytes) -> Digest26:
        return hash26(readings_root + self.rest_hash)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a batch stands: its id, the commitments before it, the domain of its signatures."""

    batch_id: int
    previous: Digest26
    ancestor: Digest26
    chain_id: int
    registry: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A sealed batch with all that follows from its data file."""

    header: Header
    data_file: bytes
    leaves: list[bytes]
    reports: list[SignedReport]
    verdicts: list[list[Verdict]]
    identities: Mapping[DeviceId, DeviceIdentity]
    states: Mapping[StateKey, State]
    """Quality state after the batch, of the pairs that occur in it."""
    readings: MerkleTree = field(repr=False)

    @property
    def commitment(self) -> Digest26:
        return self.header.commitment(self.readings.root)

    def statistics(self) -> StatisticsTree:
        return StatisticsTree(self.leaves)

    def rejected(self) -> Iterable[tuple[SignedReport, int, Reason]]:
        """(report, position in it, reasons) of the observations that failed."""
        for report, verdicts in zip(self.reports, self.verdicts, strict=True):
            for position, verdict in enumerate(verdicts):
                if verdict.flag == FAIL:
                    yield report, position, verdict.reasons


def _ordered(reports: Iterable[SignedReport]) -> list[SignedReport]:
    ordered = sorted(reports, key=lambda item: (item.report.device, item.report.sequence))
    for one, two in pairwise(item.report for item in ordered):
        if (one.device, one.sequence) == (two.device, two.sequence):
            raise ReplayedSequence(two.device, two.sequence)
    return ordered


def _state_keys(reports: Iterable[SignedReport]) -> list[StateKey]:
    keys = {
        (signed.report.device, code)
        for signed in reports
        for code, _, _, _ in unpack_observations(signed.report.packed)
    }
    return sorted(keys)


def _leaves(reports: list[SignedReport], verdicts: list[list[Verdict]]) -> list[bytes]:
    leaves = []
    for signed, judged in zip(reports, verdicts, strict=True):
        device = signed.report.device
        items = zip(unpack_observations(signed.report.packed), judged, strict=True)
        for (code, cell, at, value), (flag, _) in items:
            if flag != FAIL:
                time = at >> 32, at & 0xFFFFFFFF
                leaves.append(LEAF.pack(code, cell, device, *time, value, flag))
    return sorted(leaves)


def pack_devices(identities: Iterable[DeviceIdentity]) -> bytes:
    rows = []
    for identity in identities:
        key = identity.public_key if identity.key_type is KeyType.P256 else b""
        assert key is not None, "a P-256 device is known with its public key"
        rows.append(DEVICE.pack(identity.device, identity.key_type) + key)
    return COUNT.pack(len(rows)) + b"".join(rows)


def _pack_context(keys: Iterable[StateKey], states: Mapping[StateKey, State]) -> bytes:
    rows = []
    for device, code in keys:
        state = states.get((device, code))
        if state is not None:
            at = state.at >> 32, state.at & 0xFFFFFFFF
            since = state.run_start >> 32, state.run_start & 0xFFFFFFFF
            rows.append(CONTEXT.pack(device, code, state.value, *at, *since))
    return COUNT.pack(len(rows)) + b"".join(rows)


def _pack_reports(reports: list[SignedReport], verdicts: list[list[Verdict]]) -> bytes:
    flat = (verdict for judged in verdicts for verdict in judged)
    return (
        COUNT.pack(len(reports))
        + b"".join(signed.pack() for signed in reports)
        + b"".join(VERDICT.pack(flag, reasons) for flag, reasons in flat)
    )


def pack_head(origin: Origin) -> bytes:
    lane, number = lane_of(origin.batch_id), number_of(origin.batch_id)
    return HEAD.pack(
        MAGIC, VERSION, lane, number, origin.previous, origin.ancestor, RULES_HASH,
        origin.chain_id, origin.registry,
    )  # fmt: skip


def _identities(
    reports: Iterable[SignedReport], known: Mapping[DeviceId, DeviceIdentity]
) -> dict[DeviceId, DeviceIdentity]:
    devices = sorted({signed.report.device for signed in reports})
    unknown = next((device for device in devices if device not in known), None)
    if unknown is not None:
        raise UnknownDevice(unknown)
    return {device: known[device] for device in devices}


def _window(leaves: Sequence[bytes]) -> tuple[int, int]:
    times = [int.from_bytes(leaf[30:35], "big") for leaf in leaves]
    return min(times), max(times)


def header_of(
    origin: Origin,
    data_file: bytes,
    leaves: Sequence[bytes],
    reports: Sequence[bytes],
    rules_hash: bytes = RULES_HASH,
) -> Header:
    """The header over a data file, its packed leaves and its packed reports: judges nothing."""
    return Header(
        origin.batch_id,
        origin.previous,
        origin.ancestor,
        StatisticsTree(leaves).root,
        MerkleTree.over(reports).root,
        keccak(data_file),
        rules_hash,
        len(leaves),
        len(reports),
        *_window(leaves),
    )


def seal(
    origin: Origin,
    reports: Iterable[SignedReport],
    known: Mapping[DeviceId, DeviceIdentity],
    states: Mapping[StateKey, State],
) -> Batch:
    """Judges, sorts and commits to the reports. Signatures are the caller's business
    (`open_data_file` checks them). `states` is the quality state before the batch, not changed.

    Raises EmptyBatch when every observation failed, UnknownDevice for a report of a device not in
    `known`, ReplayedSequence for two reports with one (device, sequence).
    """
    ordered = _ordered(reports)
    identities = _identities(ordered, known)
    keys = _state_keys(ordered)
    after = {key: states[key] for key in keys if key in states}
    context = _pack_context(keys, states)
    verdicts = [quality.judge_report(signed.report, after) for signed in ordered]
    leaves = _leaves(ordered, verdicts)
    if not leaves:
        raise EmptyBatch(f"none of {len(ordered)} reports has an accepted observation")
    data_file = (
        pack_head(origin)
        + pack_devices(identities.values())
        + context
        + _pack_reports(ordered, verdicts)
    )
    header = header_of(origin, data_file, leaves, [signed.pack() for signed in ordered])
    tree = MerkleTree.over(leaves)
    return Batch(header, data_file, leaves, ordered, verdicts, identities, after, tree)


def read_head(reader: Reader) -> tuple[Origin, bytes]:
    """Where the batch says that it stands, and the hash of its rules."""
    head = HEAD.unpack(reader.take(HEAD.size))
    magic, version, lane, number, previous, ancestor, rules, chain_id, registry = head
    if magic != MAGIC or version != VERSION:
        raise MalformedDataFile("not a data file of version 1")
    return Origin(batch_id(lane, number), previous, ancestor, chain_id, registry), rules


def read_origin(reader: Reader) -> Origin:
    origin, rules = read_head(reader)
    if rules != RULES_HASH:
        raise UnknownRules(f"sealed under the rules 0x{rules.hex()}")
    return origin


def read_identity(reader: Reader) -> DeviceIdentity:
    device, key_type = DEVICE.unpack(reader.take(DEVICE.size))
    if key_type not in (KeyType.SECP256K1, KeyType.P256):
        raise MalformedDataFile(f"key type {key_type} is neither 1 nor 2")
    public = reader.take(64) if key_type == KeyType.P256 else None
    if public is not None and device_id(public) != device:
        raise MalformedDataFile(f"the key of device 0x{device.hex()} does not hash to its id")
    return DeviceIdentity(DeviceId(device), KeyType(key_type), public)


def _read_context(reader: Reader) -> tuple[StateKey, State]:
    row = CONTEXT.unpack(reader.take(CONTEXT.size))
    device, code, value, at_high, at_low, since_high, since_low = row
    state = State(value, at_high << 32 | at_low, since_high << 32 | since_low)
    return (DeviceId(device), code), state


def _rows(reader: Reader, read: Callable[[Reader], T]) -> Iterator[T]:
    for _ in range(reader.count()):
        yield read(reader)


def _read_reports(reader: Reader) -> list[SignedReport]:
    reports = []
    for _ in range(reader.count()):
        try:
            signed, reader.offset = unpack_report(reader.data, reader.offset)
        except MalformedReport as error:
            raise MalformedDataFile(str(error)) from error
        reports.append(signed)
    return reports


def _check_registered(
    identities: Mapping[DeviceId, DeviceIdentity],
    registered: Mapping[DeviceId, DeviceIdentity],
) -> None:
    for device, identity in identities.items():
        known = registered.get(device)
        if known is None or known.key_type is not identity.key_type:
            raise UnknownDevice(device)


def check_signatures(batch: Batch, origin: Origin) -> None:
    """Every report is signed by its device. Raises InvalidSignature or HighS."""
    identities = [batch.identities[signed.report.device] for signed in batch.reports]
    verifier = frame_verifier(registry_domain(origin.chain_id, origin.registry))
    for fault in verifier.verify_reports(batch.reports, identities):
        if fault is not None:
            raise fault


def rebuild(data_file: bytes) -> tuple[Batch, Origin]:
    """Parses a data file and seals its reports again; everything but signatures and registration.

    Raises MalformedDataFile (also UnknownRules, EmptyBatch), UnknownDevice, ReplayedSequence.
    """
    reader = Reader(data_file)
    origin = read_origin(reader)
    known = {identity.device: identity for identity in _rows(reader, read_identity)}
    states = dict(_rows(reader, _read_context))
    batch = seal(origin, _read_reports(reader), known, states)
    if batch.data_file != data_file:
        raise MalformedDataFile("the file is not the canonical file of its reports")
    return batch, origin


def open_data_file(
    data_file: bytes, registered: Mapping[DeviceId, DeviceIdentity] | None = None
) -> tuple[Batch, Origin]:
    """Parses, rebuilds and checks a data file; trusts nobody.

    With `registered` every device must be in it with the same key type. Revocation is not judged
    here: a batch may lawfully hold what a device signed before. The caller compares `commitment`
    with the chain, and `origin` with the deployment.

    Raises MalformedDataFile (also UnknownRules, EmptyBatch), InvalidSignature, HighS,
    UnknownDevice, ReplayedSequence.
    """
    batch, origin = rebuild(data_file)
    if registered is not None:
        _check_registered(batch.identities, registered)
    check_signatures(batch, origin)
    return batch, origin
