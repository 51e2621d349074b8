"""Alerts by webhook: each is told once, and once more when it is over, in order, whichever receiver
hangs, refuses or was away.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, cast

import httpx
import pytest
from support.http import Script, answers
from support.processes import until
from support.receivers import Receiver, deliveries, receiving

from corechain.service.alerting import sender as module
from corechain.service.alerting.book import Webhooks
from corechain.service.alerting.sender import Sender, signature_of, target_of
from corechain.service.settings import InvalidSetting
from corechain_indexer.alert_sessions import alert_sessions, limits_of
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import Settings
from indexer.watches import Node, Watch, watching

SECRET = b"a secret of sixteen or more"


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
    webhooks, counted = Webhooks(watch.books.pool, target_of(url)), list[str]().append
    while True:
        # A new one each time: nothing is in memory.
        await Sender(webhooks, url, "receiver", lambda: SECRET, http, counted).step()
        await asyncio.sleep(0.01)


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


async def test_a_receiver_that_is_busy_is_left_alone_for_as_long_as_it_asks() -> None:
    pauses = list[float]()

    class Book:
        """Of one message that was tried once."""

        async def next(self, kept_s: float) -> dict[str, Any]:
            return {"id": 1, "body": b"{}", "attempts": 1, "expired": False}

        async def failed(self, row_id: int, pause_s: float) -> None:
            pauses.append(pause_s)

    async with httpx.AsyncClient() as http:
        for asked in ("90", "86400", "soon"):
            with answers(Script(429, b"", headers=(("retry-after", asked),))) as url:
                book, counted = cast(Webhooks, Book()), list[str]().append
                assert not await Sender(book, url, "receiver", lambda: SECRET, http, counted).step()
    assert pauses == [90.0, module.LONGEST_PAUSE_S, 2 * module.FIRST_PAUSE_S]


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
    async with watching(tables, bus_url) as watch, receiving(receiver):
        given = {"alert_urls": receiver.url, "alert_secret": SECRET.decode()}
        settings = settings_with(tables, alert_unverified_s=0, **given)
        made = alert_sessions(settings, 31337, watch.books.pool, watch.node, Metrics())
        tasks = [asyncio.create_task(session()) for session in made.by_name().values()]
        await watch.books.verify()
        await watch.books.pool.execute("update batch_file set state = 'withheld'")
        await until(lambda: len(deliveries(receiver)) == 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_alerts_without_a_key_to_sign_them_are_a_wrong_setting(database: str) -> None:
    rest: Any = (31337, None, Node(), Metrics())
    assert alert_sessions(settings_with(database), *rest).by_name() == {}
    with pytest.raises(InvalidSetting, match="ALERT_SECRET"):
        alert_sessions(settings_with(database, alert_urls="http://x"), *rest)
    parties = "0x" + "0a" * 20 + " , 0x" + "0B" * 20
    limits = limits_of(settings_with(database, alert_parties=parties))
    assert limits.parties == [b"\x0a" * 20, b"\x0b" * 20]


def test_the_signature_is_that_of_the_documentation() -> None:
    assert signature_of(b"k" * 16, 1_700_000_000, b"{}") == (
        "t=1700000000,v1=" + hmac.new(b"k" * 16, b"1700000000.{}", sha256).hexdigest()
    )
