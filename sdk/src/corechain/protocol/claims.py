"""What a data file claims to be, before anything in it is judged.

A commitment covers a header, and a header follows from the words of a file alone. So bytes can be
told from the committed file even where that file breaks the rules (docs/decisions/0008).
"""

import struct
from dataclasses import dataclass

from corechain.protocol.batch import (
    CONTEXT,
    DEVICE,
    LEAF,
    VERDICT,
    EmptyBatch,
    Header,
    header_of,
    read_head,
)
from corechain.protocol.hashing import Digest26
from corechain.protocol.keys import KeyType
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reader import Reader
from corechain.protocol.reading import (
    FAIL,
    OBSERVATION_BYTES,
    SIGNATURE_BYTES,
    unpack_observations,
)

_REPORT = struct.Struct(">20sQH")
P256_KEY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """A data file's own words: packed leaves by its own verdicts, packed reports and devices."""

    header: Header
    leaves: list[bytes]
    reports: list[bytes]
    devices: list[bytes]

    @property
    def commitment(self) -> Digest26:
        return self.header.commitment(MerkleTree.over(self.leaves).root)


def _device(reader: Reader) -> bytes:
    """A packed device. Whether its key hashes to its id is not looked at."""
    head = reader.take(DEVICE.size)
    key_type = DEVICE.unpack(head)[1]
    return head + reader.take(P256_KEY_BYTES if key_type == KeyType.P256 else 0)


def _report(reader: Reader) -> bytes:
    """A packed report. Its number of observations is taken as it is, lawful or not."""
    head = reader.take(_REPORT.size)
    count = _REPORT.unpack(head)[2]
    return head + reader.take(count * OBSERVATION_BYTES + SIGNATURE_BYTES)


def _accepted(report: bytes, reader: Reader) -> list[bytes]:
    """The leaves of a report by the file's own verdicts, which come next."""
    leaves, device = [], report[:20]
    packed = report[_REPORT.size : -SIGNATURE_BYTES]
    for code, cell, at, value in unpack_observations(packed):
        flag, _ = VERDICT.unpack(reader.take(VERDICT.size))
        if flag != FAIL:
            time = at >> 32, at & 0xFFFFFFFF
            leaves.append(LEAF.pack(code, cell, device, *time, value, flag))
    return leaves


def claim_of(data_file: bytes) -> Claim:
    """What follows from a file's own words, right or wrong: its reports in their order, its
    verdicts, its rules. Only the readings are sorted: no file says their order.

    Raises MalformedDataFile (also EmptyBatch) where no header follows.
    """
    reader = Reader(data_file)
    origin, rules_hash = read_head(reader)
    devices = [_device(reader) for _ in range(reader.count())]
    reader.take(reader.count() * CONTEXT.size)
    reports = [_report(reader) for _ in range(reader.count())]
    leaves = sorted(leaf for report in reports for leaf in _accepted(report, reader))
    if not leaves:
        raise EmptyBatch(f"none of {len(reports)} reports has an accepted observation")
    header = header_of(origin, data_file, leaves, reports, rules_hash)
    return Claim(header, leaves, reports, devices)
