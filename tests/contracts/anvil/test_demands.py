"""Data that is demanded is shown in time, or the bond is lost.

given a bonded lane with a committed batch
  ├── a leaf, the source of a reading, the registration of a device and its key, the statistics
  │   above a reading: each can be demanded
  ├── the answer earns the fee, silence costs the bond
  ├── a device of a fleet was registered when the fleet was, whatever the device does later
  └── an open demand keeps the bond in; a bond that another dispute took is not taken twice
"""

from dataclasses import replace

import pytest
from support.drafts import draft
from support.frauds import (
    KEY,
    OTHER,
    bad_signature,
    challenge_of,
    committed_as,
    honest,
    position,
    with_invented_statistics,
    with_leaves,
    with_reports,
    wrong_leaf,
)
from support.stage import ANSWER_S, BOND, FEE, WINDOW_S, Stage, readings

from corechain.protocol.evidence import (
    Demand,
    Dossier,
    Evidence,
    index_of,
    position_of,
    signer_of,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import P256Key, Secp256k1Key


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.register(KEY)
    stage.register(OTHER)
    return stage


def _subject(stage: Stage) -> bytes:
    """Of the last demand, as its event tells."""
    (log,) = stage.batches.events.Demanded.get_logs(from_block="latest")
    return bytes(log["args"]["subject"])


def _demand_id(stage: Stage) -> bytes:
    (log,) = stage.batches.events.Demanded.get_logs(from_block="latest")
    return bytes(log["args"]["demandId"])


def _demand_registration(stage: Stage, batch: Dossier) -> bytes:
    """Of the first report's device; the subject."""
    evidence = Evidence([batch.report(0)], [batch.witness()])
    stage.bench.send(stage.challenger, stage.demand(Demand.REGISTRATION, batch, evidence))
    return _subject(stage)


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


@pytest.mark.parametrize("last", [b"\x01\x00", b"\x02"], ids=["too long", "of no flag"])
@pytest.mark.parametrize("kind", [Demand.REPORT, Demand.READING])
def test_a_malformed_leaf_is_no_answer(stage: Stage, kind: Demand, last: bytes) -> None:
    """The time to call it a fraud may be over when it is shown."""
    good = honest(stage)
    if kind is Demand.REPORT:
        bad = with_reports(good, [*good.reports[:-1], good.reports[-1] + b"\x00"])
        shown = bad.report(len(bad.reports) - 1)
    else:
        bad = with_leaves(good, [*good.leaves[:-1], good.leaves[-1][:-1] + last])
        shown = bad.reading(len(bad.leaves) - 1)
    stage.commit(bad)
    stage.bench.send(stage.challenger, stage.demand(kind, bad, position_of(shown.position)))
    evidence = Evidence([shown], [bad.witness()])
    call = stage.answer(kind, bad, shown.position.to_bytes(32, "big"), evidence)
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"


def _way_down(batch: Dossier, at: int) -> Evidence:
    return Evidence([batch.reading(at)], [batch.witness()], batch.statistics_path(0, at))


def test_statistics_that_are_demanded_are_shown_from_the_top_to_the_reading(stage: Stage) -> None:
    batch = honest(stage)
    stage.commit(batch)
    for at in (6, len(batch.leaves)):
        demand = stage.demand(Demand.STATISTICS, batch, position_of(at))
        stage.bench.send(stage.challenger, demand)
    subject, behind = (n.to_bytes(32, "big") for n in (6, len(batch.leaves)))
    right = _way_down(batch, 6)
    for wrong, refusal in (
        (_way_down(batch, 7), "NotAnAnswer"),
        (replace(right, extra=batch.statistics_path(0, 7)), "InvalidProof"),
        (replace(right, extra=right.extra[:-84]), "InvalidProof"),
        (replace(right, extra=b""), "InvalidProof"),
        (replace(right, shown=[]), "MalformedEvidence"),
    ):
        call = stage.answer(Demand.STATISTICS, batch, subject, wrong)
        assert stage.refused(stage.submitter, call) == refusal
    before = stage.balance(stage.submitter)
    stage.bench.send(stage.submitter, stage.answer(Demand.STATISTICS, batch, subject, right))
    nothing = Evidence(witnesses=[batch.witness()])
    stage.bench.send(stage.submitter, stage.answer(Demand.STATISTICS, batch, behind, nothing))
    assert stage.balance(stage.submitter) == before + 2 * FEE


def test_statistics_that_nothing_stands_below_cost_the_bond(stage: Stage) -> None:
    bad = with_invented_statistics(stage)
    stage.commit(bad)
    for at in (0, 2):
        stage.bench.send(stage.challenger, stage.demand(Demand.STATISTICS, bad, position_of(at)))
    demand_id = _demand_id(stage)
    # What stands beside it can be shown, and tells where to ask further.
    beside = stage.answer(Demand.STATISTICS, bad, bytes(32), _way_down(bad, 0))
    stage.bench.send(stage.submitter, beside)
    call = stage.answer(Demand.STATISTICS, bad, (2).to_bytes(32, "big"), _way_down(bad, 2))
    assert stage.refused(stage.submitter, call) == "InvalidProof"
    stage.bench.pass_time(ANSWER_S + 1)
    stage.bench.send(stage.challenger, stage.batches.functions.expire(demand_id))
    assert stage.batches.functions.bondOf(0).call()[1] == 0


def test_statistics_that_differ_from_their_children_are_no_answer(stage: Stage) -> None:
    bad = wrong_leaf(stage).dossier
    stage.commit(bad)
    stage.bench.send(stage.challenger, stage.demand(Demand.STATISTICS, bad, position_of(6)))
    call = stage.answer(Demand.STATISTICS, bad, (6).to_bytes(32, "big"), _way_down(bad, 6))
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"


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
    for at in (1, 2):
        evidence = Evidence([bad.reading(at)], [bad.witness()])
        stage.bench.send(stage.challenger, stage.demand(Demand.SOURCE, bad, evidence))
    lost = _demand_id(stage)
    device = bad.leaves[1][10:30]
    report = bad.report(position(bad, device))
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
    subject, demand_id = _demand_registration(stage, batch), _demand_id(stage)
    # Registering it now is too late: it was unknown when the batch was committed.
    stage.bench.pass_time(5)
    stage.register(stranger)
    call = stage.answer(Demand.REGISTRATION, batch, subject, Evidence())
    assert stage.refused(stage.submitter, call) == "NotAnAnswer"
    stage.bench.pass_time(ANSWER_S + 1)
    stage.bench.send(stage.challenger, stage.batches.functions.expire(demand_id))
    assert stage.batches.functions.bondOf(0).call()[1] == 0


# ------------------------------------------------------------------------------------------- fleets


def test_a_fleet_device_is_materialised_in_answer(stage: Stage) -> None:
    key, fleet = stage.enrol(Secp256k1Key)
    batch = draft(1, readings(key, range(2)), stage.reports(key, range(2)))
    stage.commit(batch)
    subject = _demand_registration(stage, batch)
    at = fleet.position(key.identity.device)
    device = stage.bench.web3.to_checksum_address(key.identity.device)
    materialise = stage.registry.functions.materialise(fleet.root, device, at, fleet.proof(at))
    stage.bench.send(stage.submitter, materialise)
    answer = stage.answer(Demand.REGISTRATION, batch, subject, Evidence())
    stage.bench.send(stage.submitter, answer)
    evidence = Evidence([batch.report(0)], [batch.witness()])
    again = stage.demand(Demand.REGISTRATION, batch, evidence)
    assert stage.refused(stage.challenger, again) == "Registered"


@pytest.mark.parametrize("kind", [Secp256k1Key, P256Key])
def test_a_fleet_device_that_registers_itself_later_costs_nobody_the_bond(
    stage: Stage, kind: type[Secp256k1Key] | type[P256Key]
) -> None:
    key, fleet = stage.enrol(kind)
    batch = draft(1, readings(key, range(2)), stage.reports(key, range(2)))
    stage.commit(batch)
    stage.bench.pass_time(5)
    stage.register(key)
    subject = _demand_registration(stage, batch)
    late = Fleet.of(stage.challenger.raw, key.identity.key_type, [key.identity.device])
    stage.enrol_fleet(late)
    who = signer_of(key.identity, fleet)
    key_only = signer_of(key.identity)
    for extra, refusal in (
        (b"", "NotAnAnswer"),
        (key_only, "NotAnAnswer"),
        (signer_of(key.identity, late), "NotAnAnswer"),
        (key_only + fleet.listing(fleet.devices[0]), "InvalidProof"),
        (who[:-1], "InvalidProof"),
        (who[: len(key_only) + 27], "MalformedEvidence"),
    ):
        wrong = stage.answer(Demand.REGISTRATION, batch, subject, Evidence(extra=extra))
        assert stage.refused(stage.submitter, wrong) == refusal
    right = stage.answer(Demand.REGISTRATION, batch, subject, Evidence(extra=who))
    before = stage.balance(stage.submitter)
    stage.bench.send(stage.submitter, right)
    assert stage.balance(stage.submitter) == before + FEE
    assert stage.batches.functions.bondOf(0).call()[1] == BOND


# -------------------------------------------------------------------------------- bonds and demands


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
    number = committed_as(stage, case)
    stage.bench.send(stage.challenger, stage.demand(Demand.REPORT, case.dossier, position_of(0)))
    stage.bench.send(stage.challenger, stage.demand(Demand.REPORT, case.dossier, position_of(1)))
    demand_id = _demand_id(stage)
    stage.bench.send(stage.challenger, challenge_of(stage, number, case))
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
