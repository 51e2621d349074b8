"""Commits in the ring's second lap, proofs against them, and what takes a submitter's bond."""

from collections.abc import Sequence
from dataclasses import dataclass

from support.drafts import HOUR_S, challenge_call, draft, hourly, leaves_of, signed_report
from web3 import Web3
from web3.contract import Contract

from corechain.protocol.archive import Group, Place
from corechain.protocol.batch import RING_SIZE
from corechain.protocol.eip712 import Domain, activation_digest, registry_domain
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud, position_of
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import pack_key
from corechain.protocol.statistics import locate
from gas.bench import START, Actor, Bench, Measured

BOND, FEE = 10**21, 10**18
WINDOW_S, ANSWER_S = 86_400, 3_600
READINGS, MONTH, DEVICES = 16_384, 744, 22
SINCE = START - 10**7


@dataclass(frozen=True)
class Stage:
    """The contracts with a submitter on lane 0 and somebody who watches."""

    bench: Bench
    batches: Contract
    registry: Contract
    submitter: Actor
    challenger: Actor

    @property
    def domain(self) -> Domain:
        return registry_domain(self.bench.chain_id, bytes.fromhex(self.registry.address[2:]))

    def bond(self, lane: int) -> int:
        self.bench.send(
            self.submitter, self.batches.functions.assignLane(lane, self.submitter.address)
        )
        return self.bench.send(self.submitter, self.batches.functions.bondLane(lane))

    def commit(self, dossier: Dossier) -> int:
        revealed = dossier.revealed
        call = self.batches.functions.commit(dossier.header.batch_id, revealed.commitment)
        return self.bench.send(self.submitter, call)

    def challenge(self, fraud: Fraud, dossier: Dossier, evidence: Evidence) -> int:
        batch, place = challenge_call(dossier)
        number = dossier.header.batch_id
        call = self.batches.functions.challenge(fraud, number, batch, place, evidence.words())
        return self.bench.send(self.challenger, call)


def measure(bench: Bench) -> Measured:
    stage = _stage(bench)
    measured = {"bond_lane": stage.bond(0)} | _commits(stage)
    return measured | _proofs(stage) | _disputes(stage)


def _stage(bench: Bench) -> Stage:
    submitter, challenger = bench.account("submitter"), bench.account("challenger")
    token = bench.deploy("OrdinaryToken")
    registry = bench.deploy("DeviceRegistry", submitter.address)
    judge = bench.deploy("BatchChallenges", registry.address)
    terms = (token.address, BOND, FEE, WINDOW_S, ANSWER_S, judge.address)
    batches = bench.deploy("DataBatches", submitter.address, *terms)
    for holder in (submitter, challenger):
        bench.send(holder, token.functions.mint(holder.address, 100 * BOND))
        bench.send(holder, token.functions.approve(batches.address, 2**256 - 1))
    return Stage(bench, batches, registry, submitter, challenger)


def _commits(stage: Stage) -> Measured:
    bench, call = stage.bench, stage.batches.functions
    first = [
        bench.send(stage.submitter, call.commit(n, keccak(bytes([n]))[:26])) for n in (1, 2, 30)
    ]
    bench.pass_time(WINDOW_S + 1)
    second = RING_SIZE + 1
    word = keccak(b"new")[:26] + second.to_bytes(6, "big")
    one = bench.send(stage.submitter, call.commitBrief(word))
    plain = bench.send(stage.submitter, call.commit(second + 1, keccak(b"new")[:26]))
    group = Group(second + 20, [keccak(bytes([n]))[:26] for n in range(10)])
    ten = bench.send(stage.submitter, call.commitMany(second + 20, group.packed))
    return {"commit_first_lap": first[0], "commit_one": one, "commit_ten": ten, "commit_one_abi": plain}


def _months(stage: Stage) -> Dossier:
    """16,384 hourly readings: a month of each of 22 devices, and 16 of a last one."""
    leaves: list[bytes] = []
    for number in range(DEVICES + 1):
        key = stage.bench.account(f"device {number}").key
        count = min(MONTH, READINGS - len(leaves))
        leaves += leaves_of(key, hourly(SINCE, count))
    return draft(20, sorted(leaves), [b"no reports are needed for this"])


