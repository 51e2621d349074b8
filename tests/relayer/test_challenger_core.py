"""What a challenger decides without a node: folds, spans, files, alerts.

given logs of DataBatches
  commitments are known with their places, alone and in groups; a demand is open until it is closed
given batches of one lane
  only those whose numbers of a device cross may share a report
given bytes from a source
  what says nothing, or speaks of another batch, is unfit; what speaks of this one is kept apart
  from what its commitment covers
given a chain that is reorganised
  the blocks from which on it is another one are told once; what was found out above them is
  forgotten, and nothing else
given a batch on which we fail
  it is told and tried again later, and all others are examined
given alerts
  each begins once, ends once, and is posted under the challenger's own prefix
given keys of the challenger and of CoreToken's guardian, here or elsewhere
  it signs with them; a key that is in two places is refused
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_chain import encoded, fake_chain
from support.honest import network

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.archive import Place
from corechain.protocol.batch import Batch
from corechain.protocol.events import Event, Unanswered
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud, position_of
from corechain.protocol.inquiry import Wanted
from corechain.protocol.reading import Observation
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.protocol.suspects import Neighbour, Standing
from corechain.service.errors import NodeRefused, NodeUnavailable, QuorumLost
from corechain.service.files.download import Unfit
from corechain.service.quorum import Quorum
from corechain.service.rpc import Block, Log, Rpc, to_hex
from corechain.service.settings import InvalidSetting
from corechain_relayer.calldata import selector
from corechain_relayer.challenger import again
from corechain_relayer.challenger.alerts import FRAUD, KINDS, ChallengerAlerts, ChallengerRules
from corechain_relayer.challenger.calls import (
    DisputesCalls,
    _refusal,
    challenge_call,
    demand_id,
    evidence_of,
    words_of,
)
from corechain_relayer.challenger.examining import LaneBook
from corechain_relayer.challenger.following import ALL, LanesFollower
from corechain_relayer.challenger.lanes import LanesView
from corechain_relayer.challenger.limits import Limits
from corechain_relayer.challenger.opening import opened
from corechain_relayer.challenger.process import ChallengerProcess
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.challenger.service import Challenger
from corechain_relayer.challenger.settings import ChallengerSettings, load_settings
from corechain_relayer.challenger.spans import Span, Spans
from corechain_relayer.challenger.store import Sent
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.plan import State
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.submitter.urgency import AT_ONCE, Pace
from relayer.challenging import CHALLENGER_KEY
from relayer.demands import sealed_batch
from relayer.support import CELL, Sensor, secp
from relayer.test_guard_receipts import DOMAIN


@pytest.fixture(scope="module")
def batch() -> Batch:
    return sealed_batch(2, 2)


def log_of(event: Event, block: int) -> Log:
    topics, data = encoded(event)
    return Log(bytes(20), tuple(topics), data, block, bytes(32), bytes(32), 0)


def test_what_a_receipt_demands_is_there_to_be_expired_until_it_is_closed() -> None:
    """It is of no batch: nothing is asked, or answered, of one for it."""
    signed = Sensor(secp(1), DOMAIN).sign([Observation(1, CELL, 9, 5)], 1)
    number, view = b"\7" * 32, LanesView()
    view.take([log_of(ReceiptDemanded(number, 3, 1, 99, signed.pack()), 5)])
    (demand,) = view.__deepcopy__(None).expirable()
    assert (demand.id, demand.batch_id >> 32, demand.deadline) == (number, 3, 99)
    assert (view.open, view.demand_ids, view.answers) == ({}, set(), {})
    view.take([log_of(Unanswered(number), 6)])
    assert view.expirable() == []


def test_spans_that_cross_are_found_and_others_are_not() -> None:
    spans = Spans()
    one, two, three = ((n, bytes([n])) for n in (1, 2, 3))
    device, other = b"\1" * 20, b"\2" * 20
    assert spans.add({device: Span(1, 5, one)}, one) == []
    assert spans.add({device: Span(6, 9, two), other: Span(1, 5, two)}, two) == []
    assert spans.add({device: Span(5, 6, three)}, three) == [one, two]
    assert spans.add({device: Span(5, 6, three)}, three) == [one, two]
    spans.drop({one, three})
    assert spans.add({device: Span(1, 9, one)}, one) == [two]


def test_a_file_is_taken_at_its_word_and_others_are_unfit(batch: Batch) -> None:
    number, commitment = batch.header.batch_id, batch.commitment
    found = opened(batch.data_file, number, commitment)
    assert found.fits
    assert found.devices.keys() == batch.identities.keys()
    assert not opened(batch.data_file, number, b"\1" * 26).fits
    for content, asked in ((b"CCDF" + bytes(9), number), (batch.data_file, number + 1)):
        with pytest.raises(Unfit):
            opened(content, asked, b"\1" * 26)


def test_a_broken_key_in_a_file_is_no_key(batch: Batch) -> None:
    """The commitment covers it all the same; what is unknown then can be demanded."""
    device = next(iter(batch.identities))
    at = batch.data_file.index(device) + 20
    broken = batch.data_file[:at] + b"\7" + batch.data_file[at + 1 :]
    assert device not in opened(broken, batch.header.batch_id, b"\1" * 26).devices


def test_evidence_comes_back_as_it_was_sent(batch: Batch) -> None:
    from eth_abi.abi import encode

    from corechain.protocol.events import EVIDENCE

    dossier = Dossier.of(batch)
    evidence = Evidence([dossier.reading(1)], [dossier.witness()], b"\1\2")
    assert evidence_of(encode([EVIDENCE], [evidence.words()])) == evidence


def test_a_demand_has_the_id_that_the_contract_gives_it(batch: Batch) -> None:
    """What the contract says: tests/contracts/anvil/test_inquiries.py compares the subject."""
    standing = Standing(batch.header.batch_id, batch.commitment, Place.alone(1), 9)
    ids = {demand_id(Wanted(kind, position_of(2)), standing) for kind in list(Demand)[:2]}
    assert len(ids) == 2
    assert all(len(one) == 32 for one in ids)


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "Refused"), ("0x", "Refused"), ("0xzz112233", "Refused"), ("0x12345678", "Refused")],
)
def test_a_refusal_that_nobody_knows_or_tells_is_the_contracts(data: str | None, said: str) -> None:
    """Else it ends each session, and nothing behind it is ever sent."""
    assert _refusal(NodeRefused("eth_call", 3, "execution reverted", data)) == said
    assert _refusal(NodeRefused("eth_call", -32005, "too many requests", "0x")) is None


def test_a_demand_that_the_token_does_not_pay_for_is_void_with_that_reason() -> None:
    """Its allowance is gone, as by a reorg: what an operator reads must not be `Refused`."""
    raw = selector("TransferFailed(address)") + bytes(32)
    assert _refusal(NodeRefused("eth_call", 3, "execution reverted", to_hex(raw))) == (
        "TransferFailed"
    )


def test_what_is_open_or_done_is_not_recorded_again() -> None:
    assert Sent((State.VOID, State.PENDING)).is_open
    assert Sent((State.FINAL,)).is_done
    assert not Sent((State.VOID,)).is_open


def test_an_alert_begins_once_and_ends_once() -> None:
    alerts = ChallengerAlerts(Metrics())
    alerts.say(FRAUD, "1", "a batch", reason=7)
    alerts.changed.clear()
    alerts.say(FRAUD, "1", "a batch", reason=7)
    assert not alerts.changed.is_set()
    assert alerts.sentences() == ["challenger: a batch"]
    for number in range(9):
        alerts.say(FRAUD, str(number), f"batch {number}")
    assert alerts.sentences()[-1] == "challenger: and 4 more"
    alerts.keep(FRAUD, {"3"})
    assert alerts.sentences() == ["challenger: batch 3"]
    alerts.end(FRAUD, "3")
    assert not alerts.standing


async def test_alerts_are_posted_under_a_prefix_of_their_own_when_they_were_judged() -> None:
    alerts = ChallengerAlerts(Metrics())
    alerts.say(FRAUD, "1", "a batch")
    rules = ChallengerRules(alerts)
    assert not (await rules.look({})).found
    alerts.looked(FRAUD)
    (found,) = (await rules.look({})).found
    assert (found.kind, found.key) == (FRAUD, "challenger:1")
    assert set(rules.after_s()) == set(KINDS)


def test_challenges_of_a_lane_are_encoded_for_its_place() -> None:
    suspect = next(one for seed in range(9) for one in network(Random(seed)))
    from corechain.protocol.suspects import Accusation

    call = challenge_call(
        Accusation(Fraud.BROKEN_CHAIN, Evidence(extra=b"\0")),
        suspect.standing,
        suspect.dossier.revealed,
    )
    assert len(call) % 32 == 4
    assert LanesView().in_order() == []


def test_a_challenger_without_key_or_sources_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"DEPLOYMENT": "x.json", "DATABASE_URL": "postgresql://localhost/x"}
    values |= {"DATA_DIR": "data", "RPC_URL": "http://127.0.0.1:1"}
    for name, value in values.items():
        monkeypatch.setenv(f"RELAYER_{name}", value)
    missing = "^RELAYER_CHALLENGER_KEY and RELAYER_CHALLENGER_DATA_URLS are not set$"
    with pytest.raises(InvalidSetting, match=missing):
        load_settings()
    monkeypatch.setenv("RELAYER_CHALLENGER_KEY", CHALLENGER_KEY)
    with pytest.raises(InvalidSetting, match="RELAYER_CHALLENGER_DATA_URLS is not set"):
        load_settings()
    monkeypatch.setenv("RELAYER_CHALLENGER_DATA_URLS", "https://a.example/{commitment},file:///b")
    with pytest.raises(InvalidSetting, match="every template needs"):
        load_settings()
    monkeypatch.setenv("RELAYER_CHALLENGER_DATA_URLS", "https://a.example/{commitment}")
    assert load_settings().data_templates == ["https://a.example/{commitment}"]
    monkeypatch.delenv("RELAYER_CHALLENGER_KEY")
    monkeypatch.setenv("RELAYER_CHALLENGER_SIGNER", PLACE + "0a" * 20)
    assert load_settings().challenger_key is None


PLACE = "http://127.0.0.1:9000#0x"


def process_with(folder: Path, **values: Any) -> ChallengerProcess:
    """A challenger's process that runs nothing."""
    given = {"deployment": "none.json", "data_dir": folder, "rpc_url": "http://127.0.0.1:1"}
    given |= {"database_url": "postgresql://127.0.0.1:1/x"}
    deployment = Deployment(
        31337, {"DeviceRegistry": DeployedContract("DeviceRegistry", bytes(20), 1)}
    )
    return ChallengerProcess(ChallengerSettings(**(given | values)), deployment)


