"""Alerts by webhook: each is told once, and once more when it is over, in order, whoever was killed
and whichever receiver hangs, refuses or was away.
"""

import asyncio
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import httpx
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from support.processes import until

from corechain.service.database import connect
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Block
from corechain.service.settings import InvalidSetting
from corechain_indexer import webhooks as module
from corechain_indexer.alert_sessions import AlertSessions, limits_of
from corechain_indexer.alerts import MOST_OPEN, Alerts, Limits, Rules, target_of
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import Settings
from corechain_indexer.store.alerts import Webhooks
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.vouchers import Vouchers
from corechain_indexer.webhooks import Sender, signature_of
from indexer.event_books import Books, books_on

SECRET = b"a secret of sixteen or more"
OFF = ("silent_s", "unverified_s", "lag_blocks", "node_away_s", "reorg_blocks", "deadline_s")
LIMITS = Limits(**dict.fromkeys(OFF, 0), parties=())
DEVICE, NOW, CELL = b"\x07" * 20, 1_700_000_000, 0x872A1072BFFFFFF


@dataclass
class Node:
    """A node at a block, or away."""

    number: int = 0
    is_away: bool = False

    async def head(self) -> Block:
        if self.is_away:
            raise NodeUnavailable("away")
        return Block(self.number, bytes(32), bytes(32), NOW, 0)


@dataclass
class Watch:
    """The alerts of an index, looked at by hand."""

    books: Books
    url: str
    database: str
    limits: Limits
    node: Node = field(default_factory=Node)
    targets: tuple[str, ...] = ("http://receiver",)

    async def look(self) -> None:
        """As another process would: nothing in memory."""
        connection = await connect(self.database)
        try:
            rules = Rules(self.books.pool, self.node, self.limits, lambda: NOW)
            targets = [target_of(url) for url in self.targets]
            await Alerts(connection, rules, targets, 31337, Metrics()).step()
        finally:
            await connection.close()

    async def told(self) -> list[tuple[str, str, str]]:
        rows = await self.books.pool.fetch("select body from webhook order by id")
        said = [json.loads(row["body"]) for row in rows]
        return [(item["type"], item["alert"], item["key"]) for item in said]


@asynccontextmanager
async def watching(database: str, redis_url: str, **limits: Any) -> AsyncIterator[Watch]:
    async with books_on(database, redis_url) as books:
        yield Watch(books, "", database, replace(LIMITS, **limits))


# ---------------------------------------------------------------------- the rules


