"""Whatever a node says, a question of the relayer ends in a value, an outage, a refusal or a halt.

given a node that gives odd answers of legal JSON
  └── no question about disputes, receipts, transactions, commitments or roots ends in a mistake of
      ours: that would be a loop that failed, where an outage waits
given a demand for a report that is none
  └── the others are looked for
given logs that no contract of ours writes in that order
  └── no view ends in what its follower does not expect
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.archive import Place
from corechain.protocol.errors import TransportError
from corechain.protocol.events import (
    EVENTS,
    BatchCommitted,
    BatchesCommitted,
    DeviceMaterialised,
    DeviceRegistered,
    DeviceTransferred,
    FleetEnrolled,
    KeysPublished,
    RootProposed,
    RootVetoed,
)
from corechain.protocol.logs import topic_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.receipt_events import RECEIPT_EVENTS
from corechain.service.errors import Halt, NodeRefused
from corechain.service.rpc import Block, Call, Log, Questions
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.lanes import LanesView
from corechain_relayer.challenger.waiting import PendingRoots
from corechain_relayer.following import IMPOSSIBLE, events_of
from corechain_relayer.guard.chain import DisputesContract, first_block_since
from corechain_relayer.guard.demands import DemandsView, OpenDemand
from corechain_relayer.guard.finding import readable
from corechain_relayer.receipts.contract import ReceiptContract
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.rewards.command import ProposedRoots
from corechain_relayer.rewards.history import History
from corechain_relayer.rewards.left_out import LeftOut
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import BlockId, Intent
from corechain_relayer.transactions.node_facts import ask_node
from corechain_relayer.watchtower.channels import ChannelsView

ADDRESS, WHO = b"\xc0" * 20, b"\x01" * 20
NAMES = ("DataBatches", "DeviceRegistry", "CoreToken")
DEPLOYMENT = Deployment(31337, {n: DeployedContract(n, ADDRESS, 1) for n in NAMES})
BLOCK = {
    "number": "0x5",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x5",
}
RECEIPT = {
    "transactionHash": "0x" + "07" * 32,
    "blockNumber": "0x5",
    "blockHash": "0x" + "11" * 32,
    "status": "0x1",
    "gasUsed": "0x5",
}
HEAD = Block(5, b"\x11" * 32, b"\x22" * 32, 5, 1)
DEVICE = DeviceId(WHO)
INTENT = Intent(1, "a:1", ADDRESS, bytes(60))
WORDS = [b"\0" * 32, b"\xff" * 32, bytes(31) + b"\1", b"\1" + bytes(31)]
KINDS = (
    BatchCommitted,
    BatchesCommitted,
    RootProposed,
    RootVetoed,
    DeviceRegistered,
    DeviceTransferred,
    DeviceMaterialised,
    FleetEnrolled,
    KeysPublished,
)

LENGTH_OF_26 = [bytes(31) + b"\x20", bytes(31) + b"\x1a"]
words = st.lists(st.sampled_from([*WORDS, *LENGTH_OF_26]), max_size=7)
hexes = words.map(lambda w: "0x" + b"".join(w).hex())
odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 7, -1, "", "0x", "0x1", "0xzz", "latest", [], {}, [None], "é"]
)
refusals = st.builds(
    lambda data, words: NodeRefused("eth_call", 3, words, data),
    st.sampled_from([None, "", "0x", "0x1", "zz", "0x08c379a0", "0x" + "ff" * 36, "0x" + "é" * 9]),
    st.sampled_from(["execution reverted", "nonce too low", "header not found"]),
)


def changed(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The document, or one of its fields something else."""
    wrong = st.builds(
        lambda name, value: document | {name: value},
        st.sampled_from(sorted(document)),
        odd | hexes,
    )
    return st.just(document) | wrong


entries = st.builds(
    lambda kind, topics, data: {
        "address": "0x" + ADDRESS.hex(),
        "topics": ["0x" + topic_of(kind).hex(), *topics],
        "data": data,
        "blockNumber": "0x5",
        "blockHash": "0x" + "11" * 32,
        "transactionHash": "0x" + "07" * 32,
        "logIndex": "0x0",
    },
    st.sampled_from(KINDS),
    st.lists(st.sampled_from(["0x" + word.hex() for word in WORDS]), max_size=3),
    hexes,
)
answers = odd | hexes | refusals | changed(BLOCK) | changed(RECEIPT)
logs = entries.flatmap(changed).map(lambda entry: [entry]) | odd


class Oddly(Questions):
    """A node that says what is drawn, in order, and then the last again."""

    def __init__(self, said: Sequence[Any], of_logs: Sequence[Any]) -> None:
        self.said, self.of_logs, self.at = said, of_logs, 0

    def one(self, call: Call) -> Any:
        if call.method == "eth_getLogs":
            return msgspec.Raw(json.dumps(self.of_logs).encode())
        if call.method == "eth_getBlockByNumber" and call.params[0] == "latest":
            return BLOCK
        if call.method == "eth_chainId":
            return "0x7a69"
        self.at += 1
        return self.said[min(self.at, len(self.said)) - 1]

    async def call(self, method: str, *params: Any) -> Any:
        found = self.one(Call(method, params))
        if isinstance(found, NodeRefused):
            raise found
        return found

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        return [self.one(call) for call in calls]

    call_all = call_many

    async def close(self) -> None:
        """Nothing is open."""

    def warnings(self) -> list[str]:
        return []

    def stir(self) -> None:
        """It is asked each time."""


def disputes(rpc: Questions) -> DisputesCalls:
    return DisputesCalls(rpc, DEPLOYMENT, WHO)


