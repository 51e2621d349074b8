"""A verdict of the challenger that rests on what one node once said does not stand for ever.

given a charge of which the contract takes none
  its batch is examined anew, and what is found honest then is accused no more
given a node that has not seen what the logs tell
  it is no verdict, and nothing of it is remembered
given somebody else's demand that nobody answers
  it is expired for them where an operator wants it, and never in the way of a claim of ours
given a registry that was not read as far as the batches
  nothing is called honest for good, and a fraud of a neighbour is counted once
given what was found out while fewer nodes than must agree have answered
  it is found out anew once enough of them do
given a call that is void before anything was signed for it, however often
  it begins again under its key; only what was signed counts as a try
given a reward root that comes out wrong
  it is vetoed when it comes out wrong once more; where nobody has earned anything any root is wrong
  so is one that counts blocks behind its proposal, or ends before the last one
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from chaos.challenger import ChallengerStory
from chaos.disputes import ACCUSED, FRAUD, HONEST, ModelExaminer, batch_of, commitment
from chaos.node import Faults
from chaos.run import MODULES, TWINS
from chaos.world import World, virtual

from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.archive import Place
from corechain.protocol.events import FleetEnrolled, RootProposed
from corechain.protocol.evidence import Demand
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType, Secp256k1Key
from corechain.protocol.rewards import Owner, RewardSchedule, RewardTree
from corechain.protocol.suspects import NO_SLOT, DeviceFacts, Listing, Standing
from corechain.service.errors import NodeBehind
from corechain.service.files.fetch import FileSources
from corechain.service.rpc import Block
from corechain_relayer.challenger.again import Doubts
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.examining import Charge, Examiner
from corechain_relayer.challenger.expiring import Expiring
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.lanes import Commit
from corechain_relayer.challenger.roots import NO_ROOT, RootWatch
from corechain_relayer.challenger.spans import name_of
from corechain_relayer.challenger.store import MOST_TRIES, NOTHING_SENT, VETOES, ChallengerStore
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import Device, RegistryView
from corechain_relayer.rewards.epochs import Ledger
from corechain_relayer.submitter.plan import BlockId, State
from relayer.challenging import propose, seconds_by_block
from relayer.lane import Lane
from relayer.support import ADMIN

IDENTITY = Secp256k1Key(b"\7" * 32).identity
DEPLOYMENT = Deployment(
    31337,
    {name: DeployedContract(name, bytes(20), 1) for name in ("DeviceRegistry", "DataBatches")},
)
SENDER = b"\5" * 20


@dataclass
class Answers:
    """A node that gives these words, one answer after the other."""

    words: list[Sequence[int]]

    async def call_all(self, calls: Sequence[Any]) -> list[str]:
        return ["0x" + (await self.eth_call(b"", b"")).hex() for _ in calls]

    async def eth_call(self, to: bytes, data: bytes) -> bytes:
        return b"".join(word.to_bytes(32, "big") for word in self.words.pop(0))


def facts_of(*words: Sequence[int]) -> Facts:
    rpc: Any = Answers(list(words))
    return Facts(rpc, DEPLOYMENT)


def block(number: int) -> Block:
    return Block(number, bytes(32), bytes(32), 10 + number, 1)


def test_a_batch_whose_charge_is_refused_is_examined_anew_and_its_alert_ends() -> None:
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story._commit(1, HONEST)
        story.mine(1)
        lies = iter((True, True, False))
        ModelExaminer._is_misled, real = lambda _: next(lies), ModelExaminer._is_misled  # type: ignore[method-assign]
        try:
            story.node.faults = Faults()
            story._role_round()
            (alert,) = story.role.alerts.sentences()
            assert "the contract refuses: BAD_SIGNATURE: NotFraud" in alert
            for _ in range(12):  # more often than it is examined: it waits longer each time
                world.now += 2
                story._role_round()
        finally:
            ModelExaminer._is_misled = real  # type: ignore[method-assign]
        assert next(lies, "all told") == "all told"
        assert story.role.alerts.sentences() == []
        assert story.role.examiner.honest == {(batch_of(1), commitment(1, HONEST))}
        assert not story.tables.rows


def test_a_challenge_that_came_to_nothing_too_often_is_said_to_need_a_person() -> None:
    """Its alert said that it will be challenged, and no other of its frauds was ever tried."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story._commit(1, FRAUD)
        story.mine(1)
        key = (batch_of(1), commitment(1, FRAUD))
        purpose = f"challenge:{name_of(key)}:{int(ACCUSED.fraud)}"
        for number in range(1, MOST_TRIES + 1):
            row = story.tables.rows[story.tables.insert(f"{purpose}:{number}", b"1:1")]
            row.intent, row.cancelled = replace(row.intent, state=State.VOID), True
        story._role_round()
        (alert,) = story.role.alerts.sentences()
        assert f"BAD_SIGNATURE: {MOST_TRIES} transactions came to nothing" in alert
        assert len(story.tables.rows) == MOST_TRIES


