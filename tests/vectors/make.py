"""Writes the golden vectors. Run by hand when the protocol changes; tests only read the files.

python tests/vectors/make.py
"""

import json
from pathlib import Path
from typing import Any

from corechain.protocol.batch import Batch, Origin, ancestor_of, seal
from corechain.protocol.channel import (
    ChannelConfig,
    ChannelState,
    StateChannel,
    Voucher,
    close_digest,
    payment_domain,
    state_domain,
)
from corechain.protocol.eip712 import (
    activation_digest,
    registry_domain,
    report_digest,
    rotation_digest,
    transfer_digest,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import ZERO26, keccak
from corechain.protocol.keys import DeviceKey, KeyType, P256Key, Secp256k1Key
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import (
    DeviceId,
    Observation,
    Reading,
    Report,
    SignedReport,
    pack_key,
)
from corechain.protocol.receipts import Receipt, ReportReceipt, batches_domain, plain_tree
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.statistics import locate, verify_range

HERE = Path(__file__).parent
CHAIN_ID = 31337
REGISTRY, DATA, PAYMENTS, STATES, TOKEN = (bytes([n]) * 20 for n in (0x11, 0x22, 0x33, 0x44, 0x55))
CELLS = (0x872A1072FFFFFFF, 0x872A10089FFFFFF)
START = 1_359_676_800
DEVICE_KEYS: tuple[DeviceKey, ...] = (
    Secp256k1Key(bytes(31) + b"\x01"),
    Secp256k1Key(bytes(31) + b"\x02"),
    P256Key(bytes(31) + b"\x03"),
)


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


def signed(key: DeviceKey, sequence: int, observations: list[Observation]) -> SignedReport:
    report = Report.of(key.identity.device, sequence, observations)
    domain = registry_domain(CHAIN_ID, REGISTRY)
    return SignedReport(report, key.sign(report_digest(domain, report)))


def reports() -> list[SignedReport]:
    """Twelve hours of three devices: temperatures around zero (both signs), pressure, one fault."""
    made = []
    for index, key in enumerate(DEVICE_KEYS):
        for hour in range(12):
            at = START + 3600 * hour
            temperature = -250 + 70 * hour + 11 * index
            if index == 1 and hour == 6:
                temperature = 9_999  # out of range: must not become a leaf
            items = [
                Observation(1, CELLS[index % 2], at, temperature),
                Observation(4, CELLS[index % 2], at, 101_325 - 13 * hour),
            ]
            made.append(signed(key, hour + 1, items))
    return made


def batch() -> Batch:
    origin = Origin(1, ZERO26, ZERO26, CHAIN_ID, REGISTRY)
    known = {key.identity.device: key.identity for key in DEVICE_KEYS}
    return seal(origin, reports(), known, {})


def report_vectors() -> list[dict[str, Any]]:
    rows = []
    for key in DEVICE_KEYS:
        item = signed(key, 2**63 + 5, [Observation(1, CELLS[0], START, -2_147_483_648)])
        identity, domain = key.identity, registry_domain(CHAIN_ID, REGISTRY)
        assert identity.public_key is not None
        owner = bytes([0xAA]) * 20
        activation = activation_digest(domain, identity.device, owner)
        rows.append(
            {
                "keyType": int(identity.key_type),
                "device": hexed(identity.device),
                "x": hexed(identity.public_key[:32]),
                "y": hexed(identity.public_key[32:]),
                "sequence": str(item.report.sequence),
                "observations": hexed(item.report.packed),
                "digest": hexed(report_digest(domain, item.report)),
                "signature": hexed(item.signature),
                "owner": hexed(owner),
                "activationDigest": hexed(activation),
                "activationSignature": hexed(key.sign(activation)),
            }
        )
    return rows


def header_vector(made: Batch) -> dict[str, Any]:
    header = made.header
    return {
        "batchId": header.batch_id,
        "previous": hexed(header.previous),
        "ancestor": hexed(header.ancestor),
        "statisticsRoot": hexed(header.statistics_root),
        "reportsRoot": hexed(header.reports_root),
        "dataHash": hexed(header.data_hash),
        "rulesHash": hexed(header.rules_hash),
        "readingCount": header.reading_count,
        "reportCount": header.report_count,
        "windowStart": header.window_start,
        "windowEnd": header.window_end,
        "readingsRoot": hexed(made.readings.root),
        "restHash": hexed(header.rest_hash),
        "commitment": hexed(made.commitment),
        "dataFile": hexed(made.data_file),
    }


def reading_vectors(made: Batch) -> list[dict[str, Any]]:
    rows = []
    for position in (0, 1, 17, len(made.leaves) - 1):
        leaf = made.leaves[position]
        reading = Reading.unpack(leaf)
        rows.append(
            {
                "leaf": hexed(leaf),
                "metric": reading.metric,
                "cell": str(reading.cell),
                "device": hexed(reading.device),
                "observedAt": reading.observed_at,
                "value": reading.value,
                "flag": reading.flag,
                "position": position,
                "proof": [hexed(node) for node in made.readings.proof(position)],
            }
        )
    return rows


def multiproof_vectors(made: Batch) -> dict[str, Any]:
    """One leaf, neighbours, an edge, many."""
    count = len(made.leaves)
    chosen = ([5], [6, 7], [0, count - 1], list(range(3, count - 1, 4)))
    proofs = [
        {
            "positions": positions,
            "depth": depth_of(count),
            "leaves": [hexed(made.leaves[at]) for at in positions],
            "nodes": [hexed(node) for node in made.readings.multiproof(positions)],
        }
        for positions in chosen
    ]
    return {"root": hexed(made.readings.root), "proofs": proofs}


def range_vectors(made: Batch) -> list[dict[str, Any]]:
    device = DEVICE_KEYS[0].identity.device
    bounds = {
        "everything": (bytes(35), b"\xff" * 35),
        "one metric": (
            pack_key(1, 0, bytes(20), 0),
            pack_key(1, 2**64 - 1, b"\xff" * 20, 2**40 - 1),
        ),
        "one device": (
            pack_key(1, CELLS[0], device, START),
            pack_key(1, CELLS[0], device, START + 3600 * 5),
        ),
        "nothing": (pack_key(2, 0, bytes(20), 0), pack_key(3, 0, bytes(20), 0)),
    }
    rows = []
    for name, (low, high) in bounds.items():
        start, end = locate(made.leaves, low, high)
        tree = made.statistics()
        proof = tree.range_proof(start, end)
        found = verify_range(tree.root, len(made.leaves), start, end, low, high, proof)
        rows.append(
            {
                "name": name,
                "low": hexed(low),
                "high": hexed(high),
                "from": start,
                "to": end,
                "leaves": hexed(b"".join(proof.leaves)),
                "nodes": hexed(b"".join(node.pack() for node in proof.nodes)),
                "count": found.count,
                "sum": found.sum,
                "min": found.min,
                "max": found.max,
            }
        )
    return rows


def reward_vectors() -> dict[str, Any]:
    amounts = {Owner(bytes([n]) * 20): n * 10**18 + n for n in (7, 1, 200, 31, 90)}
    tree = RewardTree(amounts)
    claims = [tree.claim(owner) for owner in sorted(amounts)]
    return {
        "root": hexed(tree.root),
        "claims": [
            {
                "owner": hexed(claim.owner),
                "cumulative": str(claim.cumulative),
                "position": claim.position,
                "proof": [hexed(node) for node in claim.proof],
            }
            for claim in claims
        ],
    }


def channel_vectors() -> dict[str, Any]:
    payer, receiver = Secp256k1Key(bytes(31) + b"\x0a"), Secp256k1Key(bytes(31) + b"\x0b")
    a, b = payer.identity.device, receiver.identity.device
    domain = payment_domain(CHAIN_ID, PAYMENTS)
    config = ChannelConfig(a, a, b, b, TOKEN, 900, bytes(31) + b"\x01")
    voucher = Voucher(config.channel_id(domain), 10**18)
    terms = StateChannel(a, b, TOKEN, 3600, 2_000_000_000, bytes(4) + b"\x02")
    states = state_domain(CHAIN_ID, STATES)
    state = ChannelState(terms.channel_id(CHAIN_ID, STATES), 3, 5 * 10**17)
    close = close_digest(states, state.channel_id, state.balance_a)
    return {
        "payer": hexed(a),
        "receiver": hexed(b),
        "token": hexed(TOKEN),
        "withdrawDelay": config.withdraw_delay_s,
        "salt": hexed(config.salt),
        "paymentChannelId": hexed(voucher.channel_id),
        "amount": str(voucher.amount),
        "voucherDigest": hexed(voucher.digest(domain)),
        "voucherSignature": hexed(payer.sign(voucher.digest(domain))),
        "challengePeriod": terms.challenge_period_s,
        "openBefore": terms.open_before,
        "stateSalt": hexed(terms.salt),
        "stateChannelId": hexed(state.channel_id),
        "version": state.version,
        "balanceA": str(state.balance_a),
        "stateDigest": hexed(state.digest(states)),
        "stateSignatureA": hexed(payer.sign(state.digest(states))),
        "stateSignatureB": hexed(receiver.sign(state.digest(states))),
        "closeDigest": hexed(close),
        "closeSignatureA": hexed(payer.sign(close)),
        "closeSignatureB": hexed(receiver.sign(close)),
    }


def fleet_vectors() -> dict[str, Any]:
    """Fleets of one leaf, of a full one, of an odd level, and a larger one; two signed consents."""
    owner, domain = bytes([0xAA]) * 20, registry_domain(CHAIN_ID, REGISTRY)
    fleets = []
    for count, key_type in ((1, KeyType.P256), (4, KeyType.SECP256K1), (11, 1), (100, 2)):
        ids = (DeviceId(keccak(b"fleet %d" % n)[:20]) for n in range(count))
        made = Fleet.of(owner, KeyType(key_type), ids)
        places = sorted({0, count // 2, count - 1})
        fleets.append(
            {
                "keyType": int(key_type),
                "ids": hexed(made.packed),
                "root": hexed(made.root),
                "positions": places,
                "devices": [hexed(made.devices[place]) for place in places],
                "proofs": [hexed(made.proof(place)) for place in places],
            }
        )
    device, successor = (key.identity.device for key in DEVICE_KEYS[:2])
    return {
        "owner": hexed(owner),
        "fleets": fleets,
        "device": hexed(device),
        "successor": hexed(successor),
        "transferDigest": hexed(transfer_digest(domain, device, owner, TOKEN, 7, START)),
        "rotationSignature": hexed(
            DEVICE_KEYS[1].sign(rotation_digest(domain, device, successor, owner))
        ),
        "transferTo": hexed(TOKEN),
        "transferNonce": 7,
        "transferDeadline": START,
    }


def receipt_vectors() -> dict[str, Any]:
    """Frames of one report, of an odd number, and of three devices' twelve hours."""
    gateway, domain = Secp256k1Key(bytes(31) + b"\x0c"), batches_domain(CHAIN_ID, DATA)
    every = [item.pack() for item in reports()]
    rows = []
    for lane, frame in ((0, every[:1]), (7, every[10:13]), (65_535, every)):
        tree = plain_tree(frame)
        receipt = Receipt(lane, START - 3600, START + 86_400 + lane, tree.root, tree.count)
        signed_one = receipt.sign(domain, gateway)
        for at in sorted({0, len(frame) // 2, len(frame) - 1}):
            made = ReportReceipt.unpack(signed_one.pack() + tree.tail(at))
            rows.append(
                {
                    "lane": lane,
                    "since": receipt.since,
                    "commitBy": receipt.commit_by,
                    "root": hexed(receipt.root),
                    "count": receipt.count,
                    "digest": hexed(receipt.digest(domain)),
                    "signature": hexed(signed_one.signature),
                    "position": at,
                    "siblings": [hexed(node) for node in made.siblings],
                    "report": hexed(frame[at]),
                    "packed": hexed(made.pack()),
                }
            )
    return {"dataBatches": hexed(DATA), "signer": hexed(gateway.identity.device), "receipts": rows}


def lane_vectors() -> list[dict[str, Any]]:
    """Ids at the ends of the first and last lane, in the middle, and of our keys."""
    tails = (0, 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
    ids = [bytes(12) + tail.to_bytes(8, "big") for tail in tails]
    ids += [bytes([0xFF]) * 12 + bytes(8), *(key.identity.device for key in DEVICE_KEYS)]
    return [
        {"device": hexed(device), "lanes": lanes, "lane": lane_of_device(DeviceId(device), lanes)}
        for device in ids
        for lanes in (1, 2, 3, 16, 1024)
    ]


def vectors() -> dict[str, Any]:
    made = batch()
    return {
        "reports": {"reports": report_vectors()},
        "batch": {
            "header": header_vector(made),
            "readings": reading_vectors(made),
            "multiproofs": multiproof_vectors(made),
            "ranges": range_vectors(made),
            "ancestors": [[n, ancestor_of(n)] for n in (1, 2, 3, 12, 1023, 1024, 8193)],
        },
        "rewards": reward_vectors(),
        "channels": channel_vectors(),
        "fleets": fleet_vectors(),
        "lanes": {"lanes": lane_vectors()},
        "receipts": receipt_vectors(),
    }


def main() -> None:
    domain = {
        "chainId": CHAIN_ID,
        "registry": hexed(REGISTRY),
        "paymentChannels": hexed(PAYMENTS),
        "stateChannels": hexed(STATES),
    }
    for name, value in vectors().items():
        text = json.dumps({"domain": domain, **value}, indent=1)
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
