"""Receipts on chain through the SDK: a device that was promised something gets it, or the bond.

given a lane that has named its gateway's key, and a receipt of a report
  ├── when it is time and the report is nowhere: a demand, and silence costs the bond
  ├── when the report is in a batch: the answer earns the fee
  ├── when the device is revoked: the demand is excused
  └── what is no receipt of this lane is refused before anything is paid
"""

from dataclasses import replace

import pytest
from support.chain import AnvilClock
from support.drafts import draft, hourly, leaves_of, signed_report
from typer.testing import CliRunner
from web3 import Web3

from corechain.account import account_from_key
from corechain.chain import Chain, Reverted
from corechain.deployment import load_deployment
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY
from corechain.protocol.eip712 import activation_digest, registry_domain
from corechain.protocol.errors import (
    InvalidProof,
    InvalidSignature,
    RevokedDevice,
    UnknownBatch,
    UnknownDevice,
)
from corechain.protocol.evidence import Evidence
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.logs import decode_log, topic_of
from corechain.protocol.reading import unpack_report
from corechain.protocol.receipt_events import (
    ReceiptDemanded,
    ReceiptSignerDismissed,
    ReceiptSignerNamed,
)
from corechain.protocol.receipts import (
    Receipt,
    ReceiptExpired,
    ReceiptNotDue,
    ReceiptUnsecured,
    ReportReceipt,
    UnknownReceiptSigner,
    batches_domain,
    plain_tree,
)
from corechain.receipt_cli import commands
from corechain.receipts import KeptReceipt

HOLDER, SUBMITTER = account_from_key(ADMIN_KEY), account_from_key(SUBMITTER_KEY)
GATEWAY = Secp256k1Key(bytes(31) + b"\x0c")
DEVICE, SECURE = Secp256k1Key(bytes(31) + b"\x71"), P256Key(bytes(31) + b"\x72")
PROMISE_S, WINDOW_S, ANSWER_S = 600, 86_400, 3_600


@pytest.fixture
def chain(anvil, deployment, chain_state):
    made = Chain(anvil, load_deployment(deployment))
    made.name_receipt_signer(SUBMITTER, 0, GATEWAY.identity.device)
    registry, owner = made.deployment.address("DeviceRegistry"), bytes.fromhex(HOLDER.address[2:])
    domain = registry_domain(made.deployment.chain_id, registry)
    for key in (DEVICE, SECURE):
        consent = key.sign(activation_digest(domain, key.identity.device, owner))
        made.register_device(HOLDER, key.identity, owner, consent)
    return made


@pytest.fixture
def clock(anvil):
    return AnvilClock(anvil)


def reports_of(chain, key):
    """Three reports of four observations each, and their leaves."""
    domain = registry_domain(chain.deployment.chain_id, chain.deployment.address("DeviceRegistry"))
    hours = [hourly(1_700_000_000 + 14_400 * n, 4) for n in range(3)]
    reports = [signed_report(domain, key, n + 1, seen) for n, seen in enumerate(hours)]
    return reports, leaves_of(key, [one for seen in hours for one in seen])


def promised(chain, reports, commit_by, at=1, key=GATEWAY, lane=0):
    tree = plain_tree(reports)
    receipt = Receipt(lane, chain.lane_bond_since(lane), commit_by, tree.root, tree.count)
    batches = chain.deployment.address("DataBatches")
    signed = receipt.sign(batches_domain(chain.deployment.chain_id, batches), key)
    return ReportReceipt.unpack(signed.pack() + tree.tail(at))


def event_of(receipt, kind):
    events = [decode_log(list(log.topics), log.data) for log in receipt["logs"]]
    return next(event for event in events if isinstance(event, kind))


def demanded(chain, clock, key=DEVICE):
    """The event of a demand for the second report; its reports and leaves."""
    reports, leaves = reports_of(chain, key)
    made = promised(chain, reports, clock.now + PROMISE_S)
    clock.pass_time(PROMISE_S + 1)
    sent = chain.demand_receipt(HOLDER, made, reports[1], key.identity)
    return event_of(sent, ReceiptDemanded), reports, leaves


def demanded_by_command(chain, clock, key, manifest, folder):
    """The same by `corechain receipt demand`, which finds a device's key by itself."""
    reports, leaves = reports_of(chain, key)
    made = promised(chain, reports, clock.now + PROMISE_S)
    clock.pass_time(PROMISE_S + 1)
    KeptReceipt(made, unpack_report(reports[1])[0]).save(folder / "kept")
    words = ["demand", str(folder / "kept"), "--key", ADMIN_KEY, "--rpc-url", chain.rpc_url]
    done = CliRunner().invoke(commands, [*words, "--deployment", str(manifest)])
    assert done.exit_code == 0, done.output
    topics, head = ["0x" + topic_of(ReceiptDemanded).hex()], chain.node.head()
    (event,) = chain._events("DataBatches", topics, head, head)
    return event, reports, leaves