def test_a_fraud_of_a_neighbour_is_found_once_however_often_a_batch_is_examined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As while the registry cannot be read: each examination counted it as one more fraud."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story._commit(1, HONEST)
        story._commit(2, FRAUD)
        story.mine(1)
        key = (batch_of(2), commitment(2, FRAUD))
        examined = []

        async def examine(self: Any, one: Standing, *_: Any) -> list[Charge]:
            examined.append(one.batch_id)
            other = await self.standing(Commit(*key, Place.alone(key[0]), 1))
            revealed: Any = b"revealed"
            return [Charge(other, revealed, ACCUSED)]

        monkeypatch.setattr(ModelExaminer, "examine", examine)
        monkeypatch.setattr(ModelExaminer, "is_as_new_as", lambda self, head: False)
        for _ in range(12):
            world.now += 2
            story._role_round()
        assert examined.count(batch_of(1)) > 1
        assert len(story.role._charges[key]) == 1


@dataclass
class Nodes:
    """As many as must agree, or fewer."""

    is_by_few: bool = False


def test_doubts_are_over_once_when_enough_nodes_answer_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes: Any = Nodes()
    monkeypatch.setattr("corechain_relayer.challenger.again.is_by_few", lambda rpc: rpc.is_by_few)
    doubts, said = Doubts(), []
    for few in (False, True, True, False, False):
        nodes.is_by_few = few
        said.append(doubts.are_over(nodes))
    assert said == [False, False, False, True, False]


async def test_a_slot_that_is_older_than_the_logs_is_no_verdict() -> None:
    device = IDENTITY.device
    view = RegistryView({device: Device(IDENTITY, b"\1" * 20)})
    facts = facts_of((1, 1, 0, 0), (1, 1, 50, 0), (1, 1, 50, 0), (1, 1, 50, 70))
    with pytest.raises(NodeBehind, match="in the logs"):
        await facts._learn([device], view)
    await facts._learn([device], view)
    assert facts._slots[device].registered_at == 50
    revoked = RegistryView({device: Device(IDENTITY, b"\1" * 20, revoked=True)})
    with pytest.raises(NodeBehind, match="in the logs"):
        await facts._learn([device], revoked)
    await facts._learn([device], revoked)
    assert facts._slots[device].revoked_at == 70


async def test_a_fleet_that_a_node_does_not_know_yet_is_not_as_old_as_the_chain() -> None:
    """Zero would make each of its devices registered before every batch."""
    device = IDENTITY.device
    fleet = Fleet(b"\1" * 20, KeyType.SECP256K1, (device,))
    view = RegistryView()
    view.apply([FleetEnrolled(fleet.root, fleet.owner, 1, bytes(device))])
    none = (0, 0, 0, 0)
    facts = facts_of(none, (0, 0, 0), (1, 90, 1))
    report = device + bytes(8) + b"\0\1" + bytes(19 + 64)
    with pytest.raises(NodeBehind, match="fleet"):
        await facts.of_batch([report], 99, view, {})
    for _ in range(2):  # and is asked no more
        found = await facts.of_batch([report], 99, view, {})
        assert found[device] == DeviceFacts(NO_SLOT, [Listing(fleet, 90)])
    view.fleets.clear()
    facts.forget()
    assert facts._fleets.of(device) == [fleet]
    facts.rpc.words.append(none)  # type: ignore[attr-defined]
    with pytest.raises(NodeBehind, match="in the logs"):  # and that a reorg has taken
        await facts.of_batch([report], 99, view, {})