def guarded(rpc: Questions) -> DisputesContract:
    return DisputesContract(rpc, DEPLOYMENT, WHO)


def node(rpc: Questions) -> Node:
    return Node(rpc, 4, 100, 1, 31337)


def receipts(rpc: Questions) -> ReceiptContract:
    return ReceiptContract(rpc, DEPLOYMENT, WHO)


def history(rpc: Questions) -> History:
    return History(rpc, DEPLOYMENT, 10, 5)


QUESTIONS: dict[str, Callable[[Questions], Awaitable[Any]]] = {
    "terms": lambda rpc: disputes(rpc).terms(),
    "bonds": lambda rpc: disputes(rpc).bonds_since([0, 1]),
    "asker": lambda rpc: disputes(rpc).asker(bytes(32)),
    "said to a call": lambda rpc: disputes(rpc).said_to(b"call"),
    "committed at": lambda rpc: disputes(rpc).committed_at([(1, bytes(26), Place.alone(1))]),
    "token": lambda rpc: disputes(rpc).token_balance(ADDRESS),
    "allowance": lambda rpc: disputes(rpc).allowance(ADDRESS),
    "balance": lambda rpc: disputes(rpc).balance(),
    "pending root": lambda rpc: PendingRoots(disputes(rpc)).now(),
    "window": lambda rpc: guarded(rpc).answer_window(),
    "demands": lambda rpc: guarded(rpc).demands([bytes(32)] * 2),
    "tries": lambda rpc: guarded(rpc).try_answers([b"a", b"b"]),
    "first block": lambda rpc: first_block_since(rpc, 3, HEAD, 1),
    "windows": lambda rpc: receipts(rpc).windows(),
    "standings": lambda rpc: receipts(rpc).standings([0, 1], 5),
    "slots": lambda rpc: Facts(rpc, DEPLOYMENT)._learn([DEVICE], RegistryView()),
    "look": lambda rpc: node(rpc).look(WHO),
    "count": lambda rpc: node(rpc).count(WHO),
    "pool": lambda rpc: node(rpc).pool_count(WHO),
    "count at": lambda rpc: node(rpc).count_at(WHO, 4),
    "receipts": lambda rpc: node(rpc).receipts([b"\7" * 32]),
    "final": lambda rpc: node(rpc).final_block(HEAD),
    "standing": lambda rpc: node(rpc).standing([BlockId(5, b"\1" * 32)], HEAD),
    "fees": lambda rpc: node(rpc).suggested(HEAD),
    "estimates": lambda rpc: node(rpc).estimates(WHO, [INTENT, INTENT]),
    "l1 fee": lambda rpc: node(rpc).l1_fee(100),
    "rehearsal": lambda rpc: node(rpc).rehearse(WHO, INTENT),
    "seen": lambda rpc: node(rpc).seen([bytes(32)]),
    "send": lambda rpc: node(rpc).send([b"raw"]),
    "facts": lambda rpc: ask_node(rpc, WHO),
    "epochs": lambda rpc: history(rpc).epochs(5),
    "batches": lambda rpc: history(rpc).batches(5),
    "owners": lambda rpc: history(rpc).owners(5),
    "left out": lambda rpc: LeftOut(rpc, ADDRESS)._is_there(2),
    "proposal": lambda rpc: ProposedRoots(node(rpc), DEPLOYMENT, 10)(INTENT),
}


async def odd_end(name: str, said: Sequence[Any], of_logs: Sequence[Any]) -> str:
    """What a question ended in that it must not."""
    try:
        await QUESTIONS[name](Oddly(said, of_logs))
    except (TransportError, Halt):
        return ""
    except Exception as error:
        return f"{name}: {error!r}"
    return ""


@settings(max_examples=50)
@given(said=st.lists(answers, min_size=1, max_size=3), of_logs=logs)
@example(["0x" + ("ff" * 32) * 4], [])
async def test_no_odd_answer_is_a_mistake_of_ours(said: list[Any], of_logs: Any) -> None:
    ends = [await odd_end(name, said, of_logs) for name in QUESTIONS]
    assert [end for end in ends if end] == []


@given(st.lists(st.tuples(st.sampled_from((*EVENTS, *RECEIPT_EVENTS)), words, words), max_size=6))
@example([(BatchesCommitted, WORDS[:1], [*LENGTH_OF_26, b"\1" * 26 + bytes(6)])])
def test_no_view_ends_in_what_its_follower_does_not_expect(told: list[Any]) -> None:
    logs = [
        Log(ADDRESS, (topic_of(kind), *topics), b"".join(data), 5, bytes(32), bytes(32), 0)
        for kind, topics, data in told
    ]
    views = RegistryView(), ChannelsView(31337, ADDRESS), LanesView(), DemandsView(0)
    for view in views:
        with suppress(*IMPOSSIBLE):
            if isinstance(view, (LanesView, DemandsView)):
                view.take(logs)
            else:
                view.apply(events_of(logs))


def test_a_demanded_report_that_is_none_keeps_no_other_from_its_answer() -> None:
    report = SignedReport(Report.of(DEVICE, 7, [Observation(1, 5, 1_000, 3)]), bytes(64)).pack()
    empty = WHO + bytes(10) + bytes(64)
    said = [
        OpenDemand(bytes([n]), 0, 1, b"", b"", 9, 5, report=one)
        for n, one in enumerate((report[:-1], report, b"", empty, report))
    ]
    assert [demand.id for demand in readable(said)] == [b"\1", b"\4"]
