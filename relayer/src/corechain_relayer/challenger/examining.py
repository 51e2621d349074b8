"""One batch after the other: its file, its frauds, and what is to be demanded of it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from typing import NamedTuple

from corechain.protocol.archive import Revealed
from corechain.protocol.batch import ancestor_of, batch_id, lane_of, number_of
from corechain.protocol.chain_findings import find_in_lane, repeated_report
from corechain.protocol.eip712 import Domain
from corechain.protocol.evidence import Demand, Dossier
from corechain.protocol.findings import find
from corechain.protocol.hashing import keccak
from corechain.protocol.inquiry import Answer, Inquiry
from corechain.protocol.reading import READING_BYTES, DeviceId
from corechain.protocol.statistics import StatisticsTree
from corechain.protocol.suspects import (
    Accusation,
    DeviceFacts,
    Lane,
    Neighbour,
    Standing,
    Suspect,
)
from corechain.service.rpc import Block
from corechain_relayer.challenger.calls import DisputesCalls, evidence_of
from corechain_relayer.challenger.facts import Facts, told_in
from corechain_relayer.challenger.lanes import Commit, LanesView
from corechain_relayer.challenger.opening import Opened, Shelf
from corechain_relayer.challenger.spans import Key, Spans, spans_of
from corechain_relayer.registry.follower import RegistryFollower

SIDE_BY_SIDE = (1, 2, 4, 8)
"""At how many places one differing subtree may be asked for at a time. Each costs a fee, and each
round an answer window at worst."""
MOST_LEVELS = 18
"""Of a batch as our relayer makes them (docs/contracts.md)."""
EMPTY_TREE = StatisticsTree([bytes(READING_BYTES)])
"""Of a batch of which only the header is looked at."""


class Asking(NamedTuple):
    """How a batch is asked for what its file does not show (`Inquiry`)."""

    probes: Sequence[int] = ()
    width: int = 1


class Charge(NamedTuple):
    """A fraud with the batch that it is about."""

    standing: Standing
    revealed: Revealed
    accusation: Accusation

    @property
    def key(self) -> Key:
        return self.standing.batch_id, self.standing.commitment


@dataclass(slots=True)
class LaneBook:
    """What was examined of a lane under its present bond."""

    since: int
    neighbours: dict[int, list[Neighbour]] = field(default_factory=lambda: defaultdict(list))
    headers: dict[bytes, Revealed] = field(default_factory=dict)
    spans: Spans = field(default_factory=Spans)

    @property
    def lane(self) -> Lane:
        return Lane(self.neighbours, self.headers)

    def add(self, suspect: Suspect) -> None:
        standing, revealed = suspect.standing, suspect.dossier.revealed
        self.headers[standing.commitment] = revealed
        self.neighbours[standing.batch_id].append(Neighbour(standing, revealed))

    def forget(self, key: Key) -> None:
        batch, commitment = key
        self.headers.pop(commitment, None)
        kept = [n for n in self.neighbours.pop(batch, ()) if n.standing.commitment != commitment]
        if kept:
            self.neighbours[batch] = kept

    def linked(self, batch: int) -> list[Neighbour]:
        """Known batches whose headers name this one."""
        lane, number = lane_of(batch), number_of(batch)
        jumps = (number + (1 << k) - 1 for k in range(1, 28))
        ancestors = [n for n in jumps if n < 1 << 32 and ancestor_of(n) == number]
        near = dict.fromkeys([number + 1, *ancestors])
        return [one for n in near for one in self.neighbours.get(batch_id(lane, n), ())]


@dataclass(slots=True)
class Examiner:
    """Remembers what it has found honest, and the headers of all. Raises NodeUnavailable,
    NodeRefused."""

    calls: DisputesCalls
    facts: Facts
    registry: RegistryFollower
    shelf: Shelf
    domain: Domain
    books: dict[int, LaneBook] = field(default_factory=dict)
    honest: set[Key] = field(default_factory=set)
    _asked_at: float = 0.0
    """When the registry was to be read last (monotonic seconds)."""

    def is_as_new_as(self, head: Block | None) -> bool:
        """Whether the registry was read in the last examination, and as far as a block: what it did
        not know then, as a revocation, may make a batch wrong that looks honest."""
        seen, age_s = self.registry.seen, self.registry.age_s(self._asked_at)
        return seen is not None and head is not None and seen.number >= head.number and age_s <= 0

    def book(self, lane: int, since: int) -> LaneBook:
        """A lane's book; a new one under a new bond, which does not answer for older batches."""
        found = self.books.get(lane)
        if found is None or found.since != since:
            found = self.books[lane] = LaneBook(since)
        return found

    def drop(self, gone: set[Key]) -> None:
        """Batches whose window is over: nothing of them can be shown any more."""
        self._leave_out(gone)
        for _, commitment in gone:
            self.shelf.drop(commitment)

    def forget(self, gone: set[Key]) -> None:
        """What was found out of some batches, and all that the registry said: a reorg may have
        changed it. Their files stay."""
        self._leave_out(gone)
        self.facts.forget()

    def _leave_out(self, gone: set[Key]) -> None:
        self.honest -= gone
        for key in gone:
            book = self.books.get(lane_of(key[0]))
            if book is not None:
                book.forget(key)
        for book in self.books.values():
            book.spans.drop(gone)

    async def standings(self, commits: Sequence[Commit]) -> dict[Commit, Standing]:
        """Those that the ring holds."""
        asked = [(one.batch_id, one.commitment, one.place) for one in commits]
        seconds = await self.calls.committed_at(asked)
        return {
            commit: Standing(*words, at)
            for commit, words, at in zip(commits, asked, seconds, strict=True)
            if at is not None
        }

    async def file_of(self, standing: Standing) -> Opened | None:
        return await self.shelf.get(standing.batch_id, standing.commitment)

    async def examine(
        self, standing: Standing, file: Opened, book: LaneBook, view: LanesView
    ) -> list[Charge]:
        """Of a batch with a file that fits. Remembered as honest where nothing is found."""
        devices = await self._devices(standing, file, _answers(standing, view))
        suspect = Suspect(standing, file.dossier, self.domain, devices)
        found = await asyncio.to_thread(lambda: list(find(suspect)))
        return await self._with_lane(suspect, found, book)

    async def shown(self, standing: Standing, inquiry: Inquiry, book: LaneBook) -> list[Charge]:
        """Of a batch without such a file: by what answers have shown of it, beside what is held."""
        dossier = inquiry.data or inquiry.fragments
        if dossier is None:
            return []
        found = await asyncio.to_thread(lambda: list(inquiry.accusations()))
        suspect = Suspect(standing, dossier, self.domain)
        return await self._with_lane(suspect, found, book)

    async def _with_lane(
        self, suspect: Suspect, found: list[Accusation], book: LaneBook
    ) -> list[Charge]:
        """Also what shows beside the other batches of its lane."""
        standing, revealed = suspect.standing, suspect.dossier.revealed
        if standing.commitment not in book.headers:
            book.add(suspect)
        found += find_in_lane(suspect, book.lane)
        found += await self._repeated(suspect, book)
        charges = [Charge(standing, revealed, one) for one in found]
        return charges + self._charges_beside((standing.batch_id, standing.commitment), book)

    async def _devices(
        self, standing: Standing, file: Opened | None, answers: Sequence[Answer]
    ) -> dict[DeviceId, DeviceFacts]:
        """Of the file's reports, and of those that answers have shown."""
        self._asked_at = time.monotonic()
        await self.registry.refresh_or_log()
        reports, named = _shown_reports(answers), told_in(answers)
        if file is not None:
            reports, named = [*file.dossier.reports, *reports], {**named, **file.devices}
        asked = (reports, standing.committed_at, self.registry.view, named)
        return await self.facts.of_batch(*asked)

    def _charges_beside(self, key: Key, book: LaneBook) -> list[Charge]:
        """Batches that were examined before, and whose headers name this one otherwise."""
        found = []
        for near in book.linked(key[0]):
            header, root = near.revealed
            alone = Dossier(header, (), (), EMPTY_TREE, root)
            suspect = Suspect(near.standing, alone, self.domain)
            for accusation in find_in_lane(suspect, book.lane):
                found.append(Charge(near.standing, near.revealed, accusation))
        return found

    async def _repeated(self, suspect: Suspect, book: LaneBook) -> Sequence[Accusation]:
        key = (suspect.standing.batch_id, suspect.standing.commitment)
        others = book.spans.add(spans_of(suspect.dossier, key), key)
        for batch, commitment in others:
            near = [n for n in book.neighbours[batch] if n.standing.commitment == commitment]
            file = await self.shelf.get(batch, commitment)
            if not near or file is None or not file.fits:
                continue
            other = Suspect(near[0].standing, file.dossier, self.domain)
            found = repeated_report(suspect, other)
            if found is not None:
                return [found]
        return ()

    async def inquiry(
        self, standing: Standing, file: Opened | None, view: LanesView, asking: Asking
    ) -> Inquiry:
        """What is known of a batch whose file is missing, or is not what was committed to."""
        answers = _answers(standing, view)
        devices = await self._devices(standing, file, answers)
        held = None if file is None else file.dossier
        about = (standing, self.domain, devices, held, answers)
        return Inquiry(*about, asking.width, asking.probes)


