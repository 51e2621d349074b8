"""Queries that cost something: a voucher pays once, for one request, and is redeemed once."""

import asyncio
from typing import Any

import httpx
import pytest_asyncio

from corechain.account import account_from_key
from corechain.devnet.settings import ADMIN_KEY, PAYEE_KEY
from corechain.payments import (
    PAYMENT_RESPONSE,
    channel_to,
    decode_header,
    encode_header,
    parse_price,
)
from corechain.protocol.channel import Voucher, payment_domain
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.redemption import Redemption, pack_redemptions
from corechain_indexer.limits import Allowance
from corechain_indexer.redeem import open_vouchers, redeem
from indexer.support import World, device_of, driven, get, settings_of

PRICE = 1_000


@pytest_asyncio.fixture
async def paid(world: World, database: str, bus_url: str):  # type: ignore[no-untyped-def]
    """An API that costs something, and a payer with an open channel."""
    world.add(hours=4)
    settings = settings_of(world, database, bus_url, price_per_query=PRICE, payee_key=PAYEE_KEY)
    contracts = world.chain.deployment
    payer = account_from_key(ADMIN_KEY)
    channel = channel_to(
        bytes.fromhex(account_from_key(PAYEE_KEY).address[2:]),
        Secp256k1Key(bytes(payer.key)),
        token=contracts.address("CoreToken"),
        chain_id=contracts.chain_id,
        payment_channels=contracts.address("PaymentChannels"),
        withdraw_delay_s=900,
        salt=bytes(32),
    )
    world.chain.open_channel(payer, channel.config, 5 * PRICE)
    channel.deposit = 5 * PRICE
    async with driven(settings, world) as indexer:
        await indexer.settle()
        async with indexer.api() as api:
            yield indexer, api, channel, settings


def query_of(world: World) -> tuple[str, dict[str, str]]:
    return "/v1/readings", {"device": device_of(world)}


async def price_of(api: httpx.AsyncClient, world: World) -> Any:
    path, params = query_of(world)
    refused = await api.get(path, params=params)
    assert refused.status_code == 402
    return parse_price(refused.headers, world.chain.deployment.chain_id)


async def pay(api: httpx.AsyncClient, world: World, header: str) -> httpx.Response:
    path, params = query_of(world)
    return await api.get(path, params=params, headers={"PAYMENT-SIGNATURE": header})


async def test_a_voucher_pays_for_one_query(world: World, paid: Any) -> None:
    _, api, channel, _ = paid
    price = await price_of(api, world)
    assert price.amount == PRICE
    header = channel.pay(price)
    first = await pay(api, world, header)
    assert first.status_code == 200
    receipt = decode_header(first.headers[PAYMENT_RESPONSE])
    assert receipt["extra"]["channelState"]["chargedCumulativeAmount"] == str(PRICE)
    again = await pay(api, world, header)
    assert again.json()["type"].endswith("VoucherRegressed")
    assert (await pay(api, world, channel.pay(price))).status_code == 200


async def test_a_table_costs_what_a_page_costs_and_comes_again_in_its_form(
    world: World, paid: Any
) -> None:
    indexer, api, channel, _ = paid
    path, query = query_of(world)
    price = await price_of(api, world)
    document = decode_header(channel.pay(price))
    named = {"payment-identifier": {"info": {"required": False, "id": "pay_0123456789abcdef"}}}
    headers = {"PAYMENT-SIGNATURE": encode_header(document | {"extensions": named})}
    table = {**query, "format": "csv"}
    first = await api.get(path, params=table, headers=headers)
    assert first.headers["content-type"].startswith("text/csv")
    assert first.headers["cache-control"] == "private, no-store"
    assert len(first.text.splitlines()) == 9
    again = await api.get(path, params=table, headers=headers)
    assert (again.content, again.headers["content-type"]) == (
        first.content,
        first.headers["content-type"],
    )
    other = await api.get(path, params=query, headers=headers)
    assert other.status_code == 402, "JSON was not paid"
    assert indexer.metric("corechain_queries_paid_total") == 1


