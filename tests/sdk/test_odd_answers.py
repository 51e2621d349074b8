"""What servers say is input: whatever it is, the SDK answers with a value or a typed error.

given a gateway or query API that answers any JSON, or an honest answer with one part changed
  └── every flow ends in its result or in a CoreChainError
given a server that answers no JSON, half an answer, a redirect, an error page, "too busy"
  └── both clients raise ApiUnavailable, with what the server asks to wait
"""

import asyncio
import copy
import json
from contextlib import suppress
from inspect import signature

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import commitments_of, hexed
from support.flows import carried_out
from support.http import Script, answers
from support.odd_answers import (
    BATCHES,
    DEVICE,
    OWNER,
    QUESTION,
    REPORT,
    TREE,
    anything,
    claim_json,
    proof_json,
    readings_json,
    statistics_json,
)

from corechain import AsyncClient, Client, deliveries, flows, index_flows, listing
from corechain.answers import parse_proven_reading, parse_statistics
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.protocol import errors
from corechain.protocol.channel import ChannelConfig, StateChannel, payment_domain
from corechain.protocol.errors import CoreChainError, NotFound, ProtocolError
from corechain.readings import ReadingsQuestion
from corechain.status import Places, inspect
from corechain.steps import ApiUnavailable, error_of_problem


def delivery_json():
    return {"results": [{"device": hexed(DEVICE), "sequence": 7, "status": "accepted"}]}


CHAIN = commitments_of(BATCHES)
CONFIG = ChannelConfig(DEVICE, DEVICE, DEVICE, DEVICE, DEVICE, 900, bytes(32))
TERMS = StateChannel(DEVICE, OWNER, DEVICE, 600, 5, bytes(5))
OF = 31337, DEVICE
FRESH = {"block": 3, "finality": "safe"}


def payment_channel_json():
    names = ("payer", "payer_authorizer", "receiver", "receiver_authorizer", "token")
    return {name: hexed(DEVICE) for name in names} | {
        "kind": "payment",
        "channel_id": hexed(CONFIG.channel_id(payment_domain(*OF))),
        "withdraw_delay": 900,
        "salt": hexed(bytes(32)),
        "balance": "7",
        "claimed": "5",
        "block": 3,
    }


def state_channel_json():
    return {
        "kind": "state",
        "channel_id": hexed(TERMS.channel_id(*OF)),
        "party_a": hexed(DEVICE),
        "party_b": hexed(OWNER),
        "token": hexed(DEVICE),
        "challenge_period": 600,
        "open_before": 5,
        "salt": hexed(bytes(5)),
        "state": "open",
        "deposit": "150",
        "balance_a": "100",
        "version": 1,
        "deadline": 0,
        "block": 3,
    }


def station_json(code=1):
    newest = {"metric": code, "observed_at": 9, "value": 5, "flag": 1, "cell": "872a1072bffffff"}
    place = {"batch_id": 1, "position": 0, "finality": "safe"}
    device = {"device": hexed(DEVICE), "cell": "872a1072bffffff", "revoked": False}
    return device | {"newest": newest | place}


def epoch_json():
    root = {"epoch": 1, "root": hexed(TREE.root), "through_block": 2, "emission": "9"}
    return root | FRESH | {"active_at": 4, "state": "verified", "bridge_weight_bps": 5_000}


def series_json():
    bucket = {"start": 3600, "count": 2, "mean": 1.0, "sum": 200, "min": 50, "max": 150}
    return {"metric": 1, "bucket": 3600, "items": [bucket, bucket | {"start": 7200}]}


def device_json():
    return FRESH | {"device": hexed(DEVICE), "owner": hexed(OWNER), "key_type": 1, "revoked": False}


def network_json():
    place = {"address": hexed(DEVICE), "block": 1}
    return {"chain_id": 31337, "contracts": {"CoreToken": place}, "rpc_url": None}


def listed(row):
    return lambda: {"items": [row()], "next_cursor": None}


