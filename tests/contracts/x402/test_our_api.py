"""Our own paid queries, and a stock x402 client that knows nothing of us.

Given a query API that costs something, its contract at x402's address
  when a stock client is asked for money
    what it reads in our answer is enough to open the channel, by any facilitator
    it pays every query by a voucher
    it goes on where it was after it has lost its memory
  when the API has a facilitator
    the stock client's first query opens the channel, and a later one tops it up
    what the facilitator refuses is refused, and nothing is taken
  when the indexer redeems
    the payee holds what was paid
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from indexer.support import Driven, World, device_of, driven, settings_of, world_of
from stock import DEPOSIT, NETWORK, Stock, send
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.mechanisms.evm.batch_settlement import BATCH_SETTLEMENT_ADDRESS

from corechain.account import account_from_key
from corechain.devnet.settings import PAYEE_KEY
from corechain_indexer.redeem import open_vouchers, redeem

PRICE = 1_000
PAYEE = account_from_key(PAYEE_KEY).address


@pytest.fixture
def world(anvil: str, deployment: Path, installed: Stock, tmp_path: Path) -> World:
    """A chain with data, whose manifest names x402's address for payments."""
    installed.fund()
    manifest = json.loads(deployment.read_text())
    manifest["contracts"]["PaymentChannels"]["address"] = BATCH_SETTLEMENT_ADDRESS
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(manifest))
    made = world_of(anvil, path, tmp_path)
    made.register()
    made.add(hours=4)
    return made


@pytest_asyncio.fixture
async def facilitated(
    world: World, database: str, bus_url: str, installed: Stock
) -> AsyncIterator[Driven]:
    """The same with a facilitator, and a mirror that follows by itself."""
    settings = settings_of(
        world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY,
        facilitator_url=f"{installed.site}/facilitator",
    )  # fmt: skip
    with installed.open():
        async with driven(settings, world) as running:
            await running.settle()
            following = asyncio.create_task(follow(running))
            yield running
            # Again and again: Python 3.11's wait_for may swallow a cancellation that comes in the
            # moment of its result, and then this goes on for ever.
            while not following.done():
                following.cancel()
                await asyncio.sleep(0.05)


async def follow(running: Driven) -> None:
    while True:
        await running.settle()
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def indexer(world: World, database: str, bus_url: str) -> AsyncIterator[Driven]:
    settings = settings_of(world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY)
    async with driven(settings, world) as running:
        await running.settle()
        yield running


def buyer(indexer: Driven, stock: Stock, scheme: Any, **controls: Any) -> httpx.AsyncClient:
    """The stock client in front of our API."""
    app = indexer.indexer.api().app(queries=True)
    client = stock.client(scheme)
    if controls:
        client.set_spend_controls(controls)
    transport = x402AsyncTransport(client, httpx.ASGITransport(app=app))
    return httpx.AsyncClient(transport=transport, base_url="http://indexer")


async def opened(indexer: Driven, world: World, stock: Stock) -> None:
    """The channel as any x402 facilitator opens it, from nothing but our 402."""
    scheme = stock.client_scheme()
    async with indexer.api() as plain:
        refused = await plain.get("/v1/readings", params={"device": device_of(world)})
    required = decode_payment_required_header(refused.headers["PAYMENT-REQUIRED"])
    payment = await stock.client(scheme).create_payment_payload(required)
    done = stock.facilitator.settle(payment, required.accepts[0])
    assert done.success, done
    await indexer.settle()


async def ask(buyer: httpx.AsyncClient, world: World, times: int) -> list[int]:
    """What was charged in total after each query."""
    charged = []
    for _ in range(times):
        answer = await buyer.get("/v1/readings", params={"device": device_of(world)})
        assert answer.status_code == 200, (answer.text, answer.headers)
        assert answer.json()["items"]
        receipt = decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"])
        charged.append(int(receipt.extra["channelState"]["chargedCumulativeAmount"]))
    return charged


async def test_a_stock_client_pays_our_api_by_vouchers(
    indexer: Driven, world: World, installed: Stock
) -> None:
    await opened(indexer, world, installed)
    async with buyer(indexer, installed, installed.client_scheme()) as paying:
        assert await ask(paying, world, 3) == [PRICE, 2 * PRICE, 3 * PRICE]
    before = installed.balance(PAYEE)
    url = indexer.indexer.settings.database_url.get_secret_value()
    done = redeem(world.chain, PAYEE_KEY, await open_vouchers(url))
    assert (done.queries, done.amount) == (3, 3 * PRICE)
    assert installed.balance(PAYEE) == before + 3 * PRICE


async def test_a_stock_client_that_forgot_everything_goes_on_where_it_was(
    indexer: Driven, world: World, installed: Stock
) -> None:
    await opened(indexer, world, installed)
    async with buyer(indexer, installed, installed.client_scheme()) as paying:
        await ask(paying, world, 2)
    async with buyer(indexer, installed, installed.client_scheme()) as fresh:
        assert await ask(fresh, world, 2) == [3 * PRICE, 4 * PRICE]


async def test_the_first_query_of_a_stock_client_opens_its_channel(
    facilitated: Driven, world: World, installed: Stock
) -> None:
    scheme = installed.client_scheme()
    async with buyer(facilitated, installed, scheme) as paying:
        assert await ask(paying, world, 11) == [PRICE * (i + 1) for i in range(11)]
    assert installed.web3.eth.get_transaction_count(installed.payer.address) == 0
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 2 * DEPOSIT


async def test_what_the_facilitator_refuses_is_refused(
    facilitated: Driven, world: World, installed: Stock
) -> None:
    poor = Stock(installed.url, installed.token)
    send(installed, installed.core.functions.transfer(PAYEE, 100 * DEPOSIT), poor.payer.address)
    async with buyer(facilitated, poor, poor.client_scheme()) as paying:
        answer = await paying.get("/v1/readings", params={"device": device_of(world)})
    assert answer.status_code == 402
    assert "insufficient_balance" in answer.json()["detail"]
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 0


async def test_without_a_facilitator_a_deposit_is_refused_by_name(
    indexer: Driven, world: World, installed: Stock
) -> None:
    async with buyer(indexer, installed, installed.client_scheme()) as paying:
        answer = await paying.get("/v1/readings", params={"device": device_of(world)})
    assert answer.status_code == 402
    assert "open the channel on chain first" in answer.json()["detail"]


async def test_a_deposit_that_is_not_worth_its_gas_is_refused(
    facilitated: Driven, world: World, installed: Stock
) -> None:
    scheme = installed.client_scheme(deposit_strategy=lambda context: str(2 * PRICE))
    async with buyer(facilitated, installed, scheme) as paying:
        answer = await paying.get("/v1/readings", params={"device": device_of(world)})
    assert answer.status_code == 402
    assert "3 queries at least" in answer.json()["detail"]


async def test_a_client_with_a_tight_budget_opens_a_smaller_channel(
    facilitated: Driven, world: World, installed: Stock
) -> None:
    asset = {"network": NETWORK, "asset": installed.token, "max_amount_per_payment": str(PRICE)}
    scheme = installed.client_scheme()
    async with buyer(facilitated, installed, scheme, allowed_assets=[asset]) as paying:
        assert await ask(paying, world, 1) == [PRICE]
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 5 * PRICE
