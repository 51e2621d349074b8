"""What a gateway has signed for is in a batch, or comes there when somebody demands it.

given a lane whose submitter has named its gateway's key
  a client that asks gets a receipt that the chain stands behind, also for a report sent again
  when its report is demanded, the guard shows it in its batch
  when the relayer has lost the report, the guard puts it on the bus again, is killed, and shows it
    in the batch that it comes to; of a revoked device it has the demand closed
  a receipt in a file is checked and its report demanded by commands; a signer comes and goes
"""

from pathlib import Path

import pytest
from click.testing import Result
from support.chain import AnvilClock
from typer.testing import CliRunner

from corechain import Client, Delivery, KeptReceipt
from corechain.account import account_from_key
from corechain.chain import Chain as Contracts
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.logs import decode_log, topic_of
from corechain.protocol.reading import SignedReport
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.protocol.receipts import Receipt, ReportReceipt, batches_domain, plain_tree
from corechain.receipt_cli import commands
from relayer.conftest import Start
from relayer.demands import GUARDED
from relayer.support import Chain, RelayerProcess, Sensor, eventually

HOLDER, SUBMITTER = account_from_key(ADMIN_KEY), account_from_key(SUBMITTER_KEY)
KEY = Secp256k1Key(keccak(b"a gateway's receipts"))
PROMISE_S, WINDOW_S = 600, 86_400
TOPIC = ["0x" + topic_of(ReceiptDemanded).hex()]
RECEIPTS = {
    "RELAYER_RECEIPT_KEY": "0x" + KEY.secret.hex(),
    "RELAYER_RECEIPT_PROMISE_S": str(PROMISE_S),
    "RELAYER_REFUSED_PAUSE_S": "0.2",
}
BLOCKS_TO_FINAL = 80
"""More than the 64 behind its head that anvil calls final."""


@pytest.fixture
def contracts(chain: Chain) -> Contracts:
    """The contracts, on which lane 0 has named the gateway's key."""
    made = Contracts(chain.url, chain.deployment)
    made.name_receipt_signer(SUBMITTER, 0, KEY.identity.device)
    return made


@pytest.fixture
def clock(anvil: str) -> AnvilClock:
    return AnvilClock(anvil)


def live(relayer: RelayerProcess, chain: Chain, sensor: Sensor) -> None:
    """The lane has a batch, and all that came before it is final."""
    assert relayer.send(sensor.report()).status_code == 202
    eventually(lambda: chain.commitments())
    chain.rpc("anvil_mine", hex(BLOCKS_TO_FINAL))


def send(relayer: RelayerProcess, chain: Chain, *reports: SignedReport) -> list[Delivery]:
    """By a client that asks for receipts and checks them."""
    where = relayer.url, relayer.url, chain.url
    with Client(*where, chain.deployment) as client:
        return client.send_reports(reports, receipts=True)


def receipt_from(relayer: RelayerProcess, chain: Chain, sensor: Sensor) -> KeptReceipt:
    """Of a new report, as soon as the gateway gives one."""

    def kept() -> KeptReceipt | None:
        """the gateway signs"""
        (delivery,) = send(relayer, chain, sensor.report())
        return delivery.receipt

    return eventually(kept)


def demand(contracts: Contracts, clock: AnvilClock, kept: KeptReceipt, sensor: Sensor) -> bytes:
    """The demand's id; it is time by then."""
    clock.pass_time(max(0, kept.commit_by - clock.now) + 1)
    sent = contracts.demand_receipt(HOLDER, kept.proof, kept.report, sensor.key.identity)
    events = [decode_log(list(entry.topics), entry.data) for entry in sent["logs"]]
    return next(one.demand_id for one in events if isinstance(one, ReceiptDemanded))


def is_open(contracts: Contracts, demand_id: bytes) -> bool:
    return int(str(contracts.call("DataBatches", "demandOf", demand_id)[0]), 16) != 0


def answered(contracts: Contracts, demand_id: bytes) -> None:
    """Waits for it; the bond is there afterwards."""
    eventually(lambda: not is_open(contracts, demand_id))
    assert contracts.lane_bond_since(0) > 0


def promised(
    contracts: Contracts, clock: AnvilClock, report: SignedReport, in_s: int = PROMISE_S
) -> KeptReceipt:
    """A receipt as a gateway makes it that lost the report afterwards."""
    tree = plain_tree([report.pack()])
    since = contracts.lane_bond_since(0)
    receipt = Receipt(0, since, clock.now + in_s, tree.root, 1)
    deployment = contracts.deployment
    domain = batches_domain(deployment.chain_id, deployment.address("DataBatches"))
    proof = ReportReceipt.unpack(receipt.sign(domain, KEY).pack() + tree.tail(0))
    return KeptReceipt(proof, report)


