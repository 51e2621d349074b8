"""Whoever shows a fraud takes the bond; an honest submitter never loses it.

given a bonded lane with a committed batch
  ├── each kind of fraud, shown in a batch that has it, takes the bond: half to the challenger,
  │   half to nobody; the lane commits no more
  ├── the same evidence about an honest batch is refused (at random: BatchChallenges.t.sol)
  ├── a device of a fleet is judged by the fleet, whatever the device does later
  └── it takes the bond once, within the window, and only the bond that stood for the batch
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.drafts import draft, hourly, signed_report
from support.finding import accusations, suspect
from support.frauds import (
    CASES,
    KEY,
    OTHER,
    Case,
    another_than_its_successor_names,
    bad_signature,
    challenge_of,
    committed_as,
    honest,
    position,
)
from support.stage import BOND, WINDOW_S, Stage, readings

from corechain.protocol.archive import Group, trail
from corechain.protocol.batch import ancestor_of
from corechain.protocol.evidence import (
    Dossier,
    Evidence,
    Fraud,
    Link,
    index_of,
    named_otherwise,
    signer_of,
)
from corechain.protocol.findings import find
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType, P256Key, Secp256k1Key

BURN = "0x000000000000000000000000000000000000dEaD"


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.register(KEY)
    stage.register(OTHER)
    return stage


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_who_shows_a_fraud_takes_the_bond(stage: Stage, build: Callable[[Stage], Case]) -> None:
    case = build(stage)
    number = committed_as(stage, case)
    # By what a search finds in the batch; what was made by hand for it must do as well.
    found = accusations(stage, number, case)
    assert case.fraud in found
    shown = [replace(case, fraud=fraud, evidence=evidence) for fraud, evidence in found.items()]
    for one in (case, *shown):
        challenge_of(stage, number, one).call({"from": stage.challenger.address})
    case = replace(case, evidence=found[case.fraud])
    before, burnt = stage.balance(stage.challenger), stage.balance(BURN)
    stage.bench.send(stage.challenger, challenge_of(stage, number, case))
    assert stage.balance(stage.challenger) == before + BOND // 2
    assert stage.balance(BURN) == burnt + BOND // 2
    assert int(stage.batches.functions.submitterOf(0).call(), 16) == 0
    assert stage.refused(stage.challenger, challenge_of(stage, number, case)) == "NoBond"
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
    Fraud.BAD_SIGNATURE: lambda b: Evidence([b.report(position(b, KEY.identity.device))]),
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
    assert not list(find(suspect(stage, batch)))
    call = stage.challenge(fraud, batch, HONEST[fraud](batch))
    assert stage.refused(stage.challenger, call) == "NotFraud"


def test_an_honest_p256_signature_is_no_fraud_and_the_key_must_fit(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    shown = [batch.report(position(batch, OTHER.identity.device))]
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
    # A clock that runs ahead, committed within the hour; then one that is right, committed later.
    for number, observed_at in ((1, revoked_at + 3_601), (2, revoked_at + 3_600)):
        reports = [signed_report(stage.domain, KEY, 9, hourly(observed_at, 1))]
        batch = draft(number, readings(KEY, range(1)), reports)
        stage.commit(batch)
        evidence = Evidence([batch.report(0)], extra=index_of(0))
        call = stage.challenge(Fraud.REVOKED_DEVICE, batch, evidence)
        assert stage.refused(stage.challenger, call) == "NotFraud"
        stage.bench.pass_time(3_700)


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
    pair = tree.levels[0][0] + tree.levels[0][1]
    shown = batch.report(0)._replace(
        position=0, content=pair, proof=tuple(batch.report(0).proof[1:])
    )
    call = stage.challenge(Fraud.MALFORMED_REPORT, batch, Evidence([shown]))
    assert stage.refused(stage.challenger, call) == "InvalidProof"


def test_a_batch_is_no_duplicate_of_itself(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    evidence = Evidence([batch.report(0), batch.report(0)], [batch.witness()])
    call = stage.challenge(Fraud.DUPLICATE_REPORT, batch, evidence)
    assert stage.refused(stage.challenger, call) == "WrongWitness"


def _chained(stage: Stage, count: int) -> list[Dossier]:
    """Committed batches 1, 2, … that name each other as they should."""
    chain = [draft(0, [bytes(40)], [bytes(113)])]
    for number in range(1, count + 1):
        good = honest(stage, number, first=10 * number)
        links = [chain[n].revealed.commitment if n else bytes(26) for n in _links(number)]
        batch = draft(number, good.leaves, good.reports, previous=links[0], ancestor=links[1])
        stage.commit(batch)
        chain.append(batch)
    return chain


def _links(number: int) -> tuple[int, int]:
    return number - 1, ancestor_of(number)


def test_headers_that_lead_to_a_batch_are_no_evidence_against_it(stage: Stage) -> None:
    chain = _chained(stage, 7)
    way = [chain[n].witness() for n in trail(7, 1)]
    commitment = chain[1].revealed.commitment
    for evidence, refusal in (
        (named_otherwise(way, commitment), "NotFraud"),
        (named_otherwise(way, b"\x01" * 26), "InvalidProof"),
        (named_otherwise(way[:-1], commitment), "InvalidProof"),
        (named_otherwise(way[::-1], commitment), "InvalidProof"),
        (named_otherwise([], commitment), "MalformedEvidence"),
        (named_otherwise(way, commitment[1:]), "MalformedEvidence"),
        (Evidence(witnesses=way, extra=b"\x04"), "MalformedEvidence"),
    ):
        call = stage.challenge(Fraud.BROKEN_CHAIN, chain[1], evidence)
        assert stage.refused(stage.challenger, call) == refusal


def test_headers_of_another_lane_or_bond_are_no_evidence(stage: Stage) -> None:
    case = another_than_its_successor_names(stage)
    (successor,) = case.others
    stage.commit(successor)
    stage.bond(1)
    elsewhere = draft(1 << 32 | 2, successor.leaves, successor.reports, previous=b"\x01" * 26)
    stage.commit(elsewhere)
    stage.bench.send(stage.submitter, stage.batches.functions.closeLane(0))
    stage.bench.pass_time(WINDOW_S + 2)
    stage.bench.send(stage.submitter, stage.batches.functions.withdrawBond(0))
    stage.bench.pass_time(2)
    stage.bond(0)
    stage.commit(case.dossier)
    for newer in (elsewhere, successor):
        evidence = named_otherwise([newer.witness()], b"\x01" * 26)
        call = stage.challenge(Fraud.BROKEN_CHAIN, case.dossier, evidence)
        assert stage.refused(stage.challenger, call) == "WrongWitness"


def test_a_batch_of_a_group_that_is_committed_again_takes_the_bond(stage: Stage) -> None:
    """Its group's word was written over; the headers of the lane still lead to what it was."""
    one = honest(stage, 1)
    named = one.revealed.commitment
    two = draft(2, one.leaves, one.reports, previous=named, ancestor=named)
    group = Group(1, [named, two.revealed.commitment])
    stage.bench.send(stage.submitter, stage.batches.functions.commitMany(1, group.packed))
    stage.bench.pass_time(WINDOW_S + 1)
    third = draft(3, one.leaves, one.reports, previous=two.revealed.commitment)
    again = honest(stage, 1, first=30)
    for batch in (third, draft(8194, one.leaves, one.reports), again):
        stage.commit(batch)
    evidence = named_otherwise([third.witness(), two.witness()], named)
    call = stage.challenge(Fraud.BROKEN_CHAIN, again, evidence)
    stage.bench.send(stage.challenger, call)
    assert stage.batches.functions.bondOf(0).call()[1] == 0


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
    number = committed_as(stage, case)
    committed_at = stage.bench.now
    call = challenge_of(stage, number, case)
    stage.bench.mine_at(committed_at + WINDOW_S + 1)
    assert stage.refused(stage.challenger, call) == "WindowOver"


