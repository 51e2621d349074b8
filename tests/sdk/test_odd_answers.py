"""What servers say is input: whatever it is, the SDK answers with a value or a typed error.

given a gateway or query API that answers any JSON, or an honest answer with one part changed
  └── every flow ends in its result or in a CoreChainError
given a server that answers no JSON, half an answer, a redirect, an error page, "too busy"
  └── both clients raise ApiUnavailable, with what the server asks to wait
given a node that answers any JSON
  └── every question to the chain ends in a value or in a CoreChainError
"""

import asyncio
import copy
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import CELL, KEYS, START, HonestApi, commitments_of, days_of_readings, hexed
from support.flows import carried_out
from support.http import Script, answers

from corechain import AsyncClient, Client, account_from_key, flows
from corechain.answers import parse_proven_reading, parse_statistics
from corechain.chain import Chain
from corechain.deployment import load_deployment
from corechain.devnet.settings import ADMIN_KEY
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.protocol import errors
from corechain.protocol.errors import CoreChainError, NotFound, ProtocolError
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.rewards import Owner, RewardTree
from corechain.protocol.statistics import locate
from corechain.protocol.vocabulary import metric
from corechain.readings import ReadingsQuestion
from corechain.status import Places, inspect
from corechain.steps import ApiUnavailable, Request, error_of_problem

BATCHES = days_of_readings(2)
BATCH, DEVICE, TEMPERATURE = BATCHES[0], KEYS[0].identity.device, metric("air_temperature")
QUESTION = flows.Question(TEMPERATURE, DEVICE, CELL, START, START + 3600)
REPORT = SignedReport(Report.of(DEVICE, 7, [Observation(1, CELL, START, 5)]), bytes(64))
OWNER = Owner(DEVICE)
TREE = RewardTree({OWNER: 10**18, Owner(bytes(19) + b"\x01"): 5})
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**300), 2**300)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.binary(max_size=40).map(hexed),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def header_json(batch):
    header = batch.header
    numbers = ("reading_count", "report_count", "window_start", "window_end", "batch_id")
    hashes = ("previous", "ancestor", "statistics_root", "reports_root", "data_hash", "rules_hash")
    return {name: getattr(header, name) for name in numbers} | {
        name: hexed(getattr(header, name)) for name in hashes
    }


def statistics_json():
    bounds = QUESTION.bounds()
    start, end = locate(BATCH.leaves, bounds.low, bounds.high)
    proof = BATCH.statistics().range_proof(start, end)
    values = [int.from_bytes(leaf[35:39], "big", signed=True) for leaf in BATCH.leaves[start:end]]
    found = {"count": len(values), "sum": sum(values), "min": min(values), "max": max(values)}
    part = {
        "header": header_json(BATCH),
        "readings_root": hexed(BATCH.readings.root),
        "low": hexed(bounds.low),
        "high": hexed(bounds.high),
        "from": start,
        "to": end,
        "leaves": [hexed(leaf) for leaf in proof.leaves],
        "nodes": [hexed(node.pack()) for node in proof.nodes],
    }
    return {**found, "parts": [part | found], "skipped": []}


def proof_json():
    return {
        "leaf": hexed(BATCH.leaves[3]),
        "position": 3,
        "proof": [hexed(node) for node in BATCH.readings.proof(3)],
        "rest_hash": hexed(BATCH.header.rest_hash),
    }


def claim_json():
    claim = TREE.claim(OWNER)
    return {
        "owner": hexed(OWNER),
        "cumulative": str(claim.cumulative),
        "position": claim.position,
        "proof": [hexed(node) for node in claim.proof],
    }


def readings_json():
    request = Request(
        flows.API, "GET", "/v1/readings", {"device": hexed(DEVICE), "limit": 9, "proofs": "true"}
    )
    return HonestApi(BATCHES)(request)


def delivery_json():
    return {"results": [{"device": hexed(DEVICE), "sequence": 7, "status": "accepted"}]}


CHAIN = commitments_of(BATCHES)
FLOWS = {
    "send_reports": (lambda: flows.send_reports([REPORT]), delivery_json),
    "next_sequence": (lambda: flows.next_sequence(DEVICE), lambda: {"next": 8}),
    "status": (lambda: flows.document("/v1/status"), lambda: {"head_block": 1}),
    "batches": (lambda: flows.pages("/v1/batches", {}, 3), lambda: {"items": [{"batch_id": 1}]}),
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
        ("send_reports", lambda: {"results": []}),
        (
            "send_reports",
            lambda: {"results": [{"device": hexed(DEVICE), "sequence": 8, "status": "accepted"}]},
        ),
    ],
)
def test_an_answer_to_another_question_is_named_so(name, answer):
    with pytest.raises(WrongAnswer):
        carried_out(FLOWS[name][0](), lambda request: answer())


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