async def test_a_batch_without_a_verdict_is_told_once_and_once_when_it_has_one(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.verify()
        await watch.look()
        assert await watch.told() == []
        await watch.books.pool.execute("update batch_file set state = 'withheld', reason = 'gone'")
        for _ in range(3):
            await watch.look()
        begun = [("fired", "withheld", "1")]
        assert await watch.told() == begun
        await watch.books.pool.execute("update batch_file set state = 'verified'")
        for _ in range(3):
            await watch.look()
        over = [*begun, ("resolved", "withheld", "1")]
        assert await watch.told() == over
        # The next time is another one.
        await watch.books.pool.execute("update batch_file set state = 'mismatch'")
        await watch.look()
        assert await watch.told() == [*over, ("fired", "mismatch", "1")]


async def test_the_end_of_an_alert_is_logged_but_warns_nobody(tables: str, bus_url: str) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.verify()
        with capture_logs() as logged:
            for state in ("mismatch", "verified"):
                await watch.books.pool.execute("update batch_file set state = $1", state)
                await watch.look()
        said = [(entry["log_level"], entry["event"]) for entry in logged]
        assert said == [("warning", "alert fired"), ("info", "alert resolved")]


async def test_what_is_over_before_it_lasted_long_enough_is_never_told(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, unverified_s=3_600) as watch:
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        await watch.look()
        assert await watch.told() == []
        # An hour later.
        await watch.books.pool.execute("update alert set since = since - interval '2 hours'")
        await watch.look()
        assert await watch.told() == [("fired", "withheld", "1")]
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        await watch.books.pool.execute("update batch_file set state = 'verified'")
        await watch.look()
        assert await watch.told() == [("fired", "withheld", "1"), ("resolved", "withheld", "1")]


REGISTERED = """
insert into device_event (block_number, log_index, kind, device, owner, key_type)
values (1, 1, 'registered', $1, $1, 0) on conflict do nothing
"""
BLOCKS = """
insert into block select n, sha256(n::text::bytea) from generate_series($1::bigint, $2::bigint) n
"""
REVOKED = """
insert into device_event (block_number, log_index, kind, device, revoked_at)
values (2, 1, 'revoked', $1, 1)
"""
SEGMENT = """
insert into segment (batch_id, cell, first_at, last_at, sum, position, count, metric, min, max,
                     last, flag, device)
values ($1, $2, $3, $3, 5, 0, 1, 1, 5, 5, 5, 1, $4)
"""
OPENED = """
insert into state_channel_event (block_number, log_index, kind, channel_id, party_a, party_b)
values (1, $1, 'opened', $2, $3, $3)
"""
CHALLENGED = """
insert into state_channel_event (block_number, log_index, kind, channel_id, version, deadline)
values (2, $1, 'challenged', $2, 7, $3)
"""
CLOSED = """
insert into state_channel_event (block_number, log_index, kind, channel_id)
values (3, $1, 'closed', $2)
"""


async def sent_by(watch: Watch, observed_at: int) -> None:
    """A registered device's reading, in a batch of its own."""
    await watch.books.pool.execute(REGISTERED, DEVICE)
    await watch.books.verify()
    await watch.books.pool.execute(SEGMENT, watch.books.head, CELL, observed_at, DEVICE)


async def test_a_device_is_silent_by_its_newest_reading_until_it_sends_again_or_is_revoked(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, silent_s=600) as watch:
        await sent_by(watch, NOW - 600)
        await watch.look()
        assert await watch.told() == []
        await watch.books.pool.execute("update segment set first_at = $1, last_at = $1", NOW - 601)
        await watch.look()
        await watch.look()
        key = "0x" + DEVICE.hex()
        assert await watch.told() == [("fired", "silent_device", key)]
        await sent_by(watch, NOW - 5)
        await watch.look()
        told = [("fired", "silent_device", key), ("resolved", "silent_device", key)]
        assert await watch.told() == told
        await watch.books.pool.execute("update segment set first_at = 1, last_at = 1")
        await watch.look()
        await watch.books.pool.execute(REVOKED, DEVICE)
        await watch.look()
        assert await watch.told() == told * 2


async def test_a_node_away_a_mirror_behind_and_a_deep_reorg_are_told(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, lag_blocks=5, reorg_blocks=3) as watch:
        pool = watch.books.pool
        await pool.execute(BLOCKS, 1, 9)
        watch.node.is_away = True
        await watch.look()
        assert await watch.told() == [("fired", "node_away", "node")]
        watch.node.is_away, watch.node.number = False, 14
        await watch.look()
        both = {("resolved", "node_away", "node"), ("fired", "lag", "mirror")}
        assert set((await watch.told())[1:]) == both
        watch.node.number = 9
        await watch.look()
        # Two blocks are no news, four are.
        connection = await connect(tables)
        await ChainStore(connection).roll_back(7)
        await ChainStore(connection).roll_back(3)
        await connection.close()
        watch.node.number = 3
        await watch.look()
        await watch.look()
        assert (await watch.told())[3:] == [("resolved", "lag", "mirror"), ("fired", "reorg", "2")]
        await pool.execute(BLOCKS, 4, 7)
        await watch.look()
        await watch.look()
        assert (await watch.told())[5:] == [("resolved", "reorg", "2")]


async def test_a_challenged_channel_is_told_before_its_deadline_to_those_it_matters_to(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, deadline_s=600, parties=(b"\x01" * 20,)) as watch:
        pool = watch.books.pool
        for mark, party in ((0x0A, b"\x01" * 20), (0x0B, b"\x03" * 20)):
            await pool.execute(OPENED, mark, bytes([mark]) * 32, party)
            await pool.execute(CHALLENGED, mark, bytes([mark]) * 32, NOW + 600)
        await watch.look()
        key = "0x" + "0a" * 32 + ":7"
        assert await watch.told() == [("fired", "channel_challenged", key)]
        await pool.execute(CLOSED, 1, b"\x0a" * 32)
        await watch.look()
        assert (await watch.told())[1:] == [("resolved", "channel_challenged", key)]


MANY = """
insert into state_channel_event
       (block_number, log_index, kind, channel_id, party_a, party_b, version, deadline)
select 1 + (kind = 'challenged')::int, n, kind, sha256(n::text::bytea), $1, $1, 7, $2
  from generate_series(1, 120) n, unnest(array['opened', 'challenged']) kind
"""
WRONG_ROOTS = """
with proposed as (
    insert into root_event (block_number, log_index, kind, epoch, active_at)
    select 3, n, 'proposed', n, 1 from generate_series($1::int, $2::int) n
    returning block_number, log_index, epoch)
insert into reward_epoch (block_number, log_index, epoch, state)
select *, 'mismatch' from proposed
"""


async def test_an_alert_is_not_told_as_over_because_others_came_before_it(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url, deadline_s=600) as watch:
        pool = watch.books.pool
        await pool.execute(MANY, b"\x01" * 20, NOW + 600)
        await pool.execute(WRONG_ROOTS, 1, 120)
        await watch.look()
        told = await watch.told()
        counts = Counter((kind, alert) for kind, alert, _ in told)
        kinds = ("channel_challenged", "wrong_root")
        assert counts == {("fired", kind): MOST_OPEN for kind in kinds}
        await pool.execute(OPENED, 200, b"\x0a" * 32, b"\x01" * 20)
        await pool.execute(CHALLENGED, 200, b"\x0a" * 32, NOW + 1)
        await pool.execute(WRONG_ROOTS, 121, 121)
        await watch.look()
        assert await watch.told() == told


LEAVING = """
with n as (select n, sha256(n::text::bytea) as id from generate_series(1, 120) n),
     channels as (
       insert into payment_channel select 1, n, id, $1, $1, $1, $1, $1, 900, id from n),
     events as (
       insert into payment_event
       select 1 + (kind = 'withdrawing')::int, n, kind, id, 100, $2::numeric + n
         from n, unnest(array['deposited', 'withdrawing']) kind)
insert into voucher (channel_id, amount, charged, signature, config)
select id, 60, 60, $1, $1 from n
"""


async def test_every_channel_whose_payer_leaves_is_told(tables: str, bus_url: str) -> None:
    async with watching(tables, bus_url) as watch:
        await watch.books.pool.execute(LEAVING, b"\x01" * 20, NOW)
        found = await Vouchers(watch.books.pool).endangered()
        assert [row["finalize_after"] for row in found] == [NOW + n for n in range(1, 121)]
        assert {row["amount"] for row in found} == {60}


async def test_a_flood_of_alerts_has_an_end_and_what_was_left_out_comes_later(
    tables: str, bus_url: str
) -> None:
    async with watching(tables, bus_url) as watch:
        for _ in range(MOST_OPEN + 5):
            await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        assert len(await watch.told()) == MOST_OPEN
        await watch.books.pool.execute(
            "update batch_file set state = 'verified' where batch_id <= $1", MOST_OPEN
        )
        await watch.look()
        await watch.look()
        said = await watch.told()
        assert [item[0] for item in said].count("fired") == MOST_OPEN + 5
        assert [item[0] for item in said].count("resolved") == MOST_OPEN


# ---------------------------------------------------------------------- receivers


@dataclass
class Receiver:
    """A real server; `answer` is what it says, None: nothing at all."""

    answer: int | None = 200
    heard: list[tuple[str, bytes, str]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = request.headers
        self.heard.append((headers["corechain-delivery"], body, headers["corechain-signature"]))
        if self.answer is None:
            await asyncio.Event().wait()
        return web.Response(status=self.answer or 200, headers={"location": "/elsewhere"})


@asynccontextmanager
async def receiving(*receivers: Receiver) -> AsyncIterator[None]:
    runners = []
    for receiver in receivers:
        app = web.Application()
        app.router.add_post("/{any:.*}", receiver.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=t"
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


@asynccontextmanager
async def sending(watch: Watch, *receivers: Receiver) -> AsyncIterator[None]:
    async with httpx.AsyncClient() as http:
        tasks = [asyncio.create_task(send_forever(watch, it.url, http)) for it in receivers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def send_forever(watch: Watch, url: str, http: httpx.AsyncClient) -> None:
    webhooks = Webhooks(watch.books.pool, target_of(url))
    while True:
        # A new one each time: nothing is in memory.
        await Sender(webhooks, url, "receiver", SECRET, http, Metrics()).step()
        await asyncio.sleep(0.01)


def deliveries(receiver: Receiver) -> dict[str, bytes]:
    """Each message once, as a receiver takes it, in order."""
    return {delivery: body for delivery, body, _ in receiver.heard}


async def test_messages_are_signed_and_a_receiver_that_hangs_or_refuses_delays_no_other(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    good, hanging, broken = Receiver(), Receiver(None), Receiver(500)
    async with watching(tables, bus_url) as watch, receiving(good, hanging, broken):
        watch.targets = (good.url, hanging.url, broken.url)
        async with sending(watch, good, hanging, broken):
            await watch.books.verify()
            await watch.books.pool.execute("update batch_file set state = 'mismatch'")
            await watch.look()
            await watch.books.pool.execute("delete from batch")
            await watch.look()
            await until(lambda: len(deliveries(good)) == 2)
            await until(lambda: len(broken.heard) >= 3)
            # In order: the second one waits until the first was taken.
            assert len(deliveries(broken)) == 1
            broken.answer = 200
            await until(lambda: len(deliveries(broken)) == 2)
        documents = [json.loads(body) for body in deliveries(good).values()]
        assert [document["type"] for document in documents] == ["fired", "resolved"]
        fired, resolved = (document["summary"] for document in documents)
        assert (fired, resolved) == ("batch 1 is mismatch", "resolved: batch 1 is mismatch")
        assert documents[0]["details"] == {"batch_id": 1, "reason": None}
        assert (documents[0]["chain_id"], documents[0]["id"]) == (31337, documents[1]["id"])
        for _, body, signature in good.heard:
            stamp, _, mac = signature.partition(",")
            signed = stamp.removeprefix("t=").encode() + b"." + body
            assert mac == "v1=" + hmac.new(SECRET, signed, sha256).hexdigest()
        assert len(deliveries(hanging)) <= 1


async def test_a_receiver_that_is_away_hears_everything_when_it_is_back(
    tables: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    receiver = Receiver(302)
    async with watching(tables, bus_url) as watch, receiving(receiver):
        watch.targets = (receiver.url,)
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        async with sending(watch, receiver):
            await until(lambda: receiver.heard)
        await watch.books.pool.execute("update batch_file set state = 'verified'")
        await watch.look()
        receiver.answer = 204
        async with sending(watch, receiver):
            await until(lambda: len(deliveries(receiver)) == 2)
            await until(lambda: no_message_left(watch))
        # A message of yesterday holds up no newer one.
        receiver.answer = 500
        await watch.books.pool.execute("update batch_file set state = 'mismatch'")
        await watch.look()
        await watch.books.pool.execute("update webhook set made_at = now() - interval '2 days'")
        async with sending(watch, receiver):
            await until(lambda: no_message_left(watch))
        # Another receiver's messages are nobody's any more.
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await watch.look()
        watch.targets = ()
        await watch.look()
        assert await watch.told() == []


async def no_message_left(watch: Watch) -> bool:
    return await watch.told() == []


def settings_with(database: str, **alerts: Any) -> Settings:
    values = {"rpc_url": "http://127.0.0.1:1", "deployment": "none.json", "data_urls": ""}
    stores = {"database_url": database, "redis_url": "redis://127.0.0.1:1"}
    return Settings(**(values | stores | {"poll_s": 0.05, "alert_every_s": 0.1} | alerts))


async def test_the_loops_of_the_service_look_and_send_by_themselves(
    tables: str, bus_url: str
) -> None:
    receiver = Receiver()
    async with (
        watching(tables, bus_url) as watch,
        receiving(receiver),
        httpx.AsyncClient() as http,
    ):
        given = {"alert_urls": receiver.url, "alert_secret": SECRET.decode()}
        settings = settings_with(tables, alert_unverified_s=0, **given)
        made = AlertSessions(settings, 31337, watch.books.pool, watch.node, http, Metrics())
        tasks = [asyncio.create_task(session()) for session in made.by_name().values()]
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await until(lambda: len(deliveries(receiver)) == 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_alerts_without_a_key_to_sign_them_are_a_wrong_setting(database: str) -> None:
    rest: Any = (31337, None, Node(), None, Metrics())
    assert AlertSessions(settings_with(database), *rest).by_name() == {}
    with pytest.raises(InvalidSetting, match="ALERT_SECRET"):
        AlertSessions(settings_with(database, alert_urls="http://x"), *rest).by_name()
    parties = "0x" + "0a" * 20 + " , 0x" + "0B" * 20
    limits = limits_of(settings_with(database, alert_parties=parties))
    assert limits.parties == [b"\x0a" * 20, b"\x0b" * 20]


def test_the_signature_is_that_of_the_documentation() -> None:
    assert signature_of(b"k" * 16, 1_700_000_000, b"{}") == (
        "t=1700000000,v1=" + hmac.new(b"k" * 16, b"1700000000.{}", sha256).hexdigest()
    )
