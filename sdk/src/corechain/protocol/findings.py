"""Which frauds a batch holds, each with the evidence that shows it (docs/contracts.md). Pure.

The mirror of `BatchChallenges`: what is found here the contract takes, and of an honest batch
nothing is found. Evidence that needs other batches is looked for in `chain_findings`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from corechain.protocol.evidence import (
    Evidence,
    Fragments,
    Fraud,
    index_of,
    signer_of,
    statistics_path,
)
from corechain.protocol.frame import FrameVerifier
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import (
    KEY_BYTES,
    MAX_OBSERVATIONS,
    OBSERVATION_BYTES,
    PASS,
    READING_BYTES,
    SIGNATURE_BYTES,
    SUSPECT,
    DeviceId,
    SignedReport,
    unpack_report,
)
from corechain.protocol.statistics import ZERO_NODE, Node, StatisticsTree, leaf_node
from corechain.protocol.suspects import Accusation, DeviceFacts, Signer, Suspect
from corechain.protocol.verifying import frame_verifier

HEAD_BYTES = 30
PLACE_BYTES = 28
"""Device and sequence: what a report is sorted by, and what must not come twice."""
REVOCATION_GRACE_S = 3_600
"""DeviceEvidence.REVOCATION_GRACE: an observation so soon after a revocation is nobody's fault."""
Found = Iterator[Evidence]


def find(suspect: Suspect) -> Iterator[Accusation]:
    """The frauds that the batch's own data show, at most one of each kind, cheapest first."""
    for fraud, search in SEARCHES.items():
        evidence = next(search(suspect), None)
        if evidence is not None:
            yield Accusation(fraud, evidence)


# ------------------------------------------------------------------------------------------ reports


def is_canonical(report: bytes) -> bool:
    """Whether the bytes are a report at all (Reports.sol)."""
    if len(report) < HEAD_BYTES + OBSERVATION_BYTES + SIGNATURE_BYTES:
        return False
    count = int.from_bytes(report[28:30], "big")
    right = HEAD_BYTES + OBSERVATION_BYTES * count + SIGNATURE_BYTES
    return 1 <= count <= MAX_OBSERVATIONS and len(report) == right


def device_of(report: bytes) -> DeviceId:
    return DeviceId(report[:20])


def _reports(suspect: Suspect) -> list[tuple[int, bytes]]:
    """(position, bytes) of those that can be shown and that are reports."""
    shown = suspect.dossier.shown_reports()
    return [(at, report) for at, report in shown if is_canonical(report)]


def _malformed_reports(suspect: Suspect) -> Found:
    dossier, count = suspect.dossier, suspect.dossier.header.report_count
    if count == 0:
        yield Evidence()
    # The shortest first: what is longer than a transaction nobody can show.
    for at, report in sorted(dossier.shown_reports(), key=lambda pair: len(pair[1])):
        if not is_canonical(report):
            yield Evidence([dossier.report(at)])
    if dossier.hides_reports:
        yield Evidence([dossier.report(count - 1)])


def _duplicate_reports(suspect: Suspect) -> Found:
    dossier = suspect.dossier
    ordered = sorted((report[:PLACE_BYTES], at) for at, report in _reports(suspect))
    for (one, at), (two, again) in pairwise(ordered):
        if one == two:
            yield Evidence([dossier.report(at), dossier.report(again)])


def _unsorted_reports(suspect: Suspect) -> Found:
    for (at, one), (after, two) in pairwise(_reports(suspect)):
        if after == at + 1 and one[:PLACE_BYTES] >= two[:PLACE_BYTES]:
            yield Evidence([suspect.dossier.report(at), suspect.dossier.report(after)])


# ------------------------------------------------------------------------------------------ devices


@dataclass(frozen=True, slots=True)
class Claimed:
    """A report with those who may have signed it; nobody where its device is unknown."""

    position: int
    signed: SignedReport
    signers: Sequence[Signer]

    @property
    def is_judgeable(self) -> bool:
        """Whether every possible signer's key is known: who signed well must not be accused because
        we do not know a key."""
        return bool(self.signers) and all(signer.is_verifiable for signer in self.signers)


def claimed(suspect: Suspect) -> Iterator[Claimed]:
    """The reports with their possible signers, as of the commit."""
    time, nobody = suspect.standing.committed_at, DeviceFacts()
    for at, report in _reports(suspect):
        device = device_of(report)
        signers = suspect.devices.get(device, nobody).signers_at(device, time)
        yield Claimed(at, unpack_report(report)[0], signers)


def _bad_signatures(suspect: Suspect) -> Found:
    judged = [one for one in claimed(suspect) if one.is_judgeable]
    verifier = frame_verifier(suspect.domain)
    reports = [one.signed for one in judged]
    faults = verifier.verify_reports(reports, [one.signers[0].identity for one in judged])
    for one, fault in zip(judged, faults, strict=True):
        if fault is not None and not _is_signed_otherwise(one, verifier):
            proof = signer_of(*one.signers[0])
            yield Evidence([suspect.dossier.report(one.position)], extra=proof)


