"""Each contract once from beginning to end, with signatures and proofs made by the SDK.

given the deployed contracts
  ├── devices on both curves register; a batch is committed; readings and ranges are proven
  ├── a reward root waits, can be vetoed, pays, and the next pays the difference
  ├── a payment channel is opened, vouchers are redeemed together, the payer leaves
  ├── a state channel is challenged, answered and paid; or closed at once by a relayer
  └── a report that a gateway promised is demanded, committed late and shown
"""

import ape
import pytest
from eth_account import Account

from corechain.protocol.batch import Origin, seal
from corechain.protocol.channel import (
    ChannelConfig,
    ChannelState,
    StateChannel,
    Voucher,
    close_digest,
    payment_domain,
    state_domain,
)
from corechain.protocol.eip712 import activation_digest, registry_domain, report_digest
from corechain.protocol.evidence import Demand, Dossier, Evidence, Shown
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.reading import Observation, Reading, Report, SignedReport, pack_key
from corechain.protocol.receipts import (
    Receipt,
    ReportReceipt,
    batches_domain,
    plain_tree,
    receipt_commitment,
    receipt_subject,
)
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.statistics import locate, verify_range

OPEN_BEFORE = 2**40 - 1
CELL, START = 0x872A1072FFFFFFF, 1_359_676_800
MNEMONIC_PATH = "m/44'/60'/0'/0/{}"
Account.enable_unaudited_hdwallet_features()


def raw(contract_or_account):
    return bytes.fromhex(str(contract_or_account.address)[2:])


def key_of(number):
    """The key of a test account, for what it signs off chain."""
    mnemonic = "test test test test test test test test test test test junk"
    account = Account.from_mnemonic(mnemonic, account_path=MNEMONIC_PATH.format(number))
    return Secp256k1Key(bytes(account.key))


@pytest.fixture(scope="module")
def device_keys():
    return [Secp256k1Key(bytes(31) + b"\x41"), P256Key(bytes(31) + b"\x42")]


def test_readings_of_both_curves_are_proven_on_chain(contract, accounts, chain_id, device_keys):
    registry, batches = contract("DeviceRegistry"), contract("DataBatches")
    domain = registry_domain(chain_id, raw(registry))
    reports = []
    for index, key in enumerate(device_keys):
        identity, owner = key.identity, accounts[4]
        signature = key.sign(activation_digest(domain, identity.device, raw(owner)))
        x, y = identity.public_key[:32], identity.public_key[32:]
        registry.register(
            identity.device, owner, int(identity.key_type), x, y, signature, sender=accounts[5]
        )
        items = [Observation(1, CELL, START + 3600 * h, 100 * index + h) for h in range(9)]
        report = Report.of(identity.device, 1, items)
        reports.append(SignedReport(report, key.sign(report_digest(domain, report))))
        registry.verifyReport(identity.device, 1, report.packed, reports[-1].signature, x, y)
    known = {key.identity.device: key.identity for key in device_keys}
    batch = seal(Origin(1, ZERO26, ZERO26, chain_id, raw(registry)), reports, known, {})
    with ape.reverts():
        batches.commit(1, batch.commitment, sender=accounts[3])
    batches.commit(1, batch.commitment, sender=accounts[1])
    assert bytes(batches.commitmentOf(1)) == batch.commitment
    _prove_readings(batches, batch)
    _prove_ranges(batches, batch, device_keys[0].identity.device)


def _prove_readings(batches, batch):
    for position in (0, 7, len(batch.leaves) - 1):
        r = Reading.unpack(batch.leaves[position])
        fields = (r.metric, r.cell, "0x" + r.device.hex(), r.observed_at, r.value, r.flag)
        proof = batch.readings.proof(position)
        batches.verifyReading(1, fields, position, batch.header.rest_hash, proof)
        with ape.reverts():
            batches.verifyReading(1, fields, position + 1, batch.header.rest_hash, proof)


