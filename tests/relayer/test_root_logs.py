"""The watch over reward roots reads their proposals once, as far as they are final.

given years of reward roots
  those in final blocks are read once
given a node that has left one out
  all are read again before any root is judged: where one before it is missing, or where the
  contract says that another one waits
  all are read again before a root is proposed
  what was kept of it is read anew, too
  that it has not seen the blocks is an outage, and no chain without them
given a root that cannot be recomputed
  it is tried again later and later, as a try reads all data files, but for the end of its window
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.fake_chain import FakeChain, encoded
from support.provider import Habits, serving

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.events import RootProposed
from corechain.service.errors import NodeBehind, NodeUnavailable
from corechain.service.rpc import Block, Log, Rpc
from corechain_relayer.challenger import again, roots
from corechain_relayer.challenger.again import TRIES_LEFT
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
    time: int = 1

    async def roots(self, first: int, head: int) -> list[Log]:
        self.asked.append((first, head))
        return [root_in(number) for number in self.proposed if first <= number <= head]

    async def batches(self, head: int) -> dict[int, Any]:
        return {}

    async def head(self) -> Block:
        return Block(12, bytes(32), bytes(32), self.time, 1)

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
        return (3).to_bytes(32, "big") + b"\1" * 26 + bytes(6) + YEARS_S.to_bytes(32, "big")


CORE = b"\xc0" * 20
YEARS_S = 1 << 31
"""When a root of the chain's may be claimed."""
EPOCHS = {3: 1, 8: 2, 11: 3, 12: 3}
"""By block."""


def root_word(number: int) -> int:
    return int.from_bytes(b"\1" * 26, "big") << 48 | YEARS_S << 16 | number


def root_in(number: int) -> Log:
    topics, data = encoded(RootProposed(root_word(EPOCHS[number]), number, 10))
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
    """The root of the third epoch is right, or cannot be known. The contract would take a veto."""

    is_known: bool = True
    tries: int = 0

    async def _root_of(self, before: list[RootProposed], *what: Any) -> bytes | None:
        self.tries += 1
        assert len(before) == 2
        return b"\1" * 26 if self.is_known else None

    async def _may_object(self, *what: Any) -> bool:
        return True

    async def _veto(self, newest: RootProposed) -> None:
        raise AssertionError("a right root is vetoed")


@dataclass
class Kept:
    times_forgotten: int = 0

    async def forget(self) -> None:
        self.times_forgotten += 1


@pytest.mark.parametrize("told", [[3, 12], [8, 12], [3, 8]])
async def test_a_root_that_a_node_left_out_once_is_not_missing_for_good(
    monkeypatch: pytest.MonkeyPatch, told: list[int]
) -> None:
    """Also not where its block is final, whose logs are read once; and no root is judged without
    those before it: right, it would come out wrong."""
    chain: Any = Chain(told)
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch, kept = OfEpochs(*[chain] * 10), Kept()
    watch.alerts, watch.kept = ChallengerAlerts(Metrics()), cast(Any, kept)
    for _ in range(2):
        await watch.round()
    (missing,) = {1, 2, 3} - {EPOCHS[number] for number in told}
    assert f"no log tells of epoch {missing}" in watch.alerts.sentences()[0]
    chain.proposed = [3, 8, 12]
    await watch.round()
    assert (list(watch._judged.values()), watch.tries) == ([b"\1" * 26], 1)
    assert bool(kept.times_forgotten) == (12 in told)  # the newest may be new in this very moment


async def test_what_is_kept_is_read_anew_where_a_right_root_came_out_wrong_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain: Any = Chain([3, 8, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch, kept, said = OfEpochs(*[chain] * 10), Kept(), []

    async def root_of(watch: OfEpochs, *what: Any) -> bytes:
        said.append(kept.times_forgotten)
        return bytes([3 - len(said)]) * 26

    monkeypatch.setattr(OfEpochs, "_root_of", root_of)
    watch.alerts, watch.kept = ChallengerAlerts(Metrics()), cast(Any, kept)
    for _ in range(3):
        await watch.round()
    assert (said, kept.times_forgotten) == ([0, 0], 1)


async def test_what_cannot_be_recomputed_is_not_tried_twice_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain: Any = Chain([3, 8, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch = OfEpochs(*[chain] * 10, is_known=False)
    watch.alerts = ChallengerAlerts(Metrics())
    for _ in range(5):
        await watch.round()
    assert watch.tries == 1


async def test_what_cannot_be_recomputed_is_tried_more_often_at_the_end_of_its_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its file may come back then: of ten minutes a pause of five is too long."""
    chain: Any = Chain([3, 8, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    monkeypatch.setattr(again, "time", SimpleNamespace(monotonic=lambda: float(chain.time)))
    watch, tried = OfEpochs(*[chain] * 10, is_known=False), [600]
    watch.alerts = ChallengerAlerts(Metrics())
    for left_s in range(600, 0, -5):
        chain.time, before = YEARS_S - left_s, watch.tries
        await watch.round()
        tried += [left_s] * (watch.tries - before)
    pauses = [(left, before - left) for before, left in pairwise(tried)]
    assert all(pause <= max(5, left / TRIES_LEFT) + 5 for left, pause in pauses)
    assert len(tried) < 40


class Told(History):
    """The journal lacks one that the node has, or the node lacks it too."""

    async def roots(self, first: int, head: int) -> list[Log]:
        return [root_in(number) for number in (8, 12) if self.kept] or cast(Any, self.rpc)


async def test_no_root_is_proposed_where_one_before_it_was_left_out() -> None:
    logs: Any = [root_in(number) for number in (3, 8, 12)]
    kept: Any = Kept()  # all but epoch 1
    told = Told(logs, Deployment(31337, {}), 100, 12, kept)
    assert [root.epoch for root in await told.epochs(12)] == [1, 2, 3]
    assert kept.times_forgotten == 1
    with pytest.raises(NodeUnavailable, match="root of epoch 2"):
        await replace(told, rpc=[logs[0], logs[2]], kept=None).epochs(12)


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
