"""Proofs, signatures and cells, honest and falsified, with Python's verdict on each."""

import random
from collections.abc import Callable, Iterator, Sequence

import h3
from support.batches import hexed

from corechain.protocol.archive import Group, Place, Revealed, trail, verify_place, verify_trail
from corechain.protocol.batch import Header, ancestor_of
from corechain.protocol.channel import ChannelConfig, Voucher, check_voucher, payment_domain
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import ZERO26, Digest26, hash26
from corechain.protocol.keys import DeviceKey, KeyType, P256Key, Secp256k1Key, verify
from corechain.protocol.merkle import MerkleTree, depth_of, verify_multiproof
from corechain.protocol.reading import Observation, Reading, Report
from corechain.protocol.regions import spans_of
from corechain.protocol.signature import P256_ORDER, SECP256K1_ORDER
from corechain.protocol.statistics import Node, RangeProof, StatisticsTree, locate, verify_range
from web.verdict_cases import Document, Verdict, shown, verdict_of

CHAIN_ID, REGISTRY, CHANNELS = 31337, b"\x11" * 20, b"\x33" * 20
Case = tuple[Document, Verdict]


def _flipped(data: bytes, rnd: random.Random) -> bytes:
    at = rnd.randrange(len(data)) if data else 0
    return data[:at] + bytes([data[at] ^ 1 << rnd.randrange(8)]) + data[at + 1 :] if data else data


def _disturbed(items: Sequence[bytes], rnd: random.Random) -> list[bytes]:
    """One is left out, repeated, changed, or zero; or all are as they were."""
    found, at = [*items], rnd.randrange(len(items)) if items else 0
    way = rnd.randrange(6)
    if not found or way >= 4:
        return found
    if way == 0:
        del found[at]
    elif way == 1:
        found.insert(at, found[at])
    else:
        found[at] = _flipped(found[at], rnd) if way == 2 else bytes(len(found[at]))
    return found


def _sorted_leaves(count: int, rnd: random.Random) -> list[bytes]:
    device = b"\x21" * 20
    times = sorted(rnd.sample(range(10_000), count))
    return [
        Reading(1, 5, device, at, rnd.choice([-(2**31), -7, 0, 5, 2**31 - 1]), flag=1).pack()
        for at in times
    ]


def range_case(rnd: random.Random) -> Case:
    leaves = _sorted_leaves(rnd.choice([1, 2, 3, 5, 8, 21, 64, 65]), rnd)
    tree, count = StatisticsTree(leaves), len(leaves)
    low, high = sorted(rnd.choice([*leaves, bytes(40), b"\xff" * 40])[:35] for _ in range(2))
    start, end = locate(leaves, low, high)
    proof = tree.range_proof(start, end)
    shown_leaves = _disturbed(proof.leaves, rnd)
    nodes = _disturbed([node.pack() for node in proof.nodes], rnd)
    start += rnd.choice([0, 0, 0, 0, 1, -1])
    end += rnd.choice([0, 0, 0, 0, 1, -1])
    count += rnd.choice([0, 0, 0, 0, 0, 1, -1, count])
    if rnd.randrange(8) == 0:
        low = _flipped(low, rnd)
    given = RangeProof(tuple(shown_leaves), tuple(map(Node.unpack, nodes)))
    case = {
        "kind": "range",
        "root": hexed(tree.root),
        "count": count,
        "from": start,
        "to": end,
        "low": hexed(low),
        "high": hexed(high),
        "leaves": [hexed(leaf) for leaf in shown_leaves],
        "nodes": [hexed(node) for node in nodes],
    }
    return case, verdict_of(
        lambda: shown(verify_range(tree.root, count, start, end, low, high, given))
    )