def _proofs(stage: Stage) -> Measured:
    dossier, call = _months(stage), stage.batches.functions
    stage.commit(dossier)
    position = 9_999
    shown = dossier.reading(position)
    packed = (
        (20).to_bytes(6, "big") + position.to_bytes(4, "big") + dossier.header.rest_hash
        + shown.content + b"".join(shown.proof)
    )  # fmt: skip
    device = dossier.leaves[9_999][10:30]
    low, high = (pack_key(1, int.from_bytes(shown.content[2:10], "big"), device, at)
                 for at in (SINCE, SINCE + HOUR_S * (MONTH - 1)))  # fmt: skip
    start, end = locate(dossier.leaves, low, high)
    assert (len(dossier.leaves), end - start) == (READINGS, MONTH)
    proof = dossier.statistics.range_proof(start, end)
    header, root = dossier.revealed.words()
    month = call.verifyRange(
        header, root, _key(low), _key(high), start, end,
        b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes),
    )  # fmt: skip
    return {
        "prove_reading": stage.bench.send(stage.challenger, call.proveReading(packed)),
        "prove_range_month": stage.bench.send(stage.challenger, month),
    }


def _key(packed: bytes) -> tuple[object, ...]:
    metric, cell, at = (int.from_bytes(packed[a:b], "big") for a, b in ((0, 2), (2, 10), (30, 35)))
    return metric, cell, Web3.to_checksum_address(packed[10:30]), at


def _reports(stage: Stage, device: Actor, sequences: Sequence[int]) -> list[bytes]:
    return [
        signed_report(stage.domain, device.key, n, hourly(SINCE + 4 * HOUR_S * n, 4))
        for n in sequences
    ]


def _leaves(device: Actor, sequences: Sequence[int]) -> list[bytes]:
    seen = [one for n in sequences for one in hourly(SINCE + 4 * HOUR_S * n, 4)]
    return leaves_of(device.key, seen)


def _disputes(stage: Stage) -> Measured:
    """64 reports a batch; the challenger holds the token, and so does the address that burns."""
    device = stage.bench.account("device 0")
    digest = activation_digest(stage.domain, device.raw, device.raw)
    register = stage.registry.functions.register(
        device.address, device.address, 1, bytes(32), bytes(32), device.key.sign(digest)
    )
    stage.bench.send(stage.challenger, register)
    sequences = range(64)
    reports, leaves = _reports(stage, device, sequences), _leaves(device, sequences)
    honest = draft(21, leaves, reports)
    stage.commit(honest)
    measured = _demand(stage, honest)
    forged = reports[40][:-1] + bytes([reports[40][-1] ^ 1])
    bad = draft(22, leaves, [*reports[:40], forged, *reports[41:]])
    stage.commit(bad)
    evidence = Evidence([bad.report(40)])
    stage.challenge(Fraud.BAD_SIGNATURE, bad, evidence)  # the first one to burn pays for the slot
    for lane in (1, 2):
        stage.bond(lane)
    bad = draft(1 << 32 | 1, leaves, [*reports[:40], forged, *reports[41:]])
    stage.commit(bad)
    gas = stage.challenge(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(40)]))
    measured["challenge_bad_signature"] = gas
    earlier, later = (draft(2 << 32 | n, leaves, reports) for n in (1, 2))
    stage.commit(earlier)
    stage.commit(later)
    evidence = Evidence([later.report(40), earlier.report(40)], [earlier.witness()])
    measured["challenge_duplicate"] = stage.challenge(Fraud.DUPLICATE_REPORT, later, evidence)
    return measured


def _demand(stage: Stage, dossier: Dossier) -> dict[str, int]:
    call, commitment = stage.batches.functions, dossier.revealed.commitment
    place = tuple(Place.alone(21))
    demand = call.demand(Demand.REPORT, 21, commitment, place, position_of(40).words())
    asked = stage.bench.send(stage.challenger, demand)
    subject = (40).to_bytes(32, "big")
    evidence = Evidence([dossier.report(40)], [dossier.witness()])
    answer = call.answer(Demand.REPORT, 21, commitment, subject, evidence.words())
    return {"demand_report": asked, "answer_report": stage.bench.send(stage.submitter, answer)}
