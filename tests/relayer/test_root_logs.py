"""The watch over reward roots reads their proposals once, as far as they are final.

given years of reward roots
  those in final blocks are read once
given a node that has left one out
  all are read again before any root is judged: where one before it is missing, or where the
  contract says that another one waits
  all are read again before a root is proposed
  what is doubted is asked for once more: the blocks of its epoch, then all owners
  that it has not seen the blocks is an outage, and no chain without them
given a root that cannot be recomputed
  it is tried again later and later, as a try reads all data files, but for the end of its window
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.fake_chain import FakeChain, encoded
from support.provider import Habits, serving

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.events import RootProposed
from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Log, Rpc
from corechain.service.words import LARGEST_BLOCK
from corechain_relayer.challenger import again, roots
from corechain_relayer.challenger.again import TRIES_LEFT
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.root_logs import RootLogs
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.metrics import Metrics
from corechain_relayer.rewards.history import History, around
from corechain_relayer.rewards.proven import Proven


@dataclass
class Chain:
    """Where roots were proposed, and which blocks were asked for."""

    proposed: list[int]
    asked: list[tuple[int, int]] = field(default_factory=list)
    time: int = 1
    newest: int = 12
    anew: list[tuple[object, ...]] = field(default_factory=list)
    """What was asked for once more."""

    async def reread_roots(self, logs: Sequence[Log], missing: int) -> bool:
        self.anew.append((*around(logs, missing),))
        return True

    async def reread_data(self, first: int, last: int) -> bool:
        self.anew.append((first, last))
        return False

    async def reread_owners(self, last: int) -> bool:
        self.anew.append(("owners", last))
        return True

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


@pytest.mark.parametrize(
    ("told", "gap"), [([3, 12], (3, 12)), ([8, 12], (0, 8)), ([3, 8], (8, LARGEST_BLOCK))]
)
async def test_a_root_that_a_node_left_out_once_is_not_missing_for_good(
    monkeypatch: pytest.MonkeyPatch, told: list[int], gap: tuple[int, int]
) -> None:
    """Also not where its block is final, whose logs are read once; and no root is judged without
    those before it: right, it would come out wrong."""
    chain: Any = Chain(told)
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch, some_kept = OfEpochs(*[chain] * 10), cast(Any, object())
    watch.alerts, watch.kept = ChallengerAlerts(Metrics()), some_kept
    for _ in range(3):
        await watch.round()
    (missing,) = {1, 2, 3} - {EPOCHS[number] for number in told}
    assert f"no log tells of epoch {missing}" in watch.alerts.sentences()[0]
    assert chain.anew == [gap], "only where it must be, and not twice a second"
    chain.proposed = [3, 8, 12]
    for _ in range(3):
        await watch.round()
    assert (list(watch._judged.values()), watch.tries) == ([b"\1" * 26], 2)


@pytest.mark.parametrize("looks", [2, 3])
async def test_what_is_doubted_is_asked_for_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """The root of epoch 2 proves all before it: a chain of years is not read anew for a veto."""
    chain: Any = Chain([3, 8, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    watch, said = OfEpochs(*[chain] * 10), list[list[Any]]()
    watch.proven = Proven(None, 2, b"\1" * 26, 8, {})

    async def root_of(watch: OfEpochs, *what: Any) -> bytes:
        said.append(list(chain.anew))
        return bytes([max(1, 1 + looks - len(said))]) * 26

    monkeypatch.setattr(OfEpochs, "_root_of", root_of)
    watch.alerts, watch.kept = ChallengerAlerts(Metrics()), cast(Any, object())
    for _ in range(3):
        await watch.round()
    assert said[:looks] == [[], [(9, 12)], [(9, 12), ("owners", 12)]][:looks]


async def test_a_root_that_came_out_wrong_is_looked_at_again_though_its_veto_has_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A veto of before, of the same words under the same epoch, may be on its way: it is withdrawn
    once the root is known to be right."""
    chain: Any = Chain([3, 8, 12])
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    said = [b"\1" * 26, b"\2" * 26]

    class Waiting(OfEpochs):
        async def _may_object(self, *what: Any) -> bool:
            return False

        async def _root_of(self, before: list[RootProposed], *what: Any) -> bytes | None:
            return said.pop()

    watch, known = Waiting(*[chain] * 10), list[bool]()
    watch.alerts = ChallengerAlerts(Metrics())
    for _ in range(2):
        await watch.round()
        known.append(watch.is_right((3, b"\1" * 26)))
    assert known == [False, True]