def multiproof_case(rnd: random.Random) -> Case:
    count = rnd.choice([1, 2, 3, 7, 16, 33, 100])
    tree = MerkleTree.over([b"%d" % n for n in range(count)])
    positions = sorted(rnd.sample(range(count), rnd.randint(1, min(count, 6))))
    leaves = _disturbed([tree.leaves[at] for at in positions], rnd)
    nodes = _disturbed(tree.multiproof(positions), rnd)
    if rnd.randrange(6) == 0:
        positions[rnd.randrange(len(positions))] += rnd.choice([1, -1, count, 2**31])
    depth = depth_of(count) + rnd.choice([0] * 8 + [1, -1])
    digests = [Digest26(leaf) for leaf in leaves]
    case = {
        "kind": "multiproof",
        "root": hexed(tree.root),
        "leaves": [hexed(leaf) for leaf in leaves],
        "positions": positions,
        "depth": depth,
        "nodes": [hexed(node) for node in nodes],
    }
    return case, verdict_of(lambda: verify_multiproof(tree.root, digests, positions, depth, nodes))


def spans_case(rnd: random.Random) -> Case:
    cells = []
    for _ in range(rnd.randint(1, 5)):
        place = rnd.uniform(-90, 90), rnd.uniform(-180, 180)
        near = h3.latlng_to_cell(*rnd.choice([place, (40.7, -74.0)]), rnd.randint(0, 9))
        cells.append(int(near, 16) ^ rnd.choice([0, 0, 0, 0, 0, 0, 1 << rnd.randrange(63)]))
    resolution = rnd.choice([7, 7, 9, rnd.randint(0, 16)])
    case = {"kind": "spans", "cells": [f"{cell:x}" for cell in cells], "resolution": resolution}
    return case, verdict_of(
        lambda: [[str(low), str(high)] for low, high in spans_of(cells, resolution)]
    )


def _odd_signature(signature: bytes, order: int, rnd: random.Random) -> bytes:
    r, s = signature[:32], int.from_bytes(signature[32:], "big")
    high = (order - (s & (1 << 255) - 1)).to_bytes(32, "big")
    beyond = (order + 1).to_bytes(32, "big")
    other = [_flipped(signature, rnd), r + high, bytes(32) + signature[32:], r + bytes(32)]
    return rnd.choice([signature, *other, beyond + signature[32:]])


def report_case(rnd: random.Random) -> Case:
    secret = rnd.randbytes(32)
    curve = rnd.choice((Secp256k1Key, P256Key))
    key: DeviceKey = curve(b"\0" + secret[1:])
    identity, order = key.identity, SECP256K1_ORDER if curve is Secp256k1Key else P256_ORDER
    items = [Observation(1, 5, rnd.randrange(2**40), rnd.randrange(-99, 99)) for _ in range(2)]
    report = Report.of(identity.device, rnd.randrange(2**64), items)
    domain = registry_domain(CHAIN_ID, REGISTRY)
    signature = _odd_signature(key.sign(report_digest(domain, report)), order, rnd)
    packed = report.packed + bytes(rnd.choice([0] * 9 + [1]))
    public = identity.public_key or b""
    public = rnd.choice([public] * 6 + [_flipped(public, rnd)])

    def judge() -> None:
        sent = Report(report.device, report.sequence, packed)
        known = type(identity)(identity.device, identity.key_type, public)
        verify(known, report_digest(domain, sent), signature)

    case = {
        "kind": "report",
        "keyType": "p256" if identity.key_type is KeyType.P256 else "secp256k1",
        "device": hexed(identity.device),
        "publicKey": hexed(public),
        "sequence": str(report.sequence),
        "observations": hexed(packed),
        "signature": hexed(signature),
        "chainId": CHAIN_ID,
        "deviceRegistry": hexed(REGISTRY),
    }
    return case, verdict_of(judge)


def voucher_case(rnd: random.Random) -> Case:
    payer, other = (Secp256k1Key(b"\0" + rnd.randbytes(31)) for _ in range(2))
    nobody, a, b = bytes(20), payer.identity.device, rnd.randbytes(20)
    authorizer = rnd.choice([a, a, nobody, nobody, other.identity.device])
    config = ChannelConfig(a, authorizer, b, b, b"\x55" * 20, 900, rnd.randbytes(32))
    domain = payment_domain(CHAIN_ID, CHANNELS)
    voucher = Voucher(config.channel_id(domain), rnd.randrange(1, 100))
    signature = rnd.choice([payer] * 5 + [other]).sign(voucher.digest(domain))
    if rnd.randrange(3) == 0:
        signature = _odd_signature(signature, SECP256K1_ORDER, rnd)
    if rnd.randrange(8) == 0:
        voucher = Voucher(rnd.randbytes(32), voucher.amount)
    money = {name: rnd.randrange(100) for name in ("deposit", "held", "due")}
    case = {
        "kind": "voucher",
        "config": {
            "payer": hexed(config.payer),
            "payerAuthorizer": hexed(config.payer_authorizer),
            "receiver": hexed(config.receiver),
            "receiverAuthorizer": hexed(config.receiver_authorizer),
            "token": hexed(config.token),
            "withdrawDelay": config.withdraw_delay_s,
            "salt": hexed(config.salt),
        },
        "channelId": hexed(voucher.channel_id),
        "amount": voucher.amount,
        "signature": hexed(signature),
        "chainId": CHAIN_ID,
        "paymentChannels": hexed(CHANNELS),
    }
    return case | money, verdict_of(
        lambda: check_voucher(domain, config, voucher, signature, **money)
    )


