"""A data file taken at its word: for who knows its commitment and must show what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from corechain.protocol.batch import (
    _HEAD,
    _VERDICT,
    Batch,
    EmptyBatch,
    Header,
    Origin,
    _header,
    _leaves,
    _read_context,
    _read_identity,
    _read_reports,
    _Reader,
    _rows,
    batch_id,
)
from corechain.protocol.hashing import Digest26
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.quality import Reason, Verdict
from corechain.protocol.reading import DeviceId, SignedReport, unpack_observations


@dataclass(frozen=True, slots=True)
class Written:
    """A batch as its data file has it: the file's own verdicts, no signature checked."""

    header: Header
    leaves: list[bytes]
    reports: list[SignedReport]
    identities: Mapping[DeviceId, DeviceIdentity]

    @property
    def commitment(self) -> Digest26:
        """Equal to the one on chain, it vouches for all of this."""
        return self.header.commitment(MerkleTree.over(self.leaves).root)

    @classmethod
    def of(cls, batch: Batch) -> "Written":
        return cls(batch.header, batch.leaves, batch.reports, batch.identities)


def _read_verdicts(reader: _Reader, signed: SignedReport) -> list[Verdict]:
    verdicts = []
    for _ in unpack_observations(signed.report.packed):
        flag, reasons = _VERDICT.unpack(reader.take(_VERDICT.size))
        verdicts.append(Verdict(flag, Reason(reasons)))
    return verdicts


def as_written(data_file: bytes) -> Written:
    """Parses a data file without judging it: rules may have changed since it was sealed, and what
    was committed under the old ones can still be demanded. The caller compares `commitment`.

    Raises MalformedDataFile, EmptyBatch.
    """
    reader = _Reader(data_file)
    head = _HEAD.unpack(reader.take(_HEAD.size))
    _, _, lane, number, previous, ancestor, rules, chain_id, registry = head
    origin = Origin(batch_id(lane, number), previous, ancestor, chain_id, registry)
    identities = {identity.device: identity for identity in _rows(reader, _read_identity)}
    for _ in _rows(reader, _read_context):
        pass  # what the rules looked at: it matters to who judges again
    reports = _read_reports(reader)
    leaves = _leaves(reports, [_read_verdicts(reader, signed) for signed in reports])
    if not leaves:
        raise EmptyBatch(f"none of {len(reports)} reports has an accepted observation")
    header = replace(_header(origin, data_file, leaves, reports), rules_hash=rules)
    return Written(header, leaves, reports, identities)
