"""What the guard has an operator look at is posted to receivers, once when it begins and once when
it is over.

given a guard with alerts, and the journal
  when a demand is in danger and the process is killed
    the next one posts it, and does not take it for over before it has looked itself
  when it is over
    the message says how it ended
  when the guard of another lane has the same journal
    neither takes the other's alerts for over
  when a receiver hangs, refuses or is away
    the others get theirs, and it gets all of them later, each under one number
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.processes import until
from support.receivers import Receiver, deliveries, receiving

from corechain.protocol.evidence import Demand
from corechain.service.alerting import sender as module
from corechain.service.alerting.alerts import Alerts as Messages
from corechain.service.alerting.sender import target_of
from corechain.service.database import connect
from corechain.service.errors import NodeUnavailable
from corechain.service.settings import InvalidSetting
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.rules import GuardRules, alert_sessions
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings

SECRET = "a secret of sixteen or more"
US = b"\x05" * 20
DEMAND = OpenDemand(b"\x01" * 32, 1, Demand.READING, bytes(26), bytes(32), 2_000_000_000, 10)
KEY = "0x" + "01" * 32


def guard(*demands: OpenDemand, reason: str = "no data file", looked: bool = True) -> Alerts:
    """The alerts of a process that has just found these demands in danger."""
    alerts = Alerts(Metrics())
    alerts.ending = lambda demand_id: "answered"
    for demand in demands:
        alerts.demand(demand, 60, reason, "gone")
    if looked:
        alerts.looked()
    return alerts


async def written(database: str, alerts: Alerts, lane: int = 0) -> None:
    """One look, as the process would that has these alerts in memory."""
    connection = await connect(database)
    try:
        rules, target = GuardRules(alerts, lane), target_of("http://receiver", f"lane {lane}")
        await Messages(connection, rules, [target], 31337, lambda *_: None, 86_400.0).step()
    finally:
        await connection.close()


async def told(database: str) -> list[dict[str, Any]]:
    connection = await connect(database)
    try:
        rows = await connection.fetch("select body from webhook order by id")
        return [json.loads(row["body"]) for row in rows]
    finally:
        await connection.close()


def heads(documents: list[dict[str, Any]]) -> list[tuple[str, str, str, str | None]]:
    return [(d["type"], d["alert"], d["key"], d.get("outcome")) for d in documents]


async def test_an_alert_outlives_its_process_and_is_over_only_when_the_next_one_has_looked(
    database: str,
) -> None:
    await written(database, guard(DEMAND))
    fired = ("fired", "demand_in_danger", f"0:{KEY}", None)
    assert heads(await told(database)) == [fired]
    # Killed; the next process knows of nothing yet, then sees the same, then that it was answered.
    await written(database, Alerts(Metrics()))
    await written(database, guard(DEMAND))
    await written(database, guard(DEMAND, reason="outage"))
    assert heads(await told(database)) == [fired]
    await written(database, guard())
    over = ("resolved", "demand_in_danger", f"0:{KEY}", "answered")
    assert heads(await told(database)) == [fired, over]
    first, last = await told(database)
    assert first["id"] == last["id"]
    assert first["source"] == "guard"
    assert first["chain_id"] == 31337
    assert first["details"]["demand"] == KEY
    assert (first["details"]["batch"], first["details"]["reason"]) == (1, "no data file")
    assert last["summary"].startswith("resolved: batch 1, reading, 60 s left")


async def test_a_demand_whose_deadline_has_passed_is_another_alert(database: str) -> None:
    await written(database, guard(DEMAND))
    await written(database, guard(DEMAND, reason="too late"))
    assert heads(await told(database))[1:] == [
        ("fired", "demand_lost", f"0:{KEY}", None),
        ("resolved", "demand_in_danger", f"0:{KEY}", "too late"),
    ]
    ended = guard()
    ended.ending = lambda demand_id: "expired"
    await written(database, ended)
    assert heads(await told(database))[-1] == ("resolved", "demand_lost", f"0:{KEY}", "expired")


async def test_guards_of_two_lanes_do_not_take_each_others_alerts_for_over(database: str) -> None:
    other = replace(DEMAND, batch_id=(1 << 32) + 1)
    await written(database, guard(DEMAND), lane=0)
    await written(database, guard(other), lane=1)
    await written(database, guard(), lane=1)
    assert heads(await told(database)) == [
        ("fired", "demand_in_danger", f"0:{KEY}", None),
        ("fired", "demand_in_danger", f"1:{KEY}", None),
        ("resolved", "demand_in_danger", f"1:{KEY}", "answered"),
    ]


async def test_funds_and_what_keeps_answers_from_being_sent_are_alerts(database: str) -> None:
    alerts = Alerts(Metrics())
    alerts.funds(10**20, 10**21, US)
    alerts.sending(NodeUnavailable("refuses"))
    await written(database, alerts)
    funds, sending = await told(database)
    assert heads([funds, sending]) == [
        ("fired", "guard_funds", "0:funds", None),
        ("fired", "not_sent", "0:sending", None),
    ]
    assert funds["details"]["balance"] == str(10**20)
    alerts.enough_funds()
    alerts.sending(None)
    await written(database, alerts)
    assert [d["type"] for d in await told(database)] == ["fired"] * 2 + ["resolved"] * 2


# ------------------------------------------------------------------------------------ loops


def settings_with(database: str, **alerts: Any) -> Settings:
    values = {"rpc_url": "http://127.0.0.1:1", "deployment": "none.json", "data_dir": "none"}
    return Settings(**(values | {"database_url": database, "bus_url": "redis://x:1"} | alerts))


@asynccontextmanager
async def running(database: str, alerts: Alerts, *urls: str) -> AsyncIterator[None]:
    """The loops of a process, from its start to its end."""
    settings = settings_with(database, alert_urls=",".join(urls), alert_secret=SECRET)
    loops = alert_sessions(settings, 31337, alerts, Metrics()).by_name()
    tasks = [asyncio.create_task(session()) for session in loops.values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_receiver_that_hangs_delays_no_other_and_one_that_was_away_hears_it_all(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    good, hanging, broken = Receiver(), Receiver(None), Receiver(503)
    async with receiving(good, hanging, broken):
        urls = good.url, hanging.url, broken.url
        alerts = guard()
        async with running(database, alerts, *urls):
            alerts.demand(DEMAND, 60, "no data file", "gone")
            await until(lambda: len(deliveries(good)) == 1)
            alerts.keep([])
            await until(lambda: len(deliveries(good)) == 2)
            await until(lambda: broken.heard)
        assert len(deliveries(hanging)) <= 1
        broken.answer = 200
        # The next process: nothing in memory.
        async with running(database, guard(), *urls):
            await until(lambda: len(deliveries(broken)) == 2)
        said = [json.loads(body)["type"] for body in deliveries(broken).values()]
        assert said == ["fired", "resolved"]
        assert len(deliveries(good)) == 2


def test_messages_of_two_senders_to_one_receiver_are_two_deliveries() -> None:
    """Their rows have the same numbers; each attempt at one message has the same delivery."""
    assert module.delivery_of(1, b"{}") == module.delivery_of(1, b"{}")
    found = {module.delivery_of(row, body) for row in (1, 2) for body in (b"{}", b"[]")}
    assert len(found) == 4


async def test_receivers_without_a_key_to_sign_with_are_a_wrong_setting(database: str) -> None:
    assert alert_sessions(settings_with(database), 31337, guard(), Metrics()).by_name() == {}
    settings = settings_with(database, alert_urls="http://receiver")
    with pytest.raises(InvalidSetting, match="RELAYER_ALERT_SECRET"):
        alert_sessions(settings, 31337, guard(), Metrics())