@pytest.mark.parametrize("key", [DEVICE, SECURE], ids=["secp256k1", "P-256"])
def test_a_report_that_was_promised_is_answered_by_its_batch(
    chain, clock, key, deployment, tmp_path
):
    demand, reports, leaves = demanded_by_command(chain, clock, key, deployment, tmp_path)
    assert (demand.report, demand.device, demand.sequence) == (reports[1], key.identity.device, 2)
    if key is SECURE:
        assert demand.who == key.identity.public_key
    dossier = draft(1, sorted(leaves), [demand.report, reports[2]])
    with pytest.raises(UnknownBatch):
        chain.answer_receipt(SUBMITTER, demand, dossier.inclusion(0))
    chain.send(SUBMITTER, "DataBatches", "commit", 1, dossier.revealed.commitment)
    public = key.identity.public_key if key is SECURE else None
    with pytest.raises(Reverted, match="NotAnAnswer"):
        chain.answer_receipt(SUBMITTER, demand, dossier.inclusion(1, public_key=public))
    before = chain.balance_of(SUBMITTER.address)
    chain.answer_receipt(SUBMITTER, demand, dossier.inclusion(0, public_key=public))
    assert chain.balance_of(SUBMITTER.address) == before + chain.call("DataBatches", "demandFee")


def test_silence_costs_the_bond(chain, clock):
    demand, _, _ = demanded(chain, clock)
    before = chain.balance_of(HOLDER.address)
    clock.pass_time(ANSWER_S + 1)
    chain.send(HOLDER, "DataBatches", "expire", demand.demand_id)
    fee, bond = (chain.call("DataBatches", name) for name in ("demandFee", "bondAmount"))
    assert chain.balance_of(HOLDER.address) == before + fee + bond // 2
    assert chain.lane_bond_since(0) == 0


def test_a_revoked_device_is_excused(chain, clock):
    demand, reports, _ = demanded(chain, clock)
    with pytest.raises(Reverted, match="NotAnAnswer"):
        chain.excuse_receipt(SUBMITTER, demand)
    chain.send(HOLDER, "DeviceRegistry", "revoke", demand.device)
    chain.excuse_receipt(SUBMITTER, demand)
    made = promised(chain, reports, clock.now - 1)
    with pytest.raises(RevokedDevice):
        chain.demand_receipt(HOLDER, made, reports[1], DEVICE.identity)


def test_a_demand_has_its_time(chain, clock):
    reports, _ = reports_of(chain, DEVICE)
    early = promised(chain, reports, clock.now + PROMISE_S)
    with pytest.raises(ReceiptNotDue):
        chain.demand_receipt(HOLDER, early, reports[1], DEVICE.identity)
    clock.pass_time(PROMISE_S + WINDOW_S + 1)
    with pytest.raises(ReceiptExpired):
        chain.demand_receipt(HOLDER, early, reports[1], DEVICE.identity)


def test_what_is_no_receipt_of_the_lane_is_refused_before_anything_is_paid(chain, clock):
    reports, _ = reports_of(chain, DEVICE)
    made = promised(chain, reports, clock.now - 1)
    before, identity = clock.transactions_of(HOLDER.address), DEVICE.identity
    with pytest.raises(InvalidProof):
        chain.demand_receipt(HOLDER, made, reports[0], identity)
    stranger = promised(chain, reports, clock.now - 1, key=Secp256k1Key(bytes(31) + b"\x0d"))
    with pytest.raises(UnknownReceiptSigner):
        chain.demand_receipt(HOLDER, stranger, reports[1], identity)
    broken = replace(made, signed=replace(made.signed, signature=bytes(64)))
    with pytest.raises(InvalidSignature):
        chain.demand_receipt(HOLDER, broken, reports[1], identity)
    with pytest.raises(UnknownReceiptSigner):
        chain.demand_receipt(HOLDER, promised(chain, reports, 1, lane=5), reports[1], identity)
    assert clock.transactions_of(HOLDER.address) == before


def test_a_device_that_nobody_registered_has_no_demand(chain, clock):
    key = Secp256k1Key(bytes(31) + b"\x73")
    reports, _ = reports_of(chain, key)
    made = promised(chain, reports, clock.now - 1)
    with pytest.raises(UnknownDevice):
        chain.demand_receipt(HOLDER, made, reports[1], key.identity)


def test_a_signer_is_named_and_dismissed(chain, clock):
    signer, since = GATEWAY.identity.device, chain.lane_bond_since(0)
    assert chain.receipt_signer_until(0, since, signer) == 2**40 - 1
    sent = chain.dismiss_receipt_signer(SUBMITTER, 0, signer)
    dismissed = event_of(sent, ReceiptSignerDismissed)
    assert dismissed == ReceiptSignerDismissed(0, signer, since, clock.now + WINDOW_S)
    assert chain.receipt_signer_until(0, since, signer) == dismissed.until
    with pytest.raises(UnknownReceiptSigner):
        chain.dismiss_receipt_signer(SUBMITTER, 0, signer)
    with pytest.raises(Reverted, match="NotSubmitter"):
        chain.name_receipt_signer(HOLDER, 0, signer)
    again = chain.name_receipt_signer(SUBMITTER, 0, Web3.to_checksum_address(signer))
    assert event_of(again, ReceiptSignerNamed) == ReceiptSignerNamed(0, signer, since)


def test_a_bond_that_is_gone_answers_for_nothing(chain, clock):
    reports, _ = reports_of(chain, DEVICE)
    made = promised(chain, reports, clock.now + WINDOW_S)
    chain.send(SUBMITTER, "DataBatches", "closeLane", 0)
    clock.pass_time(WINDOW_S + 2)
    chain.send(SUBMITTER, "DataBatches", "withdrawBond", 0)
    with pytest.raises(ReceiptUnsecured):
        chain.demand_receipt(HOLDER, made, reports[1], DEVICE.identity)
    demand = ReceiptDemanded(bytes(32), 0, 1, 2, reports[1])
    with pytest.raises(Reverted, match="UnknownDemand"):
        chain.answer_receipt(SUBMITTER, demand, Evidence())
