"""A lane's submitter, the real one, in a world where everything happens to it.

One process signs for a queue of intents. Its journal, its nodes, its signer and its clock are
models; every round, decision and order of effects is the code that runs in production.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from chaos.chain import FOREIGN, PROFILES, Fork, ModelChain
from chaos.chances import NODE_FAULTS, WEIGHTED
from chaos.healing import CAP, Healing
from chaos.node import Faults, Known, ModelNode, ModelSigner, Rules
from chaos.operators import Operators
from chaos.rests import Resting
from chaos.rows import OPEN, Tables
from chaos.store import ModelJournal
from chaos.world import Counted, Died, Violation, World
from corechain.service.errors import NodeRefused, NodeUnavailable, StoreUnavailable
from corechain_relayer.submitter.plan import Attempt, Fees, Intent, Policy, Receipt, State
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import Found

TURNS = 12
MOST_INTENTS = 8
SPLIT_SHARE = 0.3
"""Of the reorgs: those that some nodes have not seen for a while."""
CAPPED = "27 the fee cap is reached"
OUTAGES = (StoreUnavailable, NodeUnavailable, NodeRefused)
"""What ends a session; supervision begins another one."""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine that waits for nothing but models, to its end: there is no loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a model made the process wait")


class LaneStory(Operators, Resting, Healing):
    """One seed's run."""

    COMMITS = True
    """Whether what is sent are commits, which rest on registrations."""
    NODE = ModelNode

    def __init__(self, world: World) -> None:
        self.world, rng = world, world.rng
        self.chain = ModelChain(rng.choice(PROFILES))
        self.tables, self.known = Tables(), Known(world)
        in_flight = rng.randint(1, 6)
        self.policy = Policy(
            5, 20, 3, CAP, refused_pause_s=5, ordered=rng.random() < 0.8, in_flight=in_flight
        )
        self.rules = Rules(CAP, 20)
        if self.policy.ordered:
            self.tables.in_flight = in_flight
        self.node = self.NODE(world, self.chain, CAP, self.known)
        self.wanted = 0
        self.foreign = 0
        self.by_others: set[bytes] = set()
        self.meddled = self.lost_journal = self.down = False
        self.node.is_paused = lambda: self.tables.pause is not None
        self.devices: dict[int, int] = {}
        """By batch, the young device that it has reports of."""
        self.excused: set[bytes] = set()
        self.looked: list[Fork] = []
        """The registry as it was seen in this turn."""
        self.node.is_cancelled = self.is_cancelled
        self.node.check_sent = self.check_sent
        self.submitter = self.start()

    # ------------------------------------------------------------------ the process

    def start(self) -> Submitter:
        """A new process, or a new session of one: it knows the journal alone."""
        journal = self.new_journal()
        signer = ModelSigner(self.world, self.known, self.rules)
        metrics = Counted(self.world)
        parts = (journal, self.node, signer, self.settled, self.policy, metrics)
        submitter = Submitter(*parts, clock=self.world.time)  # type: ignore[arg-type]
        if self.COMMITS:
            submitter.grounds = self.footing()
        return submitter

    def new_journal(self) -> ModelJournal:
        return ModelJournal(self.world, self.chain, self.tables, self.known)

    def restart(self) -> None:
        self.down = False
        mined = {entry.tx.hash for entry in self.chain.now.mined}
        for row in self.tables.rows.values():
            if row.intent.state is State.PENDING and not mined.isdisjoint(row.intent.hashes):
                self.world.fault("10 mined while nobody looked")
        self.submitter = self.start()

    def work(self, rounds: int = 4) -> None:
        if self.down:
            self.restart()
        for _ in range(rounds):
            try:
                if not run(self.submitter.step()):
                    return
            except Died:
                self.down = True
                return
            except OUTAGES as outage:
                self.world.note("session ends", type(outage).__name__)
                self.submitter = self.start()
                return

    async def settled(self, intents: Sequence[Intent]) -> list[Found]:
        """Asks the contract, through whatever node answers."""
        fork = self.node._reach()
        done = {entry.payload: entry for entry in fork.mined if entry.good}
        found: list[Found] = []
        for intent in intents:
            entry = done.get(intent.calldata)
            if entry is None and intent.calldata in self.chain.elsewhere:
                block = self.chain.final
                found.append(Receipt(b"elsewhere", block, fork.hash(block), True, 21_000))
                continue
            found.append(
                entry and Receipt(entry.tx.hash, entry.block, fork.hash(entry.block), True, 21_000)
            )
        return found

    # ------------------------------------------------------------------ what happens

    def turn(self) -> None:
        happen = self.world.rng.choices(EVENTS, WEIGHTS)[0]
        self.world.note(happen.__name__)
        happen(self)
        self.pass_time()
        self.work()
        self.check()

    def pass_time(self) -> None:
        rng, chain = self.world.rng, self.chain
        self.looked.clear()
        self.world.now += rng.choice((0.5, 3.0, 6.0, 12.0, 25.0))
        if rng.random() < 0.6:
            self.mine(rng.choice((1, 1, 2, 5)))
        if chain.stalled:
            self.world.fault("40 the chain stands still")

    def mine(self, blocks: int) -> None:
        count = self.chain.mine(blocks)
        for entry in self.chain.now.mined[len(self.chain.now.mined) - count :]:
            self.check_mined(entry.payload, entry.tx)
            self.world.note("mined", entry.tx.nonce, entry.payload.decode(), entry.good)
            if not entry.good:
                self.meddled = True
                self.world.fault("25 a transaction reverts on chain")

    def seal(self) -> None:
        for _ in range(self.world.rng.randint(1, 3)):
            if self.wanted < MOST_INTENTS:
                self.wanted += 1
                self.tables.insert(f"batch:{self.wanted}", b"b%d" % self.wanted)
                self.rest(self.wanted)

    def fees_move(self) -> None:
        before = self.chain.base_fee
        self.chain.base_fee = self.world.rng.choice((20, 100, 100, 150, 400, 3_000, 20_000))
        if self.chain.base_fee >= 100 * before:
            self.world.fault("28 fees rise a hundredfold")

    def reorg(self) -> None:
        chain, rng = self.chain, self.world.rng
        most = min(chain.profile.deepest, chain.now.head - chain.final, chain.now.head - 1)
        if most < 1:
            return
        depth = most if rng.random() < 0.3 else rng.randint(1, min(most, rng.choice((2, 6, 200))))
        lost = chain.reorganise(depth, keep=rng.random() < 0.5)
        self.world.note("reorg", depth, len(lost))
        confirmed = [r for r in self.tables.rows.values() if r.intent.state is State.CONFIRMED]
        if any(r.confirmed and not chain.now.stands(r.confirmed) for r in confirmed):
            self.world.fault("29 a reorg takes what was confirmed")
            if self.down:
                self.world.fault("33 a reorg while the process is down")
        if lost:
            self.world.fault("30 a reorg of 64 blocks or more" if depth >= 64 else "29 a reorg")
        if any(not entry.good for entry in lost):
            self.world.fault("32 a reorg takes a revert")
        if rng.random() < SPLIT_SHARE:
            self.node.faults = replace(self.node.faults, split=True)
        self.grounds_shift()

    def fork_returns(self) -> None:
        before = self.chain.now.mined
        if self.chain.returns():
            self.world.note("the old fork wins")
            if before != self.chain.now.mined:
                self.world.fault("33 a reorg is itself undone")
            self.grounds_shift()

    def grow(self) -> None:
        """A deep chain, so that reorgs can be deep."""
        self.mine(self.world.rng.choice((10, 60, 200)))

    def foreign_nonce(self) -> None:
        self._by_hand(FOREIGN)
        self.world.fault("46 the key is used elsewhere")

    def done_by_others(self) -> None:
        """What nothing is signed for, or what waits in a pool."""
        undone = [r.intent for r in self._ours() if r.intent.state in OPEN]
        if undone:
            payload = self.world.rng.choice(undone).calldata
            # On no fork that may win: the real contract refuses the second.
            forks = [self.chain.now, self.chain.abandoned or self.chain.now]
            if all(entry.payload != payload for fork in forks for entry in fork.mined):
                self.by_others.add(payload)
                self.meddled = True
                self.world.fault("48 somebody else has done it")
                self.chain.done_elsewhere(payload)

    def _by_hand(self, payload: bytes) -> None:
        if self.foreign >= 4 or self.chain.stalled:
            return
        self.foreign += 1
        self.meddled = True
        nonce = len(self.chain.now.mined)
        if nonce in self.chain.pool:
            self.world.fault("17 somebody else spends our nonce")
        tx = Attempt(b"foreign %d" % self.foreign, nonce, payload, Fees(10**9, 10**9), 0.0)
        self.chain.include_foreign(tx)

    def pool_is_lost(self) -> None:
        if self.chain.pool:
            self.world.fault("26 a pool forgets")
        self.chain.pool.clear()

    def contract_pauses(self) -> None:
        self.chain.paused = not self.chain.paused
        if self.chain.paused:
            self.world.fault("47 the contract is paused")

    def chain_stalls(self) -> None:
        self.chain.stalled = not self.chain.stalled

    def nodes_fail(self) -> None:
        rng, now = self.world.rng, self.world.now
        fault = rng.choice(NODE_FAULTS)
        changes = fault(rng.random(), rng.randint(1, 12), now)
        self.node.faults = replace(self.node.faults, **changes)

    def nodes_recover(self) -> None:
        self.node.faults = Faults()

    def dies(self) -> None:
        rng, world = self.world.rng, self.world
        world.dies_at = world.effects + rng.choice((0, 1, 2, 3, 4, 6, 9))
        world.dies_after = rng.random() < 0.5

    def store_fails(self) -> None:
        rng, world = self.world.rng, self.world
        world.fails_at = world.effects + rng.choice((0, 1, 2, 3, 4, 6))
        world.fails_after = rng.random() < 0.5

    def is_taken_over(self) -> None:
        """Paused in the middle of a round, while another process begins and works."""
        rng, world = self.world.rng, self.world
        if self.down:
            return
        world.interrupts_at = world.effects + rng.choice((0, 1, 2, 3, 4))
        world.interrupt = self._another_process

    def _another_process(self) -> None:
        self.world.note("taken over")
        self.world.fault("15 two processes for one key")
        self.submitter = self.start()
        if self.world.rng.random() < 0.5:
            self.mine(1)
        self.work()

    def restarts_with_other_fees(self) -> None:
        self.world.fault("11 restarted with other limits")
        self.rules.cap = cap = self.world.rng.choice((600, 2_000, CAP))
        self.policy = replace(self.policy, max_fee=cap)
        self.node.max_fee = cap
        self.restart()

    def clock_jumps(self) -> None:
        self.world.skew = self.world.rng.choice((-3600.0, -60.0, 0.0, 60.0, 3600.0))
        self.world.fault("69 the clock jumps")

    def stops_well(self) -> None:
        self.world.fault("14 stopped with transactions on their way")
        self.restart()

    # ------------------------------------------------------------------ invariants

    def check_mined(self, payload: bytes, tx: Attempt) -> None:
        """I3 and I4, of what is on the chain."""
        if payload == FOREIGN:
            return
        if tx.hash not in self.known.journalled:
            raise Violation("I4", f"nonce {tx.nonce} is on chain and not in the journal")
        self.check_grounds(payload, tx)
        self.check_double(payload)

    def check_double(self, payload: bytes) -> None:
        mined = self.chain.now.mined
        times = sum(1 for entry in mined if entry.payload == payload and entry.good)
        if payload and times > 1 and payload not in self.by_others:
            raise Violation("I3", f"{payload.decode()} is done {times} times")

    def check(self) -> None:
        """After each turn."""
        if self.world.said["fee_capped"] and not self.world.reached[CAPPED]:
            self.world.fault(CAPPED)
        self.note_budget()
        self._check_order()

    def _check_order(self) -> None:
        """As long as nobody meddles."""
        if self.meddled or not self.policy.ordered:
            return
        if self.world.reached["23 a node calls the transaction invalid"]:
            return  # another one may have its nonce
        if any(row.intent.failures for row in self.tables.rows.values()):
            return
        done = [entry.payload for entry in self.chain.now.mined if entry.payload]
        if done != [b"b%d" % n for n in range(1, len(done) + 1)]:
            raise Violation("order", f"done in this order: {done}")


def _story_event(name: str) -> Callable[[LaneStory], None]:
    return getattr(LaneStory, name)  # type: ignore[no-any-return]


EVENTS = [_story_event(name) for name in WEIGHTED]
WEIGHTS = list(WEIGHTED.values())


def play(world: World, kind: "type[LaneStory]" = LaneStory) -> None:
    """Raises Violation."""
    story = kind(world)
    story.seal()
    for _ in range(TURNS):
        story.turn()
    story.heal()
    story.check_end()
