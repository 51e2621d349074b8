"""The payer's book: what a client signs, and what it believes of what a payee says.

Given a channel and a server that may be wrong, or lie
  ├── nothing is signed for another receiver, token, contract, chain, or above the agreed price
  ├── an answer counts by its receipt, at most what its voucher promised
  └── a corrected count is followed where it can be true, and never beyond what was signed
"""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.listing import API
from corechain.paying import pay
from corechain.payments import (
    PAYMENT_REQUIRED,
    PAYMENT_RESPONSE,
    PaymentChannel,
    Price,
    channel_to,
    decode_header,
    encode_header,
    parse_prices,
)
from corechain.protocol.channel import Voucher
from corechain.protocol.errors import (
    ChargedUnanswered,
    PaymentRequired,
    PriceTooHigh,
    ProtocolError,
    WrongPayee,
)
from corechain.protocol.keys import Secp256k1Key, recover_signer
from corechain.protocol.signature import compact_signature, wallet_signature
from corechain.steps import ApiUnavailable, Pause, Request, Send

CHAIN, PRICE, QUERY = 31337, 1_000, b"query"
RECEIVER, TOKEN, CONTRACT = b"\x0a" * 20, b"\x0b" * 20, b"\x0c" * 20
KEY = Secp256k1Key(bytes(31) + b"\x05")


def channel(**known: Any) -> PaymentChannel:
    made = channel_to(
        RECEIVER, KEY, token=TOKEN, chain_id=CHAIN, payment_channels=CONTRACT,
        withdraw_delay_s=900, salt=bytes(32),
    )  # fmt: skip
    made.deposit, made.max_price = 50 * PRICE, PRICE
    for name, value in known.items():
        setattr(made, name, value)
    return made


def offer(**changes: Any) -> dict[str, Any]:
    extra = {"paymentChannels": "0x" + CONTRACT.hex(), "receiverAuthorizer": "0x" + RECEIVER.hex()}
    return {
        "scheme": "batch-settlement",
        "network": f"eip155:{CHAIN}",
        "asset": "0x" + TOKEN.hex(),
        "amount": str(PRICE),
        "payTo": "0x" + RECEIVER.hex(),
        "extra": extra | changes.pop("extra", {}),
    } | changes


def refusal(*offers: Any, ids: bool = True) -> dict[str, str]:
    extensions = {"payment-identifier": {"info": {"required": False}}} if ids else {}
    document = {"accepts": list(offers), "extensions": extensions}
    return {PAYMENT_REQUIRED.lower(): encode_header(document)}


def book(charged: Any, signed: Any = None, signature: bytes | None = None) -> dict[str, Any]:
    """A refusal's offer that says where the payee is."""
    extra: dict[str, Any] = {"channelState": {"chargedCumulativeAmount": charged}}
    if signature is not None:
        shown = {"signedMaxClaimable": signed, "signature": "0x" + signature.hex()}
        extra["voucherState"] = shown
    return offer(extra=extra)


def signed_by(key: Secp256k1Key, of: PaymentChannel, amount: int) -> bytes:
    return wallet_signature(key.sign(Voucher(of.channel_id, amount).digest(of.domain)))


def price(of: dict[str, Any]) -> Price:
    (found,) = parse_prices(refusal(of), CHAIN)
    return found


