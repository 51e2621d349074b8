"""Our own paid queries, and a stock x402 client that knows nothing of us.

Given a query API that costs something, its contract at x402's address
  when a stock client is asked for money
    what it reads in our answer is enough to open the channel, by any facilitator
    it pays every query by a voucher
    it goes on where it was after it has lost its memory
  when the API has a facilitator
    the stock client's first query opens the channel, and a later one tops it up
    the stock packages of npm do the same, in their own process, with deposits as small as they like
    what the facilitator refuses is refused, and nothing is taken
  when the indexer redeems
    the payee holds what was paid
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from indexer.site import Site, served
from indexer.support import Driven, World, device_of, driven, settings_of, world_of
from stock import DEPOSIT, Stock, send
from support.verify_package import run
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.mechanisms.evm.batch_settlement import BATCH_SETTLEMENT_ADDRESS

from corechain.account import account_from_key
from corechain.devnet.settings import PAYEE_KEY
from corechain_indexer.redeem import open_vouchers, redeem

PRICE = 1_000
PAYEE = account_from_key(PAYEE_KEY).address
EXAMPLE = Path(__file__).parents[3] / "examples" / "x402" / "buy.mjs"


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
) -> AsyncIterator[Site]:
    """The same on a socket, with a facilitator, and a mirror that follows by itself."""
    settings = settings_of(
        world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY,
        facilitator_url=f"{installed.site}/facilitator",
    )  # fmt: skip
    with installed.open():
        async with served(world, settings) as site:
            following = asyncio.create_task(follow(site.driven))
            yield site
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


async def refusal(paying: httpx.AsyncClient, world: World) -> str:
    answer = await paying.get("/v1/readings", params={"device": device_of(world)})
    assert answer.status_code == 402
    return str(answer.json()["detail"])


async def test_without_a_facilitator_a_deposit_is_refused_and_a_lost_memory_does_no_harm(
    indexer: Driven, world: World, installed: Stock
) -> None:
    async with buyer(indexer, installed, installed.client_scheme()) as paying:
        assert "open the channel on chain first" in await refusal(paying, world)
    await opened(indexer, world, installed)
    async with buyer(indexer, installed, installed.client_scheme()) as paying:
        await ask(paying, world, 2)
    async with buyer(indexer, installed, installed.client_scheme()) as fresh:
        assert await ask(fresh, world, 2) == [3 * PRICE, 4 * PRICE]


async def test_the_first_query_of_a_stock_client_opens_its_channel(
    facilitated: Site, world: World, installed: Stock
) -> None:
    scheme = installed.client_scheme()
    async with buyer(facilitated.driven, installed, scheme) as paying:
        assert await ask(paying, world, 11) == [PRICE * (i + 1) for i in range(11)]
    assert installed.web3.eth.get_transaction_count(installed.payer.address) == 0
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 2 * DEPOSIT


async def test_what_the_facilitator_refuses_and_too_small_a_deposit_are_refused(
    facilitated: Site, world: World, installed: Stock
) -> None:
    poor = Stock(installed.url, installed.token)
    send(installed, installed.core.functions.transfer(PAYEE, 100 * DEPOSIT), poor.payer.address)
    async with buyer(facilitated.driven, poor, poor.client_scheme()) as paying:
        assert "insufficient_balance" in await refusal(paying, world)
    scheme = installed.client_scheme(deposit_strategy=lambda context: str(2 * PRICE))
    async with buyer(facilitated.driven, installed, scheme) as paying:
        assert "3 queries at least" in await refusal(paying, world)
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 0


async def bought_by_npm(site: Site, stock: Stock, times: int) -> list[dict[str, Any]]:
    """What examples/x402 prints of queries that it pays in a process of its own."""
    query = httpx.URL(f"{site.url}/v1/readings", params={"device": device_of(site.world)})
    command = ["node", str(EXAMPLE), str(query), stock.token, str(PRICE), str(times)]
    account = {"CORECHAIN_KEY": stock.payer.key.to_0x_hex(), "CORECHAIN_RPC": stock.url}
    environment = os.environ | account
    printed = await asyncio.to_thread(run, command, EXAMPLE.parent, env=environment)
    return [json.loads(line) for line in printed.splitlines()]


async def test_the_stock_packages_of_npm_pay_our_api(facilitated: Site, installed: Stock) -> None:
    bought = await bought_by_npm(facilitated, installed, 6)
    # It deposits five times what a query may cost, and again for the sixth.
    assert [bool(one["deposit"]) for one in bought] == [True, *[False] * 4, True]
    again = await bought_by_npm(facilitated, installed, 2)
    assert {(one["status"], one["items"]) for one in [*bought, *again]} == {(200, 8)}
    charged = [int(one["charged"]) for one in [*bought, *again]]
    assert charged == [PRICE * (i + 1) for i in range(8)]
    assert installed.web3.eth.get_transaction_count(installed.payer.address) == 0
    assert installed.balance(BATCH_SETTLEMENT_ADDRESS) == 10 * PRICE
