"""All roles in the simulator: a sample of what `make chaos` plays.

given each of them as it runs in production, on a model chain, store, nodes and clock
  whatever happens, and wherever it dies
    it keeps every invariant of docs/reliability.md
  when a seed is played again
    it is the same story to the last effect, in another process too
  when one of them is wrong in a way that people are
    the simulator notices
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from chaos.catalogue import FAULTS
from chaos.chain import ARBITRUM
from chaos.challenger import ChallengerStory
from chaos.disputes import (
    CHALLENGE,
    DEMAND,
    FRAUD,
    GRACE,
    HIDDEN,
    HONEST,
    NOBODY,
    REGISTRY,
    REVOCATIONS,
    REVOKED,
    YOUNG,
    Act,
    batch_of,
    commitment,
)
from chaos.duties import CALM_CAP
from chaos.guard import GuardStory
from chaos.lane import run
from chaos.mistakes import Mutant
from chaos.mutants import MUTANTS
from chaos.quiet import quiet_lane
from chaos.run import MODULES, ROLES, TWINS, kept_seeds, simulate, simulate_all
from chaos.world import Died, World, virtual
from corechain.rpc_errors import RpcFailure
from corechain_relayer.submitter.budget import BUDGET_REACHED, Purse, Spending
from corechain_relayer.submitter.memory import Memory, Refused, Taken, learn
from corechain_relayer.submitter.plan import (
    Attempt,
    BlockId,
    ChainView,
    Fees,
    Fill,
    GiveUp,
    Intent,
    Policy,
    Sign,
    State,
    Unbind,
    plan,
)
from corechain_relayer.submitter.settled import Moot
from corechain_relayer.watchtower.standing import moot

SAMPLE = 8
"""Seeds, each a story of every role."""
QUICK = (
    "gives all the same nonce",
    "bumps by less than a tenth",
    "calls final what a reorg can take",
    "answers with what it has, newer or not",
    "acknowledges before it is kept",
)
TESTS = Path(__file__).resolve().parents[1]


def test_whatever_happens_and_wherever_it_dies_all_invariants_hold() -> None:
    total = simulate_all(range(SAMPLE))
    assert total.violations == []
    lane = {name for role, name in total.reached if role == "submitter"}
    assert lane <= set(FAULTS["submitter"]), "name it in the catalogue"


def test_what_has_found_something_once_finds_nothing_now() -> None:
    found = {seed: simulate(*seed).violation for seed in kept_seeds()}
    assert found == dict.fromkeys(found)


def test_the_same_seed_is_the_same_story_in_another_process_and_with_quicker_values() -> None:
    stories = list(product(range(1), ROLES))
    code = (
        "from chaos.run import ready, simulate; ready(); "
        "print([simulate(*s).world.digest() for s in {}])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code.format(stories)],
        env=os.environ | {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [simulate(*story).world.digest() for story in stories]
    assert there.stdout.strip() == str(here)
    assert len(set(here)) == len(here)


@pytest.mark.parametrize(
    "mutant", [m for m in MUTANTS if m.says in QUICK], ids=lambda mutant: mutant.says
)
def test_a_submitter_that_is_wrong_is_noticed(mutant: Mutant) -> None:
    assert mutant.seeds_until_noticed() is not None


def test_each_mutant_is_a_change_of_the_code_as_it_is_now() -> None:
    for mutant in MUTANTS:
        with mutant.in_place():
            pass


# ---------------------------------------------------------------------- what it has found


@pytest.mark.parametrize("action", [Unbind, GiveUp])
def test_what_can_never_land_is_halted_when_the_process_dies(
    action: type[Unbind] | type[GiveUp],
) -> None:
    """Queued without its halt it would get a new nonce, above what came after it."""
    with quiet_lane() as story:
        story.node.faults.refusal = "oversized data"
        story.tables.insert("batch:1", b"b1")
        story.work(rounds=1)
        row = story.tables.rows[1]
        assert row.intent.state is State.PENDING
        story.world.dies_at, story.world.dies_after = story.world.effects, True
        wanted = Unbind(row.intent, "refused") if action is Unbind else GiveUp(row.intent)
        with pytest.raises(Died):
            run(story.submitter._do(wanted))
        assert (row.intent.state, row.intent.halt is not None) == (State.QUEUED, True)


def test_a_node_on_the_fork_before_does_not_clear_the_doubt_of_a_reorg() -> None:
    """All that was confirmed stands there: it would be believed until the blocks are final."""
    with quiet_lane(2) as story:
        watch, old = story.submitter.watch, story.chain.now
        story.chain.reorganise(1, keep=False)
        look = run(watch.look())
        real = story.node._reach
        story.node._reach = lambda: old  # type: ignore[method-assign]
        assert run(watch.review(look)).doubtful
        story.node._reach = real  # type: ignore[method-assign]
        assert run(watch.review(look)).taken


def test_nothing_is_confirmed_while_older_confirmations_are_in_doubt() -> None:
    """It would stand, and vouch for blocks below it that are on no chain any more."""
    with quiet_lane(1) as story:
        story.tables.insert("batch:2", b"b2")
        story.work()
        old = story.chain.now
        story.chain.reorganise(1, keep=True)
        story.mine(1)

        async def hashes_are(asked: Sequence[BlockId]) -> dict[BlockId, bool]:
            return {block: old.stands(block) for block in asked if block.number <= old.head}

        real = story.node._hashes_are
        story.node._hashes_are = hashes_are  # type: ignore[method-assign]
        story.work()
        second = story.tables.rows[2].intent
        assert second.state is State.PENDING
        story.node._hashes_are = real  # type: ignore[method-assign]
        story.work()
        assert [row.intent.state for row in story.tables.rows.values()] == [State.CONFIRMED] * 2
        assert all(story.chain.now.stands(row.confirmed) for row in story.tables.rows.values())


def test_a_tower_whose_nonce_was_spent_by_hand_answers_before_that_is_final() -> None:
    """The window may be over by then."""
    signed = Attempt(b"tx", 0, b"", Fees(10, 1), 0.0)
    intent = Intent(1, f"channel:{'01' * 32}:7", b"", b"", State.PENDING, 0, (signed,))
    assert moot(intent, (1_000, 0, 2, 100), now=50) == Moot(
        "its transaction came to nothing: the challenge is answered anew", at_once=True
    )
    assert moot(replace(intent, attempts=()), (1_000, 0, 2, 100), now=50) is None


def test_an_answer_that_came_too_late_does_not_hold_its_nonce_at_a_fee_of_before() -> None:
    """Others wait behind it, and its replacement reverts: it is void at once."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = GuardStory(world)
        story.chain.base_fee = 100
        story.chain.include_other(1, 0, story.chain.timestamp(10_000))
        story.work()
        (row,) = story.tables.rows.values()
        assert row.intent.state is State.PENDING
        story.chain.base_fee = 1_000
        story.chain.include_other(1, 1, 0)
        for _ in range(10):
            world.now += 10
            story.work()
        assert row.intent.state is State.VOID


