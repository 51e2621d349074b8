"""Whoever shows a fraud takes the bond; an honest submitter never loses it.

given a bonded lane with a committed batch
  ├── each kind of fraud, shown in a batch that has it, takes the bond: half to the challenger,
  │   half to nobody; the lane commits no more
  ├── the same evidence about an honest batch is refused (also at random: test_honesty.py)
  ├── it takes the bond once, within the window, and only the bond that stood for the batch
  └── data that is demanded is shown in time, or the bond is lost
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from support.drafts import Forger, draft, hourly, signed_report
from support.stage import ANSWER_S, BOND, FEE, SINCE, WINDOW_S, Stage, readings

from corechain.protocol.archive import Group, Place
from corechain.protocol.evidence import (
    Demand,
    Dossier,
    Evidence,
    Fraud,
    Link,
    index_of,
    position_of,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import hash26
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.statistics import Node, StatisticsTree

KEY, OTHER = Secp256k1Key(bytes(31) + b"\x51"), P256Key(bytes(31) + b"\x52")
BURN = "0x000000000000000000000000000000000000dEaD"


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.register(KEY)
    stage.register(OTHER)
    return stage


def honest(stage: Stage, number: int = 1, first: int = 0, size: int = 5) -> Dossier:
    """Reports of both devices, in order; readings that come from them."""
    sequences = range(first, first + size)
    reports = stage.reports(KEY, sequences) + stage.reports(OTHER, sequences)
    leaves = readings(KEY, sequences) + readings(OTHER, sequences)
    return draft(number, sorted(leaves), sorted(reports))


def with_reports(dossier: Dossier, reports: list[bytes]) -> Dossier:
    return draft(dossier.header.batch_id, dossier.leaves, reports)


def with_leaves(dossier: Dossier, leaves: list[bytes], **header: object) -> Dossier:
    return draft(dossier.header.batch_id, leaves, dossier.reports, **header)


@dataclass
class Case:
    """A fraud in a batch and what shows it; `others` are committed before."""

    fraud: Fraud
    dossier: Dossier
    evidence: Evidence
    others: tuple[Dossier, ...] = ()


def _position(dossier: Dossier, device: bytes, rank: int = 0) -> int:
    own = [n for n, report in enumerate(dossier.reports) if report[:20] == device]
    return own[rank]


def bad_signature(stage: Stage) -> Case:
    good = honest(stage)
    at = _position(good, KEY.identity.device)
    reports = list(good.reports)
    reports[at] = reports[at][:-1] + bytes([reports[at][-1] ^ 1])
    bad = with_reports(good, reports)
    return Case(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)]))


def bad_p256_signature(stage: Stage) -> Case:
    good = honest(stage)
    at = _position(good, OTHER.identity.device)
    reports = list(good.reports)
    reports[at] = reports[at][:-1] + bytes([reports[at][-1] ^ 1])
    bad = with_reports(good, reports)
    return Case(
        Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)], extra=OTHER.identity.public_key)
    )


def high_s(stage: Stage) -> Case:
    """The other encoding of the same consent is no signature here."""
    good = honest(stage)
    at = _position(good, OTHER.identity.device)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    report = good.reports[at]
    flipped = order - int.from_bytes(report[-32:], "big")
    reports = list(good.reports)
    reports[at] = report[:-32] + flipped.to_bytes(32, "big")
    bad = with_reports(good, reports)
    return Case(
        Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)], extra=OTHER.identity.public_key)
    )


def signed_for_another_chain(stage: Stage) -> Case:
    good = honest(stage)
    at = _position(good, KEY.identity.device)
    elsewhere = replace(stage.domain, chain_id=stage.domain.chain_id + 1)
    reports = list(good.reports)
    reports[at] = signed_report(elsewhere, KEY, 0, hourly(SINCE, 4))
    bad = with_reports(good, reports)
    return Case(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)]))


def revoked_device(stage: Stage) -> Case:
    device = stage.bench.web3.to_checksum_address(KEY.identity.device)
    stage.bench.send(stage.challenger, stage.registry.functions.revoke(device))
    revoked_at = stage.registry.functions.deviceOf(device).call()[3]
    late = [*hourly(SINCE, 1), *hourly(revoked_at + 3_601, 1)]
    reports = [signed_report(stage.domain, KEY, 9, late)]
    bad = draft(1, readings(KEY, range(1)), reports)
    return Case(Fraud.REVOKED_DEVICE, bad, Evidence([bad.report(0)], extra=index_of(1)))


def duplicate_in_one_batch(stage: Stage) -> Case:
    good = honest(stage)
    reports = sorted([*good.reports, good.reports[3]])
    bad = with_reports(good, reports)
    return Case(Fraud.DUPLICATE_REPORT, bad, Evidence([bad.report(3), bad.report(4)]))


def duplicate_over_two_batches(stage: Stage) -> Case:
    earlier, later = honest(stage, 1), honest(stage, 2, first=4)
    at, again = (
        _position(one, KEY.identity.device, rank) for one, rank in ((later, 0), (earlier, 4))
    )
    evidence = Evidence([later.report(at), earlier.report(again)], [earlier.witness()])
    return Case(Fraud.DUPLICATE_REPORT, later, evidence, (earlier,))


def malformed_report(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_reports(good, [*good.reports[:-1], good.reports[-1] + b"\x00"])
    last = len(bad.reports) - 1
    return Case(Fraud.MALFORMED_REPORT, bad, Evidence([bad.report(last)]))


def malformed_reading(stage: Stage) -> Case:
    good = honest(stage)
    unknown_flag = good.leaves[7][:-1] + b"\x02"
    bad = with_leaves(good, [*good.leaves[:7], unknown_flag, *good.leaves[8:]])
    return Case(Fraud.MALFORMED_READING, bad, Evidence([bad.reading(7)]))


def unsorted_readings(stage: Stage) -> Case:
    leaves = list(honest(stage).leaves)
    leaves[4], leaves[5] = leaves[5], leaves[4]
    bad = with_leaves(honest(stage), leaves)
    return Case(Fraud.UNSORTED_READINGS, bad, Evidence([bad.reading(4), bad.reading(5)]))


def one_key_twice(stage: Stage) -> Case:
    leaves = list(honest(stage).leaves)
    leaves[5] = leaves[4][:35] + leaves[5][35:]
    bad = with_leaves(honest(stage), leaves)
    return Case(Fraud.UNSORTED_READINGS, bad, Evidence([bad.reading(4), bad.reading(5)]))


def unsorted_reports(stage: Stage) -> Case:
    reports = list(honest(stage).reports)
    reports[1], reports[2] = reports[2], reports[1]
    bad = with_reports(honest(stage), reports)
    return Case(Fraud.UNSORTED_REPORTS, bad, Evidence([bad.report(1), bad.report(2)]))


def before_the_window(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_leaves(good, list(good.leaves), window_start=good.header.window_start + 1)
    at = [leaf[30:35] for leaf in bad.leaves].index(good.header.window_start.to_bytes(5, "big"))
    return Case(Fraud.OUTSIDE_WINDOW, bad, Evidence([bad.reading(at)]))


def behind_the_window(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_leaves(good, list(good.leaves), window_end=good.header.window_end - 1)
    at = [leaf[30:35] for leaf in bad.leaves].index(good.header.window_end.to_bytes(5, "big"))
    return Case(Fraud.OUTSIDE_WINDOW, bad, Evidence([bad.reading(at)]))


class Rewritten(StatisticsTree):
    """A tree with one node changed, and hashes above it that fit the change."""

    def rewrite(self, level: int, index: int, change: Callable[[Node], Node]) -> "Rewritten":
        levels = [list(row) for row in self._levels]
        levels[level][index] = change(levels[level][index])
        for above in range(level + 1, len(levels)):
            index >>= 1
            row = levels[above - 1]
            pair = [*row, Node(bytes(26), 0, 0, 0)][2 * index : 2 * index + 2]
            node = levels[above][index]
            levels[above][index] = node._replace(hash=_hash(pair))
        object.__setattr__(self, "_levels", levels)
        return self


def _hash(pair: list[Node]) -> bytes:
    return hash26(pair[0].pack() + pair[1].pack())


def _rewritten(stage: Stage, level: int, index: int, change: Callable[[Node], Node]) -> Dossier:
    good = honest(stage)
    tree = Rewritten(good.leaves).rewrite(level, index, change)
    return Forger(tree).draft(1, good.leaves, good.reports)


def wrong_sum(stage: Stage) -> Case:
    bad = _rewritten(stage, 2, 1, lambda node: node._replace(sum=node.sum + 1))
    evidence = Evidence(extra=bad.statistics_path(2, 1))
    return Case(Fraud.WRONG_PARENT, bad, evidence)


def wrong_minimum_at_the_top(stage: Stage) -> Case:
    good = honest(stage)
    top = len(StatisticsTree(good.leaves)._levels) - 1
    bad = _rewritten(stage, top, 0, lambda node: node._replace(min=node.min - 1))
    return Case(Fraud.WRONG_PARENT, bad, Evidence(extra=bad.statistics_path(top, 0)))


def readings_where_none_are(stage: Stage) -> Case:
    """40 readings said to be 37: the last pair's right child should be padding."""
    good = honest(stage)
    tree = StatisticsTree(good.leaves)
    bad = Forger(tree).draft(1, good.leaves, good.reports, reading_count=37)
    return Case(Fraud.WRONG_PARENT, bad, Evidence(extra=bad.statistics_path(1, 18)))