async def test_whose_a_demand_is_says_only_a_node_that_has_it() -> None:
    rpc: Any = Answers([(0, 0, 0, 0), (int.from_bytes(SENDER, "big"), 9, 1, 1)])
    expiring = Expiring(DisputesCalls(rpc, DEPLOYMENT, SENDER))
    demand = OpenDemand(b"\1" * 32, 1, Demand.REPORT, bytes(26), bytes(32), 9, 5)
    head = block(9)
    found = [await expiring.due([demand], head, {}, set()) for _ in range(3)]
    assert found == [[], [demand], [demand]]


@pytest.mark.parametrize(
    ("after_s", "now", "bond", "accused", "is_due"),
    [
        (60, 161, 1, set(), True),
        (60, 160, 1, set(), False),
        (0, 10**6, 1, set(), False),
        (60, 161, 2, set(), False),  # another bond: it does not answer for this demand
        (60, 161, None, set(), False),
        (60, 161, 1, {3}, False),  # whose bond we may take for ourselves
    ],
)
async def test_a_strangers_demand_is_expired_for_them_where_that_is_wanted_and_costs_us_nothing(
    after_s: float, now: int, bond: int | None, accused: set[int], is_due: bool
) -> None:
    rpc: Any = Answers([(7, 100, 1, 3)])
    expiring = Expiring(DisputesCalls(rpc, DEPLOYMENT, SENDER), after_s)
    demand = OpenDemand(b"\1" * 32, 3 << 32, Demand.RECEIPT, bytes(26), bytes(32), 100, 5)
    bonds = {} if bond is None else {3: bond}
    head = replace(block(9), timestamp=now)
    assert await expiring.due([demand], head, bonds, accused) == [demand] * is_due


@pytest.mark.parametrize(
    ("seen", "read_at", "is_new"),
    [(None, 20.0, False), (8, 20.0, False), (9, 9.0, False), (9, 20.0, True), (12, 20.0, True)],
)
def test_only_a_registry_read_as_far_as_the_batches_lets_one_be_called_honest(
    seen: int | None, read_at: float, is_new: bool
) -> None:
    class Registry:
        def age_s(self, now: float) -> float:
            return now - read_at

    registry: Any = Registry()
    registry.seen = None if seen is None else block(seen)
    nothing: Any = None
    examiner = Examiner(nothing, nothing, registry, nothing, nothing, _asked_at=20.0)
    assert examiner.is_as_new_as(block(9)) is is_new


async def test_what_was_void_before_it_was_signed_is_wanted_again_however_often(
    lane: Lane,
) -> None:
    """Two nodes behind one address: one takes the call, the other has not seen its batch."""
    store, execute = ChallengerStore(lane.pool, VETOES), lane.pool.execute

    async def want(call: bytes) -> bool:
        before = (await store.sent()).get("challenge:1:1", NOTHING_SENT)
        return await store.record("challenge:1:1", before, SENDER, call)

    for number in range(MOST_TRIES + 2):
        assert await want(bytes([number]))
        assert not await want(b"while it is on its way")
        await execute("update intent set state = 'void' where queue = $1", VETOES)
    rows = await lane.pool.fetch("select key, calldata from intent where queue = $1", VETOES)
    assert [tuple(row) for row in rows] == [("challenge:1:1:1", bytes([MOST_TRIES + 1]))]
    await execute("update intent set ended_because = 'cancelled: by hand' where queue = $1", VETOES)
    assert await want(b"anew")
    await execute(
        """insert into attempt
               (sender, intent_id, hash, nonce, raw, max_fee, priority_fee, signed_at)
           select $2, id, sha256(key::bytea), 1, '', 1, 1, 0 from intent where queue = $1""",
        VETOES,
        SENDER,
    )
    await execute("update intent set state = 'void' where queue = $1", VETOES)
    assert await want(b"after one that was signed")
    keys = await lane.pool.fetch("select key from intent where queue = $1 order by id", VETOES)
    assert [row["key"].rpartition(":")[2] for row in keys] == ["1", "2", "3"]