def test_a_batch_that_a_reorg_leaves_without_its_registration_is_judged_anew() -> None:
    """It was honest on the chain before, and is a fraud on this one."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story.chain.include_other(REGISTRY + 1, 1, 0)
        story._commit(1, YOUNG)
        story.work()
        assert story.role.examiner.honest == {(batch_of(1), commitment(1, YOUNG))}
        story.chain.reorganise(2, keep=False)
        story._commit(1, YOUNG)
        story.work()
        keys = [row.intent.key for row in story.tables.rows.values()]
        assert [key.partition(":")[0] for key in keys] == ["challenge"]


def test_what_can_be_neither_replaced_nor_found_holds_up_nothing_that_does_not_need_it() -> None:
    """It was signed in good faith, a reorg took what it rests on, and all pools have forgotten it:
    its nonce was never spent, and everything after it waited for ever."""
    with quiet_lane() as story:
        story.policy = replace(story.policy, ordered=False, rewanted=True)
        story.submitter.policy = story.policy
        story.tables.is_void_at_once = True
        for number in (1, 2):
            story.tables.insert(f"answer:{number}", b"b%d" % number)
        story.work()
        story.chain.pool.clear()
        story.node.takes = lambda fork, payload: payload != b"b1"
        story.chain.takes = lambda payload, block, earlier: payload != b"b1"
        story.world.now += 1.5 * story.policy.bump_after_s
        story.work()
        assert story.tables.rows[1].intent.state is State.PENDING, "another pool may have it yet"
        for _ in range(10):
            story.world.now += 6
            story.work()
            story.mine(1)
        states = [story.tables.rows[number].intent.state for number in (1, 2)]
        assert states == [State.VOID, State.CONFIRMED]


def test_what_a_sequencer_refuses_as_it_would_revert_holds_up_nothing() -> None:
    """It would have succeeded when it was signed. Without a mempool it is nowhere, and the nonces
    after it waited for ever, while it was sent again and again."""
    with quiet_lane() as story:
        story.chain.profile = ARBITRUM
        rules = {"ordered": False, "rewanted": True, "replaces": False, "nonce_at_send": True}
        story.policy = story.submitter.policy = replace(story.policy, **rules)  # type: ignore[arg-type]
        story.tables.is_void_at_once = True
        for number in (1, 2):
            story.tables.insert(f"answer:{number}", b"b%d" % number)
        story.node.faults.refusal = "sequencer temporarily not available"
        story.work()
        story.node.takes = lambda fork, payload: payload != b"b1"
        for _ in range(20):
            story.world.now += 6
            story.work()
            story.mine(1)
        states = [story.tables.rows[number].intent.state for number in (1, 2)]
        assert states == [State.VOID, State.CONFIRMED]


def test_a_commit_that_another_transaction_has_done_holds_up_nothing_at_a_fee_of_before() -> None:
    """Its replacement reverts: its nonce is spent on nothing, at the fee of a replacement."""
    with quiet_lane() as story:
        story.tables.insert("batch:1", b"b1")
        story.work()
        story.chain.base_fee = 1_000
        story.chain.done_elsewhere(b"b1")
        story.world.now += 60
        story.work()
        row = story.tables.rows[1]
        assert [attempt.cancels for attempt in row.intent.attempts] == [False, True]
        story.mine(1)
        assert [(entry.payload, entry.good) for entry in story.chain.now.mined] == [(b"", True)]
        story.work()
        assert (row.intent.state, row.transaction) == (State.FINAL, b"elsewhere")


@pytest.mark.parametrize(("first", "then"), [(GRACE + 2, GRACE), (GRACE, GRACE + 2)])
def test_a_batch_whose_devices_revocation_a_reorg_has_moved_is_judged_anew(
    first: int, then: int
) -> None:
    """So many blocks before the device spoke: more than the grace is a fraud, less is none."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story.mine(30)
        story.young[1], spoke = REVOKED, story.chain.now.head + 20
        story.heard[1] = spoke
        for ago in (first, then):
            story.mine(spoke - ago - 1 - story.chain.now.head)
            story.chain.include_other(REVOCATIONS + 1, 1, 0)
            story.mine(spoke - 1 - story.chain.now.head)
            story._commit(1, REVOKED)
            story._role_round()
            charged = bool(story.role._charges)
            assert charged == (ago > GRACE)
            assert charged == (not story.role.examiner.honest)
            story.chain.reorganise(18, keep=False)


