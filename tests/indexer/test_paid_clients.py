"""Our clients pay our API over a socket: one account has one book.

Given an API that costs something, and channels to its payee
  when many queries of one channel run at once, in tasks or threads
    all are answered, and what is drawn on chain is what was answered
  when a query is refused
    it costs nothing, and the next one goes on where it was
  when an answer is lost on its way
    the client asks again, gets it, and is charged once
    one that stays lost costs one price at most, and nothing when the same is asked again
  when a channel is withdrawn from, its payee is another, or no gas is left to fill it
    the client is told what to do, and goes on once it has done so
  when a client starts again, or two of one key share a channel
    they go on where the payee is
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.processes import until

from corechain.account import account_from_key
from corechain.chain import GasNotCovered
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY, PROPOSER_KEY
from corechain.payments import PaymentChannel, decode_header, encode_header, parse_price
from corechain.protocol.errors import (
    ChargedUnanswered,
    NoPaymentAsked,
    PaymentRequired,
    PriceTooHigh,
    ProtocolError,
    ValueOutOfRange,
    WrongPayee,
)
from corechain.steps import ApiUnavailable
from corechain_indexer.api.routes import ENDPOINTS
from indexer.site import PAYEE, Loss, Site, served
from indexer.support import CELL, START, World, settings_of

PRICE = 1_000
FREE = {
    "status", "network", "devices", "device", "batches", "batch", "reward", "epochs",
    "channels", "state_channels", "channel", "sensorthings",
}  # fmt: skip


@pytest_asyncio.fixture
async def site(world: World, database: str, bus_url: str):  # type: ignore[no-untyped-def]
    world.add(hours=4)
    settings = settings_of(world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY)
    async with served(world, settings) as serving:
        yield serving


def device(site: Site) -> Any:
    return site.world.keys[0].identity.device


def again(channel: PaymentChannel, **known: Any) -> PaymentChannel:
    """The same channel in a process that remembers nothing but its terms."""
    fresh = PaymentChannel(channel.config, channel.domain, channel.key, channel.deposit, **known)
    fresh.max_price = channel.max_price
    return fresh


async def test_a_hundred_queries_at_once_are_answered_and_paid_once_each(site: Site) -> None:
    channel = await site.opened(queries=120)
    async with site.client(channel) as client:
        found = await asyncio.gather(*(client.latest(device(site)) for _ in range(100)))
    assert all(answer["items"] for answer in found)
    assert channel.spent == 100 * PRICE == await site.charged(channel)
    done = await site.redeem()
    assert (done.amount, site.claimed(channel)) == (100 * PRICE, 100 * PRICE)


async def test_threads_and_tasks_pay_from_one_channel(site: Site) -> None:
    channel = await site.opened(queries=40)

    def ask() -> int:
        with site.blocking(channel) as client:
            return sum(len(client.readings(device=device(site), limit=5)) for _ in range(5))

    async with site.client(channel) as client:
        threads = [asyncio.to_thread(ask) for _ in range(4)]
        tasks = [client.readings(device=device(site), limit=5) for _ in range(10)]
        counts = await asyncio.gather(*threads)
        assert all(len(found) == 5 for found in await asyncio.gather(*tasks))
    assert counts == [25] * 4
    assert channel.spent == 30 * PRICE == await site.charged(channel)


async def test_what_is_refused_costs_nothing(site: Site) -> None:
    channel = await site.opened(queries=5)
    async with site.client(channel) as client:
        await client.latest(device(site))
        for refused in (
            lambda: client.readings(device=device(site), start=9, end=3),
            lambda: client.latest(device(site)[:19]),
            lambda: client.rejections(99),
            lambda: client.statistics("pressure", device(site), 1, 9, 3),
        ):
            with pytest.raises(ProtocolError):
                await refused()
        await client.latest(device(site))
    assert channel.spent == 2 * PRICE == await site.charged(channel)
    assert (await site.redeem()).amount == 2 * PRICE


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_what_is_lost_on_the_way_is_sent_again_and_charged_once(
    site: Site, loss: Loss
) -> None:
    channel = await site.opened(queries=5)
    plan = iter([loss, loss, Loss.NOTHING])
    site.wire.plan = lambda _: next(plan)
    async with site.client(channel) as client:
        assert (await client.latest(device(site)))["items"]
    assert (channel.spent, channel.lost) == (PRICE, 0)
    assert await site.charged(channel) == PRICE


async def test_an_answer_that_stays_lost_costs_one_price_unless_it_is_asked_again(
    site: Site,
) -> None:
    channel = await site.opened(queries=5)
    async with site.client(channel) as client:
        site.wire.plan = lambda _: Loss.ANSWER
        with pytest.raises(ApiUnavailable):
            await client.latest(device(site))
        site.wire.plan = lambda _: Loss.NOTHING
        assert (await client.latest(device(site)))["items"]
        assert (channel.spent, channel.lost) == (PRICE, 0), "the same is answered for its price"
        site.wire.plan = lambda _: Loss.ANSWER
        with pytest.raises(ApiUnavailable):
            await client.latest(device(site))
        site.wire.plan = lambda _: Loss.NOTHING
        await client.readings(device=device(site), limit=1)
    assert (channel.spent, channel.lost) == (3 * PRICE, PRICE)
    assert await site.charged(channel) == 3 * PRICE


async def test_a_payment_with_an_id_is_answered_again_to_its_payer_alone(site: Site) -> None:
    channel, path = await site.opened(queries=5), f"/v1/latest?device=0x{device(site).hex()}"
    async with site.driven.api() as api:
        price = channel.price_of((await api.get(path)).headers, None)
        header = channel.sign(price, b"").header

        async def send(to: str, signature: str = header) -> Any:
            return await api.get(to, headers={"PAYMENT-SIGNATURE": signature})

        both = [await asyncio.gather(send(path), send(path)), [await send(path)]]
        answers = [answer for some in both for answer in some]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["PAYMENT-RESPONSE"] for answer in answers}) == 1
        assert await site.charged(channel) == PRICE
        other = await send(f"/v1/readings?device=0x{device(site).hex()}")
        assert other.json()["type"].endswith("VoucherRegressed")
        forged = decode_header(header)
        forged["payload"]["voucher"]["signature"] = "0x" + "11" * 64 + "1b"
        refused = await send(path, encode_header(forged))
        assert (refused.status_code, "items" in refused.json()) == (403, False)


async def test_an_answer_is_kept_for_an_hour(site: Site) -> None:
    channel, pool = await site.opened(queries=5), site.driven.indexer.pool
    async with site.client(channel) as client:
        site.wire.plan = lambda _: Loss.ANSWER
        with pytest.raises(ApiUnavailable):
            await client.latest(device(site))
        site.wire.plan = lambda _: Loss.NOTHING
        await pool.execute("update paid_answer set answered_at = now() - interval '61 minutes'")
        paywall = site.driven.indexer.api().paywall
        assert paywall is not None

        async def forgotten() -> bool:
            return await pool.fetchval("select count(*) from paid_answer") == 0

        forgetting = asyncio.create_task(paywall.forget_forever())
        await until(forgotten)
        forgetting.cancel()
        await asyncio.gather(forgetting, return_exceptions=True)
        await client.latest(device(site))
    assert (channel.spent, channel.lost) == (2 * PRICE, PRICE)


async def test_a_cancelled_query_leaves_the_channel_usable(site: Site) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel) as client:
        for wait_s in (0.001, 0.003, 0.006, 0.012, 0.02):
            query = asyncio.create_task(client.latest(device(site)))
            await asyncio.sleep(wait_s)
            query.cancel()
            await asyncio.gather(query, return_exceptions=True)
        await client.readings(device=device(site), limit=1)
    assert channel.spent == await site.charged(channel)


async def test_a_client_that_starts_again_goes_on(site: Site) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel) as client:
        for _ in range(3):
            await client.latest(device(site))
    await site.restart()
    async with site.client() as client:
        resumed = await client.resume_channel(channel.channel_id)
        assert (resumed.deposit, resumed.max_price) == (9 * PRICE, PRICE)
        await client.latest(device(site))
        assert (resumed.spent, resumed.lost) == (4 * PRICE, 0)
    await site.redeem()
    with site.blocking() as client:
        drawn = await asyncio.to_thread(client.resume_channel, channel.channel_id)
    assert drawn.spent == 4 * PRICE


async def test_two_holders_of_one_key_share_a_channel(site: Site) -> None:
    channel = await site.opened(queries=40)
    twins = [channel, again(channel), again(channel)]

    async def ask(twin: PaymentChannel) -> None:
        async with site.client(twin) as client:
            for _ in range(5):
                await client.latest(device(site))

    await asyncio.gather(*map(ask, twins))
    assert await site.charged(channel) == 15 * PRICE
    assert all(twin.lost == 0 for twin in twins)


async def test_a_payee_that_has_lost_its_book_is_believed_by_the_chain(site: Site) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel) as client:
        for _ in range(3):
            await client.latest(device(site))
        await site.redeem()
        await site.driven.indexer.pool.execute("delete from voucher")
        forgetful = again(channel)
        client.channel = forgetful
        await client.latest(device(site))
    assert forgetful.spent == 4 * PRICE


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_claim_that_a_reorg_takes_back_is_drawn_again(site: Site, forgets: bool) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel) as client:
        for _ in range(3):
            await client.latest(device(site))
        snapshot = site.world.rpc("evm_snapshot")
        assert (await site.redeem()).amount == 3 * PRICE
        if forgets:
            # Its new book begins with what the chain has claimed, and charges on from there.
            await site.driven.indexer.pool.execute("delete from voucher")
        await client.latest(device(site))
        site.world.rpc("evm_revert", snapshot)
        site.world.rpc("anvil_mine", hex(8))
        await site.driven.settle()
        assert site.claimed(channel) == 0
        await client.latest(device(site))
    assert (channel.spent, channel.lost) == (5 * PRICE, 0)
    assert (await site.redeem()).amount == 5 * PRICE == site.claimed(channel)


async def test_a_payee_that_charges_a_refused_voucher_gets_no_second_signature(site: Site) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel) as client:
        await client.latest(device(site))
        # As if it had been charged: the payee keeps the next voucher and answers with a refusal.
        headers = (await (await client._clients.get()).get(f"{site.url}/v1/latest")).headers
        price = parse_price(headers, site.world.chain.deployment.chain_id)
        stolen = channel._signature(channel.spent + price.amount)
        await site.driven.indexer.pool.execute(
            "update voucher set amount = $1, charged = $1, signature = $2", 2 * PRICE, stolen
        )
        for _ in range(3):
            with pytest.raises(ChargedUnanswered):
                await client.latest(device(site))
    assert channel.spent == PRICE
    assert (await site.redeem()).amount == 2 * PRICE, "one price is all that it could take"


async def test_every_path_that_hands_out_values_is_paid(site: Site) -> None:
    assert {endpoint.name for endpoint in ENDPOINTS if not endpoint.paid} == FREE
    paths = {
        f"/v1/latest?device=0x{device(site).hex()}",
        "/v1/stations?metric=pressure",
        f"/v1/readings?device=0x{device(site).hex()}",
        "/v1/batches/1/readings/0/proof",
        "/v1/batches/1/rejections",
        f"/v1/statistics?device=0x{device(site).hex()}&metric=pressure",
        f"/v1/series?device=0x{device(site).hex()}&metric=pressure",
        f"/sensorthings/v1.1/Datastreams('0x{device(site).hex()}:pressure')/Observations",
    }
    async with site.driven.api() as api:
        for path in paths:
            refused = await api.get(path)
            assert (refused.status_code, "items" in refused.json()) == (402, False), path
        for path in ("/v1/status", "/v1/batches", "/v1/batches/1", "/v1/devices", "/v1/channels"):
            free = await api.get(path)
            assert free.status_code == 200
            assert "value" not in free.text


async def test_a_client_pays_no_more_than_was_agreed_and_nobody_else(site: Site) -> None:
    channel = await site.opened(queries=9)
    async with site.client(channel, max_price=PRICE - 1) as client:
        with pytest.raises(PriceTooHigh) as refused:
            await client.latest(device(site))
        assert (refused.value.asked, refused.value.cap) == (PRICE, PRICE - 1)
        with pytest.raises(PriceTooHigh):
            await client.open_channel(PAYEE, 9 * PRICE)
    channel.max_price = None
    async with site.client(channel) as client:
        with pytest.raises(PriceTooHigh):
            await client.latest(device(site))
    assert site.wire.paid == 0, "nothing was signed"
    payer = bytes.fromhex(account_from_key(ADMIN_KEY).address[2:])
    before = site.world.chain.balance_of(payer)
    async with site.client() as client:
        with pytest.raises(WrongPayee):
            await client.open_channel(b"\x55" * 20, 9 * PRICE)
        with pytest.raises(PaymentRequired, match="pays for no query"):
            await client.open_channel(None, PRICE - 1)
        with pytest.raises(ValueOutOfRange, match="amount"):
            await client.open_channel(PAYEE, 0)
        client.api_url = "http://127.0.0.1:9"
        with pytest.raises(ApiUnavailable):
            await client.open_channel(PAYEE, 9 * PRICE)
    assert site.world.chain.balance_of(payer) == before
    with site.blocking() as client:
        channel = await asyncio.to_thread(client.open_channel, None, 9 * PRICE)
        assert channel.config.receiver == PAYEE
        await site.driven.settle()
        place = (device(site), CELL, START, START)
        await asyncio.to_thread(client.statistics, "pressure", *place)
        assert channel.spent == PRICE


async def while_mirrored(site: Site, work: Coroutine[Any, Any, Any]) -> Any:
    """What waits until the API has seen a block of ours: ten seconds, where nobody mirrors it."""
    found = asyncio.create_task(work)
    while not found.done():
        await site.driven.settle()
        await asyncio.sleep(0.02)
    return await found


async def test_a_channel_that_pays_no_more_says_what_to_do(site: Site) -> None:
    """Withdrawn from by another process of its account, or to a payee whose key was changed."""
    channel, chain, payer = await site.opened(queries=9), site.world.chain, site.payer
    async with site.client(channel) as client:
        await client.latest(device(site))
        await asyncio.to_thread(chain.initiate_withdraw, payer, channel.config, 8 * PRICE)
        await site.driven.settle()
        with pytest.raises(PaymentRequired, match="deposit more, or open another channel"):
            await client.latest(device(site))
        assert (channel.spent, channel.lost) == (PRICE, 0)
        site.settings = site.settings.model_copy(update={"payee_key": SecretStr(PROPOSER_KEY)})
        await site.restart()
        with pytest.raises(WrongPayee, match="open a channel to the latter"):
            await client.latest(device(site))
        other = await while_mirrored(site, client.pay_with(9 * PRICE))
        assert other.config.receiver != channel.config.receiver
        await client.latest(device(site))
        assert other.spent == PRICE


async def test_a_refill_that_no_gas_is_left_for_costs_nothing(site: Site) -> None:
    async with site.client() as client:
        channel = await while_mirrored(site, client.pay_with(PRICE, most=9 * PRICE))
        await client.latest(device(site))
        balance = site.world.rpc("eth_getBalance", site.payer.address, "latest")
        site.world.rpc("anvil_setBalance", site.payer.address, "0x1")
        try:
            with pytest.raises(GasNotCovered, match="give it some"):
                await client.latest(device(site))
        finally:
            site.world.rpc("anvil_setBalance", site.payer.address, balance)
        assert (channel.deposit, channel.spent) == (PRICE, PRICE)
        assert (await while_mirrored(site, client.latest(device(site))))["items"]
        assert (channel.deposit, channel.spent) == (2 * PRICE, 2 * PRICE)


async def test_a_channel_to_an_api_that_is_free_is_not_opened(
    world: World, database: str, bus_url: str
) -> None:
    async with (
        served(world, settings_of(world, database, bus_url)) as free,
        free.client() as client,
    ):
        with pytest.raises(NoPaymentAsked):
            await client.open_channel(PAYEE, 9 * PRICE)
