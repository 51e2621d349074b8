"""Pages of readings: what was asked, whether a page answers it, and whether it is proven. Pure.

Every reading of a page is under the commitment of its batch on chain. That no reading was left out
is not proven here: statistics are (`corechain.answers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from corechain.answers import CommitmentsOf
from corechain.documents import (
    BatchProofJson,
    MalformedAnswer,
    ReadingJson,
    ReadingsJson,
    WrongAnswer,
    octets,
    parse,
)
from corechain.protocol.errors import InvalidProof, InvalidValue
from corechain.protocol.hashing import hash26
from corechain.protocol.merkle import root_from_multiproof
from corechain.protocol.reading import DeviceId, Reading
from corechain.protocol.values import OctetsLike, TimeLike, address, seconds
from corechain.protocol.vocabulary import Metric, MetricLike
from corechain.protocol.vocabulary import metric as metric_of

NODE_BYTES = 26


class LocatedReading(NamedTuple):
    """A reading and where it stands."""

    batch_id: int
    position: int
    reading: Reading


def _located(row: ReadingJson) -> LocatedReading:
    reading = Reading(
        row.metric,
        int(row.cell, 16),
        DeviceId(octets(row.device)),
        row.observed_at,
        row.value,
        row.flag,
    )
    return LocatedReading(row.batch_id, row.position, reading)


def _place(item: LocatedReading) -> tuple[bytes, int, int, int, int]:
    """What pages are ordered by; no two readings share it."""
    reading = item.reading
    return reading.device, reading.metric, reading.observed_at, item.batch_id, item.position


@dataclass(frozen=True, slots=True)
class ReadingsQuestion:
    """A device's readings; `metric` None: all, `start` and `end` in seconds, both included."""

    device: DeviceId
    metric: Metric | None = None
    start: int | None = None
    end: int | None = None

    @classmethod
    def of(
        cls,
        device: OctetsLike,
        metric: MetricLike | None,
        start: TimeLike | None,
        end: TimeLike | None,
    ) -> "ReadingsQuestion":
        """From what users have: hex, names, datetimes. Raises InvalidValue, ValueOutOfRange,
        UnknownMetric."""
        given: Any = (device, metric, start, end)
        return cls(*given)

    def __post_init__(self) -> None:
        start = None if self.start is None else seconds("start", self.start)
        end = None if self.end is None else seconds("end", self.end)
        found = {
            "device": DeviceId(address("device", self.device)),
            "metric": None if self.metric is None else metric_of(self.metric),
            "start": start,
            "end": end,
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
        if start is not None and end is not None and start > end:
            raise InvalidValue("start", start, f"is not after the end, {end}")

    def params(self) -> dict[str, str | int]:
        given: dict[str, str | int | None] = {
            "device": "0x" + self.device.hex(),
            "metric": None if self.metric is None else self.metric.name,
            "from": self.start,
            "to": self.end,
        }
        return {name: value for name, value in given.items() if value is not None}

    def wants(self, reading: Reading) -> bool:
        return (
            reading.device == self.device
            and (self.metric is None or reading.metric == self.metric.code)
            and (self.start is None or reading.observed_at >= self.start)
            and (self.end is None or reading.observed_at <= self.end)
        )


@dataclass(frozen=True, slots=True)
class ReadingsPage:
    """One answer to /v1/readings."""

    items: Sequence[LocatedReading]
    next_cursor: str | None
    proofs: Mapping[int, BatchProofJson]

    def check(self, question: ReadingsQuestion, limit: int, after: LocatedReading | None) -> None:
        """It holds at most `limit` readings that were asked for, in order, each behind `after`.

        Raises WrongAnswer.
        """
        if len(self.items) > limit:
            raise WrongAnswer(f"{len(self.items)} readings where {limit} were asked for")
        if not self.items and self.next_cursor is not None:
            raise WrongAnswer("an empty page that says there is more")
        before = None if after is None else _place(after)
        for item in self.items:
            if not question.wants(item.reading):
                raise WrongAnswer(f"{item.reading} was not asked for")
            place = _place(item)
            if before is not None and place <= before:
                raise WrongAnswer(f"{item.reading} repeats, or is out of order")
            before = place

    def verify(self, known: dict[int, bytes], commitments_of: CommitmentsOf) -> None:
        """Every reading is under the commitment of its batch. `known` holds the commitments that
        were looked up for earlier pages; those of this one are added.

        Raises InvalidProof, UnknownBatch.
        """
        batches: dict[int, list[LocatedReading]] = {}
        for item in self.items:
            batches.setdefault(item.batch_id, []).append(item)
        if batches.keys() != self.proofs.keys():
            raise InvalidProof("the batches of the readings and of the proofs are not the same")
        new = {batch: self.proofs[batch].block for batch in batches if batch not in known}
        known.update(commitments_of(new) if new else {})
        for batch, items in batches.items():
            _verify_batch(self.proofs[batch], items, known[batch])


def _verify_batch(proof: BatchProofJson, items: list[LocatedReading], commitment: bytes) -> None:
    items = sorted(items, key=lambda item: item.position)
    packed = octets(proof.nodes)
    nodes = [packed[i : i + NODE_BYTES] for i in range(0, len(packed), NODE_BYTES)]
    leaves = [hash26(item.reading.pack()) for item in items]
    root = root_from_multiproof(leaves, [item.position for item in items], proof.depth, nodes)
    if hash26(root + octets(proof.rest_hash)) != commitment:
        raise InvalidProof(f"readings are not under the commitment of batch {proof.batch_id}")


def parse_page(answer: Any) -> ReadingsPage:
    """Raises MalformedAnswer."""
    fields = parse(answer, ReadingsJson, "a page of readings")
    proofs = {proof.batch_id: proof for proof in fields.proofs}
    if len(proofs) != len(fields.proofs):
        raise MalformedAnswer("two proofs of one batch")
    return ReadingsPage([_located(row) for row in fields.items], fields.next_cursor, proofs)
