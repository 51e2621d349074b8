"""Frauds that show only beside other batches of a lane: its links, its repetitions. Pure."""

from collections.abc import Iterator, Sequence

from corechain.protocol.archive import Revealed, step_towards
from corechain.protocol.batch import ancestor_of, batch_id, lane_of, number_of
from corechain.protocol.evidence import (
    Dossier,
    Evidence,
    Fragments,
    Fraud,
    Link,
    Witness,
    named_otherwise,
)
from corechain.protocol.findings import PLACE_BYTES, is_canonical
from corechain.protocol.hashing import ZERO26
from corechain.protocol.suspects import Accusation, Lane, Neighbour, Suspect

MOST_LINKS = 64
"""Headers of a way back: there are at most 54 (two for each term of a number below 2^27)."""


def find_in_lane(suspect: Suspect, lane: Lane) -> Iterator[Accusation]:
    """Broken links and contradicting commitments, at most one of each."""
    for fraud, search in ((Fraud.BROKEN_CHAIN, _broken), (Fraud.EQUIVOCATION, _equivocation)):
        evidence = next(search(suspect, lane), None)
        if evidence is not None:
            yield Accusation(fraud, evidence)


def _broken(suspect: Suspect, lane: Lane) -> Iterator[Evidence]:
    header, number = suspect.dossier.header, suspect.standing.batch_id
    if header.batch_id != number:
        yield Evidence(extra=bytes([Link.ID]))
    before = ancestor_of(number_of(number))
    links = (
        (Link.PREVIOUS, number - 1, header.previous),
        (Link.ANCESTOR, batch_id(lane_of(number), before), header.ancestor),
    )
    for link, target, claimed in links:
        yield from _wrong_link(link, claimed, lane.neighbours.get(target, ()), number_of(target))
    yield from _named_otherwise(suspect, lane)


def _wrong_link(
    link: Link, claimed: bytes, targets: Sequence[Neighbour], number: int
) -> Iterator[Evidence]:
    if number == 0:
        if claimed != ZERO26:
            yield Evidence(extra=bytes([link]))
        return
    # Who named one of two commitments for a batch named one: the two are another fraud.
    if targets and all(one.standing.commitment != claimed for one in targets):
        yield Evidence(witnesses=[targets[0].witness()], extra=bytes([link]))


def _named_otherwise(suspect: Suspect, lane: Lane) -> Iterator[Evidence]:
    """Newer headers of the bond that lead to another commitment for this batch."""
    number = suspect.standing.batch_id
    for newer in dict.fromkeys((number + 1, lane.newest)):
        if lane_of(newer) != lane_of(number) or newer <= number:
            continue
        for start in lane.neighbours.get(newer, ()):
            way, named = _way_back(start, number, lane)
            if named and named != suspect.standing.commitment:
                yield named_otherwise(way, named)


def _way_back(start: Neighbour, target: int, lane: Lane) -> tuple[list[Witness], bytes]:
    """The headers from a batch in the ring back to `target`, and what they name; nothing (b"")
    where one of them is not known or does not belong there."""
    at, revealed, way = start.standing.batch_id, start.revealed, list[Witness]()
    for _ in range(MOST_LINKS):
        if revealed.header.batch_id != at:
            return [], b""
        way.append(Witness(at, revealed, start.standing.place))
        at, is_ancestor = step_towards(at, target)
        named = revealed.header.ancestor if is_ancestor else revealed.header.previous
        if at == target:
            return way, named
        found: Revealed | None = lane.headers.get(named)
        if found is None:
            return [], b""
        revealed = found
    return [], b""


def _equivocation(suspect: Suspect, lane: Lane) -> Iterator[Evidence]:
    for other in lane.neighbours.get(suspect.standing.batch_id, ()):
        if other.standing.commitment != suspect.standing.commitment:
            yield Evidence(witnesses=[other.witness()])


# ----------------------------------------------------------------------------------- repetitions


def places_of(dossier: Dossier | Fragments) -> dict[bytes, int]:
    """Position by device ‖ sequence (28 bytes) of the reports that are reports."""
    shown = dossier.shown_reports()
    return {report[:PLACE_BYTES]: at for at, report in shown if is_canonical(report)}


def repeated_report(suspect: Suspect, other: Suspect) -> Accusation | None:
    """A report that both batches of one bond have. Which was first does not matter."""
    ours, theirs = places_of(suspect.dossier), places_of(other.dossier)
    shared = min(ours.keys() & theirs.keys(), default=None)
    if shared is None:
        return None
    shown = [suspect.dossier.report(ours[shared]), other.dossier.report(theirs[shared])]
    return Accusation(Fraud.DUPLICATE_REPORT, Evidence(shown, [other.witness()]))
