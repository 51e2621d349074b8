"""Receipts: a gateway's promise for a frame, and each report's way to it.

given a frame of reports and a gateway's key
  ├── each report's packed receipt comes back as it was, and verifies for that report alone
  ├── a flipped bit anywhere makes another promise: malformed, another signer, or no proof
  └── the native tree is the plain one
"""

import json
from array import array
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol.errors import (
    HighS,
    InvalidProof,
    InvalidSignature,
    InvalidValue,
    ProtocolError,
    ValueOutOfRange,
    by_name,
)
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.receipts import (
    MalformedReceipt,
    Receipt,
    ReceiptExpired,
    ReceiptNotDue,
    ReceiptUnsecured,
    ReportReceipt,
    SignedReceipt,
    UnknownReceiptSigner,
    batches_domain,
    plain_tree,
    receipt_commitment,
    receipt_subject,
    tree_over,
)

GATEWAY = Secp256k1Key(bytes(31) + b"\x0c")
SIGNER = GATEWAY.identity.device
DOMAIN = batches_domain(31337, b"\x22" * 20)
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "receipts.json").read_text())
frames = st.lists(st.binary(min_size=113, max_size=150), min_size=1, max_size=17)


def columns(reports: list[bytes]) -> tuple[bytes, "array[int]"]:
    return b"".join(reports), array("I", accumulate(map(len, reports), initial=0))


def promised(reports: list[bytes]) -> list[ReportReceipt]:
    tree = tree_over(*columns(reports))
    signed = Receipt(3, 1_000, 2_000, tree.root, tree.count).sign(DOMAIN, GATEWAY)
    return [ReportReceipt.unpack(signed.pack() + tree.tail(at)) for at in range(tree.count)]


def octets(value: str) -> bytes:
    return bytes.fromhex(value[2:])


@pytest.mark.parametrize("row", VECTORS["receipts"])
def test_golden_receipts_have_the_digest_signature_and_bytes_on_record(row):
    domain = batches_domain(VECTORS["domain"]["chainId"], octets(VECTORS["dataBatches"]))
    fields = row["lane"], row["since"], row["commitBy"], octets(row["root"]), row["count"]
    receipt = Receipt(*fields)
    assert receipt.digest(domain) == octets(row["digest"])
    siblings = tuple(Digest26(octets(node)) for node in row["siblings"])
    signed = SignedReceipt(receipt, octets(row["signature"]))
    made = ReportReceipt(signed, row["position"], siblings)
    assert made.pack() == octets(row["packed"])
    assert receipt.sign(domain, GATEWAY) == signed
    made.verify(octets(row["report"]), domain, octets(VECTORS["signer"]))


@settings(max_examples=30)
@given(frames)
def test_a_report_has_a_receipt_that_is_for_no_other_one(reports):
    for at, made in enumerate(promised(reports)):
        assert ReportReceipt.unpack(made.pack()) == made
        made.verify(reports[at], DOMAIN, SIGNER)
        for other in {*reports[:3]} - {reports[at]}:
            with pytest.raises(InvalidProof):
                made.verify(other, DOMAIN, SIGNER)


@settings(max_examples=30)
@given(frames)
def test_the_tree_is_the_plain_one_of_a_batchs_reports(reports):
    tree = tree_over(*columns(reports))
    assert tree == plain_tree(reports)
    assert tree.root == MerkleTree.over(reports).root


@settings(max_examples=30)
@given(frames, st.data())
def test_a_receipt_with_another_bit_promises_nothing_of_the_gateways(reports, data):
    at = data.draw(st.integers(0, len(reports) - 1))
    packed = bytearray(promised(reports)[at].pack())
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError):
        ReportReceipt.unpack(bytes(packed)).verify(reports[at], DOMAIN, SIGNER)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_receipt_are_malformed(noise):
    with pytest.raises(MalformedReceipt):
        ReportReceipt.unpack(noise[:105])
    with pytest.raises(MalformedReceipt):
        SignedReceipt.unpack(noise[:105])


def test_a_receipt_is_as_long_as_its_count_demands():
    packed = promised([b"a" * 113, b"b" * 113, b"c" * 113])[2].pack()
    for wrong in (packed[:-1], packed + b"\0", packed[:-26], packed + bytes(26)):
        with pytest.raises(MalformedReceipt, match="receipt of one of 3 reports"):
            ReportReceipt.unpack(wrong)
    beyond = packed[:106] + (3).to_bytes(4, "big") + packed[110:]
    with pytest.raises(MalformedReceipt, match="position 3"):
        ReportReceipt.unpack(beyond)
    with pytest.raises(MalformedReceipt, match="one report at least"):
        SignedReceipt.unpack(packed[:38] + bytes(4) + packed[42:106])


def test_an_inner_node_is_not_promised():
    made = promised([b"a" * 113, b"b" * 113, b"c" * 113, b"d" * 113])[0]
    shorter = replace(made, siblings=made.siblings[1:])
    with pytest.raises(InvalidProof):
        shorter.verify_inclusion(b"a" * 113)
    with pytest.raises(InvalidProof):
        replace(made, position=4).verify_inclusion(b"a" * 113)


def test_a_receipt_is_for_one_chain_one_contract_one_lane_and_one_bond():
    report = b"a" * 113
    (made,) = promised([report])
    others = batches_domain(1, b"\x22" * 20), batches_domain(31337, b"\x23" * 20)
    for domain in others:
        with pytest.raises(InvalidSignature):
            made.verify(report, domain, SIGNER)
    for change in ({"lane": 4}, {"since": 1_001}, {"commit_by": 2_001}):
        receipt = replace(made.signed.receipt, **change)
        moved = replace(made, signed=replace(made.signed, receipt=receipt))
        with pytest.raises(InvalidSignature):
            moved.verify(report, DOMAIN, SIGNER)


def test_a_second_encoding_of_a_signature_is_refused():
    (made,) = promised([b"a" * 113])
    high = made.signed.signature[:32] + ((1 << 255) - 1).to_bytes(32, "big")
    with pytest.raises(HighS):
        replace(made.signed, signature=high).signer(DOMAIN)
    with pytest.raises(InvalidSignature, match="65 bytes"):
        replace(made.signed, signature=made.signed.signature + b"\x1b").signer(DOMAIN)


def test_fields_that_do_not_fit_are_named():
    for field, value in (("lane", 1 << 16), ("since", 1 << 40), ("commit_by", -1), ("count", 0)):
        fields = {"lane": 0, "since": 1, "commit_by": 2, "root": ZERO26, "count": 1, field: value}
        with pytest.raises(ValueOutOfRange, match=field):
            Receipt(**fields)
    with pytest.raises(InvalidValue, match="root"):
        Receipt(0, 1, 2, bytes(25), 1)


def test_a_demand_names_device_and_sequence_and_the_bond():
    assert receipt_subject(b"\xaa" * 20, 5) == bytes(4) + b"\xaa" * 20 + bytes(7) + b"\5"
    assert receipt_commitment(0x102, 3) == b"\1\2" + bytes(4) + b"\3" + bytes(19)


def test_what_the_chain_says_of_receipts_has_a_class_of_its_name():
    for error in (
        UnknownReceiptSigner(1, 2, b"\xaa" * 20),
        ReceiptNotDue(5),
        ReceiptExpired(5),
        ReceiptUnsecured(1, 2),
    ):
        assert by_name(error.name) is type(error)
        assert 400 <= error.status < 500