ASKED = ReadingsQuestion(DEVICE, 1)
INDEX_FLOWS = {
    "network": (lambda: index_flows.network({}), network_json),
    "device": (lambda: index_flows.device(DEVICE, {}), device_json),
    "stations": (lambda: index_flows.stations(1, 3, {}), listed(station_json)),
    "series": (lambda: index_flows.series(1, ASKED, 3600, 9, {}), series_json),
    "epochs": (lambda: index_flows.epochs(3, {}), listed(epoch_json)),
    "channels": (
        lambda: index_flows.payment_channels(OF, None, 3, {}),
        listed(payment_channel_json),
    ),
    "state_channels": (
        lambda: index_flows.state_channels(OF, None, 3, {}),
        listed(state_channel_json),
    ),
    "channel": (
        lambda: index_flows.channel(OF, OF, TERMS.channel_id(*OF), {}),
        state_channel_json,
    ),
}
FLOWS = {
    "send_reports": (lambda: deliveries.send_reports([REPORT]), delivery_json),
    "next_sequence": (lambda: flows.next_sequence(DEVICE), lambda: {"next": 8}),
    "status": (lambda: listing.document("/v1/status"), lambda: {"head_block": 1}),
    "batch": (lambda: index_flows.batch(1, {}), lambda: {"batch_id": 1}),
    "batches": (lambda: index_flows.batches(3, {}, 0), lambda: {"items": [{"batch_id": 1}]}),
    "latest": (
        lambda: index_flows.latest(DEVICE, {}),
        lambda: {"device": hexed(DEVICE), "items": []},
    ),
    "reading": (lambda: flows.proven_reading(1, 3, CHAIN), proof_json),
    "statistics": (lambda: flows.statistics(QUESTION, CHAIN), statistics_json),
    "unproven": (lambda: flows.statistics(QUESTION, None), statistics_json),
    "readings": (lambda: flows.readings(ReadingsQuestion(DEVICE), 9, CHAIN), readings_json),
    "plain": (lambda: flows.readings(ReadingsQuestion(DEVICE), 9, None), readings_json),
    "rewards": (lambda: flows.reward_claim(OWNER, lambda: (1, TREE.root)), claim_json),
    "claimable": (
        lambda: flows.rewards_claimable(OWNER, lambda: (1, TREE.root), lambda owner: 0),
        claim_json,
    ),
} | INDEX_FLOWS


# Lists as `batches` is, which stands for them where anything is answered.
LISTS = {
    "devices": (lambda: index_flows.devices(3, {}), lambda: {"items": [{"device": hexed(DEVICE)}]}),
    "rejections": (lambda: index_flows.rejections(1, 3, {}), lambda: {"items": [{"ordinal": 0}]}),
}


def places_in(document, path=()):
    """Every path into a JSON document."""
    yield path
    if isinstance(document, dict | list):
        entries = document.items() if isinstance(document, dict) else enumerate(document)
        for key, inner in entries:
            yield from places_in(inner, (*path, key))


def changed(document, path, value):
    if not path:
        return value
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize("name", FLOWS)
def test_an_honest_answer_is_believed(name):
    flow, honest = FLOWS[name]
    assert carried_out(flow(), lambda request: honest()) is not None


@pytest.mark.parametrize("name", FLOWS)
@settings(max_examples=40)  # a flow: there are twenty
@given(data=st.data())
def test_any_json_is_a_result_or_a_typed_error(name, data):
    flow, honest = FLOWS[name]
    document = honest()
    path = data.draw(st.sampled_from(list(places_in(document))))
    odd = changed(document, path, data.draw(anything))
    with suppress(CoreChainError):
        carried_out(flow(), lambda request: odd)


@given(anything)
def test_any_json_is_parsed_or_malformed(document):
    for parse in (parse_statistics, lambda answer: parse_proven_reading(answer, 1)):
        with suppress(MalformedAnswer):
            parse(document)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("reading", lambda: proof_json() | {"position": 4}),
        ("rewards", lambda: claim_json() | {"owner": "0x" + "12" * 20}),
        ("batches", lambda: {"items": [{}] * 4}),
        ("batches", lambda: {"items": [], "next_cursor": "x"}),
        ("device", lambda: device_json() | {"device": "0x" + "12" * 20}),
        ("channel", payment_channel_json),
        ("series", lambda: series_json() | {"metric": 2}),
        ("series", lambda: series_json() | {"items": series_json()["items"][::-1]}),
        ("series", lambda: series_json() | {"next_from": 0}),
        ("stations", listed(lambda: station_json(2))),
        ("batches", lambda: {"items": [{"batch_id": 0}]}),  # not behind `after`
        ("batches", lambda: {"items": [{"batch_id": 1}], "next_cursor": "itself"}),
        ("devices", lambda: {"items": [{"device": hexed(DEVICE)}], "next_cursor": "itself"}),
        ("rejections", lambda: {"items": [{"ordinal": 0}], "next_cursor": "itself"}),
        ("batch", lambda: {"batch_id": 2}),
        ("latest", lambda: {"device": "0x" + "12" * 20, "items": []}),
        ("send_reports", lambda: {"results": []}),
        (
            "send_reports",
            lambda: {"results": [{"device": hexed(DEVICE), "sequence": 8, "status": "accepted"}]},
        ),
    ],
)
def test_an_answer_to_another_question_is_named_so(name, answer):
    with pytest.raises(WrongAnswer):
        carried_out((FLOWS | LISTS)[name][0](), lambda request: answer())