def test_the_last_second_of_the_window_still_counts(stage: Stage) -> None:
    case = bad_signature(stage)
    number = committed_as(stage, case)
    stage.bench.next_at(stage.bench.now + WINDOW_S)
    stage.bench.send(stage.challenger, challenge_of(stage, number, case))


def test_a_new_bond_does_not_answer_for_what_another_one_covered(stage: Stage) -> None:
    case = bad_signature(stage)
    number = committed_as(stage, case)
    second = bad_signature(stage)
    two = draft(2, second.dossier.leaves, second.dossier.reports)
    stage.commit(two)
    stage.bench.send(stage.challenger, challenge_of(stage, number, case))
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


# ------------------------------------------------------------------------------------------- fleets


@pytest.mark.parametrize("kind", [Secp256k1Key, P256Key])
def test_a_fleets_device_is_judged_by_its_fleet(
    stage: Stage, kind: type[Secp256k1Key] | type[P256Key]
) -> None:
    key, fleet = stage.enrol(kind)
    reports = stage.reports(key, range(2))
    forged = [reports[0], reports[1][:-1] + bytes([reports[1][-1] ^ 1])]
    batch = draft(1, readings(key, range(2)), forged)
    stage.commit(batch)
    good, bad = (
        Evidence([batch.report(at)], extra=signer_of(key.identity, fleet)) for at in range(2)
    )
    silent = Evidence([batch.report(1)], extra=signer_of(key.identity))

    def refused(evidence: Evidence) -> str:
        call = stage.challenge(Fraud.BAD_SIGNATURE, batch, evidence)
        return stage.refused(stage.challenger, call)

    assert (refused(good), refused(silent)) == ("NotFraud", "UnknownDevice")
    stage.bench.pass_time(5)
    stage.register(key)
    assert (refused(good), refused(silent)) == ("NotFraud", "UnknownDevice")
    stage.bench.send(stage.challenger, stage.challenge(Fraud.BAD_SIGNATURE, batch, bad))
    assert stage.batches.functions.bondOf(0).call()[1] == 0


def test_a_fleet_of_the_wrong_key_type_is_no_proof_against_a_good_signature(stage: Stage) -> None:
    key, _ = stage.enrol(Secp256k1Key)
    wrong = Fleet.of(stage.challenger.raw, KeyType.P256, [key.identity.device])
    stage.enrol_fleet(wrong)
    batch = draft(1, readings(key, range(2)), stage.reports(key, range(2)))
    stage.commit(batch)
    evidence = Evidence([batch.report(0)], extra=signer_of(key.identity, wrong))
    call = stage.challenge(Fraud.BAD_SIGNATURE, batch, evidence)
    assert stage.refused(stage.challenger, call) == "NotFraud"
