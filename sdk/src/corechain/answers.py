"""What the query API answers, parsed and verified. Pure: the clients fetch, this module judges.

Nothing here trusts the API: a number is returned only when it follows from a commitment on chain.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corechain.protocol.batch import Header, lane_of, number_of
from corechain.protocol.errors import InvalidProof, ProtocolError, RangeIncomplete
from corechain.protocol.hashing import Digest26, hash26
from corechain.protocol.merkle import root_from_proof, verify_inclusion
from corechain.protocol.reading import READING_BYTES, DeviceId, Reading, pack_key
from corechain.protocol.rewards import Owner, RewardClaim
from corechain.protocol.statistics import (
    NODE_BYTES,
    NOTHING,
    Node,
    RangeProof,
    Statistics,
    verify_range,
)
from corechain.protocol.vocabulary import Metric


class MalformedAnswer(ProtocolError):
    """The API's answer does not have the documented shape."""


CommitmentOf = Callable[[int], bytes]
"""The chain's word for a batch id (26 bytes). Raises UnknownBatch."""

U64_MAX, U40_MAX = 2**64 - 1, 2**40 - 1


def _bytes(text: Any) -> bytes:
    return bytes.fromhex(str(text).removeprefix("0x"))


def parse_header(fields: Mapping[str, Any]) -> Header:
    """A batch header from its JSON form (snake_case fields, hex bytes)."""
    try:
        return Header(
            int(fields["batch_id"]),
            Digest26(_bytes(fields["previous"])),
            Digest26(_bytes(fields["ancestor"])),
            Digest26(_bytes(fields["statistics_root"])),
            Digest26(_bytes(fields["reports_root"])),
            _bytes(fields["data_hash"]),
            _bytes(fields["rules_hash"]),
            int(fields["reading_count"]),
            int(fields["report_count"]),
            int(fields["window_start"]),
            int(fields["window_end"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a batch header: {error!r}") from error


@dataclass(frozen=True, slots=True)
class ProvenReading:
    """A reading with the proof that it is in a batch."""

    batch_id: int
    position: int
    reading: Reading
    rest_hash: bytes
    proof: tuple[bytes, ...]

    def verify(self, commitment_of: CommitmentOf) -> None:
        """Raises InvalidProof unless the reading is under the commitment on chain."""
        leaf = hash26(self.reading.pack())
        root = root_from_proof(leaf, self.position, self.proof)
        verify_inclusion(root, leaf, self.position, self.proof)
        if hash26(root + self.rest_hash) != commitment_of(self.batch_id):
            raise InvalidProof(f"the reading is not under the commitment of batch {self.batch_id}")


def parse_proven_reading(answer: Mapping[str, Any], batch_id: int) -> ProvenReading:
    try:
        return ProvenReading(
            batch_id,
            int(answer["position"]),
            Reading.unpack(_bytes(answer["leaf"])),
            _bytes(answer["rest_hash"]),
            tuple(_bytes(node) for node in answer["proof"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a proven reading: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Bounds:
    """The readings asked for: metric, cells, devices and times between two keys, both included."""

    low: bytes
    high: bytes


def device_bounds(metric: Metric, cell: int, device: DeviceId, start: int, end: int) -> Bounds:
    """One device at one cell, observed in [start, end] seconds."""
    return Bounds(
        pack_key(metric.code, cell, device, start), pack_key(metric.code, cell, device, end)
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One batch's share of a statistics answer, with its range proof."""

    header: Header
    readings_root: bytes
    bounds: Bounds
    start: int
    end: int
    proof: RangeProof
    claimed: Statistics

    def verify(self, commitment_of: CommitmentOf) -> Statistics:
        """The proven statistics. Raises InvalidProof, RangeIncomplete, UnknownBatch."""
        _check_header(self.header, self.readings_root, commitment_of)
        header = self.header
        proven = verify_range(
            header.statistics_root,
            header.reading_count,
            self.start,
            self.end,
            self.bounds.low,
            self.bounds.high,
            self.proof,
        )
        if proven != self.claimed:
            raise InvalidProof(f"batch {header.batch_id}: claimed {self.claimed}, proven {proven}")
        return proven


def _check_header(header: Header, readings_root: bytes, commitment_of: CommitmentOf) -> None:
    if header.commitment(readings_root) != commitment_of(header.batch_id):
        raise InvalidProof(f"the header of batch {header.batch_id} is not the one on chain")


def _chunks(packed: bytes, size: int) -> Iterable[bytes]:
    if len(packed) % size:
        raise MalformedAnswer(f"{len(packed)} bytes are not items of {size}")
    return (packed[i : i + size] for i in range(0, len(packed), size))


def _joined(items: Any) -> bytes:
    return _bytes(items) if isinstance(items, str) else b"".join(_bytes(item) for item in items)


def _range_proof(fields: Mapping[str, Any]) -> RangeProof:
    leaves = tuple(_chunks(_joined(fields["leaves"]), READING_BYTES))
    nodes = tuple(Node.unpack(node) for node in _chunks(_joined(fields["nodes"]), NODE_BYTES))
    return RangeProof(leaves, nodes)


def _part(fields: Mapping[str, Any]) -> Part:
    try:
        claimed = Statistics(*(int(fields[name]) for name in ("count", "sum", "min", "max")))
        return Part(
            parse_header(fields["header"]),
            _bytes(fields["readings_root"]),
            Bounds(_bytes(fields["low"]), _bytes(fields["high"])),
            int(fields["from"]),
            int(fields["to"]),
            _range_proof(fields),
            claimed,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a part of a statistics answer: {error!r}") from error


@dataclass(frozen=True, slots=True)
class StatisticsAnswer:
    """Statistics over one or more batches, as the API claims them; `verify` proves them."""

    parts: tuple[Part, ...]
    skipped: tuple[tuple[Header, bytes], ...]
    claimed: Statistics

    def verify(
        self, commitment_of: CommitmentOf, bounds: Sequence[Bounds], window: tuple[int, int]
    ) -> Statistics:
        """Proves every part, and that no batch between the first and the last was left out.

        `bounds` are the ranges the caller asked for, `window` their times. Raises InvalidProof,
        RangeIncomplete, UnknownBatch.
        """
        asked = {(item.low, item.high) for item in bounds}
        if any((part.bounds.low, part.bounds.high) not in asked for part in self.parts):
            raise RangeIncomplete("a part answers another question than the one asked")
        self._check_skipped(commitment_of, window)
        self._check_no_gap(len(asked))
        total = NOTHING
        for part in self.parts:
            total += part.verify(commitment_of)
        if total != self.claimed:
            raise InvalidProof(f"claimed {self.claimed}, proven {total}")
        return total

    def _check_skipped(self, commitment_of: CommitmentOf, window: tuple[int, int]) -> None:
        start, end = window
        for header, readings_root in self.skipped:
            _check_header(header, readings_root, commitment_of)
            if header.window_end >= start and header.window_start <= end:
                raise RangeIncomplete(f"batch {header.batch_id} overlaps, yet it was skipped")

    def _check_no_gap(self, ranges: int) -> None:
        seen: dict[int, int] = {}
        for part in self.parts:
            seen[part.header.batch_id] = seen.get(part.header.batch_id, 0) + 1
        skipped = {header.batch_id for header, _ in self.skipped}
        if any(count != ranges for count in seen.values()) or skipped & seen.keys():
            raise RangeIncomplete("a batch does not answer each range exactly once")
        _check_contiguous(seen.keys() | skipped)


def _check_contiguous(batches: Iterable[int]) -> None:
    lanes: dict[int, list[int]] = {}
    for batch in batches:
        lanes.setdefault(lane_of(batch), []).append(number_of(batch))
    for lane, numbers in lanes.items():
        if len(numbers) != max(numbers) - min(numbers) + 1:
            raise RangeIncomplete(f"lane {lane} has a gap between {min(numbers)}, {max(numbers)}")


def parse_statistics(answer: Mapping[str, Any]) -> StatisticsAnswer:
    try:
        claimed = Statistics(*(int(answer[name]) for name in ("count", "sum", "min", "max")))
        skipped = tuple(
            (parse_header(item["header"]), _bytes(item["readings_root"]))
            for item in answer["skipped"]
        )
        return StatisticsAnswer(tuple(_part(part) for part in answer["parts"]), skipped, claimed)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a statistics answer: {error!r}") from error


def parse_reward_claim(answer: Mapping[str, Any]) -> RewardClaim:
    try:
        return RewardClaim(
            Owner(_bytes(answer["owner"])),
            int(answer["cumulative"]),
            int(answer["position"]),
            tuple(Digest26(_bytes(node)) for node in answer["proof"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAnswer(f"not a reward claim: {error!r}") from error