async def test_who_pays_is_not_counted_and_who_only_says_so_is(world: World, paid: Any) -> None:
    indexer, api, channel, _ = paid
    path, query = query_of(world)
    price = await price_of(api, world)
    limited = indexer.indexer.api()
    await indexer.indexer.redis.flushdb()
    limited.admission.anonymous, limited.admission.clock = Allowance(0, 1, 2), lambda: 1.79e9
    transport = httpx.ASGITransport(app=limited.app(queries=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://indexer") as client:
        for _ in range(3):
            assert (await pay(client, world, channel.pay(price))).status_code == 200
        assert (await pay(client, world, "nonsense")).status_code == 402
        assert (await client.get(path, params=query)).status_code == 402
        for answer in (await client.get(path, params=query), await pay(client, world, "nonsense")):
            assert answer.status_code == 429
        assert (await pay(client, world, channel.pay(price))).status_code == 200


async def test_one_voucher_serves_one_of_two_requests(world: World, paid: Any) -> None:
    _, api, channel, _ = paid
    price = await price_of(api, world)
    assert (await pay(api, world, channel.pay(price))).status_code == 200
    header = channel.pay(price)
    both = await asyncio.gather(pay(api, world, header), pay(api, world, header))
    assert sorted(answer.status_code for answer in both) == [200, 402]


async def test_payments_that_are_none_are_refused_by_name(world: World, paid: Any) -> None:
    _, api, channel, _ = paid
    price = await price_of(api, world)
    good = decode_header(channel.pay(price))

    def changed(**voucher: Any) -> str:
        payload = good["payload"] | {"voucher": good["payload"]["voucher"] | voucher}
        return encode_header(good | {"payload": payload})

    other = good["payload"]["channelConfig"] | {"receiver": "0x" + "55" * 20}
    stranger = encode_header(good | {"payload": good["payload"] | {"channelConfig": other}})
    own = good["payload"]["channelConfig"] | {"receiverAuthorizer": "0x" + "55" * 20}
    refundable = encode_header(good | {"payload": good["payload"] | {"channelConfig": own}})
    unknown = good["payload"]["channelConfig"] | {"salt": "0x" + "66" * 32}
    unopened = encode_header(good | {"payload": good["payload"] | {"channelConfig": unknown}})
    for header, name in (
        ("%%%", "PaymentRequired"),
        (encode_header({}), "PaymentRequired"),
        ("A" * 9_000, "PaymentRequired"),
        (changed(maxClaimableAmount="999999999"), "InvalidSignature"),
        (changed(maxClaimableAmount="0"), "InvalidSignature"),
        (changed(signature="0x1234"), "InvalidSignature"),
        (changed(channelId="0x" + "11" * 32), "InvalidSignature"),
        (stranger, "PaymentRequired"),
        (refundable, "PaymentRequired"),
        (unopened, "ChannelNotSeen"),
    ):
        answer = await pay(api, world, header)
        assert answer.json()["type"] == f"urn:corechain:error:{name}", (name, answer.text)


async def test_a_voucher_that_is_too_small_or_uncovered_is_refused(world: World, paid: Any) -> None:
    _, api, channel, _ = paid
    price = await price_of(api, world)
    channel.spent = 1 - price.amount
    small = await pay(api, world, channel.pay(price))
    assert small.status_code == 402
    channel.spent, channel.deposit = 5 * PRICE, 10 * PRICE
    over = await pay(api, world, channel.pay(price))
    assert "exceeds the deposit" in over.json()["detail"]


async def test_what_a_payer_is_about_to_withdraw_covers_no_voucher(world: World, paid: Any) -> None:
    indexer, api, channel, _ = paid
    price = await price_of(api, world)
    payer = account_from_key(ADMIN_KEY)
    world.chain.initiate_withdraw(payer, channel.config, 4 * PRICE)
    await indexer.settle()
    assert (await pay(api, world, channel.pay(price))).status_code == 200
    refused = await pay(api, world, channel.pay(price))
    assert refused.status_code == 402, "served for a voucher that nobody may be able to redeem"
    world.rpc("evm_increaseTime", 901)
    world.rpc("evm_mine")
    world.chain.finalize_withdraw(payer, channel.config)
    world.chain.open_channel(payer, channel.config, PRICE)
    await indexer.settle()
    channel.spent, channel.deposit = PRICE, 2 * PRICE
    assert (await pay(api, world, channel.pay(price))).status_code == 200


async def test_a_payer_that_withdraws_what_it_owes_is_an_alert_until_it_is_redeemed(
    world: World, paid: Any
) -> None:
    indexer, api, channel, settings = paid
    watch, price = indexer.indexer.withdrawals, await price_of(api, world)
    for _ in range(3):
        assert (await pay(api, world, channel.pay(price))).status_code == 200
    world.chain.initiate_withdraw(account_from_key(ADMIN_KEY), channel.config, 4 * PRICE)
    await indexer.settle()
    await watch.look()
    (found,) = watch.endangered
    assert (found.channel_id, found.amount) == (channel.channel_id, 2 * PRICE)
    assert 0 < found.left_s <= 900
    ready = (await api.get("/ready")).json()
    assert "run corechain indexer redeem" in ready["warnings"][0]
    assert "corechain_vouchers_endangered 1.0" in (await api.get("/metrics")).text
    url = settings.database_url.get_secret_value()
    redeem(world.chain, PAYEE_KEY, await open_vouchers(url))
    await indexer.settle()
    await watch.look()
    assert watch.sentences() == []
    assert "corechain_vouchers_deadline_seconds +Inf" in (await api.get("/metrics")).text


async def test_a_payer_that_withdraws_only_what_it_does_not_owe_is_none(
    world: World, paid: Any
) -> None:
    indexer, api, channel, _ = paid
    price = await price_of(api, world)
    for _ in range(3):
        assert (await pay(api, world, channel.pay(price))).status_code == 200
    world.chain.initiate_withdraw(account_from_key(ADMIN_KEY), channel.config, 2 * PRICE)
    await indexer.settle()
    await indexer.indexer.withdrawals.look()
    assert indexer.indexer.withdrawals.endangered == []


async def test_nobody_pays_for_a_refused_query(world: World, paid: Any) -> None:
    indexer, api, channel, _ = paid
    header = channel.pay(await price_of(api, world))
    answer = await api.get("/v1/readings", headers={"PAYMENT-SIGNATURE": header})
    assert answer.status_code == 400
    assert await indexer.indexer.pool.fetchval("select count(*) from voucher") == 0


async def test_nobody_pays_for_what_he_cannot_be_given_and_what_is_paid_is_sent(
    world: World, paid: Any
) -> None:
    indexer, api, channel, _ = paid
    path, params = query_of(world)
    voucher = {"PAYMENT-SIGNATURE": channel.pay(await price_of(api, world))}
    for fields in ({"accept-encoding": "identity;q=0"}, {"accept": "*/*;q=0"}):
        refused = await api.get(path, params=params, headers=voucher | fields)
        assert refused.status_code == 406, fields
    assert await indexer.indexer.pool.fetchval("select count(*) from voucher") == 0
    # Not 304, as a free answer would be: the payer is owed it.
    sent = await api.get(path, params=params, headers=voucher | {"if-none-match": "*"})
    assert (sent.status_code, device_of(world) in sent.text) == (200, True)


async def test_vouchers_are_redeemed_once(world: World, paid: Any) -> None:
    indexer, api, channel, settings = paid
    price = await price_of(api, world)
    for _ in range(3):
        assert (await pay(api, world, channel.pay(price))).status_code == 200
    url = settings.database_url.get_secret_value()
    payee = bytes.fromhex(account_from_key(PAYEE_KEY).address[2:])
    before = world.chain.balance_of(payee)
    done = redeem(world.chain, PAYEE_KEY, await open_vouchers(url))
    assert (done.vouchers, done.queries, done.amount) == (1, 3, 3 * PRICE)
    assert world.chain.balance_of(payee) == before + 3 * PRICE
    await indexer.settle()
    again = redeem(world.chain, PAYEE_KEY, await open_vouchers(url))
    assert (again.vouchers, again.transaction) == (0, None)
    async with indexer.api() as other:
        found = await get(other, f"/v1/channels/0x{channel.channel_id.hex()}")
        listed = await get(other, "/v1/channels", payer="0x" + channel.config.payer.hex())
    assert found["claimed"] == str(3 * PRICE)
    assert listed["items"] == [found]


async def test_a_book_that_is_older_than_the_chain_charges_nothing_twice(
    world: World, paid: Any
) -> None:
    """As of a backup: vouchers that were charged, and redeemed, after it are not in it."""
    indexer, api, channel, settings = paid
    price, pool = await price_of(api, world), indexer.indexer.pool
    spent = [channel.pay(price)]
    assert (await pay(api, world, spent[0])).status_code == 200
    await pool.execute("create table older as table voucher")
    spent.append(channel.pay(price))
    assert (await pay(api, world, spent[1])).status_code == 200
    url = settings.database_url.get_secret_value()
    assert redeem(world.chain, PAYEE_KEY, await open_vouchers(url)).amount == 2 * PRICE
    await indexer.settle()
    await pool.execute("delete from voucher; insert into voucher table older; drop table older")
    assert redeem(world.chain, PAYEE_KEY, await open_vouchers(url)).transaction is None
    for header in spent:
        again = await pay(api, world, header)
        assert again.json()["type"].endswith("VoucherRegressed")
    assert (await pay(api, world, channel.pay(price))).status_code == 200
    assert redeem(world.chain, PAYEE_KEY, await open_vouchers(url)).amount == PRICE


def _redeem_packed(world: World, rows: list[Redemption]) -> None:
    """As an account that is receiver and authorizer sends it."""
    payee, chain = account_from_key(PAYEE_KEY), world.chain
    data = keccak(b"redeemGroupsBrief()")[:4]
    data += pack_redemptions(rows, bytes.fromhex(payee.address[2:]))
    transaction = {
        "to": chain.contract("PaymentChannels").address,
        "data": "0x" + data.hex(),
        "nonce": chain.web3.eth.get_transaction_count(payee.address),
        "gas": 1_000_000,
        "gasPrice": chain.web3.eth.gas_price,
        "value": 0,
        "chainId": chain.deployment.chain_id,
    }
    signed = payee.sign_transaction(transaction)
    sent = chain.web3.eth.send_raw_transaction(signed.raw_transaction)
    assert chain.web3.eth.wait_for_transaction_receipt(sent)["status"] == 1


async def test_vouchers_that_were_redeemed_packed_are_counted(world: World, paid: Any) -> None:
    indexer, api, channel, _ = paid
    contracts = world.chain.deployment
    domain = payment_domain(contracts.chain_id, contracts.address("PaymentChannels"))
    channel_id = channel.config.channel_id(domain)
    key = Secp256k1Key(bytes(account_from_key(ADMIN_KEY).key))
    for amount in (2 * PRICE, 3 * PRICE):
        signature = key.sign(Voucher(channel_id, amount).digest(domain))
        _redeem_packed(world, [Redemption(channel.config, amount, signature)])
        await indexer.settle()
        found = await get(api, f"/v1/channels/0x{channel_id.hex()}")
        assert found["claimed"] == str(amount)
    rows = [row for row in (await indexer.tables())["payment_event"] if "redeemed" in row]
    assert sorted(row[4] for row in rows) == [PRICE, 2 * PRICE]
