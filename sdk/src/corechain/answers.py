"""What the query API answers, parsed and verified. Pure: the clients fetch, this module judges.

Nothing here trusts the API: a number is returned only when it follows from a commitment on chain.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from corechain.documents import (
    DisclosedJson,
    HeaderJson,
    RangeJson,
    ReadingProofJson,
    RewardJson,
    StatisticsJson,
    cut,
    octets,
    parse,
)
from corechain.protocol.archive import Place, Revealed
from corechain.protocol.batch import Header, lane_of, number_of
from corechain.protocol.errors import InvalidProof, RangeIncomplete
from corechain.protocol.hashing import DIGEST_BYTES, Digest26, hash26
from corechain.protocol.merkle import (
    depth_of,
    root_from_proof,
    verify_inclusion,
    verify_multiproof,
)
from corechain.protocol.reading import READING_BYTES, DeviceId, Reading, pack_key
from corechain.protocol.rewards import Owner, RewardClaim
from corechain.protocol.statistics import (
    NOTHING,
    Node,
    RangeProof,
    Statistics,
    check_boundaries,
    verify_range,
)
from corechain.protocol.vocabulary import Metric

CommitmentOf = Callable[[int], bytes]
"""The chain's word for a batch id (26 bytes). Raises UnknownBatch."""

CommitmentsOf = Callable[[Mapping[int, int | None]], Mapping[int, bytes]]
"""The chain's words for many batch ids at once; each maps to the block in which the API says it was
committed (a hint where to look, or None). Raises UnknownBatch."""


def parse_header(fields: Any) -> Header:
    """A batch header from its JSON form (snake_case fields, hex bytes). Raises MalformedAnswer."""
    return parse(fields, HeaderJson, "a batch header").header()


@dataclass(frozen=True, slots=True)
class ProvenReading:
    """A reading with the proof that it is in a batch."""

    batch_id: int
    position: int
    reading: Reading
    rest_hash: bytes
    proof: tuple[bytes, ...]
    block: int | None = None
    """Where the API says the batch was committed."""

    def verify(self, commitment_of: CommitmentOf) -> None:
        """Raises InvalidProof unless the reading is under the commitment on chain."""
        leaf = hash26(self.reading.pack())
        root = root_from_proof(leaf, self.position, self.proof)
        verify_inclusion(root, leaf, self.position, self.proof)
        if hash26(root + self.rest_hash) != commitment_of(self.batch_id):
            raise InvalidProof(f"the reading is not under the commitment of batch {self.batch_id}")

    def as_arguments(self) -> tuple[object, ...]:
        """What `DataBatches.verifyReading` takes."""
        one = self.reading
        fields = one.metric, one.cell, bytes(one.device), one.observed_at, one.value, one.flag
        return self.batch_id, fields, self.position, self.rest_hash, list(self.proof)


def parse_proven_reading(answer: Any, batch_id: int) -> ProvenReading:
    """Raises MalformedAnswer."""
    fields = parse(answer, ReadingProofJson, "a proven reading")
    return ProvenReading(
        batch_id,
        fields.position,
        Reading.unpack(octets(fields.leaf)),
        octets(fields.rest_hash),
        tuple(octets(node) for node in fields.proof),
        fields.block,
    )


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


