"""Commits in the ring's second lap, proofs against them, and what takes a submitter's bond."""

from typing import Any

from support.bench import Bench, Measured
from support.drafts import HOUR_S, draft, hourly, leaves_of
from support.stage import SINCE, WINDOW_S, Stage, build_stage, readings
from web3 import Web3

from corechain.devnet.servers import rpc
from corechain.protocol.archive import Group
from corechain.protocol.batch import RING_SIZE
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud, Shown, position_of
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import pack_key
from corechain.protocol.receipts import (
    Receipt,
    ReportReceipt,
    batches_domain,
    plain_tree,
    receipt_commitment,
    receipt_subject,
)
from corechain.protocol.statistics import locate

READINGS, MONTH, DEVICES = 16_384, 744, 22


def measure(bench: Bench) -> Measured:
    stage = build_stage(bench)
    # Receipts last: what others cost depends on the slots that are in use.
    return _commits(stage) | _proofs(stage) | _disputes(stage) | _receipts(stage)


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
    return {
        "commit_first_lap": first[0], "commit_one": one, "commit_ten": ten, "commit_one_abi": plain,
    }  # fmt: skip


def _months(stage: Stage) -> Dossier:
    """16,384 hourly readings: a month of each of 22 devices, and 16 of a last one."""
    leaves: list[bytes] = []
    for number in range(DEVICES + 1):
        key = stage.bench.account(f"device {number}").key
        count = min(MONTH, READINGS - len(leaves))
        leaves += leaves_of(key, hourly(SINCE, count))
    return draft(20, sorted(leaves), [b"no reports are needed for this"])


def _proofs(stage: Stage) -> Measured:
    dossier = _months(stage)
    stage.commit(dossier)
    position = 9_999
    shown = dossier.reading(position)
    packed = (
        (20).to_bytes(6, "big") + position.to_bytes(4, "big") + dossier.header.rest_hash
        + shown.content + b"".join(shown.proof)
    )  # fmt: skip
    proof = stage.batches.functions.proveReading(packed)
    return {
        "prove_reading": stage.bench.send(stage.challenger, proof),
        "prove_range_month": _month(stage, dossier, shown.content),
    }


def _month(stage: Stage, dossier: Dossier, leaf: bytes) -> int:
    cell, device = int.from_bytes(leaf[2:10], "big"), leaf[10:30]
    low, high = (pack_key(1, cell, device, SINCE + HOUR_S * h) for h in (0, MONTH - 1))
    start, end = locate(dossier.leaves, low, high)
    assert (len(dossier.leaves), end - start) == (READINGS, MONTH)
    proof = dossier.statistics.range_proof(start, end)
    header, root = dossier.revealed.words()
    call = stage.batches.functions.verifyRange(
        header, root, _key(low), _key(high), start, end,
        b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes),
    )  # fmt: skip
    return stage.bench.send(stage.challenger, call)


def _key(packed: bytes) -> tuple[object, ...]:
    metric, cell, at = (int.from_bytes(packed[a:b], "big") for a, b in ((0, 2), (2, 10), (30, 35)))
    return metric, cell, Web3.to_checksum_address(packed[10:30]), at


def _disputes(stage: Stage) -> Measured:
    """64 reports a batch. A first slashing makes the address that burns a holder of the token."""
    key = stage.bench.account("device 0").key
    stage.register(key)
    reports, leaves = stage.reports(key, range(64)), readings(key, range(64))
    honest = draft(21, leaves, reports)
    stage.commit(honest)
    measured = _demand(stage, honest)
    for lane in (1, 2):
        stage.bond(lane)
    forged = [*reports[:40], reports[40][:-1] + bytes([reports[40][-1] ^ 1]), *reports[41:]]
    for lane in (0, 1):
        bad = draft(lane << 32 | 22, leaves, forged)
        stage.commit(bad)
        call = stage.challenge(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(40)]))
        measured["challenge_bad_signature"] = stage.bench.send(stage.challenger, call)
    earlier, later = (draft(2 << 32 | n, leaves, reports) for n in (1, 2))
    stage.commit(earlier)
    stage.commit(later)
    evidence = Evidence([later.report(40), earlier.report(40)], [earlier.witness()])
    call = stage.challenge(Fraud.DUPLICATE_REPORT, later, evidence)
    measured["challenge_duplicate"] = stage.bench.send(stage.challenger, call)
    return measured


