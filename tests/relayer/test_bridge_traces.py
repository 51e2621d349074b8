"""Uploads that are followed, through the bridge's queue to the gateway.

given an upload with a `traceparent`
  it is a span of the client's trace, which shows its format and not its token
  its report waits with the trace, and goes to the gateway with it, in a request of its own
given one without, or a bridge without a collector
  nothing is followed
"""

from pathlib import Path

import pytest

from corechain.service.tracing import Context, context_of, traceparent_of
from corechain_relayer.bridge.sender import of_one_trace
from corechain_relayer.bridge.store import Queued
from relayer.bridges import KeptSpans, Stage, ecowitt
from relayer.recording_gateway import Held, gateway

CLIENT = Context(bytes(range(1, 17)), bytes(range(1, 9)))
FIELD = {"traceparent": traceparent_of(CLIENT).decode()}


@pytest.fixture
def held() -> Held:
    """What the gateway got."""
    return Held()


@pytest.fixture
async def stage(tmp_path: Path, held: Held):
    with gateway(held) as url:
        found = Stage.at(tmp_path, url)
        for name in ("roof", "yard"):
            found.station(name, "ecowitt")
        yield found
        await found.bridge.close()


async def upload(stage: Stage, name: str, headers: dict[str, str]) -> None:
    async with stage.client() as client:
        path = f"/ecowitt/{stage.tokens[name]}"
        taken = await client.post(path, data=ecowitt(tempf=50), headers=headers)
        assert taken.status_code == 200


async def test_a_followed_upload_goes_to_the_gateway_with_its_trace(
    stage: Stage, held: Held
) -> None:
    traces = stage.bridge.metrics.traces = KeptSpans()
    await upload(stage, "roof", FIELD)
    await upload(stage, "yard", {})
    (uploaded,) = traces.spans
    assert (uploaded.stage, uploaded.name, uploaded.parent) == (
        "bridge",
        "POST /ecowitt",
        CLIENT.span,
    )
    assert stage.tokens["roof"] not in str(uploaded)
    first, second = stage.bridge.store.head(10)
    assert (first.trace, second.trace) == (b"".join(uploaded.context), None)

    assert await stage.bridge.sender.send_some()
    assert await stage.bridge.sender.send_some()
    sent = traces.spans[1]
    assert (sent.context.trace, sent.parent) == (CLIENT.trace, uploaded.context.span)
    assert sent.began <= sent.ended
    told, nothing = held.traceparents
    assert (told and context_of(told.encode()), nothing) == (sent.context, None)
    assert len(traces.spans) == 2


async def test_without_a_collector_nothing_is_followed(stage: Stage, held: Held) -> None:
    await upload(stage, "roof", FIELD)
    assert stage.bridge.store.head(10)[0].trace is None
    assert await stage.bridge.sender.send_some()
    assert held.traceparents == [None]


def test_reports_of_one_trace_share_a_request_and_no_others() -> None:
    queued = [Queued(n, 1, b"", 0, trace) for n, trace in enumerate((b"a", b"a", None, None, b"b"))]
    assert [one.id for one in of_one_trace(queued)] == [0, 1]
    assert [one.id for one in of_one_trace(queued[2:])] == [2, 3]
