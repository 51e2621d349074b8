"""A client asks for receipts, believes none unproven, and keeps them in files.

given an answer with receipts
  each delivery has the receipt of its own report, or the reason why there is none
  of other reports, with nodes missing, of results that are none, named twice: typed errors
given a chain that does not stand behind a receipt: its bond, its signer, its time: typed errors
given a receipt in a file: it comes back as it was; what is cut or longer is MalformedReceipt
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http import Script, answers
from support.limits import within
from support.processes import PATIENCE_S

from corechain import AsyncClient, Client, KeptReceipt, MalformedAnswer, WrongAnswer
from corechain.deliveries import Delivery, send_reports
from corechain.protocol.columns import rows_of
from corechain.protocol.errors import CoreChainError, InvalidProof, ProtocolError
from corechain.protocol.hashing import hash26, keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.receipt_spans import span_nodes
from corechain.protocol.receipts import (
    MalformedReceipt,
    Receipt,
    ReceiptUnsecured,
    SignedReceipt,
    UnknownReceiptSigner,
    batches_domain,
)
from corechain.protocol.roots import merkle_levels
from corechain.receipt_check import KEPT_S, ReceiptChecks
from corechain.receipts import ReceiptOutOfRange
from corechain.steps import Ask, Request

KEY = Secp256k1Key(keccak(b"a gateway's receipts"))
BATCHES = bytes([7]) * 20
DOMAIN = batches_domain(31_337, BATCHES)
VECTORS = Path(__file__).parents[1] / "vectors" / "receipts.json"
NOW, WINDOW_S = 1_000_000, 86_400


def report(sequence: int) -> SignedReport:
    made = Report.of(DeviceId(bytes([3]) * 20), sequence, [Observation(1, 5, 1_000, sequence)])
    return SignedReport(made, bytes([sequence]) * 64)


SENT = [report(sequence) for sequence in range(1, 6)]


def signed_over(frame: Sequence[SignedReport], **changes: Any) -> tuple[SignedReceipt, list[bytes]]:
    leaves = b"".join(hash26(one.pack()) for one in frame)
    levels = merkle_levels(rows_of(leaves, 26))
    fields = {"lane": 4, "since": 500, "commit_by": NOW + 3_600} | changes
    receipt = Receipt(root=levels[-1], count=len(frame), **fields)
    return receipt.sign(DOMAIN, KEY), levels


def entry(of: list[list[int]], first: int, count: int, others: int = 7) -> dict[str, Any]:
    """A receipt of a frame in which these results stand side by side from a position on."""
    indexes = [index for span in of for index in range(*span)]
    strangers = [report(100 + number) for number in range(others)]
    frame = [*strangers[:first], *(SENT[index] for index in indexes), *strangers[first:]]
    signed, levels = signed_over(frame)
    nodes = span_nodes(levels, first, first + count)
    packed = signed.pack() + first.to_bytes(4, "big") + nodes
    return {"of": of, "receipt": b64encode(packed).decode()}


def answer_with(*receipts: dict[str, Any]) -> dict[str, Any]:
    device = "0x" + SENT[0].report.device.hex()
    rows = [
        {"device": device, "sequence": one.report.sequence, "status": "accepted"} for one in SENT
    ]
    return {"accepted": 5, "results": rows, "receipts": list(receipts)}


def delivered(answer: Any, checked: list[SignedReceipt] | None = None) -> list[Delivery]:
    """What the flow makes of an answer."""
    flow = send_reports(SENT, receipts=True, check=(checked if checked is not None else []).extend)
    request = next(flow)
    assert isinstance(request, Request)
    assert request.prefer == "receipt"
    try:
        step = flow.send(answer)
        assert isinstance(step, Ask)
        flow.send(step.question())
    except StopIteration as done:
        found: list[Delivery] = done.value
        return found
    raise AssertionError("the flow did not end")


def test_each_delivery_has_the_receipt_of_its_own_report() -> None:
    late = {"of": [[4, 5]], "missing": "RegistrationNotFinal"}
    checked: list[SignedReceipt] = []
    found = delivered(
        answer_with(entry([[0, 2], [3, 4]], 2, 3), entry([[2, 3]], 0, 1), late), checked
    )
    for delivery, sent in zip(found[:4], SENT, strict=False):
        assert delivery.receipt is not None
        assert delivery.receipt.report == sent
        assert delivery.receipt.signer(DOMAIN) == KEY.identity.device
        assert (delivery.receipt.lane, delivery.receipt.since) == (4, 500)
        assert delivery.receipt.commit_by == NOW + 3_600
    assert [one.no_receipt for one in found] == [None] * 4 + ["RegistrationNotFinal"]
    assert found[4].receipt is None
    assert len(checked) == 2, "each receipt is asked about once"


def test_nothing_is_asked_of_the_chain_where_no_receipt_came() -> None:
    found = delivered(answer_with())
    assert [(one.accepted, one.receipt, one.no_receipt) for one in found] == [
        (True, None, None)
    ] * 5


WRONG: dict[str, tuple[dict[str, Any], type[ProtocolError]]] = {
    "other reports": (entry([[0, 2]], 2, 2) | {"of": [[1, 3]]}, InvalidProof),
    "a result more than are in it": (entry([[0, 2]], 2, 2) | {"of": [[0, 3]]}, InvalidProof),
    "results that were not sent": (entry([[0, 2]], 2, 2) | {"of": [[4, 6]]}, MalformedAnswer),
    "no results": (entry([[0, 2]], 2, 2) | {"of": []}, MalformedReceipt),
    "a span that ends before it begins": ({"of": [[2, 1]], "missing": "x"}, MalformedAnswer),
    "spans that overlap": ({"of": [[0, 2], [1, 3]], "missing": "x"}, MalformedAnswer),
    "a span as long as memory": ({"of": [[0, 10**12]], "missing": "x"}, MalformedAnswer),
    "no base64": ({"of": [[0, 1]], "receipt": "*"}, MalformedAnswer),
    "half a receipt": ({"of": [[0, 1]], "receipt": "AAAA"}, MalformedReceipt),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_receipt_that_is_wrong_is_a_typed_error(name: str) -> None:
    receipt, error = WRONG[name]
    with pytest.raises(error):
        delivered(answer_with(receipt))


def test_a_report_in_two_receipts_is_refused() -> None:
    with pytest.raises(WrongAnswer):
        delivered(answer_with(entry([[0, 2]], 2, 2), {"of": [[1, 2]], "missing": "x"}))


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"of": st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 6)), max_size=3)},
            optional={"receipt": st.binary(max_size=150).map(lambda b: b64encode(b).decode())},
        ),
        max_size=3,
    )
)
def test_any_list_of_receipts_is_taken_or_refused_by_type(receipts: list[dict[str, Any]]) -> None:
    try:
        found = delivered(answer_with(*receipts))
    except CoreChainError:
        return
    assert len(found) == 5


# ---------------------------------------------------------------------- the chain's word


@dataclass
class World:
    """A chain as the check asks it, and a clock."""

    bond: tuple[int, ...] = (0, 10**18, 500, 0, 0, 0)
    until: int = 2**40 - 1
    assignee: str = "0x" + "01" * 20
    time: int = NOW
    now: float = 0.0
    asked: int = 0
    deployment: Any = field(default=None)

    chain_id = 31_337

    def __post_init__(self) -> None:
        self.deployment = self

    def address(self, name: str) -> bytes:
        return BATCHES

    @property
    def node(self) -> Any:
        return Node(self)

    def call(self, contract: str, function: str, *arguments: object) -> Any:
        self.asked += 1
        said = {
            "challengeWindow": WINDOW_S,
            "bondOf": self.bond,
            "receiptSignerUntil": self.until,
            "assigneeOf": self.assignee,
        }
        return said[function]

    def checks(self) -> ReceiptChecks:
        chain: Any = self
        return ReceiptChecks(chain, clock=lambda: self.now)


@dataclass
class Node:
    """A node that knows one block."""

    world: World

    def call(self, method: str, *params: object) -> Any:
        return {"timestamp": hex(self.world.time)}


def receipt(**changes: Any) -> list[SignedReceipt]:
    return [signed_over(SENT, **changes)[0]]


def test_a_receipt_of_a_named_signer_is_good_and_asked_about_once() -> None:
    world = World()
    checks = world.checks()
    checks.check(receipt())
    asked = world.asked
    checks.check(receipt(commit_by=NOW + 100))
    assert world.asked == asked
    world.now += KEPT_S + 1
    checks.check(receipt())
    assert world.asked == asked + 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bond": (0, 0, 500, 0, 0, 0)}, ReceiptUnsecured),
        ({"bond": (0, 10**18, 501, 0, 0, 0)}, ReceiptUnsecured),
        ({"assignee": "0x" + "00" * 20}, ReceiptUnsecured),
        ({"bond": (0, 10**18, 500, NOW + 3_600 + WINDOW_S // 2, 0, 0)}, ReceiptUnsecured),
        ({"until": 0}, UnknownReceiptSigner),
        ({"until": NOW + 3_599}, UnknownReceiptSigner),
        ({"time": NOW + 3_601 + WINDOW_S // 2}, ReceiptOutOfRange),
        ({"time": NOW + 3_599 - WINDOW_S // 2}, ReceiptOutOfRange),
    ],
)
def test_a_receipt_that_the_chain_does_not_stand_behind(
    changes: dict[str, Any], error: type[ProtocolError]
) -> None:
    with pytest.raises(error):
        World(**changes).checks().check(receipt())


def test_what_a_dismissed_signer_or_a_lane_promised_before_it_closed_is_good() -> None:
    World(until=NOW + 3_600).checks().check(receipt())
    World(bond=(0, 10**18, 500, NOW + 3_601 + WINDOW_S // 2, 0, 0)).checks().check(receipt())


def test_a_file_says_until_when_a_bond_that_is_withdrawn_answers_for_it() -> None:
    for ends, word in ((NOW + 3_601, "ReceiptUnsecured"), (NOW + 3_602, "promised")):
        world = World(bond=(0, 10**18, 500, ends, 0, 0))
        found = world.checks().standing(kept())
        assert found.word.startswith(word)
        assert found.demandable_until == ends - 1


# ---------------------------------------------------------------------- files


def kept() -> KeptReceipt:
    found = delivered(answer_with(entry([[0, 5]], 3, 5)))[2].receipt
    assert found is not None
    return found


def test_a_receipt_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report.receipt"
    made = kept()
    made.save(path)
    assert KeptReceipt.load(path) == made
    made.save(path)  # over it
    assert [file.name for file in tmp_path.iterdir()] == ["report.receipt"]


def test_the_golden_receipts_are_read_from_a_file_and_proven(tmp_path: Path) -> None:
    golden = json.loads(VECTORS.read_text())
    domain = batches_domain(golden["domain"]["chainId"], octets(golden["dataBatches"]))
    for row in golden["receipts"]:
        path = tmp_path / "golden"
        path.write_bytes(octets(row["packed"]) + octets(row["report"]))
        found = KeptReceipt.load(path)
        assert (found.lane, found.commit_by) == (row["lane"], row["commitBy"])
        assert found.signer(domain) == octets(golden["signer"])


def octets(digits: str) -> bytes:
    return bytes.fromhex(digits[2:])


def test_a_file_that_is_cut_or_longer_is_no_receipt() -> None:
    packed = kept().pack()
    for wrong in (packed[:-1], packed + b"\0", packed[:100], b""):
        with pytest.raises(ProtocolError):
            KeptReceipt.unpack(wrong)


def test_a_receipt_of_another_report_is_not_believed() -> None:
    other = KeptReceipt(kept().proof, SENT[0])
    with pytest.raises(InvalidProof):
        other.signer(DOMAIN)


# ---------------------------------------------------------------------- both clients


def test_both_clients_ask_with_the_header_and_only_when_told(deployment: Path) -> None:
    body = msgspec.json.encode(answer_with({"of": [[0, 5]], "missing": "ReceiptsNotOffered"}))
    heard: list[Message] = []
    with answers(Script(202, body), heard=heard) as url:
        with Client(url, url, url, deployment) as client:
            client.send_reports(SENT)
            found = client.send_reports(SENT, receipts=True)
        assert [one.no_receipt for one in found] == ["ReceiptsNotOffered"] * 5

        async def ask() -> list[Delivery]:
            async with AsyncClient(url, url, url, deployment) as other:
                return await other.send_reports(SENT, receipts=True)

        assert asyncio.run(within(PATIENCE_S, ask())) == found
    assert [fields.get("prefer") for fields in heard] == [None, "receipt", "receipt"]