def test_what_is_signed_for_is_shown_when_it_is_demanded(
    start: Start, chain: Chain, contracts: Contracts, clock: AnvilClock, sensor: Sensor
) -> None:
    relayer = start(**RECEIPTS, **GUARDED)
    (early,) = send(relayer, chain, sensor.report())
    assert early.accepted
    assert (early.receipt, bool(early.no_receipt)) == (None, True)
    live(relayer, chain, sensor)
    kept = receipt_from(relayer, chain, sensor)
    assert 0 < kept.commit_by - clock.now <= PROMISE_S + 60

    reports = [sensor.report() for _ in range(5)]
    deliveries = send(relayer, chain, *reports, kept.report)
    receipts = [delivery.receipt for delivery in deliveries]
    assert len({one.proof.signed for one in receipts[:5] if one}) == 1
    assert all(one and one.report == sent for one, sent in zip(receipts, reports, strict=False))
    # Tests date their reports back to before the bond: its batch might be of an earlier one.
    assert (deliveries[5].error, deliveries[5].no_receipt) == (
        "ReplayedSequence",
        "CommittedLongAgo",
    )

    opened = demand(contracts, clock, kept, sensor)
    answered(contracts, opened)
    assert relayer.get("/ready").status_code == 200


def test_what_the_relayer_lost_comes_again_and_what_may_not_is_excused(
    start: Start,
    chain: Chain,
    contracts: Contracts,
    clock: AnvilClock,
    sensor: Sensor,
    secure_sensor: Sensor,
) -> None:
    """Of reports that were signed for and are nowhere: the bus is that of an older backup. The
    guard is killed between its steps."""
    lost, of_revoked = (promised(contracts, clock, one.report()) for one in (secure_sensor, sensor))
    opened = demand(contracts, clock, lost, secure_sensor)
    excused = demand(contracts, clock, of_revoked, sensor)
    chain.revoke(sensor.key)
    guard = start("guard", **RECEIPTS, **GUARDED)
    eventually(lambda: resent(guard))
    answered(contracts, excused)
    guard.kill()
    assert is_open(contracts, opened)
    assert chain.commitments() == {}
    relayer = start(**RECEIPTS, **GUARDED)
    answered(contracts, opened)
    names = [commitment.hex() for commitment in chain.commitments().values()]
    files = [relayer.get(f"/v1/data/{name}").content for name in names]
    assert sum(lost.report.pack() in file for file in files) == 1


def resent(guard: RelayerProcess) -> bool:
    """the guard puts the report on the bus again"""
    return any(one["event"] == "demanded report is on the bus again" for one in guard.events())


def test_a_file_that_is_no_receipt_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    for content in (b"", b"# CoreChain\n" * 9, b"# CoreChain\n" * 900):
        file.write_bytes(content)
        said = command("check", str(file))
        words = " ".join(said.output.replace("\u2502", " ").split())
        assert (said.exit_code, "is no receipt file" in words) == (2, True), words
        assert "packed reports" not in words


def test_a_receipt_in_a_file_is_looked_at_and_demanded_by_commands(
    chain: Chain,
    contracts: Contracts,
    clock: AnvilClock,
    sensor: Sensor,
    deployment: Path,
    tmp_path: Path,
) -> None:
    kept, file = promised(contracts, clock, sensor.report()), tmp_path / "report.receipt"
    kept.save(file)
    where = [str(file), "--rpc-url", chain.url, "--deployment", str(deployment)]
    said = command("check", *where)
    assert (said.exit_code, "standing:              promised" in said.stdout) == (0, True)
    clock.pass_time(PROMISE_S + 1)
    assert "can be demanded now" in command("check", *where).stdout
    assert command("demand", *where, "--key", ADMIN_KEY).exit_code == 0
    (log,) = chain.logs("DataBatches", TOPIC)
    assert is_open(contracts, bytes.fromhex(log["topics"][1][2:]))


def test_a_receipt_that_nothing_stands_behind_is_told_so_and_its_signer_is_dismissed(
    chain: Chain,
    contracts: Contracts,
    clock: AnvilClock,
    sensor: Sensor,
    deployment: Path,
    tmp_path: Path,
) -> None:
    places = ["--rpc-url", chain.url, "--deployment", str(deployment)]
    key_file = tmp_path / "submitter.key"
    key_file.write_text(SUBMITTER_KEY + "\n")
    signer = ["--lane", "0", "--signer", "0x" + KEY.identity.device.hex()]
    signer += ["--key-file", str(key_file)]
    key_file.chmod(0o644)
    assert command("dismiss-signer", *signer, *places).exit_code == 2  # every user can read it
    key_file.chmod(0o600)
    assert command("dismiss-signer", *signer, *places).exit_code == 0
    file = tmp_path / "report.receipt"
    late = 2 * WINDOW_S  # more than a challenge window after the dismissal
    promised(contracts, clock, sensor.report(), late).save(file)
    said = command("check", str(file), *places)
    assert (said.exit_code, "UnknownReceiptSigner" in said.stdout) == (1, True)
    assert command("name-signer", *signer, *places).exit_code == 0
    assert command("check", str(file), *places).exit_code == 0
    file.unlink()
    assert command("check", str(file), *places).exit_code == 2


def command(*arguments: str) -> Result:
    """`corechain receipt …` in this process."""
    return CliRunner().invoke(commands, arguments)