def receipt(charged: Any) -> dict[str, str]:
    state = {"channelState": {"chargedCumulativeAmount": charged}}
    return {PAYMENT_RESPONSE.lower(): encode_header({"success": True, "extra": state})}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"payTo": "0x" + "55" * 20}, WrongPayee),
        ({"asset": "0x" + "55" * 20}, WrongPayee),
        ({"extra": {"paymentChannels": "0x" + "55" * 20}}, WrongPayee),
        ({"network": "eip155:1"}, PaymentRequired),
        ({"scheme": "exact"}, PaymentRequired),
        ({"amount": str(PRICE + 1)}, PriceTooHigh),
        ({"amount": str(2**127)}, PaymentRequired),
    ],
)
def test_nothing_is_signed_for_another_offer(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        channel().price_of(refusal(offer(**changes)), None)


@pytest.mark.parametrize("amount", ["0", "-5", "+5", "1_0", "٣", "", 5, None, ["5"], "9" * 60])
def test_a_price_that_is_no_amount_is_no_offer(amount: Any) -> None:
    with pytest.raises(PaymentRequired, match="takes no"):
        channel().price_of(refusal(offer(amount=amount)), None)


def test_of_several_offers_the_one_that_the_channel_can_pay_is_taken() -> None:
    other = offer(asset="0x" + "55" * 20, amount="1")
    found = channel().price_of(refusal(None, "offer", other, offer()), None)
    assert (found.token, found.amount, found.takes_ids) == (TOKEN, PRICE, True)


def test_a_channel_without_an_agreed_price_pays_nothing() -> None:
    with pytest.raises(PriceTooHigh) as refused:
        channel(max_price=None).price_of(refusal(offer()), None)
    assert (refused.value.asked, refused.value.cap) == (PRICE, None)
    assert channel(max_price=None).price_of(refusal(offer()), PRICE).amount == PRICE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
FIELDS = ["scheme", "network", "asset", "amount", "payTo", "extra"]


@settings(max_examples=60)
@given(st.sampled_from(FIELDS), JSON)
def test_no_offer_is_an_accident(name: str, value: Any) -> None:
    try:
        found = channel().price_of(refusal(offer(**{name: value} if name != "extra" else {})), None)
    except ProtocolError:
        return
    assert found.amount <= PRICE


@settings(max_examples=50)
@given(JSON)
def test_no_document_is_an_accident(document: Any) -> None:
    text = base64.b64encode(json.dumps(document).encode()).decode()
    with pytest.raises(PaymentRequired):
        channel().price_of({PAYMENT_REQUIRED.lower(): text}, None)
    mine = channel()
    payment = mine.sign(price(offer()), QUERY)
    mine.answered(payment, {PAYMENT_RESPONSE.lower(): text})
    assert mine.spent == 0


@settings(max_examples=60)
@given(JSON | st.integers(0, 2**130).map(str))
def test_a_receipt_never_counts_more_than_its_voucher_promised(charged: Any) -> None:
    mine = channel(spent=5 * PRICE)
    payment = mine.sign(price(offer()), QUERY)
    mine.answered(payment, receipt(charged))
    assert mine.spent <= payment.amount == 6 * PRICE


@settings(max_examples=50)
@given(JSON | st.integers(0, 2**130).map(str), JSON | st.integers(0, 2**130).map(str), JSON)
def test_no_corrected_count_leads_beyond_what_was_signed(
    charged: Any, signed: Any, signature: Any
) -> None:
    mine = channel()
    mine.answered(mine.sign(price(offer()), QUERY), receipt(str(PRICE)))
    said = book(charged)
    said["extra"]["voucherState"] = {"signedMaxClaimable": signed, "signature": signature}
    with suppress(ChargedUnanswered):
        mine.follow(price(said))
    assert mine.spent <= PRICE


def test_a_voucher_of_a_stranger_proves_nothing() -> None:
    mine, stranger = channel(), Secp256k1Key(bytes(31) + b"\x06")
    for signature in (signed_by(stranger, mine, 9 * PRICE), bytes(65), b"\xff" * 65, bytes(64)):
        with pytest.raises(ChargedUnanswered):
            mine.follow(price(book(str(9 * PRICE), str(9 * PRICE), signature)))
    # One of ours, but for less than is said to be charged.
    less = signed_by(KEY, mine, 8 * PRICE)
    with pytest.raises(ChargedUnanswered):
        mine.follow(price(book(str(9 * PRICE), str(8 * PRICE), less)))
    assert mine.spent == 0


def test_a_voucher_of_an_earlier_life_is_followed() -> None:
    old, fresh = channel(spent=8 * PRICE), channel()
    payment = old.sign(price(offer()), QUERY)
    shown = bytes.fromhex(_voucher(payment.header)["signature"][2:])
    assert fresh.follow(price(book(str(9 * PRICE), str(9 * PRICE), shown)))
    assert (fresh.spent, fresh.lost) == (9 * PRICE, 0)
    assert fresh.follow(price(book(str(3 * PRICE)))), "less than was counted is believed at once"
    assert fresh.spent == 3 * PRICE


def test_what_the_chain_has_drawn_is_believed_without_a_voucher() -> None:
    mine = channel()
    with pytest.raises(ChargedUnanswered):
        mine.follow(price(book(str(4 * PRICE))), claimed=3 * PRICE)
    assert mine.follow(price(book(str(4 * PRICE))), claimed=4 * PRICE)


def _voucher(header: str) -> dict[str, str]:
    found: dict[str, str] = decode_header(header)["payload"]["voucher"]
    return found


def test_two_objects_of_one_key_sign_differently_and_both_are_good() -> None:
    ours, twins = (
        compact_signature(
            bytes.fromhex(_voucher(one.sign(price(offer()), QUERY).header)["signature"][2:])
        )
        for one in (channel(), channel())
    )
    digest = Voucher(channel().channel_id, PRICE).digest(channel().domain)
    assert ours != twins
    assert recover_signer(digest, ours) == recover_signer(digest, twins) == KEY.identity.device


class Reply:
    def __init__(self, status_code: int, headers: dict[str, str] | None = None) -> None:
        self.status_code, self.headers = status_code, headers or {}


class Server:
    """Answers the steps of one query by a script, and keeps what was sent to it."""

    def __init__(self, *script: Any) -> None:
        self.script, self.sent, self.pauses = list(script), list[str](), 0

    def carry_out(self, mine: PaymentChannel, path: str = "/v1/latest") -> Reply:
        flow = pay(mine, Request(API, "GET", path), Reply(402, refusal(offer())), None, lambda: 0)
        step = next(flow)
        while True:
            try:
                if isinstance(step, Send):
                    self.sent.append(step.header)
                    said = self.script.pop(0)
                    lost = isinstance(said, Exception)
                    step = flow.throw(said) if lost else flow.send(said)
                elif isinstance(step, Pause):
                    self.pauses += 1
                    step = flow.send(None)
                else:
                    step = flow.send(step.question())
            except StopIteration as done:
                reply: Reply = done.value
                return reply

    @property
    def amounts(self) -> list[int]:
        return [int(_voucher(header)["maxClaimableAmount"]) for header in self.sent]

    @property
    def ids(self) -> list[str]:
        return [
            decode_header(header)["extensions"]["payment-identifier"]["info"]["id"]
            for header in self.sent
        ]


LOST = ApiUnavailable("the connection broke")


def test_a_lost_answer_is_asked_for_by_the_same_payment() -> None:
    mine, server = channel(), Server(LOST, Reply(502), Reply(200, receipt(str(PRICE))))
    assert server.carry_out(mine).status_code == 200
    assert (server.amounts, len(set(server.ids))) == ([PRICE] * 3, 1)
    assert (mine.spent, mine.lost) == (PRICE, 0)


def test_the_payment_of_a_query_that_stayed_unanswered_is_kept_for_it() -> None:
    mine, broken = channel(), Server(LOST, LOST, LOST)
    with pytest.raises(ApiUnavailable):
        broken.carry_out(mine, "/v1/latest")
    other, same = Server(Reply(404)), Server(Reply(200, receipt(str(PRICE))))
    other.carry_out(mine, "/v1/readings")
    same.carry_out(mine, "/v1/latest")
    assert other.ids[0] not in broken.ids
    assert same.ids[0] in broken.ids
    assert mine.spent == PRICE


def test_a_refusal_costs_nothing_and_its_voucher_is_signed_again() -> None:
    mine, server = channel(), Server(Reply(404), Reply(422), Reply(200, receipt(str(PRICE))))
    for _ in range(3):
        server.carry_out(mine)
    assert (server.amounts, mine.spent) == ([PRICE] * 3, PRICE)


def test_a_server_that_claims_what_it_refused_gets_no_further_voucher() -> None:
    mine = channel()
    for _ in range(5):
        own = wallet_signature(mine._signature(PRICE))
        server = Server(Reply(402, refusal(book(str(PRICE), str(PRICE), own))))
        with pytest.raises(ChargedUnanswered):
            server.carry_out(mine)
        assert server.amounts == [PRICE]
    assert mine.spent == 0


def test_a_server_that_breaks_every_answer_gets_one_price_a_query() -> None:
    mine = channel()
    for count in range(1, 6):
        with pytest.raises(ApiUnavailable):
            Server(LOST, LOST, LOST).carry_out(mine, f"/v1/batches/{count}")
        own = wallet_signature(mine._signature(count * PRICE))
        says = refusal(book(str(count * PRICE), str(count * PRICE), own))
        with pytest.raises(ApiUnavailable):
            Server(Reply(402, says), LOST, LOST, LOST).carry_out(mine, f"/v1/devices/{count}")
        assert (mine.spent, mine.lost) == (count * PRICE, count * PRICE)


def test_a_raised_price_is_paid_up_to_the_cap() -> None:
    raised = refusal(offer(amount=str(3 * PRICE)))
    mine, server = channel(max_price=3 * PRICE), Server(Reply(402, raised), Reply(200))
    server.carry_out(mine)
    assert server.amounts == [PRICE, 3 * PRICE]
    with pytest.raises(PriceTooHigh):
        Server(Reply(402, raised)).carry_out(channel())


def test_a_refusal_that_names_no_price_is_handed_on() -> None:
    assert Server(Reply(402)).carry_out(channel()).status_code == 402
    unmoved = Server(Reply(402, refusal(offer())))
    assert unmoved.carry_out(channel()).status_code == 402


def test_an_answer_without_a_receipt_is_in_doubt() -> None:
    mine = channel()
    Server(Reply(200)).carry_out(mine)
    assert mine.spent == 0
    own = wallet_signature(mine._signature(PRICE))
    moved = refusal(book(str(PRICE), str(PRICE), own))
    server = Server(Reply(402, moved), Reply(200, receipt(str(2 * PRICE))))
    server.carry_out(mine)
    assert (server.amounts, mine.spent) == ([PRICE, 2 * PRICE], 2 * PRICE)