@pytest.mark.parametrize("name", ["channels", "state_channels", "channel"])
def test_terms_that_are_not_those_of_the_channel_are_malformed(name):
    answer = INDEX_FLOWS[name][1]()
    row = answer["items"][0] if "items" in answer else answer
    row["token"] = "0x" + "12" * 20
    with pytest.raises(MalformedAnswer, match="terms"):
        carried_out(INDEX_FLOWS[name][0](), lambda request: answer)


def test_an_empty_page_of_stations_is_where_the_list_stops_for_now():
    empty = {"items": [], "next_cursor": "x"}
    found = carried_out(index_flows.stations(1, 3, {}), lambda request: empty)
    assert (found, found.next_cursor) == ([], "x")


@pytest.mark.parametrize("next_", [-1, 2**64, "7", 1.5, True, None])
def test_a_sequence_that_is_none_is_malformed(next_):
    with pytest.raises(MalformedAnswer):
        carried_out(flows.next_sequence(DEVICE), lambda request: {"next": next_})


ODD_HTTP = {
    "html": Script(200, b"<html>welcome</html>", "text/html"),
    "empty": Script(200, b""),
    "no content": Script(204, b""),
    "not utf-8": Script(200, b'"\xff"'),
    "deep": Script(200, b"[" * 100_000),
    "long number": Script(200, b"1" * 10_000 + b"x"),
    "cut": Script(200, b'{"items":', missing=100),
    "moved": Script(301, b"", headers=(("location", "http://elsewhere.example/"),)),
    "bad gateway": Script(502, b"<html>502</html>", "text/html"),
    "not gzip": Script(200, b"no", headers=(("content-encoding", "gzip"),)),
    "busy": Script(
        503, b'{"type":"urn:corechain:error:Overloaded"}', headers=(("retry-after", "7"),)
    ),
    "too many": Script(429, b"slow down", "text/plain", (("retry-after", "7"),)),
    "text error": Script(500, b'"oops"'),
    "teapot": Script(418, b"[]"),
}


@pytest.mark.parametrize("name", ODD_HTTP)
def test_a_broken_or_busy_server_is_unavailable_to_both_clients(name, deployment):
    with answers(ODD_HTTP[name]) as url:
        with Client(url, url, url, deployment) as client, pytest.raises(ApiUnavailable) as caught:
            client.status()

        async def ask():
            async with AsyncClient(url, url, url, deployment) as other:
                await other.status()

        with pytest.raises(ApiUnavailable) as again:
            asyncio.run(ask())
    assert str(caught.value) == str(again.value)
    waits = name in ("busy", "too many")
    assert caught.value.retry_after_s == (7.0 if waits else None)
    assert caught.value.problem == ("Overloaded" if name == "busy" else "")


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "Wed, 21 Zeb 2015 07:28 GMT", "٣"])
def test_a_wait_that_is_no_number_of_seconds_and_no_date_is_none(text, deployment):
    headers = () if not text.isascii() else (("retry-after", text),)
    with answers(Script(503, b"{}", headers=headers)) as url:
        client = Client(url, url, url, deployment)
        with client, pytest.raises(ApiUnavailable) as caught:
            client.status()
    assert caught.value.retry_after_s is None


@given(document=anything, status=st.sampled_from([400, 404, 409, 429, 500, 503]))
def test_any_problem_document_is_a_typed_error(document, status):
    error = error_of_problem(status, document)
    assert isinstance(error, CoreChainError)
    assert str(error)


def test_a_known_problem_keeps_its_class():
    error = error_of_problem(404, {"type": "urn:corechain:error:NotFound", "detail": "no"})
    assert isinstance(error, NotFound)


@pytest.mark.parametrize("kind", list(errors._subclasses(ProtocolError)))
def test_every_problem_has_the_attributes_of_its_class(kind):
    """The facts are not in the document: they are None, and reading them is no AttributeError."""
    error = error_of_problem(400, {"type": f"urn:x:{kind.__name__}", "detail": "so"})
    assert str(error).endswith("so")
    if errors.by_name(kind.__name__) is kind:
        assert isinstance(error, kind)
        for fact in set(signature(kind.__init__).parameters) - {"self", "args", "kwargs", "name"}:
            assert getattr(error, fact) is None


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=25,
    deadline=None,
)
@given(document=anything)
def test_status_says_of_any_answer_what_it_is(document, tmp_path):
    with answers(Script(200, json.dumps(document).encode())) as url:
        checks = inspect(Places(url, url, url, tmp_path))
    assert [check.part for check in checks] == ["node", "relayer", "indexer"]
