"""A gateway that is not well, and what becomes of the reports that wait for it."""

import pytest
from support.http import Script, answers

from corechain_relayer.bridge.sender import GatewayUnavailable, WrongDeployment
from relayer.bridges import Stage, ecowitt

FOREVER = 10**9


@pytest.fixture
async def stage(tmp_path):
    found = Stage.at(tmp_path)
    yield found
    await found.bridge.close()


# ------------------------------------------------------------- a gateway that is not well


async def sending(tmp_path, script):
    """A stage with one report in its queue, and the gateway that answers so."""
    with answers(script) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        try:
            await stage.bridge.sender.send_some()
        finally:
            await stage.bridge.client.close()
    return stage


def problem(name, status=400):
    return Script(status, b'{"type":"urn:corechain:error:%s","status":400}' % name.encode())


UNDECIDED = [
    Script(200, b"<html>welcome to the hotel's network</html>"),
    Script(202, b'{"accepted":1,"results":[]}'),
    Script(404, b'{"title":"no such page"}', "application/problem+json"),
    Script(302, b"", headers=(("location", "http://127.0.0.1:9/"),)),
    problem("Overloaded", 503),
    problem("SomethingNew"),
    problem("UnsupportedMediaType", 415),
]


@pytest.mark.parametrize("script", UNDECIDED)
async def test_an_answer_that_decides_nothing_keeps_the_report(tmp_path, script):
    with answers(script) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        before = stage.bridge.store.head(10)
        with pytest.raises(GatewayUnavailable):
            await stage.bridge.sender.send_some()
        assert stage.bridge.store.head(10) == before
        await stage.bridge.close()


async def test_signatures_of_another_network_halt_the_sender_and_lose_nothing(tmp_path):
    with answers(problem("InvalidSignature", 403)) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            await client.post(f"/ecowitt/{stage.tokens['roof']}", data=ecowitt(tempf=50))
        with pytest.raises(WrongDeployment):
            await stage.bridge.sender.send_some()
        assert stage.bridge.store.depth() == 1
        await stage.bridge.close()


async def test_what_the_gateway_will_never_take_is_set_aside_with_its_reason(tmp_path):
    stage = await sending(tmp_path, problem("RevokedDevice", 403))
    assert stage.bridge.store.depth() == 0
    (row,) = stage.bridge.store.refused()
    assert (row["name"], row["reason"]) == ("roof", "RevokedDevice")
    assert 'corechain_bridge_reports_refused_total{reason="RevokedDevice"} 1.0' in stage.metrics()
    await stage.bridge.close()


async def test_one_refusal_of_a_whole_request_is_asked_for_report_by_report(tmp_path):
    """The gateway answers a request whose reports all have one fault with that alone."""
    with answers(problem("RevokedDevice", 403)) as url:
        stage = Stage.at(tmp_path, url)
        stage.station("roof", "ecowitt")
        async with stage.client() as client:
            for ago_s in (30, 20, 10):
                path = f"/ecowitt/{stage.tokens['roof']}"
                await client.post(path, data=ecowitt(ago_s, tempf=50))
        waiting = [item.report for item in stage.bridge.store.head(10)]
        assert await stage.bridge.sender.send_some()
        rows = stage.bridge.store.refused()
        assert stage.bridge.store.depth() == 0
        assert sorted(row["report"] for row in rows) == sorted(waiting)
        assert {row["reason"] for row in rows} == {"RevokedDevice"}
        assert await stage.bridge.sender.send_some() is False
        assert "corechain_bridge_queue_oldest_seconds 0.0" in stage.metrics()
        await stage.bridge.close()


async def test_a_station_that_the_gateway_does_not_know_waits_and_holds_up_no_other(tmp_path):
    stage = await sending(tmp_path, problem("UnknownDevice", 404))
    sender = stage.bridge.sender
    assert stage.bridge.store.depth() == 1
    assert await sender.send_some() is False  # it is not asked about again yet
    assert len(sender.warnings()) == 1
    async with stage.client() as client:
        ready = await client.get("/ready")
    assert "are not in the registry" in ready.json()["warnings"][0]
    await stage.bridge.close()


async def test_a_station_that_the_gateway_cannot_look_up_now_waits_and_holds_up_no_other(tmp_path):
    stage = await sending(tmp_path, problem("Unavailable", 503))
    sender = stage.bridge.sender
    assert stage.bridge.store.depth() == 1
    assert await sender.send_some() is False  # a station behind it would have its turn
    assert "cannot look up 1 stations" in sender.warnings()[0]
    now = sender.clock()
    sender.clock = lambda: now + 5.1
    assert sender._asleep() == []
    await stage.bridge.close()
