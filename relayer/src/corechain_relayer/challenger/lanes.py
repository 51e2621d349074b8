"""Commitments and demands of all lanes as a fold over DataBatches' logs. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from corechain.protocol.archive import Group, Place
from corechain.protocol.batch import lane_of
from corechain.protocol.events import (
    Answered,
    BatchCommitted,
    BatchesCommitted,
    Demanded,
    Unanswered,
)
from corechain.protocol.logs import decode_log
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.service.rpc import Log
from corechain_relayer.guard.demands import OpenDemand

COMMITMENT_BYTES = 26


class Commit(NamedTuple):
    """A commitment where it stands, and the block it came in."""

    batch_id: int
    commitment: bytes
    place: Place
    block: int


class Answer(NamedTuple):
    """What closed a demand: the ABI encoding of its evidence."""

    demand: OpenDemand
    evidence: bytes


@dataclass(slots=True)
class LanesView:
    """By batch id, of a batch that was committed twice in order; demands by their own."""

    commits: dict[int, list[Commit]] = field(default_factory=dict)
    open: dict[bytes, OpenDemand] = field(default_factory=dict)
    answers: dict[int, list[Answer]] = field(default_factory=dict)
    """By batch id."""
    receipts: dict[bytes, OpenDemand] = field(default_factory=dict)
    """Open demands for what receipts promised: of no batch."""

    def __deepcopy__(self, memo: object) -> "LanesView":
        """What the lists hold is frozen."""
        commits = {number: list(found) for number, found in self.commits.items()}
        answers = {number: list(found) for number, found in self.answers.items()}
        return LanesView(commits, dict(self.open), answers, dict(self.receipts))

    def take(self, logs: Iterable[Log]) -> None:
        """Goes on by the logs of the following blocks. Raises MalformedLog."""
        for entry in logs:
            event = decode_log(list(entry.topics), entry.data)
            if isinstance(event, BatchCommitted):
                self._commit(event.batch_id, event.commitment, None, entry.block_number)
            elif isinstance(event, BatchesCommitted):
                self._commit_group(event, entry.block_number)
            elif isinstance(event, Demanded):
                self.open[event.demand_id] = OpenDemand.of(event, entry.block_number)
            elif isinstance(event, ReceiptDemanded):
                found = OpenDemand.of_receipt(event, entry.block_number)
                self.receipts[event.demand_id] = found
            elif isinstance(event, (Answered, Unanswered)):
                self._closed(event)

    def expirable(self) -> list[OpenDemand]:
        """All that is demanded, of batches and by receipts."""
        return [*self.open.values(), *self.receipts.values()]

    def _commit(self, batch: int, commitment: bytes, place: Place | None, block: int) -> None:
        found = Commit(batch, commitment, place or Place.alone(batch), block)
        self.commits.setdefault(batch, []).append(found)

    def _commit_group(self, event: BatchesCommitted, block: int) -> None:
        packed, first = event.commitments, event.first_batch_id
        starts = range(0, len(packed), COMMITMENT_BYTES)
        group = Group(first, [packed[at : at + COMMITMENT_BYTES] for at in starts])
        for batch, commitment in enumerate(group.commitments, start=first):
            self._commit(batch, commitment, group.place(batch), block)

    def _closed(self, event: Answered | Unanswered) -> None:
        demand = self.open.pop(event.demand_id, None)
        self.receipts.pop(event.demand_id, None)
        if demand is not None and isinstance(event, Answered):
            found = Answer(demand, event.evidence)
            self.answers.setdefault(demand.batch_id, []).append(found)

    @property
    def lanes(self) -> set[int]:
        return {lane_of(batch) for batch in self.commits}

    @property
    def demand_ids(self) -> set[bytes]:
        """Of all that are open, or were answered."""
        answered = (one.demand.id for found in self.answers.values() for one in found)
        return self.open.keys() | set(answered)

    def in_order(self) -> list[Commit]:
        """All commitments, oldest first."""
        found = (commit for commits in self.commits.values() for commit in commits)
        return sorted(found, key=lambda commit: (commit.block, commit.batch_id))

    def forget(self, batch: int) -> None:
        """Its window is over."""
        self.commits.pop(batch, None)
        self.answers.pop(batch, None)
