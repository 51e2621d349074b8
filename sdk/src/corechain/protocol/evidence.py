"""Evidence for disputes about batches, as `BatchChallenges` reads it (docs/contracts.md).

A `Dossier` is what somebody who holds a batch's data can show of it, canonical or not: fraudulent
batches are not canonical, so nothing here judges what it packs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from corechain.protocol.archive import Place, Revealed
from corechain.protocol.batch import Batch, Header
from corechain.protocol.data_file import Written
from corechain.protocol.fleet import KEY_BYTES, Fleet
from corechain.protocol.hashing import Digest26
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.merkle import MerkleTree
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
    """A batch's leaves and signed reports as bytes, and the header that covers them."""

    header: Header
    leaves: Sequence[bytes]
    reports: Sequence[bytes]
    statistics: StatisticsTree

    @classmethod
    def of(cls, batch: Batch | Written) -> "Dossier":
        reports = [signed.pack() for signed in batch.reports]
        return cls(batch.header, batch.leaves, reports, StatisticsTree(batch.leaves))

    @cached_property
    def readings_tree(self) -> MerkleTree:
        return MerkleTree.over(self.leaves)

    @cached_property
    def reports_tree(self) -> MerkleTree:
        return MerkleTree.over(self.reports)

    @property
    def revealed(self) -> Revealed:
        return Revealed(self.header, self.readings_tree.root)

    def reading(self, position: int) -> Shown:
        return Shown(position, self.leaves[position], tuple(self.readings_tree.proof(position)))

    def report(self, position: int) -> Shown:
        return Shown(position, self.reports[position], tuple(self.reports_tree.proof(position)))

    def witness(self, place: Place | None = None) -> Witness:
        """Of the batch that its header names, committed alone unless told otherwise."""
        number = self.header.batch_id
        return Witness(number, self.revealed, place or Place.alone(number))

    def statistics_path(self, level: int, index: int) -> bytes:
        """From the top down to the children of the node at `level` ≥ 1, or to the leaf at 0."""
        pairs = b"".join(one.pack() + two.pack() for one, two in self.statistics.path(level, index))
        return index.to_bytes(4, "big") + self.statistics.top.pack() + pairs


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
