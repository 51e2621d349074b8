"""Several nodes that must agree, one of which lies in some way.

given three nodes of which two must agree
  ├── whatever one of them says, and whichever it is: exactly the honest logs are read
  ├── it is left out with a reason, and comes back by itself when it has become honest
  ├── a node that is silent delays nobody
  └── a node that lags never looks like a reorg
given fewer than must agree
  ├── nothing is believed; what is missing is said
  └── it goes on by itself
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.fake_chain import FakeChain
from support.liar import BODIES, DECEITS, LyingChain
from support.node import odd_node
from support.processes import until
from support.provider import Habits, serving

from corechain.protocol import events as e
from corechain.service import quorum as quorums
from corechain.service.chain_reader import ChainReader
from corechain.service.errors import NodesDisagree, QuorumLost
from corechain.service.known_chain import Behind, Extended, MemoryChain, RolledBack, UpToDate
from corechain.service.nodes import node_at
from corechain.service.quorum import Quorum
from corechain.service.rpc import Log, Rpc
from corechain.service.words import parse_log

BLOCK = {
    "number": "0x10",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x5",
}
CONTRACT = b"\xc0" * 20
OWNER = b"\x01" * 20
HARMLESS = ("a filter of zeros", "a filter of ones", "no filter", "nothing but null",
            "logs of null", "refuses logs", "refuses blocks", "a head at the beginning",
            "a head that stands still", "a head far ahead", "all is final", "another chain",
            "no logs at all")  # fmt: skip
"""Silence, lag and fields that are not believed: no reason to leave a node out at once."""


@dataclass
class Clock:
    """Monotonic seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A chain, its nodes, and what was read of it through those that agree."""

    chain: FakeChain
    nodes: Sequence[LyingChain]
    rpc: Quorum
    clock: Clock
    blamed: list[tuple[int, str]]
    known: MemoryChain = field(default_factory=MemoryChain)
    logs: list[Log] = field(default_factory=list)
    rolled_back: int = 0
    behind: int = 0
    stuck: list[LyingChain] = field(default_factory=list)
    """Nodes that learn of no block any more."""

    def __post_init__(self) -> None:
        self.reader = ChainReader(self.rpc, [CONTRACT], 1, 1000, 8)

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            number = len(self.chain.blocks)
            event = e.DeviceTransferred(number.to_bytes(20, "big"), OWNER, OWNER)
            self.chain.mine([(CONTRACT, event)] * (number % 3))
        for node in self.nodes:
            if node not in self.stuck:
                node.catch_up()

    async def look(self) -> bool:
        """False when there is nothing new."""
        change = await self.reader.look(self.known)
        if isinstance(change, Extended):
            self.known.extend(change.blocks)
            self.logs += change.logs
        if isinstance(change, RolledBack):
            self.known.roll_back(change.to)
            self.logs = [x for x in self.logs if x.block_number <= change.to.number]
            self.rolled_back += 1
        self.behind += isinstance(change, Behind)
        return not isinstance(change, UpToDate)

    async def read_all(self) -> None:
        """Until the newest block is known, however often the nodes have to be asked again."""
        newest = self.chain.blocks[-1]
        while (tip := await self.known.tip()) is None or tip.hash != newest.hash:
            await self.look()
            self.clock.now += 1.0

    def truth(self) -> list[Log]:
        return [parse_log(entry) for block in self.chain.blocks for entry in block.logs]


@contextmanager
def nodes_of(chain: FakeChain, count: int) -> Iterator[list[LyingChain]]:
    with ExitStack() as stack:
        made = [LyingChain("", Habits(), blocks=chain.blocks) for _ in range(count)]
        for node in made:
            node.nodes = [list(chain.blocks)]
        yield [stack.enter_context(serving(node)) for node in made]


@asynccontextmanager
async def several(count: int = 3, quorum: int = 2, max_lag: int = 4) -> AsyncIterator[Site]:
    chain, clock, blamed = FakeChain("", Habits()), Clock(), list[tuple[int, str]]()
    with nodes_of(chain, count) as nodes:
        rpc = Quorum(
            [node.url for node in nodes], quorum, 10.0, max_lag,
            lambda number, reason: blamed.append((number, reason)), clock,
        )  # fmt: skip
        try:
            yield Site(chain, nodes, rpc, clock, blamed)
        finally:
            for node in nodes:
                if node.mute is not None:
                    node.mute.set()
            await rpc.close()


async def noticed(site: Site) -> bool:
    """Whether a node is left out, after more blocks: each time others are asked first."""
    site.grow(2)
    await site.read_all()
    return bool(site.blamed)


async def forgiven(site: Site) -> bool:
    """Whether all nodes are asked again, after more blocks."""
    site.clock.now += 60.0
    await noticed(site)
    return site.rpc.warnings() == []


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", [*DECEITS, *BODIES])
async def test_whatever_one_node_says_exactly_the_honest_logs_are_read(
    name: str, place: int
) -> None:
    async with several() as site:
        site.grow(5)
        await site.read_all()
        odd = site.nodes[place]
        odd.lie, odd.body = DECEITS.get(name), BODIES.get(name)
        for blocks in (1, 6):
            site.grow(blocks)
            await site.read_all()
        assert site.logs == site.truth()
        assert site.rolled_back == 0
        assert {number for number, _ in site.blamed} <= {place + 1}
        if name not in HARMLESS:
            await until(lambda: noticed(site))
        if place == 0 and site.blamed:
            odd.lie = odd.body = None
            await until(lambda: forgiven(site))
        assert site.logs == site.truth()


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_silent_node_delays_nobody_for_long(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quorums, "ASK_MORE_AFTER_S", 0.05)
    async with several() as site:
        site.grow(3)
        await site.read_all()
        site.nodes[place].mute = threading.Event()
        for _ in range(4):
            site.grow(2)
            await site.read_all()  # within the test's patience, where a timeout is 10 s a question
        assert site.logs == site.truth()
        assert sum(len(member.late) for member in site.rpc.members) <= 2


async def test_a_late_lie_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with several() as site:
        site.grow(3)
        await site.read_all()
        site.nodes[0].mute = threading.Event()
        site.nodes[0].lie = DECEITS["a head of another branch"]
        site.grow(1)
        await site.read_all()
        assert site.blamed == []
        site.nodes[0].mute.set()
        await until(lambda: (1, "block") in site.blamed)


async def test_an_idle_turn_costs_one_question_in_all() -> None:
    async with several() as site:
        site.grow(5)
        await site.read_all()
        await site.look()
        await until(lambda: not any(member.late for member in site.rpc.members))
        before = sum(len(node.calls) for node in site.nodes)
        for _ in range(6):
            assert not await site.look()
        assert sum(len(node.calls) for node in site.nodes) - before == 6
        assert all(node.calls for node in site.nodes)


async def test_a_new_block_is_seen_by_whoever_is_asked_first() -> None:
    async with several() as site:
        site.grow(2)
        await site.read_all()
        for _ in range(5):
            site.grow(1)
            assert await site.look()
        assert site.logs == site.truth()


async def test_a_node_behind_for_long_is_left_out_and_comes_back() -> None:
    async with several(max_lag=4) as site:
        site.grow(3)
        await site.read_all()
        site.nodes[1].lie = DECEITS["a head that stands still"]
        site.grow(1)
        await site.read_all()
        for _ in range(12):
            site.grow(2)
            await site.read_all()
            site.clock.now += 5.0
            await until(lambda: not any(member.late for member in site.rpc.members))
        assert (2, "behind") in site.blamed
        assert site.rpc.warnings() == ["node 2 of 3 is left out: behind"]
        site.nodes[1].lie = None
        site.clock.now += 60.0
        site.grow(1)
        await site.read_all()
        await until(lambda: site.rpc.warnings() == [])
        assert site.rolled_back == 0
        assert site.logs == site.truth()


async def test_without_a_quorum_nothing_is_believed_and_then_it_goes_on() -> None:
    async with several() as site:
        site.grow(3)
        await site.read_all()
        for node in site.nodes[:2]:
            node.body = BODIES["no JSON"]
        site.grow(1)
        site.rpc.stir()
        with pytest.raises(QuorumLost, match=r"2 nodes must agree and 1 answered.*node 1.*node 2"):
            await site.look()
        assert site.logs == site.truth()[: len(site.logs)]
        assert len(site.rpc.warnings()) == 2
        site.nodes[0].body = None
        await site.read_all()  # at once: below the quorum nobody is left out
        assert site.logs == site.truth()


async def test_two_nodes_that_contradict_each_other_are_not_believed() -> None:
    async with several(count=2) as site:
        site.grow(3)
        await site.read_all()
        site.nodes[0].lie = DECEITS["a log left out"]
        site.grow(3)
        site.rpc.stir()
        before = list(site.logs)
        assert await site.look()
        assert (site.logs, site.behind) == (before, 1)
        assert "disagree about logs" in site.reader.behind
        site.nodes[0].lie = None
        await site.read_all()
        assert site.logs == site.truth()


async def test_nodes_on_two_branches_are_waited_for() -> None:
    async with several(count=2) as site:
        site.grow(2)
        first = await site.rpc.head()
        left, right = site.nodes
        right.blocks = list(left.blocks)
        for node in (left, right):
            node.salt = id(node)
            node.mine()
            node.catch_up()
        site.rpc.stir()
        assert await site.rpc.head() == first  # what both still have
        left.blocks[:] = right.blocks
        left.catch_up()
        site.rpc.stir()
        assert (await site.rpc.head()).hash == right.blocks[-1].hash


@asynccontextmanager
async def _agreeing(urls: Sequence[str]) -> AsyncIterator[Quorum]:
    rpc = Quorum(urls, 2, 10.0, 4)
    try:
        yield rpc
    finally:
        await rpc.close()


async def test_a_real_reorg_is_followed_once_a_quorum_has_it() -> None:
    async with several() as site:
        site.grow(6)
        await site.read_all()
        fork = site.chain.blocks[-3].number
        site.chain.cut(fork)
        site.chain.salt += 100
        site.grow(5)
        await site.read_all()
        assert site.rolled_back == 1
        assert site.logs == site.truth()


async def test_a_lagging_majority_never_looks_like_a_reorg() -> None:
    """Of two nodes that have the newest block one goes away, and the third stands still: a quorum
    says an older head, though nothing was undone."""
    async with several() as site:
        site.reader._forks.set_back_after_s = 0.0
        site.grow(3)
        site.stuck = [site.nodes[2]]
        site.grow(1)
        await site.read_all()
        site.nodes[0].body = BODIES["no JSON"]
        for _ in range(4):
            site.rpc.stir()
            await site.look()
        assert (site.rolled_back, site.behind) == (0, 4)
        site.stuck = []
        site.grow(2)
        await site.read_all()
        assert site.rolled_back == 0
        assert site.logs == site.truth()


def _state(request: Any) -> tuple[int, bytes]:
    """Block 16 is the newest; the result of a call is the block that it is made at."""
    calls = request if isinstance(request, list) else [request]
    said = [{"id": c["id"], "result": BLOCK if len(c["params"][0]) in (6, 3) else c["params"][1]}
            for c in calls]  # fmt: skip
    return 200, json.dumps(said if isinstance(request, list) else said[0]).encode()


async def test_a_state_is_asked_for_at_the_agreed_head() -> None:
    async with (
        odd_node(_state) as one,
        odd_node(_state) as other,
        _agreeing([one.url, other.url]) as rpc,
    ):
        assert await rpc.eth_call(CONTRACT, b"\1\2\3\4") == b"\x10"


async def test_a_single_url_is_asked_directly() -> None:
    rpc = node_at(["http://127.0.0.1:9"], 1, 1.0, 4)
    assert isinstance(rpc, Rpc)
    assert rpc.warnings() == []
    rpc.stir()
    await rpc.close()


async def test_a_question_that_is_cancelled_leaves_nothing_behind() -> None:
    async with several() as site:
        site.grow(1)
        for node in site.nodes:
            node.mute = threading.Event()
        asking = asyncio.create_task(site.rpc.head())
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not any(member.late for member in site.rpc.members)


async def test_without_agreement_on_a_tag_there_is_no_answer() -> None:
    async with several(count=2) as site:
        site.grow(1)
        site.nodes[0].lie = DECEITS["another hash at a height"]
        with pytest.raises(NodesDisagree, match="no block as latest"):
            await site.rpc.head()