@pytest.mark.parametrize(
    "what", [None, NodeRefused("eth_getLogs", 4444, "pruned"), NodeUnavailable("HTTP 502")], ids=str
)
async def test_a_veto_waits_for_no_reading_that_takes_too_long_or_fails(
    monkeypatch: pytest.MonkeyPatch, what: Exception | None
) -> None:
    class Slow(Chain):
        async def reread_owners(self, last: int) -> bool:
            self.anew.append(("owners", last))
            if what is not None:
                raise what
            await asyncio.Event().wait()
            return True

    chain: Any = Slow([3, 8, 12], time=YEARS_S - 1)
    monkeypatch.setattr(roots, "History", lambda *what: chain)
    monkeypatch.setattr(roots, "REREAD_S", 0.01)
    vetoed = list[int]()

    class Wrong(OfEpochs):
        async def _root_of(self, before: list[RootProposed], *what: Any) -> bytes | None:
            return b"\2" * 26

        async def _veto(self, newest: RootProposed) -> None:
            vetoed.append(newest.epoch)

    watch = Wrong(*[chain] * 10, retry_s=0.001)
    watch.alerts, watch.kept = ChallengerAlerts(Metrics()), cast(Any, object())
    for _ in range(2):
        await watch.round()
    assert vetoed == [3]
    is_asked_again = chain.anew.count(("owners", 12)) > 1
    assert is_asked_again == (type(what) is NodeUnavailable)


async def test_what_was_left_out_of_an_epoch_before_is_asked_for_once_more(
    tmp_path: Path,
) -> None:
    """Else nothing is ever judged again: that epoch's root stands, and does not come out."""

    class Lacking(Chain):
        async def owners(self, through: int) -> dict[Any, Any]:
            return {}

        async def reread_data(self, first: int, last: int) -> bool:
            if await Chain.reread_data(self, first, last) or len(self.anew) == 2:
                raise NodeRefused("eth_getLogs", 4444, "pruned")
            return True

    chain: Any = Lacking([3, 8])
    watch = RootWatch(*[chain] * 10)
    watch.deployment, watch.folder = Deployment(31337, {}), tmp_path
    watch.alerts = ChallengerAlerts(Metrics())
    before, newest = (RootProposed(root_word(n), at, 10) for n, at in ((1, 3), (2, 8)))
    assert await watch._root_of([before], newest, {}, chain) is None
    assert chain.anew == [(1, 3), (1, 3)]
    assert "the root of epoch 1" in watch.alerts.sentences()[0]


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
    """Of what is kept; the node has others when it is asked once more."""

    async def roots(self, first: int, head: int) -> list[Log]:
        return [root_in(number) for number in cast(Any, self.kept).blocks]


@dataclass
class Kept:
    blocks: list[int]
    left_out: list[int]
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def reread(self, contract: str, first: int, last: int) -> int:
        self.asked.append((first, last))
        found = [at for at in self.left_out if first <= at <= last]
        self.blocks = sorted([*self.blocks, *found])
        self.left_out = []
        return len(found)


async def test_no_root_is_proposed_where_one_before_it_was_left_out() -> None:
    kept, nothing = Kept([8, 12], [3]), cast(Any, None)
    told = Told(nothing, Deployment(31337, {}), 100, 12, cast(Any, kept))
    assert [root.epoch for root in await told.epochs(12)] == [1, 2, 3]
    assert kept.asked == [(0, 8)]
    kept.blocks = [3, 12]
    with pytest.raises(NodeUnavailable, match="root of epoch 2"):
        await told.epochs(12)
    assert kept.asked[1:] == [(3, 12)]


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
