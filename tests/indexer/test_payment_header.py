"""PAYMENT-SIGNATURE as strangers write it: every header is a payment or a named refusal."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.errors import PaymentRequired, ProtocolError
from corechain_indexer.api.x402 import parse_payment

ADDRESS, WORD = "0x" + "11" * 20, "0x" + "22" * 32
CONFIG = {
    "payer": ADDRESS, "payerAuthorizer": ADDRESS, "receiver": ADDRESS,
    "receiverAuthorizer": ADDRESS, "token": ADDRESS, "withdrawDelay": 900, "salt": WORD,
}  # fmt: skip
VOUCHER = {"channelId": WORD, "maxClaimableAmount": "1000", "signature": "0x" + "33" * 64}


def header(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def payment(**changes: Any) -> dict[str, Any]:
    config = CONFIG | {key: value for key, value in changes.items() if key in CONFIG}
    voucher = VOUCHER | {key: value for key, value in changes.items() if key in VOUCHER}
    payload = {"type": "voucher", "channelConfig": config, "voucher": voucher}
    return {"payload": payload, "extensions": changes.get("extensions")}


def identified(info: Any) -> dict[str, Any]:
    return {"payment-identifier": {"info": info, "schema": {"type": "object"}}}


def test_a_payment_is_read_with_its_id() -> None:
    read = parse_payment(header(payment()))
    assert (read.voucher.amount, read.payment_id, read.deposit) == (1000, None, None)
    named = payment(extensions=identified({"required": False, "id": "pay_0123456789abcdef"}))
    assert parse_payment(header(named)).payment_id == "pay_0123456789abcdef"
    declared = payment(extensions=identified({"required": False}) | {"other": [1]})
    assert parse_payment(header(declared)).payment_id is None


@pytest.mark.parametrize(
    "changes",
    [
        {"maxClaimableAmount": amount}
        for amount in ("-1", "+1", " 1", "1_000", "1e3", "0x10", "", "١٢", 5, None, "9" * 40)
    ]
    + [{"withdrawDelay": delay} for delay in (-1, 2**40, 2**70, 900.5, "900", None, True)]
    + [{"salt": "0x" + "22" * 31}, {"salt": "0x" + "2 " * 32}, {"payer": "0x" + "zz" * 20}]
    + [{"signature": "0x" + "3"}, {"signature": "0x 33"}, {"channelId": [WORD]}]
    + [{"extensions": identified({"id": name})} for name in ("short", "x" * 129, "a" * 20 + "\n")]
    + [{"extensions": identified("pay_0123456789abcdef")}, {"extensions": 7}],
)
def test_what_is_not_a_payment_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(PaymentRequired):
        parse_payment(header(payment(**changes)))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda children: st.lists(children) | st.dictionaries(st.sampled_from([*CONFIG, *VOUCHER, "payload", "type", "voucher", "channelConfig", "extensions"]), children)))  # fmt: skip # noqa: E501
def test_no_document_is_an_accident(document: Any) -> None:
    text = header(document)
    with pytest.raises(ProtocolError):
        parse_payment(text)


@given(
    st.sampled_from([*CONFIG, *VOUCHER]),
    st.none() | st.integers() | st.text() | st.floats(allow_nan=False) | st.lists(st.text()),
)
def test_no_field_is_an_accident(name: str, value: Any) -> None:
    try:
        read = parse_payment(header(payment(**{name: value})))
    except ProtocolError:
        return
    assert 0 < read.voucher.amount < 2**128
    assert 0 <= read.config.withdraw_delay_s < 2**40


def test_a_deep_document_is_refused_like_any_other() -> None:
    nested = b'{"extensions":{"payment-identifier":{"info":{"more":' + b"[" * 5_800
    with pytest.raises(PaymentRequired):
        parse_payment(base64.b64encode(nested).decode())
