"""The blocking contracts of a command, behind three nodes of which two must agree.

given any way in which one of three lies, and whoever answers first
  exactly the honest logs are read
given any shape in which a filter may be written
  answers that differ are compared by what they mean
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from support.fake_chain import FakeChain
from support.liar import DECEITS, LyingChain
from support.provider import Habits, Provider, serving

from corechain.node import AnswerLost, ChainUnavailable, NodeRefusal
from corechain.protocol import events as e
from corechain.protocol.logs import topic_of
from corechain.service.agreed_chain import AgreedNode
from corechain.service.agreement import Versions, newest_named
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.quorum import Quorum
from corechain.service.rpc import Call
from corechain.service.several import known_to_any

CONTRACT, OWNER = b"\xc0" * 20, b"\x01" * 20
KIND = "0x" + topic_of(e.DeviceTransferred).hex()
REFUSAL = NodeRefused("eth_getTransactionByHash", -32005, "limit exceeded")
BLOCKS = 6
LOG = {
    "address": "0x" + CONTRACT.hex(),
    "topics": [KIND],
    "data": "0x",
    "blockNumber": "0x2",
    "blockHash": "0x" + "22" * 32,
    "transactionHash": "0x" + "33" * 32,
    "logIndex": "0x0",
}


def grown() -> FakeChain:
    chain = FakeChain("", Habits())
    for number in range(1, BLOCKS + 1):
        device = number.to_bytes(20, "big")
        chain.mine([(CONTRACT, e.DeviceTransferred(device, OWNER, OWNER))])
    return chain


@contextmanager
def three(chain: FakeChain) -> Iterator[list[LyingChain]]:
    made = [LyingChain("", Habits(), blocks=chain.blocks) for _ in range(3)]
    for node in made:
        node.nodes = [list(chain.blocks)]
    with ExitStack() as stack:
        yield [stack.enter_context(serving(node)) for node in made]


@contextmanager
def asked_of(nodes: list[LyingChain], order: list[int]) -> Iterator[AgreedNode]:
    """Nothing is known yet of who lies: the first two of the order are asked first."""
    quorum = Quorum([nodes[place].url for place in order], 2, 10.0, 4)
    quorum._chance = _AsTheyStand()
    with closing(AgreedNode(nodes[0].url, nodes=quorum)) as node:
        yield node


class _AsTheyStand(random.Random):
    def sample(self, population: Any, k: int, *, counts: Any = None) -> Any:
        return list(population)[:k]


@pytest.mark.parametrize("name", DECEITS)
def test_whoever_answers_first_exactly_the_honest_logs_are_read(name: str) -> None:
    chain = grown()
    honest = [block.logs[0]["data"] for block in chain.blocks[1:]]
    with three(chain) as nodes:
        nodes[0].lie = DECEITS[name]
        for order in ([0, 1, 2], [1, 0, 2]):
            with asked_of(nodes, order) as node:
                found = node.logs(CONTRACT, [[KIND], None], 1, BLOCKS)
                assert ["0x" + log.data.hex() for log in found] == honest
                assert [log.block for log in found] == list(range(1, BLOCKS + 1))


@pytest.mark.parametrize("address", [LOG["address"], [LOG["address"]], [], None])
@pytest.mark.parametrize("topics", [[KIND], [[KIND], None], [None], [], None])
@pytest.mark.parametrize("ends", [("0x1", "0x2"), ("earliest", "latest"), (None, None)])
def test_answers_are_compared_in_whatever_shape_the_filter_was_written(
    address: Any, topics: Any, ends: tuple[str | None, str | None]
) -> None:
    written = {"address": address, "topics": topics, "fromBlock": ends[0], "toBlock": ends[1]}
    for query in (written, {name: said for name, said in written.items() if said is not None}):
        call = Call("eth_getLogs", (query,))
        versions = Versions(call)
        said = ([], [LOG], [LOG | {"blockTimestamp": "0x5"}], [LOG | {"data": "0x01"}])
        assert [versions.place(raw) for raw in said] == [0, 1, 1, 2]
        assert newest_named([call]) == (2 if query.get("toBlock") == "0x2" else 0)


@pytest.mark.parametrize(
    ("said", "complete", "known"),
    [([[None], [{}]], True, True), ([[REFUSAL], [{}]], False, True), ([[None]] * 2, True, False)],
)
def test_a_transaction_is_where_any_node_has_it(
    said: list[list[Any]], complete: bool, known: bool
) -> None:
    assert known_to_any(said, 0, complete) == known


@pytest.mark.parametrize(
    ("said", "complete", "why"), [([[None], [REFUSAL]], True, "limit"), ([[None]], False, "silent")]
)
def test_what_one_does_not_say_is_nowhere_may_be_there(
    said: list[list[Any]], complete: bool, why: str
) -> None:
    with pytest.raises(NodeUnavailable, match=why):
        known_to_any(said, 0, complete)


def test_a_send_that_no_node_answers_may_have_arrived() -> None:
    with closing(AgreedNode("", nodes=Quorum(["http://127.0.0.1:1"] * 2, 2, 1.0, 4))) as node:
        with pytest.raises(AnswerLost):
            node.call("eth_sendRawTransaction", "0x")
        with pytest.raises(ChainUnavailable) as asked:
            node.call("eth_getTransactionByHash", "0x")
        assert not isinstance(asked.value, AnswerLost)


def test_a_send_that_one_refuses_beside_a_silent_one_may_have_arrived() -> None:
    refused = Habits(unknown_methods=("eth_sendRawTransaction", "eth_getTransactionByHash"))
    with serving(Provider("", refused)) as running:
        urls = [running.url, "http://127.0.0.1:1"]
        with closing(AgreedNode("", nodes=Quorum(urls, 2, 1.0, 4))) as node:
            with pytest.raises(AnswerLost, match="not all nodes say"):
                node.call("eth_sendRawTransaction", "0x")
            with pytest.raises(ChainUnavailable, match="not all nodes say"):
                node.call("eth_getTransactionByHash", "0x" + "11" * 32)
        same = Quorum(urls[:1] * 2, 2, 1.0, 4)
        with closing(AgreedNode("", nodes=same)) as node, pytest.raises(NodeRefusal):
            node.call("eth_sendRawTransaction", "0x")