async def test_a_challenger_signs_with_its_keys_wherever_they_are(tmp_path: Path) -> None:
    elsewhere = {"challenger_signer": PLACE + "0a" * 20, "guardian_signer": PLACE + "0b" * 20}
    role = process_with(tmp_path, **elsewhere).role()
    assert role.signer.address == b"\x0a" * 20
    assert role.guardian is not None
    assert role.guardian.address == b"\x0b" * 20
    assert {"reward-roots", "reward-vetoes"} <= role.loops().keys()
    here = process_with(tmp_path, challenger_key=CHALLENGER_KEY).role()
    assert here.signer.address == Signer.of(CHALLENGER_KEY, 31337).address
    assert here.guardian is None
    assert "reward-vetoes" not in here.loops()


async def test_vetoes_go_by_the_window_of_their_root_and_not_by_that_of_challenges(
    tmp_path: Path,
) -> None:
    role = process_with(tmp_path, challenger_key=CHALLENGER_KEY).role()
    nothing: Any = None
    role.roots = RootWatch(*[nothing] * 10)
    for pace in (Pace(), AT_ONCE):
        role.roots.pace = pace
        is_dear = role.veto_policy().max_fee > role.policy().max_fee
        assert is_dear == (pace is AT_ONCE)


@pytest.mark.parametrize("role", ["challenger", "guardian"])
async def test_a_key_of_the_challenger_that_is_in_two_places_is_refused(
    tmp_path: Path, role: str
) -> None:
    two = {f"{role}_key": CHALLENGER_KEY, f"{role}_signer": PLACE + "0a" * 20}
    process = process_with(tmp_path, **({"challenger_key": CHALLENGER_KEY} | two))
    with pytest.raises(InvalidSetting, match=f"{role.upper()}_SIGNER are both set"):
        process.role()


