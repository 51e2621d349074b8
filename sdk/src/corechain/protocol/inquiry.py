"""What has to be demanded of a batch whose data do not show what its commitment covers. Pure.

An answer shows the header, a leaf, and the nodes beside its way. Beside our own trees over the data
file the first node that differs tells where to ask next; where nobody can answer, the bond falls
(docs/contracts.md, "Who finds that a statistics root is wrong"). Of the reports alike: what is not
under the committed root accuses nobody and vouches for nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from corechain.protocol.alignment import Alignment, align
from corechain.protocol.archive import Revealed
from corechain.protocol.eip712 import Domain
from corechain.protocol.evidence import (
    Demand,
    Dossier,
    Evidence,
    Fragments,
    Fraud,
    Shown,
    position_of,
)
from corechain.protocol.findings import PLACE_BYTES, claimed, find, is_canonical
from corechain.protocol.hashing import ZERO26, hash26, keccak
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import KEY_BYTES, OBSERVATION_BYTES, READING_BYTES, DeviceId
from corechain.protocol.statistics import NODE_BYTES, Node, StatisticsTree
from corechain.protocol.suspects import Accusation, DeviceFacts, Standing, Suspect

PAIR_BYTES = 2 * NODE_BYTES
PATH_HEAD_BYTES = 4 + NODE_BYTES
At = tuple[int, int]
"""Level (0: leaves) and index of a node."""


class Answer(NamedTuple):
    """What was shown to a demand. `evidence` as the event has it: the contract took it."""

    kind: Demand
    subject: bytes
    evidence: Evidence


class Wanted(NamedTuple):
    """A demand to be made, as `demand` takes it."""

    kind: Demand
    evidence: Evidence

    @property
    def position(self) -> int:
        """Of what is demanded by its place."""
        return int.from_bytes(self.evidence.extra, "big")


@dataclass(frozen=True)
class Inquiry:
    """A batch of which we know answers, and perhaps a data file that may be its own.

    `held`: what that file says, under a header that may not be the committed one.
    `width`: at how many places one differing subtree is asked for side by side, a power of two.
    `probes`: positions to ask for where no data file tells where to look.
    """

    standing: Standing
    domain: Domain
    devices: Mapping[DeviceId, DeviceFacts]
    held: Dossier | None
    answers: Sequence[Answer] = ()
    width: int = 1
    probes: Sequence[int] = field(default=(0,))

    @cached_property
    def revealed(self) -> Revealed | None:
        """The committed header: what we hold, if it is that, else what an answer showed."""
        standing, held = self.standing, self.held
        if held is not None and held.revealed.commitment == standing.commitment:
            return held.revealed
        shown = (w.batch for one in self.answers for w in one.evidence.witnesses)
        return next((one for one in shown if one.commitment == standing.commitment), None)

    @cached_property
    def _committed(self) -> Dossier | None:
        """Our data under the committed header. Where that is their own, their trees are made."""
        ours = self.held
        if self.revealed is None or ours is None or ours.revealed == self.revealed:
            return None if self.revealed is None else ours
        header, root = self.revealed
        return Dossier(header, ours.leaves, ours.reports, ours.statistics, root)

    @cached_property
    def data(self) -> Dossier | None:
        """The same, put right by what answers have shown, where that tells the whole list."""
        found = self._committed
        if found is not None and self._readings is not None and not self._readings.gaps:
            leaves = self._readings.items
            found = replace(found, leaves=leaves, statistics=StatisticsTree(leaves))
        if found is not None and self._reports is not None and not self._reports.gaps:
            found = replace(found, reports=self._reports.items)
        return found

    @cached_property
    def _readings(self) -> Alignment | None:
        """Of readings that are not those which the commitment covers."""
        ours, known = self._committed, self.fragments
        if ours is None or known is None or ours.shows_readings:
            return None
        count = known.header.reading_count  # none: a fraud by itself
        return align(ours.leaves, known.readings, count, KEY_BYTES) if count else None

    @cached_property
    def _reports(self) -> Alignment | None:
        """Of reports that are not those which the header covers."""
        ours, known = self._committed, self.fragments
        if ours is None or known is None or ours.shows_reports:
            return None
        count = known.header.report_count
        return align(ours.reports, known.reports, count, PLACE_BYTES) if count else None

    @cached_property
    def fragments(self) -> Fragments | None:
        """Leaves that answers have shown, under the committed header."""
        if self.revealed is None:
            return None
        readings, reports = dict[int, Shown](), dict[int, Shown]()
        for one in self.answers:
            self._sort(one, readings, reports)
        return Fragments(*self.revealed, readings, reports)

    def _sort(self, one: Answer, readings: dict[int, Shown], reports: dict[int, Shown]) -> None:
        shown = one.evidence.shown
        if one.kind is Demand.REPORT:
            reports.update((leaf.position, leaf) for leaf in shown)
        elif one.kind in (Demand.READING, Demand.STATISTICS):
            readings.update((leaf.position, leaf) for leaf in shown)
        elif one.kind is Demand.SOURCE and len(shown) == 2:
            reports[shown[0].position], readings[shown[1].position] = shown

    @cached_property
    def known(self) -> list[Suspect]:
        """All that can be shown of the batch."""
        return [
            Suspect(self.standing, dossier, self.domain, self.devices)
            for dossier in (self.data, self.fragments)
            if dossier is not None
        ]

    def accusations(self) -> Iterator[Accusation]:
        """What data and answers show together."""
        for one in self.known:
            yield from find(one)
        yield from self._other_leaves()

    # ------------------------------------------------------------------------------- statistics

    @cached_property
    def _ours(self) -> StatisticsTree | None:
        """Our own tree, if the header counts as many readings: else no node can be compared."""
        if self.data is None or len(self.data.leaves) != self.data.header.reading_count:
            return None
        return self.data.statistics

    @cached_property
    def _ways(self) -> dict[int, list[tuple[bytes, bytes]]]:
        """By position: the pairs of children on the ways that answers have shown, top down."""
        found = {}
        for one in self.answers:
            if one.kind is Demand.STATISTICS and one.evidence.shown:
                found[one.evidence.shown[0].position] = _pairs(one.evidence.extra)
        return found

    @cached_property
    def _nodes(self) -> dict[At, Node]:
        """The committed tree's nodes, as far as answers have shown them."""
        found = dict[At, Node]()
        for position, pairs in self._ways.items():
            for level, pair in enumerate(reversed(pairs)):
                left = (position >> level) & ~1
                found[level, left], found[level, left + 1] = map(Node.unpack, pair)
        return found

    @cached_property
    def _differing(self) -> list[At]:
        """Nodes that are not what our data make them, the lowest first."""
        return sorted(set(self._other_statistics()) | set(self._other_hashes()))

    def _other_statistics(self) -> Iterator[At]:
        if self._ours is not None:
            for (level, index), node in self._nodes.items():
                row = self._ours.levels[level]
                if node != (row[index] if index < len(row) else Node(ZERO26, 0, 0, 0)):
                    yield level, index

    def _other_hashes(self) -> Iterator[At]:
        """Of the readings' tree: every shown leaf has its siblings with it."""
        if self._ours is not None and self.data is not None and self.fragments is not None:
            yield from _beside(self.data.readings_tree, self.fragments.readings.values())

    def _other_leaves(self) -> Iterator[Accusation]:
        """A leaf of the statistics tree that stands beside a shown way, and that is not the
        reading's which we can show."""
        data = self.data
        if data is None or self._ours is None or not data.shows_readings:
            return
        for position, pairs in self._ways.items():
            beside = position ^ 1
            if (0, beside) in self._differing and beside < data.header.reading_count:
                path = beside.to_bytes(4, "big") + _top(self.answers, position)
                path += b"".join(one + two for one, two in pairs)
                evidence = Evidence([data.reading(beside)], extra=path)
                yield Accusation(Fraud.WRONG_LEAF, evidence)

    # ---------------------------------------------------------------------------------- demands

    def wanted(self) -> list[Wanted]:
        """What is to be demanded next, the most telling first; nothing when all is known that can
        be. What was answered is not in it."""
        at = self.standing.committed_at
        found = {(one.kind, subject_of(one, at)): one for one in self._wanted()}
        for answer in self.answers:
            found.pop((answer.kind, answer.subject), None)
        return list(found.values())

    def _wanted(self) -> Iterator[Wanted]:
        yield from self._registrations()
        yield from self._sources()
        if self.revealed is None:
            yield from _statistics(self.probes[:1])
        elif self.held is None:
            yield from self._sampled(self.revealed)
        else:
            yield from self._compared()

    @property
    def _agrees(self) -> bool:
        """Whether the roots over the readings are those of our data."""
        data = self.data
        if data is None or self._ours is None:
            return False
        return data.shows_readings and self._ours.root == data.header.statistics_root

    def _sampled(self, revealed: Revealed) -> Iterator[Wanted]:
        """Without any data: single leaves, somewhere."""
        # A header that counts none is a fraud by itself.
        readings, reports = revealed.header.reading_count, revealed.header.report_count
        yield from _statistics(probe % readings for probe in self.probes if readings)
        yield from _of_reports(probe % reports for probe in self.probes if reports)

    def _compared(self) -> Iterator[Wanted]:
        """What tells where the batch is not what we hold: its readings, then its reports."""
        if self._readings is not None and self._readings.gaps:
            yield from _statistics(self._spread(self._readings.gaps))
        elif not self._agrees:
            yield from self._descended()
        reports = self._reports
        if reports is not None and reports.gaps:
            yield from _of_reports(self._spread(reports.gaps))
        elif reports is not None and self.data is not None and not self.data.shows_reports:
            yield from _of_reports(self._differing_reports(reports.items))

    def _descended(self) -> Iterator[Wanted]:
        """Below each differing node of which nothing is known yet; around a differing leaf."""
        count = 0 if self._ours is None else len(self._ours.leaves)
        yield from _statistics(self.probes[:1])
        for level, index in _lowest(self._differing):
            around = (index - 1, index + 1) if level == 0 else ()
            places = (*self._places(level, index), *around)
            yield from _statistics(min(one, count - 1) for one in places if one >= 0 and count)

    def _differing_reports(self, reports: Sequence[bytes]) -> Iterator[int]:
        """Positions below the nodes that are not those of `reports`, which may be the batch's."""
        shown = self.fragments.reports if self.fragments is not None else {}
        yield from (probe % len(reports) for probe in self.probes[:1])
        differing = sorted(set(_beside(MerkleTree.over(reports), shown.values())))
        for node in _lowest(differing):
            yield from (min(one, len(reports) - 1) for one in self._places(*node))

    def _places(self, level: int, index: int) -> range:
        """Below a node. Behind the last leaf stands nothing: of what does the last one tells."""
        first, size = index << level, 1 << level
        # Of two leaves both: who cannot show the one that is wrong shows it beside the other.
        step = 1 if level == 1 else max(1, size // self.width)
        return range(first, first + size, step)

    def _spread(self, gaps: Iterable[range]) -> Iterator[int]:
        """Some positions of each gap, so that none of what is left is as large."""
        for gap in gaps:
            yield from gap[len(gap) // (self.width + 1) :: -(-len(gap) // (self.width + 1))]

    def _registrations(self) -> Iterator[Wanted]:
        """Devices that nobody registered, or whose key nobody knows."""
        asked = set[bytes]()
        for known in self.known:
            for one in claimed(known):
                device = one.signed.report.device
                if not one.is_judgeable and device not in asked:
                    asked.add(device)
                    report = known.dossier.report(one.position)
                    yield Wanted(Demand.REGISTRATION, Evidence([report], [known.witness()]))

    def _sources(self) -> Iterator[Wanted]:
        """Readings that no report has, as far as we know the reports. While those are not known,
        only of readings that were shown: of each of ours would be a fee for each of them."""
        data = self.data
        reports = data.shown_reports() if data is not None else []
        looked_at = self.known if reports else self.known[-1:]
        if not reports:
            reports = [pair for one in looked_at for pair in one.dossier.shown_reports()]
        observed = _observed(report for _, report in reports)
        for one in looked_at:
            for at, leaf in one.dossier.shown_readings():
                if len(leaf) == READING_BYTES and _origin(leaf) not in observed:
                    evidence = Evidence([one.dossier.reading(at)], [one.witness()])
                    yield Wanted(Demand.SOURCE, evidence)


def subject_of(wanted: Wanted, committed_at: int) -> bytes:
    """32 bytes: what a demand is about, as the contract has it (`subjectOf`)."""
    if wanted.kind is Demand.SOURCE:
        return keccak(wanted.evidence.shown[0].content)
    if wanted.kind is Demand.REGISTRATION:
        return wanted.evidence.shown[0].content[:20] + committed_at.to_bytes(12, "big")
    return wanted.position.to_bytes(32, "big")


def _statistics(positions: Iterable[int]) -> Iterator[Wanted]:
    for position in positions:
        yield Wanted(Demand.STATISTICS, position_of(position))


def _of_reports(positions: Iterable[int]) -> Iterator[Wanted]:
    for position in positions:
        yield Wanted(Demand.REPORT, position_of(position))


def _lowest(differing: Sequence[At]) -> Iterator[At]:
    """Nodes below which none is known to differ."""
    for level, index in differing:
        below = {(level - 1, 2 * index), (level - 1, 2 * index + 1)}
        if level == 0 or below.isdisjoint(differing):
            yield level, index


def _pairs(path: bytes) -> list[tuple[bytes, bytes]]:
    starts = range(PATH_HEAD_BYTES, len(path) - PAIR_BYTES + 1, PAIR_BYTES)
    return [(path[at : at + NODE_BYTES], path[at + NODE_BYTES : at + PAIR_BYTES]) for at in starts]


def _top(answers: Sequence[Answer], position: int) -> bytes:
    """The top node as an answer has shown it."""
    ways = (
        one.evidence.extra
        for one in answers
        if one.kind is Demand.STATISTICS
        and one.evidence.shown
        and one.evidence.shown[0].position == position
    )
    return next(ways)[4:PATH_HEAD_BYTES]


def _beside(tree: MerkleTree, shown: Iterable[Shown]) -> Iterator[At]:
    """Nodes of the committed tree that are not ours: shown leaves, and what stands beside them."""
    for leaf in shown:
        if leaf.position < len(tree.leaves) and hash26(leaf.content) != tree.leaves[leaf.position]:
            yield 0, leaf.position
        for level, sibling in enumerate(leaf.proof):
            index, row = leaf.position >> level ^ 1, tree.levels[level]
            if sibling != (row[index] if index < len(row) else ZERO26):
                yield level, index


def _observed(reports: Iterable[bytes]) -> set[bytes]:
    """Device and observation of all that the reports carry. What is no report is nobody's source:
    it may be longer than a transaction, so that nobody can show that it is none."""
    found = set[bytes]()
    for report in filter(is_canonical, reports):
        body = range(30, len(report) - 64, OBSERVATION_BYTES)
        found.update(report[:20] + report[at : at + OBSERVATION_BYTES] for at in body)
    return found


def _origin(leaf: bytes) -> bytes:
    """Device and observation that a reading comes from."""
    return leaf[10:30] + leaf[:10] + leaf[30:39]
