"""A deposit that was sent, and whose receipt has not come.

Given a client that does not know what became of a deposit
  ├── the same call sends the same bytes again, and waits for those
  ├── mined, it is counted once; failed, or with its nonce spent for good, it is made anew
  ├── so it is after Ctrl-C, and for who comes after a task that was cancelled
  ├── calls that run side by side open a channel each, one deposit after the other
  └── an allowance in doubt is no deposit: it is allowed again
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from sdk.test_sdk_payments import PRICE, Reply, offer, price, refusal
from support.provider import Habits, provider

from corechain import Client, held_channels
from corechain import deposits as deposits_module
from corechain.account import account_from_key
from corechain.chain import ChainUnavailable, TransactionPending
from corechain.deposits import DepositPending, Deposits, DepositUnderWay
from corechain.devnet.settings import ADMIN_KEY
from corechain.node import NodeRefusal
from corechain.opening import Opening
from corechain.payments import channel_to
from corechain.protocol.errors import InvalidValue
from corechain.protocol.keys import Secp256k1Key
from corechain.sent import Sent, is_void
from corechain.steps import ApiUnavailable, Ask, Quote, Request

ADMIN, AMOUNT = account_from_key(ADMIN_KEY), 5 * PRICE
TARGET = bytes(19) + b"\2"
SILENT = Habits(null_receipts=10**6)


@pytest.fixture
def hosted(anvil, deployment, chain_state, monkeypatch):
    """A client behind a provider that may keep receipts to itself; the API has mirrored nothing."""

    def nothing_listed(opening):
        return []
        yield

    monkeypatch.setattr(Opening, "mine", nothing_listed)
    away = "http://127.0.0.1:9"
    with (
        provider(anvil, Habits()) as running,
        closing(Client(away, away, running.url, deployment, ADMIN)) as client,
    ):
        monkeypatch.setattr(client.chain._sender, "receipt_timeout_s", 0.3)
        yield running, client


def carried_out(client: Client, flow: Any, until: int | None = None) -> Any:
    """The result of a flow, before an API that names its price and knows of no channel."""
    extra = {"paymentChannels": "0x" + client.contracts.address("PaymentChannels").hex()}
    asked = offer(asset="0x" + client.contracts.address("CoreToken").hex(), extra=extra)

    def carry_out(step: Any) -> Any:
        if isinstance(step, Request):
            raise ApiUnavailable("nothing is mirrored yet")
        if isinstance(step, Quote):
            return Reply(402, refusal(asked))
        if not isinstance(step, Ask):
            return None
        said = step.question()
        asked_so_far.append(step)
        if len(asked_so_far) == until:
            raise InterruptedError
        return said

    asked_so_far = list[Ask]()
    return client._drive(flow, carry_out)


def opened(client: Client, call: str = "open") -> Any:
    return carried_out(client, getattr(client._opening(None), call)(None, AMOUNT, 900))


def leave_in_doubt(hosted: Any, monkeypatch: Any, *, number: int, is_lost: bool) -> list[bytes]:
    """The transaction of this number from now on is sent, or lost, and no receipt comes. All that
    were sent from then on."""
    running, client = hosted
    real, sent = client.chain._sender._broadcast, list[bytes]()

    def broadcast(one: Sent) -> None:
        sent.append(one.raw)
        in_doubt = len(sent) == number
        if not (in_doubt and is_lost):
            real(one)
        if in_doubt:
            running.habits = SILENT

    monkeypatch.setattr(client.chain._sender, "_broadcast", broadcast)
    return sent


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("call", ["open", "ready"])
def test_a_channel_whose_deposit_is_in_doubt_is_opened_once(hosted, monkeypatch, call, is_lost):
    running, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    sent = leave_in_doubt(hosted, monkeypatch, number=2, is_lost=is_lost)
    for _ in range(2):
        with pytest.raises(DepositPending, match=r"channel list") as caught:
            opened(client, call)
    running.habits = Habits()
    mine = opened(client, call)
    assert (mine.channel_id, mine.deposit) == (caught.value.channel_id, AMOUNT)
    assert client.chain.channel_balance(mine.channel_id) == (AMOUNT, 0)
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT
    assert len(set(sent)) == 2  # an allowance, and the same deposit each time
    assert client._deposits._left == []


@pytest.mark.parametrize("how", ["resumed", "withdrawn"])
def test_a_channel_that_was_left_and_used_by_another_way_is_not_new(hosted, monkeypatch, how):
    running, client = hosted
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=False)
    with pytest.raises(DepositPending) as caught:
        opened(client)
    running.habits = Habits()
    (left,) = client._deposits._left
    if how == "resumed":
        client._deposits.used(left.config, AMOUNT)
        assert client._deposits._left == []
    else:
        client.chain.initiate_withdraw(ADMIN, left.config, AMOUNT)
    other = opened(client)
    assert other.channel_id != caught.value.channel_id
    assert client.chain.channel_balance(other.channel_id) == (AMOUNT, 0)


@pytest.mark.parametrize("call", ["open", "ready"])
def test_a_channel_that_was_opened_for_a_cancelled_task_is_opened_once(hosted, call):
    _, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    gone = partial(getattr(client._opening(None), call), None, AMOUNT, 900)
    with pytest.raises(InterruptedError):
        carried_out(client, gone(), until=1)  # its thread goes on to the end, and nobody listens
    (left,) = client._deposits._left
    assert opened(client, call).config == left.config
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT


def test_a_node_that_lags_behind_a_deposit_has_none_made_anew(hosted, monkeypatch):
    running, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=False)
    with pytest.raises(DepositPending) as caught:
        opened(client)
    running.habits = Habits()
    head = client.chain.node.head()
    monkeypatch.setattr(held_channels, "LAG_TRIES", 2)
    with monkeypatch.context() as lagging:
        lagging.setattr(client.chain.node, "head", lambda: head - 1)
        with pytest.raises(ChainUnavailable, match="ask again"):
            opened(client)
    assert opened(client).channel_id == caught.value.channel_id
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT


def test_a_client_that_leaves_a_channel_ends_that_when_it_is_mature(hosted):
    _, client = hosted
    client.channel = opened(client)
    started = client.close_channel()
    assert client.channel is None
    assert client.close_channel() == started  # not mature yet
    client.chain.node.call("evm_increaseTime", 901)
    client.chain.node.call("evm_mine")
    assert client.close_channel().left == 0
    with pytest.raises(InvalidValue, match="pay_with"):
        client.close_channel()


def test_what_is_interrupted_while_it_waits_is_gone_on_with(hosted, monkeypatch):
    """By Ctrl-C, which ends the call wherever it is."""
    _, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    receipt, calls = client.chain._sender._receipt, iter(range(9))

    def interrupted(*asked: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return receipt(*asked)

    monkeypatch.setattr(client.chain._sender, "_receipt", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:
        opened(client)
    assert kept.tb is not None, "its frames are kept, as by an interactive session"
    mine = opened(client)
    assert client.chain.channel_balance(mine.channel_id) == (AMOUNT, 0)
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT


def test_calls_side_by_side_open_a_channel_each(hosted):
    _, client = hosted
    with ThreadPoolExecutor(2) as threads:
        found = [call.result() for call in [threads.submit(opened, client) for _ in range(2)]]
    assert len({one.channel_id for one in found}) == 2
    for one in found:
        assert client.chain.channel_balance(one.channel_id) == (AMOUNT, 0)


def test_no_thread_waits_long_for_the_deposit_of_another(monkeypatch):
    """An asyncio program has a few threads for all that blocks."""
    monkeypatch.setattr(deposits_module, "TURN_S", 0.05)
    deposits = Deposits()
    with deposits.turn(), pytest.raises(DepositUnderWay), deposits.turn():
        raise AssertionError
    with deposits.turn():  # it is free again
        pass


def test_a_channel_whose_refill_is_in_doubt_is_filled_once(hosted, monkeypatch):
    running, client = hosted
    mine = channel_to(
        bytes(19) + b"\x98", Secp256k1Key(bytes(ADMIN.key)),
        token=client.contracts.address("CoreToken"), chain_id=client.contracts.chain_id,
        payment_channels=client.contracts.address("PaymentChannels"),
        withdraw_delay_s=900, salt=bytes(32),
    )  # fmt: skip
    client._refills(mine, 3 * PRICE, 9 * PRICE)
    refill = partial(client._refilling[1], mine, price(offer()))
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=False)
    for _ in range(2):
        with pytest.raises(DepositPending):
            refill()
    running.habits = Habits()
    refill()
    assert mine.deposit == 3 * PRICE
    assert client.chain.channel_balance(mine.channel_id) == (3 * PRICE, 0)


def test_an_allowance_in_doubt_is_no_deposit(hosted, monkeypatch):
    running, client = hosted
    leave_in_doubt(hosted, monkeypatch, number=1, is_lost=False)
    held = client.chain.balance_of(ADMIN.address)
    with pytest.raises(TransactionPending) as caught:
        opened(client)
    assert not isinstance(caught.value, DepositPending)
    running.habits = Habits()
    assert opened(client).deposit == AMOUNT
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT


@pytest.mark.parametrize("final", [False, True])
def test_a_deposit_is_made_anew_only_when_its_nonce_is_spent_for_good(hosted, monkeypatch, final):
    running, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=True)
    with pytest.raises(DepositPending) as caught:
        opened(client)
    running.habits = Habits()
    client.chain.send(ADMIN, "CoreToken", "approve", bytes(19) + b"\1", 1)  # under the same nonce
    if final:
        client.chain.node.call("anvil_mine", hex(100))
        mine = opened(client)
        assert mine.channel_id == caught.value.channel_id
        assert client.chain.balance_of(ADMIN.address) == held - AMOUNT
    else:
        with pytest.raises(DepositPending, match="last word"):
            opened(client)
        assert client.chain.balance_of(ADMIN.address) == held


def test_a_deposit_that_failed_is_made_anew(hosted, monkeypatch):
    running, client = hosted
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=False)
    with pytest.raises(DepositPending):
        opened(client)
    running.habits = Habits()
    again = client.chain._sender.again
    failed = lambda sent: again(sent) | {"status": 0}  # noqa: E731
    monkeypatch.setattr(client.chain._sender, "again", failed)
    mine = opened(client)
    assert client.chain.channel_balance(mine.channel_id) == (2 * AMOUNT, 0)


def unavailable() -> None:
    raise ChainUnavailable("away")


@pytest.mark.parametrize("method", ["eth_getTransactionCount", "eth_sendRawTransaction"])
def test_an_outage_of_now_says_nothing_of_what_was_sent_before(hosted, monkeypatch, method):
    running, client = hosted
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=True)
    with pytest.raises(DepositPending) as caught:
        opened(client)
    call, call_many = client.chain.node.call, client.chain.node.call_many

    def away(asked: str, *params: Any) -> Any:
        return call(asked, *params) if asked != method else unavailable()

    def all_away(calls: Any) -> Any:
        return call_many(calls) if method not in dict(calls) else unavailable()

    with monkeypatch.context() as outage:
        outage.setattr(client.chain._sender.node, "call", away)
        outage.setattr(client.chain._sender.node, "call_many", all_away)
        with pytest.raises(ChainUnavailable, match="away"):
            opened(client)
    running.habits = Habits()
    assert opened(client).channel_id == caught.value.channel_id


def test_what_replaced_a_transaction_or_was_replaced_by_it_is_looked_for_too(hosted):
    _, client = hosted
    sender, hurried = client.chain._sender, client.chain.in_a_hurry(10**12, 0.1)
    sent = list[Sent]()
    receipt = hurried._sender.send(ADMIN, TARGET, b"", sent.append)
    newer = replace(sent[0], hash=bytes(32), replaces=(sent[0].hash,))
    assert sender.again(newer) == receipt
    other = replace(newer, replaces=())
    client.chain.node.call("anvil_mine", hex(100))
    assert sender.again(other) is None


REFUSED = NodeRefusal("eth_getTransactionReceipt", -32000, "transaction indexing is in progress")
NO_TAG = NodeRefusal("eth_getTransactionCount", -32602, "invalid block tag")


@pytest.mark.parametrize(
    ("answers", "void"),
    [
        ([["0x8", None, None]], True),
        ([["0x7", None, None]], False),
        ([["0x8", None, {"status": "0x1"}]], False),
        ([["0x8", REFUSED, None]], False),
        ([["0x8", None, "odd"]], False),
        ([[REFUSED, None, None], ["0x7", None, None]], False),
        ([[REFUSED, None, None], ["0x8", None, None]], True),
        ([[NO_TAG, None, None], ["0x8", None, None]], True),
        ([[NO_TAG, None, None], ["0x7", None, None]], False),
        ([[NO_TAG, None, None], [REFUSED, None, None]], False),
    ],
    ids=str,
)
def test_only_a_clear_answer_says_that_a_transaction_is_void(answers, void):
    """As geth refuses while it indexes its receipts: its own nonce counts as spent meanwhile."""
    asked: list[Any] = []

    def call_many(calls: Any) -> Any:
        asked.append(calls)
        return answers[len(asked) - 1]

    node: Any = SimpleNamespace(call_many=call_many, head=lambda: 100)
    sent = Sent(bytes(32), b"", ADMIN.address, 7, (b"\1" * 32,))
    assert is_void(node, sent) == void
    assert [calls[0][1][1] for calls in asked] == ["finalized", hex(36)][: len(answers)]