def step_abi(
    batch: Revealed,
    place: Place | None = None,
    span: tuple[int, int] = (0, 0),
    leaves: Sequence[bytes] = (),
    nodes: Sequence[Node] = (),
) -> tuple[object, ...]:
    """A batch as `Step` of contracts/consumer/AnswerTypes.sol, for an ABI coder. `place`: where it
    stands when it was committed in a group. Without leaves: it holds nothing of the time."""
    where = place or Place.alone(batch.header.batch_id)
    packed = b"".join(leaves), b"".join(node.pack() for node in nodes)
    return *batch.words(), tuple(where), *span, *packed


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

    def as_abi(self, place: Place | None = None) -> tuple[object, ...]:
        """What `ProvenAnswers` takes: see `step_abi`."""
        batch = Revealed(self.header, Digest26(self.readings_root))
        return step_abi(batch, place, (self.start, self.end), self.proof.leaves, self.proof.nodes)


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One batch's share of a region's statistics, where only some of its readings are of the time
    that was asked for: all leaves of the range, and those right before and after it."""

    header: Header
    readings_root: bytes
    bounds: Bounds
    start: int
    end: int
    leaves: tuple[bytes, ...]
    nodes: tuple[bytes, ...]

    def verify(self, commitment_of: CommitmentOf, window: tuple[int, int]) -> Statistics:
        """Of the readings in the window (seconds, both ends included). Raises InvalidProof,
        RangeIncomplete, UnknownBatch."""
        _check_header(self.header, self.readings_root, commitment_of)
        count = self.header.reading_count
        shown = range(max(0, self.start - 1), min(count, self.end + 1))
        if not self.start <= self.end <= count or len(shown) != len(self.leaves):
            raise InvalidProof(f"[{self.start}, {self.end}) of {count} is not what is shown")
        hashes = [hash26(leaf) for leaf in self.leaves]
        verify_multiproof(self.readings_root, hashes, shown, depth_of(count), self.nodes)
        leaves = zip(shown, self.leaves, strict=True)
        check_boundaries(leaves, self.start, self.end, self.bounds.low, self.bounds.high)
        inside = self.leaves[self.start - shown.start : self.end - shown.start]
        return _total(map(Reading.unpack, inside), window)


def _total(readings: Iterable[Reading], window: tuple[int, int]) -> Statistics:
    start, end = window
    total = NOTHING
    for reading in readings:
        if start <= reading.observed_at <= end:
            value = reading.value
            total += Statistics(1, value, value, value)
    return total


def _check_header(header: Header, readings_root: bytes, commitment_of: CommitmentOf) -> None:
    if header.commitment(readings_root) != commitment_of(header.batch_id):
        raise InvalidProof(f"the header of batch {header.batch_id} is not the one on chain")


def _part(fields: RangeJson) -> Part:
    leaves = tuple(octets(leaf) for leaf in fields.leaves)
    nodes = tuple(Node.unpack(octets(node)) for node in fields.nodes)
    return Part(
        fields.header.header(),
        octets(fields.readings_root),
        Bounds(octets(fields.low), octets(fields.high)),
        fields.start,
        fields.end,
        RangeProof(leaves, nodes),
        Statistics(fields.count, fields.sum, fields.min, fields.max),
    )


def _disclosed(fields: DisclosedJson) -> Disclosed:
    return Disclosed(
        fields.header.header(),
        octets(fields.readings_root),
        Bounds(octets(fields.low), octets(fields.high)),
        fields.start,
        fields.end,
        cut(octets(fields.leaves), READING_BYTES),
        cut(octets(fields.nodes), DIGEST_BYTES),
    )


@dataclass(frozen=True, slots=True)
class StatisticsAnswer:
    """Statistics over one or more batches, as the API claims them; `verify` proves them."""

    parts: tuple[Part, ...]
    skipped: tuple[tuple[Header, bytes], ...]
    claimed: Statistics
    blocks: Mapping[int, int | None] = field(default_factory=dict, compare=False)
    """Where the API says that the batches were committed."""
    disclosed: tuple[Disclosed, ...] = ()
    """Only of a region."""

    @property
    def _shares(self) -> "tuple[Part | Disclosed, ...]":
        return *self.parts, *self.disclosed

    @property
    def batches(self) -> dict[int, int | None]:
        """Whose commitments are needed to verify, and where to look for them."""
        headers = (
            *(share.header for share in self._shares),
            *(header for header, _ in self.skipped),
        )
        return {header.batch_id: self.blocks.get(header.batch_id) for header in headers}

    def as_abi(self, places: Mapping[int, Place] | None = None) -> list[tuple[object, ...]]:
        """Its batches in order, as `Step[]` of contracts/consumer. `places`: of batches that were
        committed in a group, by id.

        Raises RangeIncomplete for what no contract takes: regions, several cells, several lanes.
        """
        where = places or {}
        found = {part.header.batch_id: part.as_abi for part in self.parts}
        if self.disclosed or len(found) != len(self.parts):
            raise RangeIncomplete("a contract takes one range a batch: ask for a device at a cell")
        for header, root in self.skipped:
            found[header.batch_id] = partial(step_abi, Revealed(header, Digest26(root)))
        _check_contiguous(found)
        if len({lane_of(batch) for batch in found}) > 1:
            raise RangeIncomplete("a contract takes the batches of one lane")
        return [found[batch](where.get(batch)) for batch in sorted(found)]

    def verify(
        self, commitment_of: CommitmentOf, bounds: Sequence[Bounds], window: tuple[int, int]
    ) -> Statistics:
        """Proves every part, and that no batch between the first and the last was left out.

        `bounds` are the ranges the caller asked for, `window` their times. Raises InvalidProof,
        RangeIncomplete, UnknownBatch.
        """
        if self.disclosed:
            raise RangeIncomplete("leaves are shown where only range proofs were asked for")
        return self._verify(commitment_of, bounds, window)

    def verify_region(
        self, commitment_of: CommitmentOf, bounds: Sequence[Bounds], window: tuple[int, int]
    ) -> Statistics:
        """The same where `bounds` are of all times: a batch that reaches beyond the window must
        show its leaves, of which those in it count."""
        start, end = window
        for part in self.parts:
            header = part.header
            if header.window_start < start or header.window_end > end:
                raise RangeIncomplete(f"batch {header.batch_id} reaches beyond the window")
        return self._verify(commitment_of, bounds, window)

    def _verify(
        self, commitment_of: CommitmentOf, bounds: Sequence[Bounds], window: tuple[int, int]
    ) -> Statistics:
        asked = {(item.low, item.high) for item in bounds}
        if any((share.bounds.low, share.bounds.high) not in asked for share in self._shares):
            raise RangeIncomplete("a part answers another question than the one asked")
        self._check_skipped(commitment_of, window)
        self._check_no_gap(asked)
        total = NOTHING
        for part in self.parts:
            total += part.verify(commitment_of)
        for shown in self.disclosed:
            total += shown.verify(commitment_of, window)
        if total != self.claimed:
            raise InvalidProof(f"claimed {self.claimed}, proven {total}")
        return total

    def _check_skipped(self, commitment_of: CommitmentOf, window: tuple[int, int]) -> None:
        start, end = window
        for header, readings_root in self.skipped:
            _check_header(header, readings_root, commitment_of)
            if header.window_end >= start and header.window_start <= end:
                raise RangeIncomplete(f"batch {header.batch_id} overlaps, yet it was skipped")

    def _check_no_gap(self, asked: Set[tuple[bytes, bytes]]) -> None:
        seen: dict[int, list[tuple[bytes, bytes]]] = {}
        for share in self._shares:
            range_ = share.bounds.low, share.bounds.high
            seen.setdefault(share.header.batch_id, []).append(range_)
        skipped = {header.batch_id for header, _ in self.skipped}
        once = all(len(found) == len(asked) == len({*found}) for found in seen.values())
        if not once or skipped & seen.keys():
            raise RangeIncomplete("a batch does not answer each range exactly once")
        _check_contiguous(seen.keys() | skipped)


def _check_contiguous(batches: Iterable[int]) -> None:
    lanes: dict[int, list[int]] = {}
    for batch in batches:
        lanes.setdefault(lane_of(batch), []).append(number_of(batch))
    for lane, numbers in lanes.items():
        if len(numbers) != max(numbers) - min(numbers) + 1:
            raise RangeIncomplete(f"lane {lane} has a gap between {min(numbers)}, {max(numbers)}")


def parse_statistics(answer: Any) -> StatisticsAnswer:
    """Raises MalformedAnswer."""
    fields = parse(answer, StatisticsJson, "a statistics answer")
    return StatisticsAnswer(
        tuple(_part(part) for part in fields.parts),
        tuple((item.header.header(), octets(item.readings_root)) for item in fields.skipped),
        Statistics(fields.count, fields.sum, fields.min, fields.max),
        {
            item.header.batch_id: item.block
            for items in (fields.parts, fields.skipped, fields.disclosed)
            for item in items
        },
        tuple(_disclosed(item) for item in fields.disclosed),
    )


def parse_reward_claim(answer: Any) -> RewardClaim:
    """Raises MalformedAnswer."""
    fields = parse(answer, RewardJson, "a reward claim")
    proof = tuple(Digest26(octets(node)) for node in fields.proof)
    return RewardClaim(Owner(octets(fields.owner)), int(fields.cumulative), fields.position, proof)