def wrong_leaf(stage: Stage) -> Case:
    bad = _rewritten(stage, 0, 6, lambda node: node._replace(sum=node.sum - 5))
    evidence = Evidence([bad.reading(6)], extra=bad.statistics_path(0, 6))
    return Case(Fraud.WRONG_LEAF, bad, evidence)


def another_reading_in_the_other_tree(stage: Stage) -> Case:
    good = honest(stage)
    others = [*good.leaves[:6], good.leaves[6][:-2] + b"\x63\x01", *good.leaves[7:]]
    bad = Forger(StatisticsTree(others)).draft(1, good.leaves, good.reports)
    evidence = Evidence([bad.reading(6)], extra=bad.statistics_path(0, 6))
    return Case(Fraud.WRONG_LEAF, bad, evidence)


def another_name(stage: Stage) -> Case:
    good = honest(stage)
    bad = draft(5, good.leaves, good.reports)
    evidence = Evidence(extra=bytes([Link.ID]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence)


def a_predecessor_before_the_first(stage: Stage) -> Case:
    good = honest(stage)
    bad = draft(1, good.leaves, good.reports, previous=b"\x01" * 26)
    return Case(Fraud.BROKEN_CHAIN, bad, Evidence(extra=bytes([Link.PREVIOUS])))


def another_predecessor(stage: Stage) -> Case:
    first, second = honest(stage, 1), honest(stage, 2, first=10)
    bad = draft(2, second.leaves, second.reports, previous=b"\x01" * 26)
    evidence = Evidence(witnesses=[first.witness()], extra=bytes([Link.PREVIOUS]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence, (first,))


def another_ancestor(stage: Stage) -> Case:
    second, third = honest(stage, 2, first=10), honest(stage, 3, first=20)
    bad = draft(3, third.leaves, third.reports, ancestor=b"\x01" * 26)
    evidence = Evidence(witnesses=[second.witness()], extra=bytes([Link.ANCESTOR]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence, (second,))


CASES = [
    bad_signature, bad_p256_signature, high_s, signed_for_another_chain, revoked_device,
    duplicate_in_one_batch, duplicate_over_two_batches, malformed_report, malformed_reading,
    unsorted_readings, one_key_twice, unsorted_reports, before_the_window, behind_the_window,
    wrong_sum, wrong_minimum_at_the_top, readings_where_none_are, wrong_leaf,
    another_reading_in_the_other_tree, another_name, a_predecessor_before_the_first,
    another_predecessor, another_ancestor,
]  # fmt: skip


def _committed_as(stage: Stage, case: Case) -> int:
    """The id under which the batch stands: a header may lie about it."""
    for other in case.others:
        stage.commit(other)
    number = 1 if case.dossier.header.batch_id == 5 else case.dossier.header.batch_id
    call = stage.batches.functions.commit(number, case.dossier.revealed.commitment)
    stage.bench.send(stage.submitter, call)
    return number


def _challenge(stage: Stage, number: int, case: Case):
    batch, place = case.dossier.revealed.words(), tuple(Place.alone(number))
    return stage.batches.functions.challenge(
        case.fraud, number, batch, place, case.evidence.words()
    )


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_who_shows_a_fraud_takes_the_bond(stage: Stage, build: Callable[[Stage], Case]) -> None:
    case = build(stage)
    number = _committed_as(stage, case)
    before, burnt = stage.balance(stage.challenger), stage.balance(BURN)
    stage.bench.send(stage.challenger, _challenge(stage, number, case))
    assert stage.balance(stage.challenger) == before + BOND // 2
    assert stage.balance(BURN) == burnt + BOND // 2
    assert int(stage.batches.functions.submitterOf(0).call(), 16) == 0
    assert stage.refused(stage.challenger, _challenge(stage, number, case)) == "NoBond"
    commit = stage.batches.functions.commit(99, bytes(25) + b"\x01")
    assert stage.refused(stage.submitter, commit) == "NotSubmitter"


def test_two_commitments_for_one_batch_take_the_bond(stage: Stage) -> None:
    one, two, third = (honest(stage, n, first=10 * k) for k, n in enumerate((2, 2, 1)))
    group = Group(1, [third.revealed.commitment, one.revealed.commitment, b"\x07" * 26])
    stage.bench.send(stage.submitter, stage.batches.functions.commitMany(1, group.packed))
    stage.commit(two)
    evidence = Evidence(witnesses=[one.witness(group.place(2))])
    call = stage.challenge(Fraud.EQUIVOCATION, two, evidence)
    same = Evidence(witnesses=[two.witness()])
    refused = stage.challenge(Fraud.EQUIVOCATION, two, same)
    assert stage.refused(stage.challenger, refused) == "NotFraud"
    other = Evidence(witnesses=[third.witness(group.place(1))])
    refused = stage.challenge(Fraud.EQUIVOCATION, two, other)
    assert stage.refused(stage.challenger, refused) == "WrongWitness"
    stage.bench.send(stage.challenger, call)


def test_a_fraud_in_a_group_takes_the_bond(stage: Stage) -> None:
    case = bad_signature(stage)
    group = Group(1, [case.dossier.revealed.commitment, b"\x07" * 26, b"\x08" * 26])
    stage.bench.send(stage.submitter, stage.batches.functions.commitMany(1, group.packed))
    call = stage.challenge(case.fraud, case.dossier, case.evidence, group.place(1))
    stage.bench.send(stage.challenger, call)
    assert stage.batches.functions.bondOf(0).call()[1] == 0


HONEST = {
    Fraud.BAD_SIGNATURE: lambda b: Evidence([b.report(_position(b, KEY.identity.device))]),
    Fraud.REVOKED_DEVICE: lambda b: Evidence([b.report(0)], extra=index_of(0)),
    Fraud.DUPLICATE_REPORT: lambda b: Evidence([b.report(0), b.report(1)]),
    Fraud.MALFORMED_REPORT: lambda b: Evidence([b.report(0)]),
    Fraud.MALFORMED_READING: lambda b: Evidence([b.reading(0)]),
    Fraud.UNSORTED_READINGS: lambda b: Evidence([b.reading(0), b.reading(1)]),
    Fraud.UNSORTED_REPORTS: lambda b: Evidence([b.report(0), b.report(1)]),
    Fraud.OUTSIDE_WINDOW: lambda b: Evidence([b.reading(0)]),
    Fraud.WRONG_PARENT: lambda b: Evidence(extra=b.statistics_path(1, 0)),
    Fraud.WRONG_LEAF: lambda b: Evidence([b.reading(3)], extra=b.statistics_path(0, 3)),
    Fraud.BROKEN_CHAIN: lambda b: Evidence(extra=bytes([Link.PREVIOUS])),
    Fraud.EQUIVOCATION: lambda b: Evidence(witnesses=[b.witness()]),
}


@pytest.mark.parametrize("fraud", Fraud)
def test_an_honest_batch_is_not_a_fraud_of_any_kind(stage: Stage, fraud: Fraud) -> None:
    batch = honest(stage)
    stage.commit(batch)
    call = stage.challenge(fraud, batch, HONEST[fraud](batch))
    assert stage.refused(stage.challenger, call) == "NotFraud"


def test_an_honest_p256_signature_is_no_fraud_and_the_key_must_fit(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    shown = [batch.report(_position(batch, OTHER.identity.device))]
    for extra, refusal in (
        (OTHER.identity.public_key, "NotFraud"),
        (KEY.identity.public_key, "KeyMismatch"),
        (b"", "MalformedEvidence"),
    ):
        call = stage.challenge(Fraud.BAD_SIGNATURE, batch, Evidence(shown, extra=extra))
        assert stage.refused(stage.challenger, call) == refusal


def test_observations_soon_after_a_revocation_are_nobodys_fault(stage: Stage) -> None:
    device = stage.bench.web3.to_checksum_address(KEY.identity.device)
    stage.bench.send(stage.challenger, stage.registry.functions.revoke(device))
    revoked_at = stage.registry.functions.deviceOf(device).call()[3]
    reports = [signed_report(stage.domain, KEY, 9, hourly(revoked_at + 3_600, 1))]
    batch = draft(1, readings(KEY, range(1)), reports)
    stage.commit(batch)
    call = stage.challenge(
        Fraud.REVOKED_DEVICE, batch, Evidence([batch.report(0)], extra=index_of(0))
    )
    assert stage.refused(stage.challenger, call) == "NotFraud"


def test_a_device_that_nobody_registered_is_no_matter_of_signatures(stage: Stage) -> None:
    stranger = Secp256k1Key(bytes(31) + b"\x77")
    batch = draft(1, readings(stranger, range(2)), stage.reports(stranger, range(2)))
    stage.commit(batch)
    call = stage.challenge(Fraud.BAD_SIGNATURE, batch, Evidence([batch.report(0)]))
    assert stage.refused(stage.challenger, call) == "UnknownDevice"


def test_an_inner_node_cannot_be_called_a_malformed_leaf(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    tree = batch.reports_tree
    pair = tree._levels[0][0] + tree._levels[0][1]
    shown = batch.report(0)._replace(
        position=0, content=pair, proof=tuple(batch.report(0).proof[1:])
    )
    call = stage.challenge(Fraud.MALFORMED_REPORT, batch, Evidence([shown]))
    assert stage.refused(stage.challenger, call) == "InvalidProof"


def test_who_duplicates_is_the_later_batch_not_the_earlier(stage: Stage) -> None:
    case = duplicate_over_two_batches(stage)
    _committed_as(stage, case)
    (earlier,) = case.others
    shown = [case.evidence.shown[1], case.evidence.shown[0]]
    evidence = Evidence(shown, [case.dossier.witness()])
    call = stage.challenge(Fraud.DUPLICATE_REPORT, earlier, evidence)
    assert stage.refused(stage.challenger, call) == "WrongWitness"


def test_a_report_that_two_relayers_received_is_nobodys_fraud(stage: Stage) -> None:
    stage.bond(1)
    here, there = honest(stage, 1), honest(stage, 1 << 32 | 1)
    stage.commit(here)
    stage.commit(there)
    evidence = Evidence([there.report(0), here.report(0)], [here.witness()])
    call = stage.challenge(Fraud.DUPLICATE_REPORT, there, evidence)
    assert stage.refused(stage.challenger, call) == "WrongWitness"


def test_a_batch_is_challenged_within_its_window_to_the_second(stage: Stage) -> None:
    case = bad_signature(stage)
    number = _committed_as(stage, case)
    committed_at = stage.bench.now
    call = _challenge(stage, number, case)
    stage.bench.mine_at(committed_at + WINDOW_S + 1)
    assert stage.refused(stage.challenger, call) == "WindowOver"


def test_the_last_second_of_the_window_still_counts(stage: Stage) -> None:
    case = bad_signature(stage)
    number = _committed_as(stage, case)
    stage.bench.next_at(stage.bench.now + WINDOW_S)
    stage.bench.send(stage.challenger, _challenge(stage, number, case))


def test_a_new_bond_does_not_answer_for_what_another_one_covered(stage: Stage) -> None:
    case = bad_signature(stage)
    number = _committed_as(stage, case)
    second = bad_signature(stage)
    two = draft(2, second.dossier.leaves, second.dossier.reports)
    stage.commit(two)
    stage.bench.send(stage.challenger, _challenge(stage, number, case))
    stage.bench.pass_time(5)
    stage.bond(0)
    call = stage.challenge(Fraud.BAD_SIGNATURE, two, second.evidence)
    assert stage.refused(stage.challenger, call) in ("NoBond", "InvalidProof")
    assert stage.batches.functions.bondOf(0).call()[1] == BOND


def test_malformed_evidence_is_refused(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    for fraud in Fraud:
        refusal = stage.refused(stage.challenger, stage.challenge(fraud, batch, Evidence()))
        assert refusal in ("MalformedEvidence", "InvalidProof"), fraud
    report = batch.report(0)
    for extra in (b"", index_of(4)):
        call = stage.challenge(Fraud.REVOKED_DEVICE, batch, Evidence([report], extra=extra))
        assert stage.refused(stage.challenger, call) == "MalformedEvidence"


# ------------------------------------------------------------------------------------------ demands


def _subject(stage: Stage) -> bytes:
    """Of the last demand, as its event tells."""
    (log,) = stage.batches.events.Demanded.get_logs(from_block="latest")
    return bytes(log["args"]["subject"])


def _demand_id(stage: Stage) -> bytes:
    (log,) = stage.batches.events.Demanded.get_logs(from_block="latest")
    return bytes(log["args"]["demandId"])


@pytest.mark.parametrize("kind", [Demand.REPORT, Demand.READING])
def test_a_leaf_that_is_demanded_is_shown_and_earns_the_fee(stage: Stage, kind: Demand) -> None:
    batch = honest(stage)
    stage.commit(batch)
    stage.bench.send(stage.challenger, stage.demand(kind, batch, position_of(3)))
    again = stage.demand(kind, batch, position_of(3))
    assert stage.refused(stage.challenger, again) == "AlreadyDemanded"
    show = batch.report if kind is Demand.REPORT else batch.reading
    wrong = Evidence([show(2)], [batch.witness()])
    subject = (3).to_bytes(32, "big")
    call = stage.answer(kind, batch, subject, wrong)
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"
    before = stage.balance(stage.submitter)
    right = stage.answer(kind, batch, subject, Evidence([show(3)], [batch.witness()]))
    stage.bench.send(stage.submitter, right)
    assert stage.balance(stage.submitter) == before + FEE
    assert stage.refused(stage.submitter, right) == "UnknownDemand"
    assert stage.batches.functions.bondOf(0).call()[1] == BOND


def test_what_the_batch_does_not_have_need_not_be_shown(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    behind = len(batch.reports)
    stage.bench.send(stage.challenger, stage.demand(Demand.REPORT, batch, position_of(behind)))
    evidence = Evidence(witnesses=[batch.witness()])
    call = stage.answer(Demand.REPORT, batch, behind.to_bytes(32, "big"), evidence)
    stage.bench.send(stage.submitter, call)


def test_data_that_is_withheld_costs_the_bond(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    before = stage.balance(stage.challenger)
    stage.bench.send(stage.challenger, stage.demand(Demand.READING, batch, position_of(1)))
    demand_id = _demand_id(stage)
    expire = stage.batches.functions.expire(demand_id)
    assert stage.refused(stage.challenger, expire) == "AnswerPending"
    stage.bench.pass_time(ANSWER_S + 1)
    late = stage.answer(
        Demand.READING,
        batch,
        (1).to_bytes(32, "big"),
        Evidence([batch.reading(1)], [batch.witness()]),
    )
    assert stage.refused(stage.submitter, late) == "AnswerLate"
    stage.bench.send(stage.submitter, expire)
    assert stage.balance(stage.challenger) == before + BOND // 2
    assert stage.refused(stage.challenger, expire) == "UnknownDemand"


def test_a_reading_comes_from_a_signed_report_or_costs_the_bond(stage: Stage) -> None:
    batch = honest(stage)
    invented = batch.leaves[2][:35] + (12345).to_bytes(4, "big") + b"\x01"
    bad = with_leaves(batch, [*batch.leaves[:2], invented, *batch.leaves[3:]])
    stage.commit(bad)
    for position in (1, 2):
        evidence = Evidence([bad.reading(position)], [bad.witness()])
        stage.bench.send(stage.challenger, stage.demand(Demand.SOURCE, bad, evidence))
    lost = _demand_id(stage)
    device = bad.leaves[1][10:30]
    report = bad.report(_position(bad, device))
    index = 1  # readings are sorted by time within a device
    subject = stage.bench.web3.keccak(bad.leaves[1])
    evidence = Evidence([report, bad.reading(1)], [bad.witness()], index_of(index))
    wrong = replace(evidence, extra=index_of(index + 1))
    call = stage.answer(Demand.SOURCE, bad, subject, wrong)
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"
    stage.bench.send(stage.submitter, stage.answer(Demand.SOURCE, bad, subject, evidence))
    stage.bench.pass_time(ANSWER_S + 1)
    stage.bench.send(stage.challenger, stage.batches.functions.expire(lost))
    assert stage.batches.functions.bondOf(0).call()[1] == 0


def test_an_unknown_device_costs_the_bond(stage: Stage) -> None:
    stranger = Secp256k1Key(bytes(31) + b"\x77")
    batch = draft(1, readings(stranger, range(2)), stage.reports(stranger, range(2)))
    stage.commit(batch)
    evidence = Evidence([batch.report(0)], [batch.witness()])
    stage.bench.send(stage.challenger, stage.demand(Demand.REGISTRATION, batch, evidence))
    subject, demand_id = _subject(stage), _demand_id(stage)
    # Registering it now is too late: it was unknown when the batch was committed.
    stage.bench.pass_time(5)
    stage.register(stranger)
    call = stage.answer(Demand.REGISTRATION, batch, subject, Evidence())
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"
    stage.bench.pass_time(ANSWER_S + 1)
    stage.bench.send(stage.challenger, stage.batches.functions.expire(demand_id))
    assert stage.batches.functions.bondOf(0).call()[1] == 0


def test_a_fleet_device_is_materialised_in_answer(stage: Stage) -> None:
    key = Secp256k1Key(bytes(31) + b"\x78")
    fleet = Fleet(stage.submitter.raw, key.identity.key_type, (key.identity.device,))
    call = stage.registry.functions
    stage.bench.send(stage.submitter, call.setEnroller(stage.submitter.address, True))
    enrol = call.enrolFleet(stage.submitter.address, int(fleet.key_type), fleet.packed)
    stage.bench.send(stage.submitter, enrol)
    batch = draft(1, readings(key, range(2)), stage.reports(key, range(2)))
    stage.commit(batch)
    evidence = Evidence([batch.report(0)], [batch.witness()])
    stage.bench.send(stage.challenger, stage.demand(Demand.REGISTRATION, batch, evidence))
    subject = _subject(stage)
    device = stage.bench.web3.to_checksum_address(key.identity.device)
    materialise = call.materialise(fleet.root, device, 0, fleet.proof(0))
    stage.bench.send(stage.submitter, materialise)
    answer = stage.answer(Demand.REGISTRATION, batch, subject, Evidence())
    stage.bench.send(stage.submitter, answer)
    again = stage.demand(Demand.REGISTRATION, batch, evidence)
    assert stage.refused(stage.challenger, again) == "Registered"


def test_an_open_demand_keeps_the_bond_in(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    stage.bench.send(stage.submitter, stage.batches.functions.closeLane(0))
    stage.bench.pass_time(WINDOW_S - 60)
    stage.bench.send(stage.challenger, stage.demand(Demand.READING, batch, position_of(1)))
    stage.bench.pass_time(120)
    withdraw = stage.batches.functions.withdrawBond(0)
    assert stage.refused(stage.submitter, withdraw) == "BondLocked"
    evidence = Evidence([batch.reading(1)], [batch.witness()])
    answer = stage.answer(Demand.READING, batch, (1).to_bytes(32, "big"), evidence)
    stage.bench.send(stage.submitter, answer)
    stage.bench.send(stage.submitter, withdraw)


def test_a_demand_whose_bond_was_taken_meanwhile_gives_the_fee_back(stage: Stage) -> None:
    case = bad_signature(stage)
    number = _committed_as(stage, case)
    stage.bench.send(stage.challenger, stage.demand(Demand.REPORT, case.dossier, position_of(0)))
    stage.bench.send(stage.challenger, stage.demand(Demand.REPORT, case.dossier, position_of(1)))
    demand_id = _demand_id(stage)
    stage.bench.send(stage.challenger, _challenge(stage, number, case))
    stage.bench.pass_time(5)
    stage.bond(0)
    report = Evidence([case.dossier.report(0)], [case.dossier.witness()])
    answer = stage.answer(Demand.REPORT, case.dossier, bytes(32), report)
    stage.bench.send(stage.submitter, answer)
    stage.bench.pass_time(ANSWER_S + 1)
    before = stage.balance(stage.challenger)
    stage.bench.send(stage.submitter, stage.batches.functions.expire(demand_id))
    assert stage.balance(stage.challenger) == before + FEE
    assert stage.batches.functions.bondOf(0).call()[1] == BOND