def _is_signed_otherwise(one: Claimed, verifier: FrameVerifier) -> bool:
    """By the key of another fleet; or on secp256k1: who can sign for the id there is the device,
    whatever curve a fleet puts it on."""
    others = [signer.identity for signer in one.signers[1:]]
    others.append(DeviceIdentity(one.signers[0].identity.device, KeyType.SECP256K1))
    return None in verifier.verify_reports([one.signed] * len(others), others)


def _revoked_devices(suspect: Suspect) -> Found:
    nobody = DeviceFacts()
    for at, report in _reports(suspect):
        revoked_at = suspect.devices.get(device_of(report), nobody).slot.revoked_at
        in_force = revoked_at + REVOCATION_GRACE_S
        if not revoked_at or suspect.standing.committed_at <= in_force:
            continue
        for index, observed_at in enumerate(_times(report)):
            if observed_at > in_force:
                yield Evidence([suspect.dossier.report(at)], extra=index_of(index))


def _times(report: bytes) -> Iterator[int]:
    """When each observation was made, seconds."""
    for start in range(HEAD_BYTES, len(report) - SIGNATURE_BYTES, OBSERVATION_BYTES):
        yield int.from_bytes(report[start + 10 : start + 15], "big")


# ----------------------------------------------------------------------------------------- readings


def is_reading(leaf: bytes) -> bool:
    return len(leaf) == READING_BYTES and leaf[-1] in (PASS, SUSPECT)


def _whole_readings(suspect: Suspect) -> list[tuple[int, bytes]]:
    """Those of 40 bytes: of no others anything but their length can be shown."""
    shown = suspect.dossier.shown_readings()
    return [(at, leaf) for at, leaf in shown if len(leaf) == READING_BYTES]


def _malformed_readings(suspect: Suspect) -> Found:
    dossier, count = suspect.dossier, suspect.dossier.header.reading_count
    if count == 0:
        yield Evidence()
    for at, leaf in dossier.shown_readings():
        if not is_reading(leaf):
            yield Evidence([dossier.reading(at)])
    if dossier.hides_readings:
        yield Evidence([dossier.reading(count - 1)])


def _unsorted_readings(suspect: Suspect) -> Found:
    for (at, one), (after, two) in pairwise(_whole_readings(suspect)):
        if after == at + 1 and one[:KEY_BYTES] >= two[:KEY_BYTES]:
            yield Evidence([suspect.dossier.reading(at), suspect.dossier.reading(after)])


def _outside_window(suspect: Suspect) -> Found:
    header = suspect.dossier.header
    for at, leaf in _whole_readings(suspect):
        observed_at = int.from_bytes(leaf[30:35], "big")
        if not header.window_start <= observed_at <= header.window_end:
            yield Evidence([suspect.dossier.reading(at)])


# --------------------------------------------------------------------------------------- statistics


def merges(parent: Node, left: Node, right: Node, right_is_real: bool) -> bool:
    """Whether a node has the statistics of its children (StatisticsPath.sol). Its hash is another
    question."""
    if left.hash == ZERO26:
        return False
    if not right_is_real:
        return right == ZERO_NODE and parent[1:] == left[1:]
    total = left.sum + right.sum, min(left.min, right.min), max(left.max, right.max)
    return right.hash != ZERO26 and parent[1:] == total


def _tree(suspect: Suspect) -> StatisticsTree | None:
    """The very nodes that the header covers, where we hold them."""
    dossier = suspect.dossier
    if isinstance(dossier, Fragments) or dossier.statistics.root != dossier.header.statistics_root:
        return None
    return dossier.statistics


def _wrong_parents(suspect: Suspect) -> Found:
    tree, count = _tree(suspect), suspect.dossier.header.reading_count
    if tree is None or len(tree.levels) != depth_of(max(1, count)) + 1:
        return
    for level, (below, row) in enumerate(pairwise(tree.levels), start=1):
        for index, parent in enumerate(row):
            if (2 * index) << (level - 1) >= count:
                break  # of a parent that holds no reading nothing can be shown
            right = below[2 * index + 1] if 2 * index + 1 < len(below) else ZERO_NODE
            real = (2 * index + 1) << (level - 1) < count
            if not merges(parent, below[2 * index], right, real):
                yield Evidence(extra=statistics_path(tree, level, index))


def _wrong_leaves(suspect: Suspect) -> Found:
    tree = _tree(suspect)
    if tree is None:
        return
    for at, leaf in _whole_readings(suspect):
        if tree.levels[0][at] != leaf_node(leaf):
            yield Evidence([suspect.dossier.reading(at)], extra=statistics_path(tree, 0, at))


SEARCHES: dict[Fraud, Callable[[Suspect], Found]] = {
    Fraud.MALFORMED_REPORT: _malformed_reports,
    Fraud.MALFORMED_READING: _malformed_readings,
    Fraud.UNSORTED_REPORTS: _unsorted_reports,
    Fraud.DUPLICATE_REPORT: _duplicate_reports,
    Fraud.UNSORTED_READINGS: _unsorted_readings,
    Fraud.OUTSIDE_WINDOW: _outside_window,
    Fraud.REVOKED_DEVICE: _revoked_devices,
    Fraud.WRONG_PARENT: _wrong_parents,
    Fraud.WRONG_LEAF: _wrong_leaves,
    # Last: a signature costs as much as a thousand comparisons.
    Fraud.BAD_SIGNATURE: _bad_signatures,
}
"""What a batch shows by itself."""