def _demand(stage: Stage, dossier: Dossier) -> dict[str, int]:
    ask = stage.demand(Demand.REPORT, dossier, position_of(40))
    asked = stage.bench.send(stage.challenger, ask)
    evidence = Evidence([dossier.report(40)], [dossier.witness()])
    reply = stage.answer(Demand.REPORT, dossier, (40).to_bytes(32, "big"), evidence)
    answered = stage.bench.send(stage.submitter, reply)
    way_down = stage.bench.send(stage.submitter, _way_down(stage, dossier, 40))
    return {
        "demand_report": asked,
        "answer_report": answered,
        "answer_statistics": way_down,
    }


def _way_down(stage: Stage, dossier: Dossier, at: int) -> Any:
    """To one of 256 readings; the answer, after the demand was sent."""
    demand = stage.demand(Demand.STATISTICS, dossier, position_of(at))
    stage.bench.send(stage.challenger, demand)
    path = dossier.statistics_path(0, at)
    evidence = Evidence([dossier.reading(at)], [dossier.witness()], path)
    return stage.answer(Demand.STATISTICS, dossier, at.to_bytes(32, "big"), evidence)


def _receipts(stage: Stage) -> Measured:
    """A frame of 1,024 reports, of which one is demanded; its batch has 64."""
    bench, call, lane = stage.bench, stage.batches.functions, 3
    # Times with the same zero bytes in every run: they cost less than others.
    rpc(bench.url, "evm_setNextBlockTimestamp", bench.now // 4096 * 4096 + 4096 + 0x111)
    stage.bond(lane)
    gateway, key = bench.account("gateway").key, bench.account("device 0").key
    names = [Web3.to_checksum_address(bench.account(n).raw) for n in ("other", "gateway")]
    named = [bench.send(stage.submitter, call.nameReceiptSigner(lane, name)) for name in names]
    reports = stage.reports(key, range(64))
    frame = plain_tree([*(b"%d" % n for n in range(960)), *reports])
    since = int(call.bondOf(lane).call()[2])
    # Over when it is demanded, however quick the machine is.
    receipt = Receipt(lane, since, since - 1, frame.root, frame.count)
    domain = batches_domain(bench.chain_id, bytes.fromhex(stage.batches.address[2:]))
    signed = receipt.sign(domain, gateway)
    made = ReportReceipt.unpack(signed.pack() + frame.tail(1000))
    shown = Evidence([Shown(1000, reports[40], made.siblings)])
    demand = call.demandReceipt(receipt.words(), signed.signature, shown.words())
    dossier = draft(lane << 32 | 1, readings(key, range(64)), reports)
    stage.commit(dossier)
    demanded = bench.send(stage.challenger, demand)
    what = lane << 32, receipt_commitment(lane, since), receipt_subject(key.identity.device, 40)
    answer = call.answer(Demand.RECEIPT, *what, dossier.inclusion(40).words())
    answered = bench.send(stage.submitter, answer)
    dismissed = bench.send(stage.submitter, call.dismissFromReceipts(lane, names[1]))
    bench.send(stage.challenger, demand)
    device = Web3.to_checksum_address(key.identity.device)
    bench.send(stage.challenger, stage.registry.functions.revoke(device))
    excuse = call.answer(Demand.RECEIPT, *what, Evidence().words())
    return {
        "receipt_signer_name": named[1],
        "receipt_signer_dismiss": dismissed,
        "receipt_demand": demanded,
        "receipt_answer": answered,
        "receipt_excuse": bench.send(stage.submitter, excuse),
    }