def _key(packed):
    metric, cell, at = (int.from_bytes(packed[a:b], "big") for a, b in ((0, 2), (2, 10), (30, 35)))
    return metric, cell, "0x" + packed[10:30].hex(), at


def _prove_ranges(batches, batch, device):
    header = batch.header
    low, high = pack_key(1, CELL, device, START), pack_key(1, CELL, device, START + 5 * 3600)
    start, end = locate(batch.leaves, low, high)
    proof = batch.statistics().range_proof(start, end)
    count, root = header.reading_count, header.statistics_root
    expected = verify_range(root, count, start, end, low, high, proof)
    fields = (
        header.batch_id, header.previous, header.ancestor, header.statistics_root,
        header.reports_root, header.data_hash, header.rules_hash, header.reading_count,
        header.report_count, header.window_start, header.window_end,
    )  # fmt: skip
    found = batches.verifyRange(
        fields, batch.readings.root, _key(low), _key(high), start, end,
        b"".join(proof.leaves), b"".join(node.pack() for node in proof.nodes),
    )  # fmt: skip
    assert tuple(found) == (expected.count, expected.sum, expected.min, expected.max)
    assert expected.count == 6


def test_rewards_wait_can_be_vetoed_and_pay_the_difference(contract, accounts, chain):
    token, proposer = contract("CoreToken"), accounts[2]
    owner = Owner(raw(accounts[6]))
    first = RewardTree({owner: 100, Owner(b"\x01" * 20): 5})
    token.proposeRoot(1, first.root, 1, 105, sender=proposer)
    token.veto(1, sender=accounts[0])
    token.proposeRoot(1, first.root, 2, 105, sender=proposer)
    claim = first.claim(owner)
    with ape.reverts():
        token.claim(accounts[6], 100, claim.position, list(claim.proof), sender=accounts[7])
    chain.mine(timestamp=chain.pending_timestamp + 5)
    token.claim(accounts[6], 100, claim.position, list(claim.proof), sender=accounts[7])
    assert token.balanceOf(accounts[6]) == 100
    second = RewardTree({owner: 130, Owner(b"\x01" * 20): 5})
    token.proposeRoot(2, second.root, 3, 30, sender=proposer)
    chain.mine(timestamp=chain.pending_timestamp + 5)
    claim = second.claim(owner)
    token.claim(accounts[6], 130, claim.position, list(claim.proof), sender=accounts[7])
    assert token.balanceOf(accounts[6]) == 130


def test_vouchers_of_ten_channels_are_redeemed_together(contract, accounts, chain, chain_id):
    token, channels = contract("CoreToken"), contract("PaymentChannels")
    payer, receiver = accounts[0], accounts[8]
    domain, key = payment_domain(chain_id, raw(channels)), key_of(0)
    token.approve(channels, 10**20, sender=payer)
    rows, configs = [], []
    for number in range(10):
        terms = (payer, payer, receiver, receiver, token, 900, number.to_bytes(32, "big"))
        config = ChannelConfig(*(raw(party) for party in terms[:5]), *terms[5:])
        channels.open(terms, 1000, sender=payer)
        voucher = Voucher(config.channel_id(domain), 100 + number)
        assert bytes(channels.getChannelId(terms)) == voucher.channel_id
        rows.append((terms, voucher.amount, key.sign(voucher.digest(domain))))
        configs.append(terms)
    channels.redeem(rows, sender=receiver)
    assert token.balanceOf(receiver) == sum(100 + n for n in range(10))
    before = token.balanceOf(payer)
    channels.initiateWithdraw(configs[0], 900, sender=payer)
    with ape.reverts():
        channels.finalizeWithdraw(configs[0], sender=payer)
    chain.mine(timestamp=chain.pending_timestamp + 901)
    channels.finalizeWithdraw(configs[0], sender=payer)
    assert token.balanceOf(payer) == before + 900


