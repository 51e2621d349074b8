"""Deposits in payments: a facilitator answers, refuses, is silent, or says nonsense."""

import json
from typing import Any

import httpx
import pytest

from corechain.protocol.errors import ChannelNotSeen, PaymentRequired
from corechain_indexer.api import deposits
from corechain_indexer.api.deposits import Depositor
from corechain_indexer.errors import FacilitatorUnavailable

TRANSACTION = "0x" + "ab" * 32
DOCUMENT = b'{"payload": {"type": "deposit"}}'


class Mirror:
    """A database whose channel grows by each look."""

    def __init__(self, *balances: int | None) -> None:
        self.balances = list(balances)

    async def fetchrow(self, *_: object) -> dict[str, int] | None:
        balance = self.balances.pop(0) if len(self.balances) > 1 else self.balances[0]
        return None if balance is None else {"balance": balance, "withdrawing": 0}


def depositor(answer: Any, *balances: int | None) -> Depositor:
    transport = httpx.MockTransport(answer)
    pool: Any = Mirror(*(balances or (None,)))
    return Depositor(httpx.AsyncClient(transport=transport), "http://facilitator/x402/", pool)


def says(status: int = 200, **fields: Any) -> Any:
    return lambda request: httpx.Response(status, json=fields)


async def test_the_payment_is_handed_on_as_it_came() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"success": True, "transaction": TRANSACTION})

    assert await depositor(answer).deposit(DOCUMENT, {"amount": "1"}) == TRANSACTION
    assert str(asked[0].url) == "http://facilitator/x402/settle"
    assert json.loads(asked[0].content) == {
        "x402Version": 2,
        "paymentPayload": json.loads(DOCUMENT),
        "paymentRequirements": {"amount": "1"},
    }


async def test_a_refusal_is_told_with_its_reason() -> None:
    refusing = depositor(says(success=False, errorReason="insufficient_balance", transaction=""))
    with pytest.raises(PaymentRequired, match="insufficient_balance"):
        await refusing.deposit(DOCUMENT, {})


async def test_a_transaction_under_way_is_waited_for() -> None:
    pending = says(success=False, errorReason="settlement_pending", transaction=TRANSACTION)
    slow = depositor(pending, None, 5, 10)
    assert await slow.deposit(DOCUMENT, {}) == TRANSACTION
    await slow.seen(bytes(32), 10)


async def test_a_deposit_that_never_shows_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deposits, "SEEN_LIMIT_S", 0.2)
    with pytest.raises(ChannelNotSeen):
        await depositor(says(), 9).seen(bytes(32), 10)


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "answer",
    [
        unreachable,
        says(500),
        lambda request: httpx.Response(200, content=b"<html>"),
        says(success="perhaps"),
    ],
)
async def test_a_facilitator_that_is_not_there_is_an_outage(answer: Any) -> None:
    with pytest.raises(FacilitatorUnavailable):
        await depositor(answer).deposit(DOCUMENT, {})
