"""Nodes of another chain, nodes that say "no", and what counts when too few are left.

given three nodes of which two must agree
  ├── one of another chain is believed in nothing, and comes back when it serves the right one
  ├── one alone makes no call revert, nor not revert
  └── a state is asked for at a head that is not old
given that fewer answer than must agree
  ├── who has a deadline goes by those who do, after a time; nobody else does
  ├── those who are left and contradict each other, or are malformed, are not believed
  └── as soon as enough are back they are needed again
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from support.node import odd_node
from support.processes import until

from corechain.service.errors import (
    NodeBehind,
    NodeRefused,
    NodesDisagree,
    NodeUnavailable,
    QuorumLost,
)
from corechain.service.node_names import place_of
from corechain.service.nodes import in_time, is_by_few, measured, which_is_which
from corechain.service.quorum import ALL_HEADS_EVERY_S, Quorum
from corechain.service.rpc import Rpc

OURS, OTHER = "0x7a69", "0x1"
CONTRACT, CALL = b"\xc0" * 20, b"\1\2\3\4"
REVERT = "0xaabbccdd"
FEW_AFTER_S = 300.0


@dataclass
class Told:
    """What one node says of everything."""

    chain: str = OURS
    height: int = 16
    result: str = "0x01"
    reverts: bool = False
    away: bool = False
    """It answers, and not as a node."""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, request: Any) -> tuple[int, bytes]:
        if self.away:
            return 503, b"no backend"
        calls = request if isinstance(request, list) else [request]
        self.asked += calls
        said = [{"jsonrpc": "2.0", "id": call["id"]} | self.said(call) for call in calls]
        return 200, json.dumps(said if isinstance(request, list) else said[0]).encode()

    def said(self, call: dict[str, Any]) -> dict[str, Any]:
        if call["method"] == "eth_chainId":
            return {"result": self.chain}
        if call["method"] == "eth_getBlockByNumber":
            return {"result": self.block(call["params"][0])}
        if self.reverts:
            return {"error": {"code": 3, "message": "execution reverted", "data": REVERT}}
        return {"result": self.result}

    def block(self, named: str) -> dict[str, str] | None:
        number = self.height if named == "latest" else int(named, 16)
        if number > self.height:
            return None
        word = (number + int(self.chain, 16)).to_bytes(32, "big").hex()
        return {
            "number": hex(number),
            "hash": f"0x{word}",
            "parentHash": "0x" + "22" * 32,
            "timestamp": "0x5",
        }


@dataclass
class Clock:
    """Monotonic seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    told: list[Told]
    rpc: Quorum
    clock: Clock
    blamed: list[tuple[int, str]]
    places: list[str]

    async def at_head(self) -> str:
        """Which of the nodes' results is believed."""
        await self.rpc.head()
        return (await self.rpc.eth_call(CONTRACT, CALL)).hex()


@asynccontextmanager
async def nodes(*told: Told, quorum: int = 2) -> AsyncIterator[Site]:
    clock, blamed = Clock(), list[tuple[int, str]]()
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(odd_node(one.reply))).url for one in told]
        places = [place_of(url) for url in urls]
        rpc = Quorum(
            [f"{url}/a-secret" for url in urls], quorum, 10.0, 4,
            lambda number, reason: blamed.append((number, reason)), clock, chain_id=int(OURS, 16),
        )  # fmt: skip
        stack.push_async_callback(rpc.close)
        yield Site(list(told), rpc, clock, blamed, places)


async def test_a_node_of_another_chain_is_believed_in_nothing_until_it_serves_ours() -> None:
    async with nodes(Told(), Told(), Told(OTHER, result="0x66")) as site:
        assert await site.at_head() == "01"
        await until(lambda: site.blamed == [(3, "chain")])
        assert site.rpc.warnings() == ["node 3 of 3 is left out: chain"]
        site.told[2].chain, site.told[2].result = OURS, "0x01"

        async def is_back() -> bool:
            site.clock.now += 60.0
            await site.at_head()
            return site.rpc.warnings() == []

        await until(is_back)
        # Asked along with the first question, and not again while it is in use.
        named = [call["method"] for call in site.told[0].asked]
        assert named.count("eth_chainId") == 1


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://user:key@node.example/v2/key?key=1", "node.example"),
        ("https://key.eth.rpc.provider.example:8545/", "…provider.example:8545"),
        (
            "http://geth-0.geth.chain.svc.cluster.local:8545",
            "geth-0.geth.chain.svc.cluster.local:8545",
        ),
        ("http://10.0.0.7:8545/key", "10.0.0.7:8545"),
        ("http://[::1]:8545", "::1:8545"),
        ("http://geth:8545", "geth:8545"),
    ],
)
def test_a_node_is_named_by_a_place_that_holds_no_secret(url: str, place: str) -> None:
    assert place_of(url) == place


async def test_with_all_nodes_of_another_chain_it_is_the_setting_that_is_wrong() -> None:
    async with nodes(*(Told(OTHER) for _ in range(3))) as site:
        assert await site.rpc.chain_id() == int(OTHER, 16)
        with pytest.raises(QuorumLost, match=f"serves chain {int(OTHER, 16)}, not"):
            await site.rpc.head()


async def test_a_call_reverts_when_enough_nodes_say_so() -> None:
    async with nodes(Told(reverts=True), Told(reverts=True), Told()) as site:
        with pytest.raises(NodeRefused) as refused:
            await site.at_head()
        assert refused.value.data == REVERT