def test_an_answer_that_is_none_is_an_outage_and_a_refusal_stays_one() -> None:
    assert words_of("0x" + "0" * 63 + "7", 1) == [7]
    odd = ("  " + "0" * 63 + "7", "0x" + " " * 63 + "7", "0x" + "0" * 61 + "0_7", "0xg" + "0" * 63)
    for raw in (None, "0x", "0x" + "0" * 128, 7, ["0x"], *odd):
        with pytest.raises(NodeUnavailable):
            words_of(raw, 1)
    with pytest.raises(NodeRefused):
        words_of(NodeRefused("eth_call", 3, "no", None), 1)


async def test_while_too_few_nodes_are_left_nothing_that_costs_a_fee_is_demanded() -> None:
    urls = [f"http://127.0.0.1:{port}" for port in (7, 9, 11)]
    rpc = Quorum(urls, 2, 1.0, 4).in_time(1e-9)
    with pytest.raises(QuorumLost):
        await rpc.head()
    challenger = Challenger.__new__(Challenger)
    challenger.calls = DisputesCalls(rpc, Deployment(31337, {}), bytes(20))
    challenger.alerts = ChallengerAlerts(Metrics())
    assert not await challenger._affords({})
    assert "nothing that costs a fee is demanded" in challenger.alerts.sentences()[0]
    await rpc.close()