def test_a_challenge_means_the_commitment_that_it_names() -> None:
    """Not one that a node on the fork before has in its place, and that is a fraud."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story._commit(1, FRAUD)
        before = story.chain.now
        story.chain.reorganise(1, keep=False)
        story._commit(1, HONEST)
        calls = [Act(1, CHALLENGE, kind).payload for kind in (FRAUD, HONEST)]
        said = [
            [story.said_to(story.standings(fork), call, 0) for call in calls]
            for fork in (before, story.chain.now)
        ]
        assert said == [["", "UnknownBatch"], ["UnknownBatch", "NotFraud"]]


def test_a_demand_whose_allowance_a_reorg_takes_is_made_all_the_same() -> None:
    """With the journal lost nobody knows that it was approved but the chain, and then not even
    that."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story._commit(1, HIDDEN)
        committed = story.chain.now.head
        while NOBODY not in story.standings(story.chain.now):
            story._quiet_step()
        story.journal_is_lost()
        story._role_round()
        assert [row.intent.calldata for row in story.tables.rows.values()] == [
            Act(1, DEMAND, HIDDEN).payload
        ]
        story.chain.reorganise(story.chain.now.head - committed, keep=False)
        while not story.suspects(story.chain.now)[1].demanded:
            story._quiet_step()  # Raises Violation: I13


