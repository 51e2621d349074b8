"""Evidence for disputes about batches, as `BatchChallenges` reads it (docs/contracts.md).

A `Dossier` is what somebody who holds a batch's data can show of it, canonical or not: fraudulent
batches are not canonical, so nothing here judges what it packs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from corechain.protocol.archive import Place, Revealed
from corechain.protocol.batch import Batch, Header
from corechain.protocol.claims import Claim
from corechain.protocol.data_file import Written
from corechain.protocol.fleet import KEY_BYTES, Fleet
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.merkle import MerkleTree, depth_of
from corechain.protocol.statistics import StatisticsTree


class Fraud(IntEnum):
    """What can be wrong with a batch and shown in one step. Numbers as in Solidity."""

    BAD_SIGNATURE = 0
    REVOKED_DEVICE = 1
    DUPLICATE_REPORT = 2
    MALFORMED_REPORT = 3
    MALFORMED_READING = 4
    UNSORTED_READINGS = 5
    UNSORTED_REPORTS = 6
    OUTSIDE_WINDOW = 7
    WRONG_PARENT = 8
    WRONG_LEAF = 9
    BROKEN_CHAIN = 10
    EQUIVOCATION = 11


class Demand(IntEnum):
    """What a submitter must show when it is asked for it. Numbers as in Solidity."""

    REPORT = 0
    READING = 1
    SOURCE = 2
    REGISTRATION = 3
    STATISTICS = 4
    RECEIPT = 5
    """A report that a receipt promised: only by `demandReceipt` (docs/protocol.md)."""


class Link(IntEnum):
    """Which part of a header's chain is broken; `ARCHIVE`: how newer headers lead to it."""

    ID = 0
    PREVIOUS = 1
    ANCESTOR = 2
    ARCHIVE = 3


class Shown(NamedTuple):
    """A leaf with its place in a tree."""

    position: int
    content: bytes
    proof: tuple[Digest26, ...]


class Witness(NamedTuple):
    """Another batch that the evidence needs."""

    batch_id: int
    batch: Revealed
    place: Place

    def words(self) -> tuple[object, ...]:
        return self.batch_id, self.batch.words(), tuple(self.place)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The parts that a kind of fraud or demand needs."""

    shown: Sequence[Shown] = ()
    witnesses: Sequence[Witness] = ()
    extra: bytes = b""

    def words(self) -> tuple[object, ...]:
        """The struct as an ABI coder takes it."""
        shown = tuple(tuple(item) for item in self.shown)
        return shown, tuple(item.words() for item in self.witnesses), self.extra


@dataclass(frozen=True)
class Dossier:
    """A batch's leaves and signed reports as bytes, and the header that covers them, or is said to.
    `committed_root`: of the readings, where the commitment is known to cover another one."""

    header: Header
    leaves: Sequence[bytes]
    reports: Sequence[bytes]
    statistics: StatisticsTree
    committed_root: Digest26 | None = None

    @classmethod
    def of(cls, batch: Batch | Written) -> "Dossier":
        reports = [signed.pack() for signed in batch.reports]
        return cls(batch.header, batch.leaves, reports, StatisticsTree(batch.leaves))

    @classmethod
    def claimed(cls, claim: Claim) -> "Dossier":
        """A data file at its own word, lawful or not."""
        return cls(claim.header, claim.leaves, claim.reports, StatisticsTree(claim.leaves))

    @cached_property
    def readings_tree(self) -> MerkleTree:
        return MerkleTree.over(self.leaves)

    @cached_property
    def reports_tree(self) -> MerkleTree:
        return MerkleTree.over(self.reports)

    @property
    def revealed(self) -> Revealed:
        return Revealed(self.header, self.committed_root or self.readings_tree.root)

    @cached_property
    def shows_readings(self) -> bool:
        """Whether the leaves are those of the batch, and each stands at the depth that the header's
        count demands (EvidenceParts.sol)."""
        fits = _fits(self.leaves, self.header.reading_count)
        return fits and self.readings_tree.root == self.revealed.readings_root

    @cached_property
    def shows_reports(self) -> bool:
        """The same of the reports."""
        fits = _fits(self.reports, self.header.report_count)
        return fits and self.reports_tree.root == self.header.reports_root

    def shown_readings(self) -> list[tuple[int, bytes]]:
        """(position, bytes) of those that can be shown and that the header counts."""
        counted = self.leaves[: self.header.reading_count] if self.shows_readings else ()
        return list(enumerate(counted))

    def shown_reports(self) -> list[tuple[int, bytes]]:
        """The same of the reports."""
        counted = self.reports[: self.header.report_count] if self.shows_reports else ()
        return list(enumerate(counted))

    @property
    def hides_readings(self) -> bool:
        """Whether leaves stand behind the last that the header counts."""
        return self.shows_readings and self.header.reading_count < len(self.leaves)

    @property
    def hides_reports(self) -> bool:
        return self.shows_reports and self.header.report_count < len(self.reports)

    def reading(self, position: int) -> Shown:
        return Shown(position, self.leaves[position], tuple(self.readings_tree.proof(position)))

    def report(self, position: int) -> Shown:
        return Shown(position, self.reports[position], tuple(self.reports_tree.proof(position)))

    def witness(self, place: Place | None = None) -> Witness:
        """Of the batch that its header names, committed alone unless told otherwise."""
        number = self.header.batch_id
        return Witness(number, self.revealed, place or Place.alone(number))

    def inclusion(
        self, position: int, place: Place | None = None, public_key: bytes | None = None
    ) -> Evidence:
        """What answers for a receipt: the report at a position, signed by its device. The key is
        needed on P-256 only."""
        shown, witness = self.report(position), self.witness(place)
        return Evidence([shown], [witness], public_key or b"")

    def statistics_path(self, level: int, index: int) -> bytes:
        """From the top down to the children of the node at `level` ≥ 1, or to the leaf at 0."""
        return statistics_path(self.statistics, level, index)


def statistics_path(tree: StatisticsTree, level: int, index: int) -> bytes:
    """`Dossier.statistics_path` of any tree."""
    pairs = b"".join(one.pack() + two.pack() for one, two in tree.path(level, index))
    return index.to_bytes(4, "big") + tree.top.pack() + pairs


def _fits(items: Sequence[bytes], count: int) -> bool:
    return 0 < count <= len(items) and depth_of(count) == depth_of(len(items))


def _hides_more(last: Shown | None) -> bool:
    """Right of the last leaf's way everything is zero (EvidenceParts.sol)."""
    proof = () if last is None else enumerate(last.proof)
    return last is not None and any(
        node != ZERO26 for level, node in proof if not last.position >> level & 1
    )


