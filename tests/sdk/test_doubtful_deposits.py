"""A deposit that was sent, and whose receipt has not come.

Given a client that does not know what became of a deposit
  ├── the same call looks for the transaction first, and deposits nothing while it may be mined
  ├── mined, it is counted once; void, or lost by the node, it is made again, into the same channel
  └── an allowance in doubt is no deposit: it is allowed again
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from sdk.test_sdk_payments import PRICE, Reply, channel, offer, price, refusal
from support.processes import PATIENCE_S, eventually
from support.provider import Habits, provider

from corechain import Client
from corechain.account import account_from_key
from corechain.chain import ChainUnavailable, TransactionPending
from corechain.deposits import DepositPending, Deposits
from corechain.devnet.settings import ADMIN_KEY
from corechain.opening import Opening
from corechain.payments import channel_to
from corechain.protocol.keys import Secp256k1Key
from corechain.steps import ApiUnavailable, Ask, Quote, Request

ADMIN, AMOUNT = account_from_key(ADMIN_KEY), 5 * PRICE
SENT, OTHER = b"\x77" * 32, "0x" + "66" * 32
HASH = "0x" + SENT.hex()
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


def leave_in_doubt(hosted: Any, monkeypatch: Any, *, number: int, is_lost: bool) -> None:
    """The transaction of this number from now on is sent, or lost, and no receipt comes."""
    running, client = hosted
    real, sent = client.chain._sender._broadcast, list[bytes]()

    def broadcast(raw: bytes, transaction: bytes) -> None:
        sent.append(transaction)
        in_doubt = len(sent) == number
        if not (in_doubt and is_lost):
            real(raw, transaction)
        if in_doubt and not is_lost:
            running.habits = SILENT

    monkeypatch.setattr(client.chain._sender, "_broadcast", broadcast)


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("call", ["open", "ready"])
def test_a_channel_whose_deposit_is_in_doubt_is_opened_once(hosted, monkeypatch, call, is_lost):
    running, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    leave_in_doubt(hosted, monkeypatch, number=2, is_lost=is_lost)
    with pytest.raises(DepositPending, match=r"channel list") as caught:
        opened(client, call)
    if not is_lost:
        with pytest.raises(DepositPending):
            opened(client, call)
    running.habits = Habits()
    mine = opened(client, call)
    assert (mine.channel_id, mine.deposit) == (caught.value.channel_id, AMOUNT)
    assert client.chain.channel_balance(mine.channel_id) == (AMOUNT, 0)
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT
    assert client._deposits.unused() == []


@pytest.mark.parametrize("call", ["open", "ready"])
def test_a_channel_that_was_opened_for_a_cancelled_task_is_opened_once(hosted, call):
    _, client = hosted
    held = client.chain.balance_of(ADMIN.address)
    gone = partial(getattr(client._opening(None), call), None, AMOUNT, 900)
    with pytest.raises(InterruptedError):
        carried_out(client, gone(), until=2)  # its thread goes on to the end, and nobody listens
    (config,) = client._deposits.unused()
    assert opened(client, call).config == config
    assert client.chain.balance_of(ADMIN.address) == held - AMOUNT


def test_a_deposit_under_way_is_waited_for():
    may_end, mine, deposits = threading.Event(), channel(deposit=5), Deposits()
    chain: Any = SimpleNamespace(open_channel=lambda *_: may_end.wait(PATIENCE_S))
    with ThreadPoolExecutor(2) as threads:
        threads.submit(deposits.put, chain, ADMIN, mine, 3)
        assert eventually(lambda: deposits.unused() == [mine.config])
        found = threads.submit(deposits.landed, chain, ADMIN, mine.config)
        may_end.set()
        assert found.result() == 8 == mine.deposit
    chain.open_channel = lambda *_: pytest.fail("refused")
    with pytest.raises(pytest.fail.Exception):
        deposits.put(chain, ADMIN, mine, 3)
    assert deposits.landed(chain, ADMIN, mine.config) == 8


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


def receipt(**changes: Any) -> dict[str, Any]:
    return {"transactionHash": HASH, "blockNumber": "0x9", "status": "0x1"} | changes


@pytest.mark.parametrize(
    ("found", "known", "nonce", "holds"),
    [
        (receipt(), {}, 7, 8),
        (receipt(status="0x0"), {}, 8, 0),
        (receipt(blockNumber=None), {}, 7, None),
        (None, {}, 7, None),
        (None, None, 7, 0),
        (None, None, 8, None),
        (None, None, 6, None),
        (receipt(transactionHash=OTHER), {}, 7, None),
        ("mined", {}, 7, None),
        (ChainUnavailable("away"), {}, 7, None),
    ],
    ids=str,
)
def test_what_a_node_says_of_a_deposit_in_doubt(found, known, nonce, holds):
    """None: nothing is deposited, for it may still be mined, or is."""
    said = {
        "eth_getTransactionReceipt": found,
        "eth_getTransactionByHash": known,
        "eth_getTransactionCount": hex(nonce),
    }

    def call(method: str, *_: Any) -> Any:
        if isinstance(said[method], Exception):
            raise said[method]
        return said[method]

    def pending(*_: Any) -> None:
        raise DepositPending(TransactionPending(SENT, 1), bytes(32), 3, 7)

    deposits, mine = Deposits(), channel(deposit=5)
    node: Any = SimpleNamespace(node=SimpleNamespace(call=call), open_channel=pending)
    with pytest.raises(DepositPending, match=r"0x7777.*3 into channel 0x0000"):
        deposits.put(node, ADMIN, mine, 3)
    if holds is None:
        with pytest.raises(DepositPending):
            deposits.landed(node, ADMIN, mine.config)
    else:
        assert deposits.landed(node, ADMIN, mine.config) == holds
    assert deposits.unused() == ([] if found == receipt(status="0x0") else [mine.config])