@pytest.mark.parametrize("reverts", [0, 1])
async def test_one_node_alone_makes_no_call_revert_and_none_succeed(reverts: int) -> None:
    told = [Told(), Told(), Told(away=True)]
    told[reverts].reverts = True
    async with nodes(*told) as site:
        with pytest.raises(NodesDisagree) as disputed:
            await site.at_head()
        # All that an operator needs: who contradicts whom, who is away, and who is where.
        assert "nodes 1 and 2 disagree about answer" in str(disputed.value)
        assert "; node 3 is away: " in str(disputed.value)
        legend = which_is_which(site.rpc)
        assert legend == ", ".join(f"node {n} is {at}" for n, at in enumerate(site.places, start=1))
        site.clock.now += 90.0
        assert (site.rpc.lost_s(), site.rpc.unsure_s()) == (0.0, 90.0)
        torn, left_out = site.rpc.warnings()
        assert "nodes 1, 2 contradict each other for 90 s over eth_call" in torn
        assert left_out == "node 3 of 3 is left out: unavailable"
        told[reverts].reverts = False
        await site.at_head()
        assert site.rpc.unsure_s() == 0.0


async def test_a_node_that_cannot_call_is_not_taken_for_the_contract() -> None:
    class Pruned(Told):
        def said(self, call: dict[str, Any]) -> dict[str, Any]:
            if call["method"] == "eth_call":
                return {"error": {"code": -32000, "message": "missing trie node"}}
            return super().said(call)

    async with nodes(Told(), Pruned(), Told(away=True)) as site:
        with pytest.raises(NodeBehind, match="too few nodes"):
            await site.at_head()
        site.told[2].away = False
        assert await site.at_head() == "01"


async def test_a_state_is_not_asked_for_at_a_head_of_long_ago() -> None:
    async with nodes(Told(), Told(), Told()) as site:
        await site.at_head()
        for told in site.told:
            told.height += 1
        site.clock.now += ALL_HEADS_EVERY_S
        await site.rpc.eth_call(CONTRACT, CALL)
        at = [
            c["params"][-1] for told in site.told for c in told.asked if c["method"] == "eth_call"
        ]
        assert set(at) == {hex(16), hex(17)}


async def lost(rpc: Quorum) -> bool:
    with pytest.raises(QuorumLost):
        await rpc.head()
    return True


async def test_who_has_a_deadline_goes_by_the_one_node_that_is_left() -> None:
    async with nodes(Told(), Told(), Told()) as site:
        hurried = in_time(site.rpc, FEW_AFTER_S)
        assert isinstance(hurried, Quorum)
        await hurried.head()
        for told in site.told[1:]:
            told.away = True
        site.told[0].height += 1
        hurried.stir()
        await lost(hurried)
        await lost(site.rpc)
        site.clock.now += FEW_AFTER_S - 1
        await lost(hurried)
        assert not is_by_few(hurried)
        site.clock.now += 1
        assert (await hurried.head()).number == 17
        assert (await hurried.eth_call(CONTRACT, CALL)).hex() == "01"
        assert is_by_few(hurried)
        assert "fewer than 2 nodes" in hurried.warnings()[0]
        await lost(site.rpc)  # what costs more than gas waits
        assert not is_by_few(site.rpc)

        site.told[1].away, site.told[1].height = False, 17
        site.clock.now += 60.0
        hurried.stir()
        await hurried.head()
        assert not is_by_few(hurried)
        site.told[1].result = "0x66"
        with pytest.raises(NodesDisagree):
            await hurried.eth_call(CONTRACT, CALL)


async def test_those_who_are_left_must_agree() -> None:
    told = [Told(), Told(result="0x66"), *(Told(away=True) for _ in range(3))]
    async with nodes(*told, quorum=3) as site:
        hurried = in_time(site.rpc, FEW_AFTER_S)
        assert isinstance(hurried, Quorum)
        await lost(hurried)
        site.clock.now += FEW_AFTER_S
        assert (await hurried.head()).number == 16
        with pytest.raises(NodesDisagree):
            await hurried.eth_call(CONTRACT, CALL)


async def test_what_the_last_one_says_is_judged_as_any_answer() -> None:
    class Odd(Told):
        def block(self, named: str) -> dict[str, str] | None:
            return {"number": "a lot"}

    async with nodes(Odd(), Told(away=True), Told(away=True)) as site:
        hurried = in_time(site.rpc, FEW_AFTER_S)
        assert isinstance(hurried, Quorum)
        for _ in range(2):
            with pytest.raises(NodeUnavailable):
                await hurried.head()
            site.clock.now += FEW_AFTER_S


async def test_a_single_node_needs_no_more_time() -> None:
    rpc = Rpc("http://127.0.0.1:9", 1.0)
    assert in_time(rpc, FEW_AFTER_S) is rpc
    assert not is_by_few(rpc)
    await rpc.close()
    async with nodes(Told(), Told(), Told()) as site:
        assert in_time(site.rpc, 0) is site.rpc


async def test_what_is_measured_of_each_node() -> None:
    registry = CollectorRegistry()
    in_use = Gauge("in_use", "-", ["node"], registry=registry)
    heads = Gauge("heads", "-", ["node"], registry=registry)
    gone = Gauge("lost", "-", registry=registry)
    async with nodes(Told(), Told(), Told(away=True)) as site:
        measured(site.rpc, in_use, heads, gone)
        await site.rpc.head()
        value = registry.get_sample_value
        await until(lambda: value("in_use", {"node": "3"}) == 0)
        assert [value("in_use", {"node": n}) for n in "12"] == [1, 1]
        assert (value("heads", {"node": "1"}), value("heads", {"node": "3"})) == (16, 0)
        assert value("lost") == 0
        site.told[0].away = True
        site.rpc.stir()
        await lost(site.rpc)
        site.clock.now += 7
        assert value("lost") == 7
    measured(Rpc("http://127.0.0.1:9", 1.0), in_use, heads, gone)