@dataclass(frozen=True)
class Fragments:
    """What answers to demands have shown of a batch: single leaves, and the header."""

    header: Header
    readings_root: Digest26
    readings: Mapping[int, Shown]
    reports: Mapping[int, Shown]

    @property
    def hides_readings(self) -> bool:
        """Whether leaves stand behind the last that the header counts: answers about statistics or
        a source may show it."""
        return _hides_more(self.readings.get(self.header.reading_count - 1))

    @property
    def hides_reports(self) -> bool:
        return _hides_more(self.reports.get(self.header.report_count - 1))

    @property
    def revealed(self) -> Revealed:
        return Revealed(self.header, self.readings_root)

    def reading(self, position: int) -> Shown:
        return self.readings[position]

    def report(self, position: int) -> Shown:
        return self.reports[position]

    def shown_readings(self) -> list[tuple[int, bytes]]:
        return [(at, self.readings[at].content) for at in sorted(self.readings)]

    def shown_reports(self) -> list[tuple[int, bytes]]:
        return [(at, self.reports[at].content) for at in sorted(self.reports)]


def position_of(position: int) -> Evidence:
    """What a demand for a report, a reading or statistics says: where."""
    return Evidence(extra=position.to_bytes(4, "big"))


def named_otherwise(way: Sequence[Witness], commitment: bytes) -> Evidence:
    """That headers of the same bond lead to another commitment: from a batch in the ring back."""
    return Evidence(witnesses=way, extra=bytes([Link.ARCHIVE]) + commitment)


def signer_of(identity: DeviceIdentity, fleet: Fleet | None = None) -> bytes:
    """What a signature is judged by, and what answers for a registration: the key, which is not
    looked at on secp256k1, and the fleet that lists the device unless a slot of its own was there
    when the batch was committed."""
    key = identity.public_key or bytes(KEY_BYTES)
    return key + (fleet.listing(identity.device) if fleet else b"")


def index_of(index: int) -> bytes:
    """Which observation of a report is meant."""
    return index.to_bytes(2, "big")
