"""The evidence that answers a demand, from the data of its batch. Pure."""

from collections.abc import Iterator
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


def evidence_for(demand: OpenDemand, data: BatchData) -> Evidence:
    """For every kind but Registration, which needs no data of the batch. Raises Unanswerable."""
    dossier = data.dossier
    if demand.kind == Demand.SOURCE:
        return _source(demand.subject, dossier)
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


def _source(subject: bytes, dossier: Dossier) -> Evidence:
    """The subject is the hash of the reading: found by hashing them all."""
    found = (at for at, leaf in enumerate(dossier.leaves) if keccak(leaf) == subject)
    position = next(found, None)
    if position is None:
        raise Unanswerable("not in the batch", "no reading has the demanded hash")
    report, index = _origin(dossier.leaves[position], dossier)
    shown = [dossier.report(report), dossier.reading(position)]
    return Evidence(shown, [dossier.witness()], index_of(index))


def _origin(leaf: bytes, dossier: Dossier) -> tuple[int, int]:
    """(report, observation in it) that a reading comes from."""
    device, observed = leaf[10:30], leaf[:10] + leaf[30:39]
    for position, report in enumerate(dossier.reports):
        if report[:20] != device:
            continue
        for index in range(int.from_bytes(report[_COUNT], "big")):
            start = _HEAD + _OBSERVATION * index
            if report[start : start + _OBSERVATION] == observed:
                return position, index
    raise Unanswerable("not in the batch", "no report has the observation of the reading")


# ------------------------------------------------------------------- registrations


def device_of(demand: OpenDemand) -> DeviceId:
    """The device of a Registration's subject: device 20 ‖ second of the commit 12."""
    return DeviceId(demand.subject[:20])


def registrations(
    identities: list[DeviceIdentity], fleets: list[Fleet], device: DeviceId
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