@dataclass(slots=True)
class Judged(RootWatch):
    """With roots as they come out, one after the other."""

    roots: list[bytes] = field(default_factory=list)

    async def _root_of(self, *what: Any) -> bytes | None:
        return self.roots.pop(0)


@pytest.mark.parametrize(
    ("said", "vetoes"),
    [("wrong right right", 0), ("wrong wrong", 1), ("right wrong wrong", 1), ("right right", 0)],
)
async def test_a_root_is_what_it_came_out_as_twice(
    lane: Lane, tmp_path: Path, said: str, vetoes: int
) -> None:
    """Once a node may have left out logs: those that a wrong root lacks, too."""
    roots = [{"right": b"\1", "wrong": b"\2"}[word] * 26 for word in said.split()]
    chain, sources = lane.chain, FileSources([], 1.0, 1)
    admin = bytes.fromhex(ADMIN.removeprefix("0x"))
    calls = DisputesCalls(lane.rpc, chain.deployment, admin)
    with seconds_by_block(chain):
        propose(chain, b"\1" * 26)
        chain.rpc("anvil_mine", "0x1")
        watch = Judged(
            lane.rpc,
            chain.deployment,
            1000,
            sources,
            tmp_path,
            calls,
            ChallengerStore(lane.pool, VETOES),
            ChallengerAlerts(Metrics()),
            asyncio.Event(),
            lane.submitter.node,
            roots=roots,
        )
        for _ in range(len(roots) + 1):
            await watch.round()
    await sources.close()
    assert (watch.roots, watch.alerts.sentences() != []) == ([], vetoes == 1)
    assert (
        await lane.pool.fetchval("select count(*) from intent where queue = $1", VETOES) == vetoes
    )


async def test_where_nobody_has_earned_anything_no_root_is_right(tmp_path: Path) -> None:
    nothing: Any = None
    watch = RootWatch(*[nothing] * 10)
    watch.deployment, watch.folder = Deployment(31337, {}), tmp_path

    class NoOwners:
        async def owners(self, through: int) -> dict[Any, Any]:
            return {}

    history: Any = NoOwners()
    proposed = RootProposed(int.from_bytes(b"\1" * 26, "big") << 48 | 1, 9, 10)
    assert await watch._root_of([], proposed, {}, history) == NO_ROOT


@pytest.mark.parametrize(("through", "expected"), [(9, b"\2" * 26), (10, NO_ROOT)])
async def test_no_root_is_right_that_counts_blocks_behind_its_proposal(
    through: int, expected: bytes
) -> None:
    """Right by what there is now, it would be wrong once those blocks have data: for ever."""
    nothing: Any = None
    watch, place = Judged(*[nothing] * 10), BlockId(9, b"\3" * 32)
    watch.roots, watch._judged = [b"\2" * 26], {}

    class NoBatches:
        async def batches(self, head: int) -> dict[int, Any]:
            return {}

    history: Any = NoBatches()
    proposed = RootProposed(int.from_bytes(b"\2" * 26, "big") << 48 | 1, through, 10)
    assert await watch._judge([proposed], place, block(20), history)
    assert watch._judged == {(1, place): expected}


class Paid(Ledger):
    """One owner has earned each pool."""

    async def _shares(self, after: int, through: int, pool: int, rules: Any) -> dict[Owner, int]:
        return {Owner(bytes(20)): pool}


async def test_no_root_is_right_that_ends_before_the_last_one(tmp_path: Path) -> None:
    """The epoch after it would reward data for the second time."""
    nothing: Any = None
    ledger = Paid({}, tmp_path, nothing, RewardSchedule())

    def proposed(epoch: int, through: int) -> RootProposed:
        root = RewardTree({Owner(bytes(20)): 10 * epoch}).root
        return RootProposed(int.from_bytes(root, "big") << 48 | epoch, through, 10)

    for through, expected in ((9, proposed(2, 9).root), (8, None)):
        assert await ledger.root_of([proposed(1, 9)], proposed(2, through)) == expected
