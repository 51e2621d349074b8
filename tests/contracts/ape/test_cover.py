"""The example dApp through Ape: a policy is sold, a hot day proven, the holder paid.

given a cover on the deployed contracts, sold before its time
  ├── the holder is paid when nobody can challenge the batch any more
  └── the same claim pays once
"""

import ape

from corechain.answers import Bounds, Part
from corechain.protocol.batch import Origin, batch_id, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport, pack_key
from corechain.protocol.statistics import locate, verify_range

CELL, LANE, HOUR_S = 0x872A1072BFFFFFF, 9, 3600
PREMIUM, PAYOUT = 10**16, 10**18


def raw(contract_or_account):
    return bytes.fromhex(str(contract_or_account.address)[2:])


def sealed(number, key, times, domain, previous):
    report = Report.of(key.identity.device, number, [Observation(1, CELL, t, 3800) for t in times])
    signed = SignedReport(report, key.sign(report_digest(domain, report)))
    origin = Origin(batch_id(LANE, number), previous, ZERO26, 31337, domain.contract)
    return seal(origin, [signed], {key.identity.device: key.identity}, {})


def step(batch, device, start, end):
    low, high = pack_key(1, CELL, device, start), pack_key(1, CELL, device, end)
    first, behind = locate(batch.leaves, low, high)
    proof = batch.statistics().range_proof(first, behind)
    count, root = len(batch.leaves), batch.header.statistics_root
    found = verify_range(root, count, first, behind, low, high, proof)
    bounds = Bounds(low, high)
    return Part(batch.header, batch.readings.root, bounds, first, behind, proof, found).as_abi()


def anchor(batch):
    number = batch.header.batch_id
    return number, batch.commitment, (number, 0, [])


def bonded(contract, accounts):
    batches, token = contract("DataBatches"), contract("CoreToken")
    batches.assignLane(LANE, accounts[1], sender=accounts[0])
    token.approve(batches, batches.bondAmount(), sender=accounts[0])
    batches.bondLane(LANE, sender=accounts[0])
    return batches


def test_a_proven_hot_time_pays_the_holder_once(contract, project, accounts, chain, chain_id):
    batches, key = bonded(contract, accounts), Secp256k1Key(bytes(31) + b"\x45")
    underwriter, holder, device = accounts[5], accounts[6], key.identity.device
    cover = project.HeatCover.deploy(batches, sender=underwriter)
    start = chain.pending_timestamp + 60
    end, closes = start + 9, start + 100
    until = closes + batches.challengeWindow() + batches.answerWindow() + HOUR_S
    place = LANE, "0x" + device.hex(), CELL
    terms = (*place, start, end, closes, until, 3500, 3, PREMIUM, PAYOUT)
    cover.offer(terms, value=PAYOUT, sender=underwriter)
    first = LANE << 32, bytes(26), (0, 0, [])
    cover.buy(0, first, value=PREMIUM, sender=holder)
    domain, made = registry_domain(chain_id, raw(contract("DeviceRegistry"))), []
    for number, times in ((1, range(start, end)), (2, [closes + 1])):
        chain.mine(timestamp=max(times) + 5)
        previous = made[-1].commitment if made else ZERO26
        made.append(sealed(number, key, times, domain, previous))
        batches.commit(made[-1].header.batch_id, made[-1].commitment, sender=accounts[1])
    claim = 0, [step(made[0], device, start, end)], anchor(made[1])
    with ape.reverts():
        cover.claim(*claim, sender=accounts[7])
    chain.mine(timestamp=until - 60)
    cover.claim(*claim, sender=accounts[7])
    assert (cover.owed(holder), cover.owed(underwriter)) == (PAYOUT, PREMIUM)
    before = holder.balance
    spent = cover.withdraw(sender=holder).total_fees_paid
    assert holder.balance == before + PAYOUT - spent
    with ape.reverts():
        cover.claim(*claim, sender=accounts[7])