def test_a_demand_is_in_a_block_before_its_window_is_over_whatever_fees_do() -> None:
    """What hides its data would go free by waiting for dear blocks."""
    world = World(1)
    with virtual(world, MODULES, TWINS):
        story = ChallengerStory(world)
        story.chain.base_fee = 2 * CALM_CAP
        story._commit(1, HIDDEN)
        while not story.suspects(story.chain.now)[1].demanded:
            story._quiet_step()  # Raises Violation: I13


@pytest.mark.parametrize(("left", "filled"), [(1, 0), (10**12, 1)])
def test_a_nonce_of_nobody_is_filled_within_the_budget_of_the_day(left: int, filled: int) -> None:
    with quiet_lane() as story:
        story.tables.insert("batch:1", b"b1")
        blocked, purse = story.tables.rows[1].intent, Purse(Spending(), left)
        run(story.submitter._do(Fill(blocked, 0, Fees(10, 1)), purse))
        assert len(story.tables.rows) == 1 + filled
        assert (purse.left < left) == (filled == 1)
        pauses = [pause.reason for pause in story.submitter.memory.pauses.values()]
        assert pauses == [BUDGET_REACHED] * (1 - filled)


def test_what_a_node_forwards_after_all_may_be_replaced_again() -> None:
    memory = learn(
        Memory(), Refused(1, b"tx", RpcFailure.FEE_CAP_EXCEEDED, "exceeds the cap", True), 0.0
    )
    assert memory.too_dear == {b"tx"}
    assert learn(memory, Taken(1, b"tx"), 1.0).too_dear == frozenset()


def test_what_another_node_finds_too_cheap_is_too_dear_no_more() -> None:
    refusals = (RpcFailure.FEE_CAP_EXCEEDED, RpcFailure.UNDERPRICED)
    memory = Memory()
    for failure in refusals:
        memory = learn(memory, Refused(1, b"tx", failure, "fee", True), 0.0)
    assert (memory.too_dear, memory.urgent) == (frozenset(), {b"tx"})


def pending(number: int, nonce: int) -> Intent:
    attempt = Attempt(b"tx %d" % nonce, nonce, b"", Fees(10, 1), 0.0, 0.0)
    return Intent(number, f"batch:{number}", b"", b"", State.PENDING, nonce, (attempt,))


def test_later_intents_on_their_way_take_their_places_in_the_window() -> None:
    """After a renewal an earlier intent waits behind them: it must not make the window larger."""
    renewed = Intent(1, "batch:1", b"", b"")
    queue = [renewed, pending(2, 1), pending(3, 2)]
    view = ChainView(BlockId(9, b"head"), 0, 1, {}, Fees(10, 1))
    for window, signed in ((2, []), (3, [Sign(renewed, 3, Fees(10, 1))])):
        policy = Policy(5, 20, 3, 100, in_flight=window)
        assert plan(queue, view, policy, 1.0, [3, 4, 5]) == signed