def _chained(count: int) -> tuple[list[Revealed], list[bytes]]:
    """Revealed headers 1 to `count` of lane 3, each naming its predecessor and its ancestor."""
    chain: list[Revealed] = []
    words: list[bytes] = [ZERO26]
    for number in range(1, count + 1):
        links = Digest26(words[number - 1]), Digest26(words[ancestor_of(number)])
        rest = ZERO26, ZERO26, b"\1" * 32, b"\2" * 32, 1, 1, 5, 6
        header = Header(3 << 32 | number, *links, *rest)
        chain.append(Revealed(header, hash26(number.to_bytes(4, "big"))))
        words.append(chain[-1].commitment)
    return chain, words


HEADERS, WORDS = _chained(60)


def trail_case(rnd: random.Random) -> Case:
    newest = rnd.randint(2, 60)
    target = rnd.randrange(1, newest)
    links = [HEADERS[(step & 0xFFFF) - 1] for step in trail(3 << 32 | newest, 3 << 32 | target)]
    way = rnd.randrange(6)
    if way == 0:
        del links[rnd.randrange(len(links))]
    elif way == 1:
        links[rnd.randrange(len(links))] = rnd.choice(HEADERS)
    batch = rnd.choice([3, 3, 3, 3, 4]) << 32 | target
    word = WORDS[target + (way == 2)]
    case = {
        "kind": "trail",
        "target": batch,
        "commitment": hexed(word),
        "links": [
            {name: _shown_field(getattr(link.header, name)) for name in Header.__slots__}
            | {"readings_root": hexed(link.readings_root)}
            for link in links
        ],
    }
    return case, verdict_of(lambda: verify_trail(batch, word, links))


def _shown_field(value: bytes | int) -> str | int:
    return hexed(value) if isinstance(value, bytes) else value


def place_case(rnd: random.Random) -> Case:
    first, size = rnd.randint(1, 99), rnd.randint(2, 9)
    group = Group(first, WORDS[1 : size + 1])
    member = rnd.randrange(size)
    batch, word = first + member, group.tree.root
    place, grouped = group.place(batch), rnd.randrange(6) > 0
    path = _disturbed(place.path, rnd)
    if not grouped and rnd.randrange(2):
        word, place, path = Digest26(WORDS[member + 1]), Place.alone(batch), []
    given = Place(place.anchor_id, place.member, tuple(map(Digest26, path)))
    commitment = WORDS[member + 1 + (rnd.randrange(6) == 0)]
    case = {
        "kind": "place",
        "word": hexed(word),
        "grouped": grouped,
        "batchId": batch,
        "commitment": hexed(commitment),
        "anchorId": given.anchor_id,
        "member": given.member,
        "path": [hexed(node) for node in path],
    }
    return case, verdict_of(lambda: verify_place(word, grouped, batch, commitment, given))


CHEAP: tuple[Callable[[random.Random], Case], ...] = (
    range_case,
    range_case,
    multiproof_case,
    spans_case,
    trail_case,
    place_case,
)
SIGNED = (report_case, report_case, voucher_case)


def pure_cases(proofs: int, signatures: int, seed: int) -> Iterator[Case]:
    rnd = random.Random(seed)
    for index in range(proofs):
        yield CHEAP[index % len(CHEAP)](rnd)
    for index in range(signatures):
        yield SIGNED[index % len(SIGNED)](rnd)
