"""A role that has to answer in time what others do on chain, in the world of the lane's stories.

What runs is the role's own round as in production, and a submitter for its queue, which takes its
pace from the role. `tower.py` and `guard.py` say what is to be answered, and by what.

The world may be bad for most of a window. With `reserve_s` of it left it is quiet for a while, if
there is an answer to be given, and by the deadline the answer stands. No reorg takes blocks from
before a deadline that is over: windows are longer than chains need to be final.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from chaos.chain import FOREIGN, Fork, Mined, Other
from chaos.chances import DUTIES, chances
from chaos.healing import CAP, HEAL_ROUNDS
from chaos.lane import OUTAGES, LaneStory, run
from chaos.node import Faults
from chaos.world import Died, Violation, World
from corechain.service.rpc import Block
from corechain_relayer.submitter.plan import Policy, State
from corechain_relayer.submitter.urgency import Pace

CALM_CAP = 600
"""In the first half of a window; what fees rise to is above it."""
DEEP = 300
"""Blocks that are there before a story begins, so that reorgs can be deep."""
JUMP = 16
"""Blocks that come in one turn at most."""
STEP_S = 6.0
SUBJECTS = 5
MOST_FOLDED = 64
"""Chains of which it is kept what their blocks tell of: nodes show old ones for a while."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Of a subject on a fork: what is open, since which block, until when; what it was answered
    with, 0 as long as it was not."""

    since: int
    due: int
    value: int
    answered: int = 0
    by: bytes = b""


Steps = list[tuple[int, int, Standing]]
"""(block, subject, how it stands then), in the order of blocks. What is good was judged when it was
mined."""


def _last(steps: Steps) -> dict[int, Standing]:
    return {subject: standing for _, subject, standing in steps}


@dataclass(frozen=True, slots=True)
class Told:
    """What a fork's blocks tell of. `fork` is held so that its parts are themselves, not others
    that were made in their place."""

    fork: Fork
    steps: Steps
    standings: Mapping[int, Standing]
    more: dict[str, Any] = field(default_factory=dict)
    """What a role makes of it."""

    def kept(self, name: str, make: "Callable[[Told], Any]") -> Any:
        if name not in self.more:
            self.more[name] = make(self)
        return self.more[name]


@dataclass(slots=True)
class Work:
    """Stands for the event that wakes the submitter."""

    def set(self) -> None:
        pass


def newer(story: "DutyStory", seen: Block | None) -> Fork | None:
    """What the node shows: nothing of one that is away, or behind what was seen."""
    try:
        fork: Fork = story.node._reach()
    except story.OUTAGES:
        return None
    return fork if seen is None or fork.head >= seen.number else None


class DutyStory(LaneStory):
    """`role`: has `round` and `pace`."""

    role: Any
    OUTAGES = OUTAGES
    COMMITS = False
    CHANCES = chances(DUTIES)

    def __init__(self, world: World) -> None:
        self.role = None
        self._folded: dict[tuple[int, int], Told] = {}
        self._paced: tuple[Pace | None, Policy | None] = (None, None)
        super().__init__(world)
        self.policy = self.calm = Policy(
            5, 20, 3, CALM_CAP, refused_pause_s=5, ordered=False, in_flight=world.rng.randint(2, 6)
        )
        self.policy = self.calm = replace(self.policy, rewanted=True)
        self.meddled = True
        self.tables.in_flight = 1 << 30  # unordered: what fills up after a reorg is no fault
        self.tables.is_void_at_once = True
        self.rules.bump_after_s = 2.0
        self.chain.takes, self.node.takes = self._takes_in, self._takes_on
        self.chain.mine(DEEP)
        block_s = self.chain.profile.block_s
        self.reserve_s = max(8 * block_s, 72.0) + JUMP * block_s
        self.window_s = int(self.reserve_s * world.rng.choice((3, 6, 12)))
        self.restart()

    def start(self) -> Any:
        if hasattr(self, "reserve_s"):
            self.role = self.new_role()
        return super().start()

    @abstractmethod
    def new_role(self) -> Any:
        """The role as a process has it after its start."""

    async def look(self) -> None:
        """What the role does again and again."""
        await self.role.round()

    def work(self, rounds: int = 4) -> None:
        if self.down:
            self.restart()
        self._role_round()
        for _ in range(rounds):
            if self.down:
                return
            self._set_pace()
            before, idle = self.submitter, self._is_idle()
            effects = self.world.effects
            super().work(1)
            if self.submitter is not before:
                return
            if idle and self.world.effects == effects:
                return  # another round at once would be the same again

    def _is_idle(self) -> bool:
        """Nothing is open or confirmed."""
        states = (State.QUEUED, State.PENDING, State.CONFIRMED)
        return all(row.intent.state not in states for row in self.tables.rows.values())

    def _role_round(self) -> None:
        try:
            run(self.look())
        except Died:
            self.down = True
        except OUTAGES as outage:
            self.world.note("role's session ends", type(outage).__name__)
            self.role = self.new_role()

    def _set_pace(self) -> None:
        pace: Pace = self.role.pace
        if self._paced[0] is not pace:
            self._paced = pace, pace.policy(self.calm, CAP)
        self.submitter.policy = self.policy = self._paced[1]
        self.node.max_fee = self.rules.cap = self.policy.max_fee

    # ------------------------------------------------------------------ the contract

    def payload(self, subject: int, value: int) -> bytes:
        return b"%d:%d" % (subject, value)

    def standings(self, fork: Fork) -> Mapping[int, Standing]:
        return self.told(fork).standings

    def told(self, fork: Fork) -> "Told":
        """Folded once: what stands is asked for at every turn, by everybody."""
        key = id(fork.others), id(fork.mined)
        found = self._folded.get(key)
        if found is None:
            if len(self._folded) >= MOST_FOLDED:
                self._folded.clear()
            steps = self._steps(fork, fork.mined)
            found = self._folded[key] = Told(fork, steps, _last(steps))
        return found

    def _fold(self, fork: Fork, mined: Sequence[Mined]) -> Mapping[int, Standing]:
        return self.standings(fork) if mined is fork.mined else _last(self._steps(fork, mined))

    def _steps(self, fork: Fork, mined: Sequence[Mined]) -> Steps:
        ours = [e for e in mined if e.good and e.payload not in (b"", FOREIGN)]
        steps: list[Mined | Other] = sorted([*fork.others, *ours], key=lambda step: step.block)
        held: dict[int, Standing] = {}
        found = []
        for entry in steps:
            subject, standing = self._step(held, entry)
            if standing is not None:
                held[subject] = standing
                found.append((entry.block, subject, standing))
        return found

    def _step(
        self, held: Mapping[int, Standing], entry: Mined | Other
    ) -> tuple[int, Standing | None]:
        if isinstance(entry, Mined):
            subject, value = map(int, entry.payload.split(b":"))
            return subject, replace(held[subject], answered=value, by=entry.tx.hash)
        if entry.due:
            return entry.subject, Standing(entry.block, entry.due, entry.value)
        before = held.get(entry.subject)  # None: a reorg took what it answers
        after = before and replace(before, answered=entry.value, by=b"others")
        return entry.subject, after

    @abstractmethod
    def would_take(self, standing: Standing, value: int) -> bool:
        """Whether the contract takes that answer to what stands."""

    def _takes(self, fork: Fork, mined: Sequence[Mined], payload: bytes, time: int) -> bool:
        subject, value = map(int, payload.split(b":"))
        standing = self._fold(fork, mined).get(subject)
        return standing is not None and time < standing.due and self.would_take(standing, value)

    def _takes_in(self, payload: bytes, block: int, earlier: Sequence[Mined]) -> bool:
        now = self.chain.now
        mined = now.mined if len(earlier) == len(now.mined) else earlier
        return self._takes(now, mined, payload, self.chain.timestamp(block))

    def _takes_on(self, fork: Fork, payload: bytes) -> bool:
        return self._takes(fork, fork.mined, payload, self.chain.timestamp(fork.head + 1))

    # ------------------------------------------------------------------ what happens

    def turn(self) -> None:
        happen = self.world.rng.choices(*self.CHANCES)[0]
        self.world.note(happen)
        getattr(self, happen)()
        self.pass_time()
        self.work()
        self.check()

    def grow(self) -> None:
        self.mine(self.world.rng.choice((3, 8)))

    @abstractmethod
    def owed(self, fork: Fork) -> dict[int, Standing]:
        """What is to be answered there, as far as it can be."""

    def left_s(self, standing: Standing, fork: Fork) -> int:
        return standing.due - self.chain.timestamp(fork.head)

    def _is_near(self, fork: Fork) -> bool:
        """Whether something is owed there whose time is nearly over, or over."""
        return any(self.left_s(s, fork) < self.reserve_s for s in self.owed(fork).values())

    def reorg(self) -> None:
        """One that leaves time enough for what it takes."""
        before, reached = self.chain.now, self.world.reached.copy()
        saved = self.chain.save()
        super().reorg()
        if self.chain.now is not before and self._is_near(self.chain.now):
            self.chain.load(saved)
            self.world.reached = reached

    def fork_returns(self) -> None:
        saved, reached = self.chain.save(), self.world.reached.copy()
        super().fork_returns()
        if self._is_near(self.chain.now):
            self.chain.load(saved)
            self.world.reached = reached

    def is_down_for_long(self) -> None:
        """While blocks come, to the last part of the nearest window."""
        self.down = True
        self.world.fault("75 down while a window runs")
        left = [self.left_s(s, self.chain.now) for s in self.owed(self.chain.now).values()]
        over_s = min(left, default=0) - self.reserve_s
        if over_s > 0:
            share = self.world.rng.choice((0.3, 0.9, 1.0))
            self.mine(max(1, int(share * over_s / self.chain.profile.block_s)))

    def journal_is_lost(self) -> None:
        """The role finds again what is to be answered, on the chain."""
        if not self.lost_journal:
            self.lost_journal = True
            self.world.fault("63 the journal is lost")
            self.tables.forget()
            self.known.forget()
            self.restart()

    def check_double(self, payload: bytes) -> None:
        """The contract's business: another one may have been first."""

    # ------------------------------------------------------------------ invariants

    def check(self) -> None:
        if self._is_near(self.chain.now):
            self.rescue()
        self.check_over()

    def rescue(self) -> None:
        """The world is quiet, as long as something is owed and near."""
        self.world.note("the end of a window is near")
        self.world.fault(self.NEAR)
        self._calm_down()
        while self._is_near(self.chain.now):
            self._quiet_step()

    NEAR = "13 the end of a window is near"

    def _calm_down(self) -> None:
        world, chain = self.world, self.chain
        world.dies_at = world.fails_at = world.interrupts_at = -1
        chain.stalled = chain.paused = False
        self.tables.pause = None
        self.known.invalid.clear()
        chain.base_fee = min(chain.base_fee, CAP // 4)
        self.node.faults = Faults()

    def _quiet_step(self) -> None:
        self.world.now += STEP_S
        self._release()
        self.work()
        self.mine(self._blocks())
        self.check_over()

    def _blocks(self) -> int:
        """Of a quiet step."""
        return ceil(STEP_S / self.chain.profile.block_s / 2)

    def check_over(self) -> None:
        """I13: nothing that was owed is owed still when its time is over."""
        for subject, standing in self.owed(self.chain.now).items():
            if self.left_s(standing, self.chain.now) <= 0:
                raise Violation("I13", f"subject {subject} is not answered in its window")

    def heal(self) -> None:
        """What is owed is answered, and every intent ends."""
        self._calm_down()
        self.chain.base_fee = 100
        self.world.note("heal")
        # A tower leaves what waits in a pool to land for half of a window, be it ever so cheap.
        rounds = max(
            HEAL_ROUNDS, ceil(self.window_s / (self._blocks() * self.chain.profile.block_s))
        )
        for number in range(rounds):
            if not self.owed(self.chain.now) and self._all_final():
                return
            self._quiet_step()
            # What is void may lie in the pools for ever.
            idle = not self.chain.pool or number % 8 == 7
            if idle and not self.owed(self.chain.now):
                self.mine(self.chain.profile.confirmations // 2)
                self.check_over()
        left = [r.intent.key + " " + r.intent.state for r in self._ours() if not self._ended(r)]
        raise Violation("I3", f"not done in a quiet world: {left}")

    def _ours(self) -> list[Any]:
        return list(self.tables.rows.values())

    def _ended(self, row: Any) -> bool:
        return row.intent.state in (State.FINAL, State.VOID)

    def check_end(self) -> None:
        self._check_pace()
        self._check_seen()
