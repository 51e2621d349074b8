"""The evidence that answers a demand, from the data of its batch. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from corechain.protocol.data_file import Written
from corechain.protocol.errors import CoreChainError
from corechain.protocol.events import EVIDENCE
from corechain.protocol.evidence import Demand, Dossier, Evidence, index_of, signer_of
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId
from corechain_relayer.calldata import selector
from corechain_relayer.guard.demands import OpenDemand

ANSWER_TYPES = ["uint8", "uint48", "bytes26", "bytes32", EVIDENCE]
ANSWER = selector(f"answer({','.join(ANSWER_TYPES)})")
_HEAD, _OBSERVATION, _COUNT = 30, 19, slice(28, 30)
TREE_HASH = 26
"""Bytes of a hash that a tree keeps."""


class Unanswerable(CoreChainError):
    """A demand that we cannot answer as things stand. `reason` is a label of the metric."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def answer_call(demand: OpenDemand, evidence: Evidence) -> bytes:
    """Calldata of `answer`."""
    # A tenth of a second of CPU to import, in each process, for a call that most never make.
    from eth_abi.abi import encode

    what = (demand.kind, demand.batch_id, demand.commitment, demand.subject)
    return ANSWER + encode(ANSWER_TYPES, [*what, evidence.words()])


@dataclass(frozen=True, slots=True)
class BatchData:
    """What we hold of a batch whose commitment is the demanded one."""

    written: Written
    dossier: Dossier

    @classmethod
    def of(cls, written: Written) -> "BatchData":
        return cls(written, Dossier.of(written))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a reading is, and the observation that it comes from: report, index in it."""

    position: int
    report: int
    index: int


Sources = Mapping[bytes, Source | str]
"""By the hash of the reading, which is what a demand names; or why there is none."""
NO_READING = "no reading has the demanded hash"
NO_OBSERVATION = "no report has the observation of the reading"


def sources_of(demands: Iterable[OpenDemand], dossier: Dossier) -> Sources:
    """Of all demands for a source: one pass over the leaves, one over the reports."""
    subjects = {demand.subject for demand in demands if demand.kind == Demand.SOURCE}
    places = _places(subjects, dossier) if subjects else {}
    observed = {subject: _observed(dossier.leaves[at]) for subject, at in places.items()}
    origins = _origins(set(observed.values()), dossier)
    found: dict[bytes, Source | str] = dict.fromkeys(subjects, NO_READING)
    for subject, at in places.items():
        origin = origins.get(observed[subject])
        found[subject] = Source(at, *origin) if origin else NO_OBSERVATION
    return found


def _observed(leaf: bytes) -> tuple[bytes, bytes]:
    """A reading's device, and the observation as a report has it."""
    return leaf[10:30], leaf[:10] + leaf[30:39]


def _places(subjects: Collection[bytes], dossier: Dossier) -> dict[bytes, int]:
    """Positions of the readings with these hashes. The tree has the beginnings of all hashes, so
    none is made but of those that begin alike."""
    beginnings = {subject[:TREE_HASH] for subject in subjects}
    found: dict[bytes, int] = {}
    for at, digest in enumerate(dossier.readings_tree.leaves):
        if digest in beginnings:
            found.setdefault(keccak(dossier.leaves[at]), at)
    return {subject: found[subject] for subject in subjects if subject in found}


def _origins(
    wanted: Collection[tuple[bytes, bytes]], dossier: Dossier
) -> dict[tuple[bytes, bytes], tuple[int, int]]:
    """(report, observation in it) that each comes from: the first that shows it."""
    devices = {device for device, _ in wanted}
    found: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    for position, report in enumerate(dossier.reports):
        device = report[:20]
        if device not in devices:
            continue
        for index in range(int.from_bytes(report[_COUNT], "big")):
            start = _HEAD + _OBSERVATION * index
            observation = device, report[start : start + _OBSERVATION]
            if observation in wanted:
                found.setdefault(observation, (position, index))
    return found


def evidence_for(demand: OpenDemand, data: BatchData, sources: Sources) -> Evidence:
    """For every kind but Registration, which needs no data of the batch. Raises Unanswerable."""
    dossier = data.dossier
    if demand.kind == Demand.SOURCE:
        return _shown(sources[demand.subject], dossier)
    position = int.from_bytes(demand.subject, "big")
    if demand.kind == Demand.REPORT:
        shown = [dossier.report(position)] if position < len(dossier.reports) else []
        return Evidence(shown, [dossier.witness()])
    if position >= len(dossier.leaves):
        return Evidence(witnesses=[dossier.witness()])
    shown = [dossier.reading(position)]
    if demand.kind == Demand.READING:
        return Evidence(shown, [dossier.witness()])
    if demand.kind == Demand.STATISTICS:
        return Evidence(shown, [dossier.witness()], dossier.statistics_path(0, position))
    raise Unanswerable("unknown kind", f"this version does not know {demand.kind_name}")


def _shown(source: Source | str, dossier: Dossier) -> Evidence:
    if isinstance(source, str):
        raise Unanswerable("not in the batch", source)
    shown = [dossier.report(source.report), dossier.reading(source.position)]
    return Evidence(shown, [dossier.witness()], index_of(source.index))


# ------------------------------------------------------------------- registrations


def device_of(demand: OpenDemand) -> DeviceId:
    """The device of a Registration's subject: device 20 ‖ second of the commit 12."""
    return DeviceId(demand.subject[:20])


def registrations(
    identities: list[DeviceIdentity], fleets: Sequence[Fleet], device: DeviceId
) -> Iterator[Evidence]:
    """What may show that a device was registered, the cheapest first: its slot alone, then each
    fleet that lists it. Which of them was there in time the contract knows. `identities`: what we
    know of its key, from registry and data file."""
    tried, unknown = set(), DeviceIdentity(device, KeyType.SECP256K1)
    for fleet in (None, *fleets):
        for identity in identities or [unknown]:
            who = signer_of(identity, fleet)
            if who not in tried:
                tried.add(who)
                yield Evidence(extra=who)