def _two_way(contract, accounts, chain_id, salt):
    channels, token = contract("StateChannels"), contract("CoreToken")
    terms = (accounts[0], accounts[9], token, 3600, OPEN_BEFORE, salt)
    model = StateChannel(raw(accounts[0]), raw(accounts[9]), raw(token), 3600, OPEN_BEFORE, salt)
    token.approve(channels, 1000, sender=accounts[0])
    channels.open(terms, 1000, 0, sender=accounts[0])
    channel_id = model.channel_id(chain_id, raw(channels))
    assert bytes(channels.channelIdOf(terms)) == channel_id
    return channels, token, terms, channel_id


def _signed(domain, channel_id, version, balance):
    digest = ChannelState(channel_id, version, balance).digest(domain)
    return version, balance, key_of(0).sign(digest), key_of(9).sign(digest)


def test_the_newest_state_is_paid_after_a_stale_challenge(contract, accounts, chain, chain_id):
    channels, token, terms, channel_id = _two_way(contract, accounts, chain_id, bytes(4) + b"\x01")
    domain = state_domain(chain_id, raw(channels))
    before = token.balanceOf(accounts[9])
    channels.challenge(terms, _signed(domain, channel_id, 3, 900), sender=accounts[0])
    channels.respond(terms, _signed(domain, channel_id, 7, 250), sender=accounts[5])
    with ape.reverts():
        channels.respond(terms, _signed(domain, channel_id, 5, 999), sender=accounts[5])
    chain.mine(timestamp=chain.pending_timestamp + 3601)
    channels.finalise(terms, sender=accounts[5])
    assert token.balanceOf(accounts[9]) == before + 750


def test_a_relayer_closes_with_both_signatures(contract, accounts, chain_id):
    channels, token, terms, channel_id = _two_way(contract, accounts, chain_id, bytes(4) + b"\x02")
    digest = close_digest(state_domain(chain_id, raw(channels)), channel_id, 400)
    before = token.balanceOf(accounts[9])
    channels.close(terms, 400, key_of(0).sign(digest), key_of(9).sign(digest), sender=accounts[5])
    assert token.balanceOf(accounts[9]) == before + 600


def test_a_report_that_was_promised_is_demanded_and_shown(contract, accounts, chain, chain_id):
    registry, batches, token = map(contract, ("DeviceRegistry", "DataBatches", "CoreToken"))
    submitter, holder = accounts[1], accounts[0]
    key, gateway = Secp256k1Key(bytes(31) + b"\x43"), Secp256k1Key(bytes(31) + b"\x44")
    device, domain = key.identity.device, registry_domain(chain_id, raw(registry))
    activation = key.sign(activation_digest(domain, device, raw(holder)))
    registry.register(device, holder, 1, bytes(32), bytes(32), activation, sender=holder)
    report = Report.of(device, 1, [Observation(1, CELL, START, 200)])
    signed = SignedReport(report, key.sign(report_digest(domain, report)))
    batches.nameReceiptSigner(0, gateway.identity.device, sender=submitter)
    since, tree = batches.bondOf(0)[2], plain_tree([b"another", signed.pack()])
    receipt = Receipt(0, since, chain.pending_timestamp, tree.root, tree.count)
    promise = receipt.sign(batches_domain(chain_id, raw(batches)), gateway)
    made = ReportReceipt.unpack(promise.pack() + tree.tail(1))
    chain.mine(timestamp=receipt.commit_by + 1)
    token.approve(batches, batches.demandFee(), sender=holder)
    shown = Evidence([Shown(1, signed.pack(), made.siblings)])
    given = receipt.words(), promise.signature, shown.words()
    batches.demandReceipt(*given, sender=holder)
    origin = Origin(2, ZERO26, ZERO26, chain_id, raw(registry))
    batch = seal(origin, [signed], {device: key.identity}, {})
    batches.commit(2, batch.commitment, sender=submitter)
    answer = Dossier.of(batch).inclusion(0).words()
    what = 0, receipt_commitment(0, since), receipt_subject(device, 1)
    batches.answer(int(Demand.RECEIPT), *what, answer, sender=submitter)
    assert batches.bondOf(0)[4] == 0
