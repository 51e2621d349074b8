"""What a node says is input: whatever it is, the SDK answers with a value or a typed error.

given a node that answers any JSON
  └── every question to the chain ends in a value or in a CoreChainError
given a provider that is busy, and says for how long
  └── it is asked again then, or told of where that is too long to wait
"""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_chain import FakeChain
from support.odd_answers import anything, proof_json, statistics_json
from support.provider import Habits, serving

from corechain import account_from_key
from corechain.answers import parse_proven_reading, parse_statistics
from corechain.chain import Chain
from corechain.deployment import load_deployment
from corechain.devnet.settings import ADMIN_KEY
from corechain.node import ChainBusy, Node
from corechain.protocol.errors import CoreChainError


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
@settings(max_examples=25, deadline=None)
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


@settings(max_examples=25, deadline=None)
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


@pytest.fixture
def busy():
    """A provider that is to be made busy, and the SDK's way to ask it."""
    with serving(FakeChain("", Habits())) as running:
        running.nodes = [running.blocks]
        node = Node(running.url)
        yield running, node
        node.close()


TWO = [("eth_chainId", ())] * 2


@pytest.mark.parametrize(
    ("ask", "said"),
    [(Node.chain_id, 31337), (lambda node: node.call_many(TWO), ["0x7a69"] * 2)],
)
def test_a_busy_provider_is_asked_again_when_it_says(busy, ask, said):
    running, node = busy
    running.habits = Habits(busy=1)
    assert ask(node) == said
    assert running._asked[""] == 2
    assert node._takes_batches


def test_a_provider_that_wants_to_be_left_alone_for_long_is_told_of_and_not_asked(busy):
    running, node = busy
    running.habits = Habits(busy=10**9, retry_after="3000")
    for _ in range(3):
        with pytest.raises(ChainBusy, match=r"again in (3000|60) s"):
            node.call_many(TWO)
    assert running._asked[""] == 1


def test_a_provider_that_is_busy_whenever_it_is_asked_is_given_up(busy, monkeypatch):
    running, node = busy
    running.habits, pauses = Habits(busy=10**9, retry_after="2"), []
    monkeypatch.setattr("corechain.node.time.sleep", lambda s: pauses.append(s))
    monkeypatch.setattr(node._held, "clock", lambda: sum(pauses))
    with pytest.raises(ChainBusy, match="again in 2 s"):
        node.chain_id()
    assert sum(pauses) <= node.timeout_s
    assert running._asked[""] == 8
