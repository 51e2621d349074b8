"""A busy gateway is obeyed: who sends reports comes again when it says, and no later than he wants.

given a gateway that answers 503 with Retry-After
  when the sender has patience, he asks again after the time that was named, and a part more
  when he has none, or too little for the time named, he hears it at once
given an API that lets a reader of many pages ask so and so often
  he waits for the next page as he is told, for a minute at most; any other refusal he hears
"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http import Script, answers

from corechain import deliveries, insisting
from corechain.async_client import AsyncClient
from corechain.client import Client
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.steps import ApiUnavailable, Pause, Request

DEVICE = DeviceId(bytes(19) + b"\1")
REPORT = SignedReport(Report.of(DEVICE, 7, [Observation(1, 5, 1_000, 3)]), bytes(64))
ACCEPTED = {"results": [{"device": "0x" + DEVICE.hex(), "sequence": 7, "status": "accepted"}]}
BUSY = Script(503, b"{}", headers=(("retry-after", "0"),))


def asked_again(waits: list[float | None], patience_s: float) -> tuple[bool, list[float]]:
    """Whether the reports were delivered, and the pauses before that: the gateway is busy once for
    each wait that it names (None: it names none), and takes them then."""
    flow, pauses = deliveries.send_reports([REPORT], patience_s), list[float]()
    busy = [ApiUnavailable("busy", 503, wait) for wait in waits]
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = next(flow)
                continue
            assert isinstance(step, Request)
            step = flow.throw(busy.pop(0)) if busy else flow.send(ACCEPTED)
    except ApiUnavailable:
        return False, pauses
    except StopIteration as done:
        return all(delivery.accepted for delivery in done.value), pauses


@given(st.lists(st.floats(0, 30), max_size=6), st.floats(0, 100))
def test_each_wait_is_as_long_as_was_asked_and_all_together_no_longer_than_allowed(
    waits: list[float], patience_s: float
) -> None:
    delivered, pauses = asked_again(list(waits), patience_s)
    assert sum(pauses) <= patience_s + 1e-6
    assert all(pause >= wait for pause, wait in zip(pauses, waits, strict=False))
    if delivered:
        assert len(pauses) == len(waits)
    else:
        assert patience_s < 1.5 * (sum(waits) + insisting.LEAST_PAUSE_S * len(waits)) + 1e-6


def test_a_fleet_that_was_refused_together_comes_back_spread() -> None:
    pauses = {asked_again([10.0], 60.0)[1][0] for _ in range(50)}
    assert len(pauses) > 40
    assert all(10.0 <= pause <= 15.0 for pause in pauses)


def test_who_is_not_told_when_to_come_again_does_not_guess() -> None:
    assert asked_again([None], 60.0) == (False, [])


def test_both_clients_wait_and_ask_again(deployment) -> None:
    with answers(BUSY) as url:
        with Client(url, url, url, deployment) as client, pytest.raises(ApiUnavailable):
            client.send_reports([REPORT], patience_s=2 * insisting.LEAST_PAUSE_S)

        async def ask() -> None:
            async with AsyncClient(url, url, url, deployment) as other:
                await other.send_reports([REPORT], patience_s=2 * insisting.LEAST_PAUSE_S)

        with pytest.raises(ApiUnavailable):
            asyncio.run(ask())


@pytest.mark.parametrize(
    ("status", "wait_s", "waits"),
    [(429, 2.0, True), (429, 61.0, False), (429, None, False), (503, 2.0, False)],
)
def test_who_reads_many_pages_waits_for_the_next_as_he_is_told(
    status: int, wait_s: float | None, waits: bool
) -> None:
    asked = Request("api", "GET", "/v1/history")
    flow = insisting.page_of_many(asked)
    assert next(flow) == asked
    refusal = ApiUnavailable("too many", status, wait_s)
    if not waits:
        with pytest.raises(ApiUnavailable, match="too many"):
            flow.throw(refusal)
        return
    pause = flow.throw(refusal)
    assert isinstance(pause, Pause)
    assert 2.0 <= pause.seconds <= 3.0
    assert next(flow) == asked
    with pytest.raises(StopIteration) as done:
        flow.send({"items": []})
    assert done.value.value == {"items": []}
