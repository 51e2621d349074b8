"""Where a commitment stands, and how an old one is reached from a newer one.

A word of the ring is a batch's commitment, or the root over the commitments of a group that was
committed together. A batch that is in the ring no more is reached through `previous` and `ancestor`
of newer headers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from corechain.protocol.batch import Header, ancestor_of, batch_id, lane_of, number_of
from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import Digest26, hash26
from corechain.protocol.merkle import MerkleTree, verify_inclusion

MAX_NUMBER = 2**27 - 1
MAX_GROUP = 256


class Revealed(NamedTuple):
    """All that a commitment is the hash of."""

    header: Header
    readings_root: Digest26

    @property
    def commitment(self) -> Digest26:
        return self.header.commitment(self.readings_root)

    def words(self) -> tuple[object, ...]:
        """The struct as an ABI coder takes it."""
        header = self.header
        fields = (
            header.batch_id, header.previous, header.ancestor, header.statistics_root,
            header.reports_root, header.data_hash, header.rules_hash, header.reading_count,
            header.report_count, header.window_start, header.window_end,
        )  # fmt: skip
        return fields, self.readings_root


class Place(NamedTuple):
    """Where a commitment stands: batch id of the word, which member of its group, siblings."""

    anchor_id: int
    member: int = 0
    path: tuple[Digest26, ...] = ()

    @classmethod
    def alone(cls, batch: int) -> "Place":
        """Of a batch that was committed by itself."""
        return cls(batch)


def group_leaf(batch: int, commitment: bytes) -> Digest26:
    """32 bytes of preimage: neither a node (52) nor a commitment's (58) can pass as a leaf."""
    return hash26(commitment + batch.to_bytes(6, "big"))


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive batches of a lane that were committed in one word: that of the last one."""

    first_batch_id: int
    commitments: Sequence[bytes]

    def __post_init__(self) -> None:
        if not 2 <= len(self.commitments) <= MAX_GROUP:
            raise ValueError(f"2 to {MAX_GROUP} batches make a group, not {len(self.commitments)}")

    @property
    def tree(self) -> MerkleTree:
        ids = range(self.first_batch_id, self.first_batch_id + len(self.commitments))
        return MerkleTree([group_leaf(*row) for row in zip(ids, self.commitments, strict=True)])

    @property
    def packed(self) -> bytes:
        """What `commitMany` takes: 26 bytes a batch."""
        return b"".join(self.commitments)

    def place(self, batch: int) -> Place:
        """Of one of its batches. Raises IndexError for another."""
        index = batch - self.first_batch_id
        anchor = self.first_batch_id + len(self.commitments) - 1
        return Place(anchor, index, tuple(self.tree.proof(index)))


def verify_place(word: bytes, grouped: bool, batch: int, commitment: bytes, place: Place) -> None:
    """Raises InvalidProof unless the word of the ring at `place` holds the batch's commitment."""
    if grouped:
        verify_inclusion(word, group_leaf(batch, commitment), place.member, place.path)
    elif place != Place.alone(batch) or word != commitment:
        raise InvalidProof(f"batch {batch} does not stand at {place.anchor_id}")


def step_towards(batch: int, target: int) -> tuple[int, bool]:
    """The batch one step back, and whether that is the header's `ancestor` (else `previous`)."""
    ancestor = batch_id(lane_of(batch), ancestor_of(number_of(batch)))
    return (ancestor, True) if ancestor >= target else (batch - 1, False)


def trail(newest: int, target: int) -> Iterator[int]:
    """The batches whose headers lead from `newest` to `target`; O(log n) of them."""
    if lane_of(newest) != lane_of(target) or not 0 < number_of(target) < number_of(newest):
        raise ValueError(f"no headers lead from batch {newest} to {target}")
    while newest != target:
        yield newest
        newest, _ = step_towards(newest, target)


def verify_trail(target: int, commitment: bytes, links: Sequence[Revealed]) -> None:
    """Raises InvalidProof unless the headers lead to the commitment of the old batch.

    That the first link is on chain is another question (`verify_place`).
    """
    if not links:
        raise InvalidProof("no headers")
    expected = [_next(link, target) for link in links]
    for (batch, wanted), link in zip(expected, links[1:], strict=False):
        if (link.header.batch_id, link.commitment) != (batch, wanted):
            raise InvalidProof(f"the header of batch {link.header.batch_id} is not the next one")
    if expected[-1] != (target, commitment):
        raise InvalidProof(f"the headers do not lead to batch {target}")
    assert all(one.header.batch_id > two.header.batch_id for one, two in pairwise(links))


def _next(link: Revealed, target: int) -> tuple[int, bytes]:
    batch = link.header.batch_id
    if batch <= target or lane_of(batch) != lane_of(target):
        raise InvalidProof(f"batch {batch} does not lead to {target}")
    step, by_ancestor = step_towards(batch, target)
    return step, link.header.ancestor if by_ancestor else link.header.previous
