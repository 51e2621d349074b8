"""A data file taken at its word: for who knows its commitment and must show what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from corechain.protocol.batch import Batch, Header, read_identity
from corechain.protocol.claims import claim_of
from corechain.protocol.errors import MalformedDataFile, MalformedReport
from corechain.protocol.hashing import Digest26
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reader import Reader
from corechain.protocol.reading import DeviceId, SignedReport, unpack_report


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


def _unpacked(report: bytes) -> SignedReport:
    try:
        return unpack_report(report)[0]
    except MalformedReport as error:
        raise MalformedDataFile(str(error)) from error


def as_written(data_file: bytes) -> Written:
    """Parses a data file without judging it: rules may have changed since it was sealed, and what
    was committed under the old ones can still be demanded. The caller compares `commitment`.

    Raises MalformedDataFile (also EmptyBatch).
    """
    claim = claim_of(data_file)
    identities = [read_identity(Reader(device)) for device in claim.devices]
    reports = [_unpacked(report) for report in claim.reports]
    by_device = {identity.device: identity for identity in identities}
    return Written(claim.header, claim.leaves, reports, by_device)