def asking_for(one: Standing, sender: bytes, count: int, rounds: int) -> Asking:
    """Where to look without data: the same after a restart, and nothing that a submitter could know
    before. `rounds`: answer windows that are left of the challenge window."""
    words = (keccak(one.commitment + sender + bytes([n])) for n in range(min(count, 255)))
    return Asking([0, *(int.from_bytes(word[:4], "big") for word in words)], width_for(rounds))


def width_for(rounds: int) -> int:
    """The least by which so many rounds, one after the other, lead down to a leaf: a first one
    shows the header, and a last one asks for the leaf's source."""
    enough = (w for w in SIDE_BY_SIDE if MOST_LEVELS / log2(w + 1) + 2 <= rounds)
    return next(enough, SIDE_BY_SIDE[-1])


def _answers(standing: Standing, view: LanesView) -> list[Answer]:
    return [
        Answer(Demand(one.demand.kind), one.demand.subject, evidence_of(one.evidence))
        for one in view.answers.get(standing.batch_id, ())
        # A judge of a later version may know more kinds than we.
        if one.demand.commitment == standing.commitment and one.demand.kind in list(Demand)
    ]


def _shown_reports(answers: Sequence[Answer]) -> list[bytes]:
    """The first that a report or a source is answered with is a report."""
    kinds = (Demand.REPORT, Demand.SOURCE)
    shown = (one.evidence.shown[:1] for one in answers if one.kind in kinds)
    return [leaf.content for leaves in shown for leaf in leaves]
