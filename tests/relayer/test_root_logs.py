"""The watch over reward roots reads their proposals once, as far as they are final.

given years of reward roots
  those in final blocks are read once
given a node that has left one out
  all are read again before a root that comes out wrong is vetoed, or where none comes out, or where
  the contract says that another one waits
  that it has not seen the blocks is an outage, and no chain without them
given a root that cannot be recomputed
  it is tried again later and later, as a try reads all data files
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from support.fake_chain import FakeChain, encoded
from support.provider import Habits, serving

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.events import RootProposed
from corechain.service.errors import NodeBehind
from corechain.service.rpc import Block, Log, Rpc
from corechain_relayer.challenger import roots
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.root_logs import RootLogs
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.metrics import Metrics
from corechain_relayer.rewards.history import History


@dataclass
class Chain:
    """Where roots were proposed, and which blocks were asked for."""

    proposed: list[int]
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def roots(self, first: int, head: int) -> list[Log]:
        self.asked.append((first, head))
        return [root_in(number) for number in self.proposed if first <= number <= head]

    async def batches(self, head: int) -> dict[int, Any]:
        return {}

    async def head(self) -> Block:
        return Block(12, bytes(32), bytes(32), 1, 1)

    async def final_block(self, head: Block) -> int:
        return head.number

    @property
    def rpc(self) -> "Chain":
        return self

    deployment = rpc

    def address(self, name: str) -> bytes:
        return bytes(20)

    async def sent(self) -> dict[str, Any]:
        """No veto."""
        return {}

    async def eth_call(self, contract: bytes, data: bytes) -> bytes:
        """Which root waits."""
        return (12).to_bytes(32, "big") + b"\1" * 26 + bytes(6) + YEARS_S.to_bytes(32, "big")


CORE = b"\xc0" * 20
YEARS_S = 1 << 31
"""When a root of the chain's may be claimed."""


def root_word(number: int) -> int:
    return int.from_bytes(b"\1" * 26, "big") << 48 | YEARS_S << 16 | number


def root_in(number: int) -> Log:
    topics, data = encoded(RootProposed(root_word(number), number, 10))
    return Log(bytes(20), tuple(topics), data, number, bytes([number]) * 32, bytes(32), 0)


async def test_roots_in_final_blocks_are_read_once() -> None:
    chain: Any = Chain([3, 8, 12])
    logs, said = RootLogs(), []
    for head, final in ((10, 5), (11, 9), (12, 7)):  # the last node knows less of what is final
        epochs, place = await logs.newest(chain, head, final)
        said.append(([root.through_block for root in epochs], place.number))
    assert said == [([3, 8], 8), ([3, 8], 8), ([3, 8, 12], 12)]
    assert chain.asked == [(0, 10), (6, 11), (10, 12)]
    chain.proposed = [3, 8, 11]  # a reorg of what was not final
    assert (await logs.newest(chain, 12, 9))[1].number == 11


@dataclass(slots=True)
class OfEpochs(RootWatch):
    """The root of the third epoch is known to be right with both before it, and else wrong, or not
    known at all. The contract would take a veto."""

    is_known: bool = True
    tries: int = 0

    async def _root_of(self, before: list[RootProposed], *what: Any) -> bytes | None:
        self.tries += 1
        if len(before) == 2:
            return b"\1" * 26
        return b"\2" * 26 if self.is_known else None

    async def _may_object(self, *what: Any) -> bool:
        return True

    async def _veto(self, newest: RootProposed) -> None:
        raise AssertionError("a right root is vetoed")


@pytest.mark.parametrize(("told", "is_known"), [([3, 12], True), ([3, 12], False), ([3, 8], True)])
async def test_a_root_that_a_node_left_out_once_is_not_missing_for_good(
    monkeypatch: pytest.MonkeyPatch, told: list[int], is_known: bool
) -> None:
    """Also not where its block is final, whose logs are read once."""
    chain: Any = Chain(told)
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch = OfEpochs(*[chain] * 10, is_known=is_known, retry_s=0.0)
    watch.alerts = ChallengerAlerts(Metrics())
    await watch.round()
    chain.proposed = [3, 8, 12]
    for _ in range(3):
        await watch.round()
    assert list(watch._judged.values()) == [b"\1" * 26]


async def test_what_cannot_be_recomputed_is_not_tried_twice_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain: Any = Chain([3, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch = OfEpochs(*[chain] * 10, is_known=False)
    watch.alerts = ChallengerAlerts(Metrics())
    for _ in range(5):
        await watch.round()
    assert watch.tries == 1


async def test_a_node_that_lags_leaves_out_no_root_without_a_word() -> None:
    """Of two behind one address, one of which has not seen the newest blocks."""
    served = FakeChain("", Habits())
    for number in range(1, 9):
        served.mine([(CORE, RootProposed(root_word(number), number, 10))])
    served.nodes = [served.blocks, served.blocks[:-3]]
    contracts = {"CoreToken": DeployedContract("CoreToken", CORE, 1)}
    with serving(served) as node:
        rpc = Rpc(node.url)
        history, said = History(rpc, Deployment(31337, contracts), 100, 8), set[int]()
        while len(said) < 2:
            try:
                said.add(len(await history.roots(0, 8)))
            except NodeBehind:
                said.add(-1)
        await rpc.close()
    assert said == {-1, 8}