def test_a_redirect_says_where_to(deployment):
    with answers(ODD_HTTP["moved"]) as url:
        client = Client(url, url, url, deployment)
        with client, pytest.raises(ApiUnavailable, match=r"elsewhere\.example"):
            client.status()


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "Wed, 21 Oct 2015 07:28:00 GMT", "٣"])
def test_a_wait_that_is_no_number_of_seconds_is_none(text, deployment):
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


# ---------------------------------------------------------------------- the node


class _OddNode(BaseHTTPRequestHandler):
    """Answers chain id and head well, so that the rest is reached; the rest as the test says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    reply = staticmethod(lambda call: {"result": None})

    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        made = (
            [self._one(call) for call in document]
            if isinstance(document, list)
            else self._one(document)
        )
        body = json.dumps(made).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _one(self, call):
        known = {"eth_chainId": "0x7a69", "eth_blockNumber": "0x10"}
        if call["method"] in known:
            return {"jsonrpc": "2.0", "id": call["id"], "result": known[call["method"]]}
        return {"jsonrpc": "2.0", "id": call["id"]} | type(self).reply(call)

    def log_message(self, *_):
        """Silent."""


@pytest.fixture(scope="module")
def odd_node():
    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), _OddNode) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chain(odd_node, deployment):
    made = Chain(odd_node, load_deployment(deployment))
    made._sender.receipt_timeout_s = 0.02
    yield made
    made.close()


PROVEN = parse_proven_reading(proof_json(), 1)
PART = parse_statistics(statistics_json()).parts[0]
ADMIN = account_from_key(ADMIN_KEY)
QUESTIONS = {
    "commitment": lambda chain: chain.commitment_of(1),
    "commitments": lambda chain: chain.commitments_of({1: 3, 2: None}),
    "committed": lambda chain: chain.committed_batches(),
    "device": lambda chain: chain.owner_and_key_type(bytes(20)),
    "root": lambda chain: chain.active_root(),
    "balance": lambda chain: chain.balance_of(bytes(20)),
    "channel": lambda chain: chain.channel_balance(bytes(32)),
    "channels": lambda chain: chain.channel_balances([bytes(32)]),
    "packed": lambda chain: chain.takes_packed_redemptions(),
    "prove reading": lambda chain: chain.prove_reading(PROVEN),
    "prove range": lambda chain: chain.prove_range(PART),
    "send": lambda chain: chain.send(ADMIN, "CoreToken", "transfer", bytes(20), 1),
    "fees": lambda chain: chain._sender.fees(),
}


@pytest.mark.parametrize("name", QUESTIONS)
@settings(max_examples=40, deadline=None)
@given(document=anything, place=st.sampled_from(["result", "error", "message", "data"]))
def test_any_answer_of_a_node_is_a_value_or_a_typed_error(chain, name, document, place):
    shapes = {
        "result": {"result": document},
        "error": {"error": document},
        "message": {"error": {"code": 3, "message": document}},
        "data": {"error": {"code": 3, "message": "execution reverted", "data": document}},
    }
    _OddNode.reply = staticmethod(lambda call: shapes[place])
    with suppress(CoreChainError):
        QUESTIONS[name](chain)


@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(["eth_getLogs", "eth_getTransactionReceipt"]), document=anything)
def test_any_list_of_anything_is_no_log_and_no_receipt(chain, method, document):
    honest = {
        "eth_estimateGas": "0x5208",
        "eth_getTransactionCount": "0x0",
        "eth_gasPrice": "0x1",
        "eth_getBlockByNumber": {"baseFeePerGas": "0x1"},
        "eth_maxPriorityFeePerGas": "0x1",
        "eth_sendRawTransaction": "0x" + "11" * 32,
    }
    odd = {
        "eth_getLogs": [document],
        "eth_getTransactionReceipt": {"blockNumber": "0x1", "logs": [document], "status": document},
    }
    replies = honest | {method: odd[method]}
    _OddNode.reply = staticmethod(lambda call: {"result": replies.get(call["method"])})
    for ask in (QUESTIONS["committed"], QUESTIONS["send"]):
        with suppress(CoreChainError):
            ask(chain)