async def test_a_batch_on_which_we_fail_keeps_us_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hostile, honest = (Standing(n, bytes([n]) * 26, Place.alone(n), 9) for n in (1, 2))
    examined = list[Standing]()

    async def file_of(one: Standing) -> Any:
        if one is hostile:
            raise IndexError("nobody foresaw this")
        if len(examined) > 1:
            raise NodeUnavailable("away")
        examined.append(one)

    metrics, parts = Metrics(), dict.fromkeys(("follower", "store", "calls"), None)
    limits = Limits(patience_s=0.0, stake=0, demands=1, retry_s=60.0)
    given: Any = parts | {"examiner": SimpleNamespace(honest=set(), file_of=file_of)}
    given["terms"], head = SimpleNamespace(challenge_s=900), Block(2, b"", b"", 10, 1)
    clock = SimpleNamespace(time=0)
    monkeypatch.setattr(again, "time", SimpleNamespace(monotonic=lambda: clock.time))
    alerts = ChallengerAlerts(metrics)
    given |= {"limits": limits, "alerts": alerts, "metrics": metrics, "work": asyncio.Event()}
    challenger, books = Challenger(**given), {0: LaneBook(1)}
    for _ in range(2):
        await challenger._examine([hostile, honest], head, books)
    assert examined == [honest]
    (said,) = alerts.sentences()
    assert "failed on it (IndexError)" in said
    assert "\ncorechain_challenger_faults_total 1.0" in metrics.exposition().decode()
    for clock.time in (60, 121):  # for the third time after two minutes
        await challenger._examine([hostile, honest], head, books)
    assert examined == [honest, honest]
    with pytest.raises(NodeUnavailable):  # but sooner at the end of its window
        await challenger._examine([hostile, honest], replace(head, timestamp=800), books)


async def test_the_deepest_of_the_reorgs_since_the_last_question_is_told_once() -> None:
    with fake_chain() as chain:
        contract = DeployedContract("DataBatches", b"\xdb" * 20, 1)
        rpc = Rpc(chain.url)
        follower = LanesFollower(rpc, contract, LanesView, 1.0, 100, Metrics(), 8)
        for left, blocks in ((0, 20), (18, 4), (15, 9), (2, 40)):
            chain.cut(left)
            for _ in range(blocks):
                chain.mine([])
            chain.catch_up()
            follower._asked_at = -1e9
            await follower.refresh_or_log()
            if left == 15:
                assert (follower.take_undone(), follower.take_undone()) == (15, None)
        assert follower.take_undone() == ALL  # a block that was final is gone
        await rpc.close()


def test_what_is_forgotten_of_a_batch_leaves_another_commitment_of_its_number() -> None:
    one, other = (Standing(5, bytes([n]) * 26, Place.alone(5), 9) for n in (1, 2))
    book = LaneBook(1)
    revealed: Any = None
    for standing in (one, other):
        book.headers[standing.commitment] = revealed
        book.neighbours[5].append(Neighbour(standing, revealed))
    book.forget((5, one.commitment))
    assert (list(book.headers), book.neighbours) == (
        [other.commitment],
        {5: [Neighbour(other, revealed)]},
    )
    book.forget((5, other.commitment))
    assert (book.headers, dict(book.neighbours)) == ({}, {})
