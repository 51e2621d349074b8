"""Deposits in payments: a facilitator answers, refuses, is silent, or says nonsense.

What it says is input; whether a deposit has arrived is what the mirrored chain says.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from corechain.protocol.errors import ChannelNotSeen, PaymentRequired
from corechain.service.database import create_pool, migrate
from corechain_indexer.api import deposits
from corechain_indexer.api.app import problem, unavailable
from corechain_indexer.api.deposits import Depositor
from corechain_indexer.errors import FacilitatorUnavailable
from corechain_indexer.store import MIGRATIONS

TRANSACTION = "0x" + "ab" * 32
CHANNEL = b"\x07" * 32
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


NONSENSE = (
    says(success="perhaps"),
    says(success="true", transaction=TRANSACTION),
    says(success=1, transaction=TRANSACTION),
    says(success=None),
    says(success=True),
    says(success=True, transaction=None),
    says(success=True, transaction=""),
    says(success=True, transaction="0x12"),
    says(success=True, transaction=7),
    says(success=True, transaction=[TRANSACTION]),
    says(success=True, transaction=TRANSACTION, network="eip155:1"),
    says(success=False, errorReason={"text": "no"}),
    says(transaction=TRANSACTION),
    says(500),
    says(302),
    says(404, success=True, transaction=TRANSACTION),
    lambda request: httpx.Response(200, content=b"<html>"),
    lambda request: httpx.Response(200, content=b""),
    lambda request: httpx.Response(200, content=b"null"),
    lambda request: httpx.Response(200, content=b"[]"),
    lambda request: httpx.Response(200, content=b"\xff\xfe"),
    lambda request: httpx.Response(200, content=b'{"x":' + b"[" * 60_000),
    lambda request: httpx.Response(200, content=b'{"success":true,"x":"' + b"a" * 70_000),
    lambda request: httpx.Response(200, headers={"content-encoding": "gzip"}, content=b"\0"),
)


@pytest.mark.parametrize("answer", [unreachable, *NONSENSE])
async def test_a_facilitator_that_is_not_there_is_an_outage(answer: Any) -> None:
    with pytest.raises(FacilitatorUnavailable) as outage:
        await depositor(answer).deposit(DOCUMENT, {"network": "eip155:31337"})
    assert outage.value.maybe_sent == (answer is not unreachable)


@pytest.mark.parametrize(
    ("status", "said", "waits_s"),
    [
        (429, "30", 30),
        (503, "Mon, 30 Nov 2026 08:01:30 GMT", 90),
        (429, "99999999999999999999", 120),
        (429, "-90", 0),
        (503, "soon", 0),
        (500, "30", 0),
    ],
)
async def test_a_facilitator_that_asks_to_be_left_alone_is(
    status: int, said: str, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, now = [], [100.0]
    fields = {"retry-after": said, "date": "Mon, 30 Nov 2026 08:00:00 GMT"}

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 1:
            return httpx.Response(status, headers=fields)
        return httpx.Response(200, json={"success": True, "transaction": TRANSACTION})

    monkeypatch.setattr(deposits.time, "monotonic", lambda: now[0])
    busy = depositor(answer)
    with pytest.raises(FacilitatorUnavailable) as outage:
        await busy.deposit(DOCUMENT, {})
    assert (outage.value.maybe_sent, outage.value.wait_s) == (True, waits_s)
    told = int(problem(unavailable(outage.value)).headers["retry-after"])
    assert max(1, waits_s) <= told <= max(1, 2 * waits_s)
    if waits_s:
        now[0] += waits_s - 1
        with pytest.raises(FacilitatorUnavailable, match="left alone") as outage:
            await busy.deposit(DOCUMENT, {})
        assert (outage.value.maybe_sent, outage.value.wait_s, len(asked)) == (False, 1, 1)
        now[0] += 1
    assert await busy.deposit(DOCUMENT, {}) == TRANSACTION


async def test_a_refusal_without_a_reason_is_one() -> None:
    with pytest.raises(PaymentRequired, match="without a reason"):
        await depositor(says(success=False, errorReason=None, transaction=None)).deposit(
            DOCUMENT, {}
        )


class Facilitator:
    """Sends a deposit and says what it is told to say; the mirror sees what it sent."""

    def __init__(self, pool: Any, answer: Any, sends: int = 0) -> None:
        self.pool, self.answer, self.sends, self.asked = pool, answer, sends, 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.sends:
            await arrive(self.pool, self.sends)
            self.sends = 0
        answer: httpx.Response = self.answer(request)
        return answer


async def arrive(pool: Any, amount: int) -> None:
    await pool.execute(
        "insert into payment_event (block_number, log_index, kind, channel_id, amount, total)"
        " select coalesce(max(block_number), 0) + 1, 0, 'deposited', $1, $2, $2 from payment_event",
        CHANNEL,
        amount,
    )


@pytest_asyncio.fixture
async def mirrored(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A database as the mirror fills it. Nobody waits long in a test."""
    monkeypatch.setattr(deposits, "UNSURE_LIMIT_S", 0.2)
    await migrate(database, MIGRATIONS)
    async with create_pool(database) as pool:
        yield pool


def ensuring(pool: Any, facilitator: Facilitator) -> Any:
    transport = httpx.MockTransport(facilitator)
    made = Depositor(httpx.AsyncClient(transport=transport), "http://facilitator", pool)
    return lambda document=DOCUMENT: made.ensure(document, {}, CHANNEL, 10)


async def test_a_deposit_that_was_sent_without_a_word_counts(mirrored: Any) -> None:
    """The facilitator sends it and its answer is lost."""
    silent = Facilitator(mirrored, says(502), sends=10)
    assert await ensuring(mirrored, silent)() == ""
    assert silent.asked == 1


async def test_a_payment_that_comes_again_deposits_once(mirrored: Any) -> None:
    late = Facilitator(mirrored, says(502))
    with pytest.raises(FacilitatorUnavailable):
        await ensuring(mirrored, late)()
    await arrive(mirrored, 10)
    assert await ensuring(mirrored, late)() == ""
    assert late.asked == 1, "what has arrived is not asked for again"


async def test_a_deposit_that_is_refused_as_used_has_arrived(mirrored: Any) -> None:
    used = Facilitator(mirrored, says(502))
    with pytest.raises(FacilitatorUnavailable):
        await ensuring(mirrored, used)()
    used.answer, used.sends = says(success=False, errorReason="authorization used"), 10
    assert await ensuring(mirrored, used)() == ""


async def test_a_deposit_of_before_is_not_taken_for_this_one(mirrored: Any) -> None:
    await arrive(mirrored, 10)
    dead = Facilitator(mirrored, says(502))
    for _ in range(2):
        with pytest.raises(FacilitatorUnavailable):
            await ensuring(mirrored, dead)()
    refusing = Facilitator(mirrored, says(success=False, errorReason="insufficient_balance"))
    with pytest.raises(PaymentRequired, match="insufficient_balance"):
        await ensuring(mirrored, refusing)(b'{"payload": "another"}')
