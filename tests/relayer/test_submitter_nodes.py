"""A submitter with several nodes, on a real chain behind fronts that lie, lag or are silent.

given three nodes, one of which is wrong in any one way
  commits land as with one that is right, each by one transaction
  who contradicts the others is left out, and operators are told
given a node that says it has taken a transaction, and drops it
  it lands all the same: it was sent to each
given one node that leads to another chain while we run
  nothing is signed or believed until it is the right one again
given what several say of fees, gas and a transaction
  the middle one counts, and one that takes it is enough
"""

import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.node import odd_node
from support.processes import PATIENCE_S

from corechain.service.errors import NodeRefused, NodeUnavailable, WrongNode
from corechain.service.quorum import Quorum
from corechain.service.rpc import Questions, Rpc
from corechain.service.settings import InvalidSetting
from corechain.service.several import ask_each, middle, taken_by_any
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import load_settings
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.node import TIP, Node
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import CommittedBatches
from corechain_relayer.wiring import rpc_of
from relayer.lane import POLICY, RANGE, Lane
from relayer.test_settings import GOOD
from relayer.test_submitter_chains import settings as settings

__all__ = ["settings"]
AWAY = "away"


@dataclass
class Front:
    """Stands before a node, and changes what it says."""

    url: str
    wrong: str = ""
    behind: dict[str, Any] = field(default_factory=dict)

    def reply(self, request: Any) -> tuple[int, bytes]:
        if self.wrong == AWAY:
            return 503, b"no backend"
        calls = request if isinstance(request, list) else [request]
        said = [self.changed(call, self.ask(call)) for call in calls]
        return 200, json.dumps(said if isinstance(request, list) else said[0]).encode()

    def ask(self, call: dict[str, Any]) -> dict[str, Any]:
        if self.wrong == "swallows" and call["method"] == "eth_sendRawTransaction":
            return {"jsonrpc": "2.0", "id": call["id"], "result": "0x" + "11" * 32}
        body = json.dumps(call).encode()
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(self.url, body, headers)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return dict(json.load(answer))

    def changed(self, call: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        method, result = call["method"], said.get("result")
        if self.wrong == "another chain" and method == "eth_chainId":
            return said | {"result": "0x1"}
        if self.wrong == "no receipts" and method == "eth_getTransactionReceipt":
            return said | {"result": None}
        if self.wrong == "another block" and method == "eth_getBlockByNumber" and result:
            return said | {"result": result | {"hash": "0x" + "ab" * 32}}
        if self.wrong == "another state" and method == "eth_call" and result:
            return said | {"result": "0x" + "00" * (len(result) // 2 - 1)}
        if self.wrong in ("another count", "another state") and method == "eth_getTransactionCount":
            return said | {"result": hex(int(result, 16) + 7)}
        if self.wrong == "dear" and method in ("eth_maxPriorityFeePerGas", "eth_estimateGas"):
            return said | {"result": hex(10**9 * int(result or "0x1", 16))}
        if self.wrong == "lags" and method == "eth_getBlockByNumber" and result:
            if call["params"][0] == "latest":
                self.behind = self.behind or result
                return said | {"result": self.behind}
            newer = int(result["number"], 16) > int((self.behind or result)["number"], 16)
            return said | {"result": None} if newer else said
        return said


def submitter_of(lane: Lane, rpc: Questions) -> Submitter:
    node = Node(rpc, 64, 10**12, 0)
    search = CommitSearch(node, lane.chain.deployment, CommitStore(lane.pool, 0), RANGE)
    settled, signer = CommittedBatches(search), lane.submitter.signer
    return Submitter(lane.journal, node, signer, settled, POLICY, Metrics())


@asynccontextmanager
async def three_nodes(lane: Lane, front: Front, left_out: list[int]) -> AsyncIterator[Quorum]:
    """`left_out` gets the numbers of nodes that were; the front is the third."""
    async with AsyncExitStack() as stack:
        fronts = [Front(lane.chain.url), Front(lane.chain.url), front]
        urls = [(await stack.enter_async_context(odd_node(one.reply))).url for one in fronts]
        nodes = Quorum(urls, 2, 60.0, 32, lambda number, reason: left_out.append(number))
        stack.push_async_callback(nodes.close)
        yield nodes


WRONG = [
    AWAY,
    "another block",
    "another chain",
    "another count",
    "dear",
    "lags",
    "no receipts",
    "swallows",
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_commits_land_whatever_one_of_three_nodes_says(lane: Lane, wrong: str) -> None:
    front = Front(lane.chain.url, wrong)
    left_out: list[int] = []
    async with three_nodes(lane, front, left_out) as nodes:
        lane.submitter = submitter_of(lane, nodes)
        for batch in (1, 2, 3):
            await lane.want(batch)
            await lane.until_confirmed(f"batch:{batch}")
        fees = await lane.journal.connection.fetch("select max_fee from attempt")
        assert len(fees) == 3
        assert max(row["max_fee"] for row in fees) < 10**11

        async def is_left_out() -> bool:
            nodes.stir()
            await lane.submitter.step()
            return 3 in left_out

        # A lag of a few blocks, a pool and an opinion are nothing to leave a node out for.
        if wrong in (AWAY, "another block", "another chain", "another count"):
            await lane.until(is_left_out)
        assert set(left_out) <= {3}


async def test_one_node_that_leads_to_another_chain_is_not_believed(lane: Lane) -> None:
    front = Front(lane.chain.url)
    async with odd_node(front.reply) as odd:
        rpc = Rpc(odd.url, 20.0)
        lane.submitter = submitter_of(lane, rpc)
        await lane.want(1)
        await lane.until_confirmed("batch:1")
        front.wrong = "another chain"
        await lane.want(2)
        with pytest.raises(WrongNode):
            await lane.submitter.step()
        assert await lane.state("batch:2") == "queued"
        front.wrong = ""
        await lane.until_confirmed("batch:2")
        await rpc.close()


async def test_nodes_that_are_all_away_are_an_outage() -> None:
    front = Front("", AWAY)
    async with odd_node(front.reply) as first, odd_node(front.reply) as second:
        nodes = Quorum([first.url, second.url], 1, 20.0, 32)
        with pytest.raises(NodeUnavailable, match="none of 2 nodes"):
            await ask_each(nodes, [TIP])
        await nodes.close()


def refusal(said: str) -> NodeRefused:
    return NodeRefused("eth_sendRawTransaction", -32000, said)


def test_one_node_that_takes_a_transaction_is_enough() -> None:
    full, large = refusal("txpool is full"), refusal("oversized data")
    assert taken_by_any([[full], ["0x12"], [large]], 0) is None
    # One node's limits are not another's: as long as one may take it yet, it is not given up.
    assert taken_by_any([[large], [full]], 0) is full
    assert taken_by_any([[large], [large]], 0) is large
    known = refusal("already known")
    assert taken_by_any([[refusal("transaction underpriced")], [known]], 0) is known


@pytest.mark.parametrize(
    ("named", "counts"),
    [(["0x9"], "0x9"), (["0x9", "0xa"], "0xa"), (["0xffffff", "0x9", "0xa"], "0xa")],
)
def test_of_what_nodes_name_the_middle_one_counts(named: list[str], counts: str) -> None:
    assert middle([[name] for name in named], 0) == counts
    assert middle([*([name] for name in named), [refusal("no")]], 0) == counts
    no = refusal("no")
    assert middle([[no], [no]], 0) is no
    # One that names an amount for what the others say would revert makes nobody pay for it.
    assert middle([[no], ["0x9"], [no]], 0) is no


async def test_several_nodes_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    one, *others = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))
    monkeypatch.setenv("RELAYER_RPC_URL", ",".join([one, *others]))
    nodes = rpc_of(load_settings(), 31337, Metrics())
    assert isinstance(nodes, Quorum)
    assert (len(nodes.members), nodes.quorum) == (3, 2)
    assert {member.chain_id for member in nodes.members} == {31337}
    monkeypatch.setenv("RELAYER_RPC_QUORUM", "4")
    with pytest.raises(InvalidSetting, match="RPC_QUORUM"):
        load_settings()
    monkeypatch.setenv("RELAYER_RPC_URL", one)
    monkeypatch.delenv("RELAYER_RPC_QUORUM")
    alone = rpc_of(load_settings(), 31337, Metrics())
    assert isinstance(alone, Rpc)
    await nodes.close()
    await alone.close()
