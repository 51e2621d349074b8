"""The reward guard in the world: proposers who are right or wrong, batches and files that come and
go, reorgs that put another root in place, or the same one over other data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chaos.chain import FOREIGN, Fork, Mined, Other
from chaos.chances import REWARDS, chances
from chaos.disputes import STRANGER
from chaos.duties import DutyStory, Standing, Told, Work
from chaos.healing import CAP
from chaos.node import Faults
from chaos.roots import (
    BATCHES,
    DATA,
    DEPLOYMENT,
    EPOCHS,
    LEFT_OUT,
    LEFT_OUT_SHARE,
    PROPOSAL,
    THROUGH,
    VETO,
    ModelCalls,
    ModelWatch,
    Root,
    RootStore,
    StrictNode,
    is_open,
    right_root,
    root_bytes,
)
from chaos.world import Counted, Violation, World
from corechain_relayer.challenger.alerts import ChallengerAlerts
from corechain_relayer.challenger.sending import StillTaken
from corechain_relayer.challenger.waiting import PendingRoots, StillMeant, root_of
from corechain_relayer.submitter.plan import Attempt, Intent, bumped
from corechain_relayer.submitter.settled import Found, one_by_one

WRONG = "85 a wrong reward root"
OTHER_DATA = "31 a root comes again over other data"
OTHER_ROOT = "31 another root waits in the place of one"
IN_POOL = "31 a veto is in a pool when its root goes"
WITHDRAWN_IN = 2
"""Steps of a quiet world."""
KINDS = ("right", "right", "wrong", "wrong", "of blocks to come")


class RewardStory(DutyStory):
    """Subjects are epochs; what answers a root is its veto."""

    NODE = StrictNode
    CHANCES = chances(REWARDS)

    def __init__(self, world: World) -> None:
        self.missing: set[int] = set()
        """Batches whose data file no source has now."""
        self.damaged: set[int] = set()
        """Those whose file here is damaged."""
        self.batches = 0
        self.lies: set[int] = set()
        """Roots for which a node has left out a batch: it does so once, as a second look is all
        that there is against it."""
        self.batch_left_out = False
        """In this round of the role."""
        self.seen: list[Fork] = []
        """Chains that the role was told of in its round."""
        self.pardoned: set[bytes] = set()
        """Vetoes that were signed in good faith before a reorg, or before somebody else acted."""
        self.quiet = 0
        """Steps without faults until now."""
        self.is_late = False
        """Who sends now was paused, and knows nothing of what its successor has judged."""
        super().__init__(world)
        self.node.story = self  # type: ignore[attr-defined]
        self.policy = self.calm = replace(self.calm, recalls=True)
        self.submitter.policy = self.policy
        self.submitter.grounds = self._roots().replaced
        self.commits_data()

    def start(self) -> Any:
        submitter = super().start()
        if hasattr(self.node, "story"):
            submitter.grounds = self._roots().replaced
        return submitter

    def _roots(self) -> PendingRoots:
        calls: Any = ModelCalls(self)
        return PendingRoots(calls, self._is_known_right)

    def _is_known_right(self, root: tuple[int, bytes]) -> bool:
        return self.role is not None and self.role.is_right(root)

    def new_role(self) -> ModelWatch:
        metrics: Any = Counted(self.world)
        parts: Any = (self.node, DEPLOYMENT, 1000, None, self, ModelCalls(self), RootStore(self))
        return ModelWatch(*parts, ChallengerAlerts(metrics), Work(), self.node)  # type: ignore[arg-type]

    async def look(self) -> None:
        self.seen.clear()
        self.batch_left_out = False
        await self.role.round()

    # ------------------------------------------------------------------ the contract

    def _step(
        self, held: Mapping[int, Standing], entry: Mined | Other
    ) -> tuple[int, Standing | None]:
        if isinstance(entry, Mined):
            epoch, by = int(entry.payload.split(b":")[0]), entry.tx.hash
        elif entry.subject == DATA:
            return BATCHES + entry.value, Standing(entry.block, 0, entry.value, 1)
        elif entry.subject == PROPOSAL:
            return self._proposed(held, entry)
        else:
            epoch, by = entry.value, STRANGER
        root = self._newest(held)
        is_taken = self._waits(root, self.chain.timestamp(entry.block)) and root.epoch == epoch
        return EPOCHS + epoch, _vetoed(root, by) if is_taken else None

    def _proposed(self, held: Mapping[int, Standing], entry: Other) -> tuple[int, Standing | None]:
        before = self._newest(held)
        if self._waits(before, self.chain.timestamp(entry.block)):
            return EPOCHS, None
        epoch = before.epoch + 1
        return EPOCHS + epoch, Root(entry.block, entry.due, entry.value, epoch=epoch)

    def _newest(self, held: Mapping[int, Standing]) -> Root:
        """Of those that are not vetoed; epoch 0 where there is none."""
        roots = [one for one in held.values() if isinstance(one, Root) and not one.answered]
        return max(roots, key=lambda one: one.epoch, default=Root(0, 0, 0))

    @staticmethod
    def _waits(root: Root, time: int) -> bool:
        return time < root.due

    def waiting(self, fork: Fork) -> Root | None:
        """The root in its window."""
        root = self._newest(self.standings(fork))
        return root if self._waits(root, self.chain.timestamp(fork.head)) else None

    def _takes(self, fork: Fork, mined: Sequence[Mined], payload: bytes, time: int) -> bool:
        root = self._newest(self._fold(fork, mined))
        return self._waits(root, time) and root.epoch == int(payload.split(b":")[0])

    def would_take(self, standing: Standing, value: int) -> bool:
        return not standing.answered

    def data(self, fork: Fork) -> list[tuple[int, int]]:
        """Batches and their blocks."""
        held = self.standings(fork)
        return [(one.value, one.since) for n, one in held.items() if n > BATCHES]

    def _right(self, fork: Fork, epoch: int, through: int) -> bytes:
        """The root that is right for an epoch after those that stand."""
        held = self.standings(fork)
        before = held.get(EPOCHS + epoch - 1)
        after, last = 0, b""
        if isinstance(before, Root):
            after, last = before.through, before.root
        data = [n for n, block in sorted(self.data(fork)) if after < block <= through]
        return root_bytes(right_root(epoch, data, last))

    def is_wrong(self, fork: Fork, root: Root) -> bool:
        # Through its own block it may be right (docs/protocol.md): that block is whole when judged.
        is_of_future = root.through > root.since
        return is_of_future or self._right(fork, root.epoch, root.through) != root.root

    def owed(self, fork: Fork) -> dict[int, Standing]:
        found: dict[int, Standing] = self.told(fork).kept(
            "owed", lambda told: self._owed(fork, told)
        )
        return found

    def _owed(self, fork: Fork, told: Told) -> dict[int, Standing]:
        root = self._newest(told.standings)
        return {root.epoch: root} if root.epoch and self.is_wrong(fork, root) else {}

    async def settled(self, intents: Sequence[Intent]) -> list[Found]:
        taken = StillTaken(ModelCalls(self))  # type: ignore[arg-type]
        return await one_by_one(StillMeant(taken, self._roots()))(intents)

    # ------------------------------------------------------------------ what happens

    def commits_data(self) -> None:
        self.batches += 1
        self.chain.include_other(DATA, self.batches, 0)

    def somebody_acts(self) -> None:
        """An epoch's root is proposed; or a root again that a reorg took, as it was."""
        if self.chain.stalled:
            return
        fork = self.chain.now
        if self.waiting(fork) is not None:
            if not self.owed(fork) and self.world.rng.random() < 0.4:
                self._window_passes()
            return
        lost = self._lost(fork)
        if lost is not None and self.world.rng.random() < 0.7:
            self._propose(lost.value)
            return
        if self.world.rng.random() < 0.8:
            self.commits_data()
        self._propose(self._value(self.world.rng.choice(KINDS)))

    seal = somebody_acts

    def _lost(self, fork: Fork) -> Root | None:
        """What waited on the chain before the last reorg, where its epoch is still to come."""
        old = self.chain.abandoned
        if old is None:
            return None
        before = self._newest(self.standings(old))
        is_next = before.epoch == self._newest(self.standings(fork)).epoch + 1
        return before if before.epoch and is_next else None

    def _value(self, kind: str) -> int:
        fork = self.chain.now
        through = fork.head + (50 if kind == "of blocks to come" else 0)
        root = self._right(fork, self._newest(self.standings(fork)).epoch + 1, through)
        return through * THROUGH + int.from_bytes(root, "big") + (kind == "wrong")

    def _propose(self, value: int) -> None:
        old, before = self.chain.abandoned, self.chain.now
        due = self.chain.timestamp(before.head + 1) + self.window_s
        self.chain.include_other(PROPOSAL, value, due)
        self._pardon_pooled()
        root = self._newest(self.standings(self.chain.now))
        if self.is_wrong(self.chain.now, root):
            self.world.fault(WRONG)
        was = None if old is None else self._newest(self.standings(old))
        if old is not None and was is not None and was.epoch == root.epoch:
            if was.value != root.value:
                self.world.fault(OTHER_ROOT)
            elif self.is_wrong(old, was) != self.is_wrong(self.chain.now, root):
                self.world.fault(OTHER_DATA)

    def _window_passes(self) -> None:
        root = self.waiting(self.chain.now)
        if root is not None:
            left_s = self.left_s(root, self.chain.now)
            self.mine(int(left_s / self.chain.profile.block_s) + 1)

    def something_is_left(self) -> None:
        """A batch is committed; or a data file goes or comes back, or one here is damaged."""
        rng = self.world.rng
        one = rng.randint(1, self.batches)
        match rng.randrange(3):
            case 0 if not self.chain.stalled:
                self.commits_data()
            case 1:
                self.missing ^= {one}
            case _:
                self.damaged.add(one)

    def somebody_else_answers(self) -> None:
        """The guardian, by hand; then the proposer may be right at once."""
        owed = self.owed(self.chain.now)
        if owed and not self.chain.stalled and self.waiting(self.chain.now) is not None:
            self.chain.include_other(VETO, next(iter(owed)), 0)
            self.world.fault("78 another one answers")
            if self.world.rng.random() < 0.5:
                self._propose(self._value("right"))

    def leaves_out(self) -> bool:
        """Whether a node leaves something out now."""
        if self.node.faults == Faults() or self.world.rng.random() > LEFT_OUT_SHARE:
            return False
        self.world.fault(LEFT_OUT)
        return True

    def leaves_out_batch(self, fork: Fork) -> bool:
        """Once for each root."""
        root = self._newest(self.standings(fork))
        if root.value in self.lies or not self.leaves_out():
            return False
        self.lies.add(root.value)
        self.batch_left_out = True
        return True

    def grounds_shift(self) -> None:
        self._pardon_pooled()

    def _pardon_pooled(self) -> None:
        """A veto that is in a pool when its root goes, or is right on another chain, may be in the
        next block."""
        astray = self._astray()
        if astray:
            self.world.fault(IN_POOL)
        self.pardoned.update(tx.hash for tx in astray)

    def _astray(self) -> list[Attempt]:
        """Vetoes in the pool that mean another root than waits, or one that is right."""
        waits = self.waiting(self.chain.now)
        vetoes = [tx for tx, payload in self.chain.pool.values() if payload not in (b"", FOREIGN)]
        if waits is not None and not self.is_wrong(self.chain.now, waits):
            return vetoes
        return [tx for tx in vetoes if not self._means(self._key_of(tx), waits)]

    def _calm_down(self) -> None:
        super()._calm_down()
        self.missing.clear()
        self.quiet = 0

    def _quiet_step(self) -> None:
        self.quiet += 1
        self.looked.clear()
        super()._quiet_step()

    def turn(self) -> None:
        self.quiet = 0
        super().turn()

    def _another_process(self) -> None:
        super()._another_process()
        self.is_late = True

    def work(self, rounds: int = 4) -> None:
        self.is_late = False
        super().work(rounds)
        if self.quiet >= WITHDRAWN_IN and not self.lost_journal:
            self.check_withdrawn()

    @staticmethod
    def _means(key: str, root: Root | None) -> bool:
        is_veto = root is not None and key.startswith("veto:")
        return is_veto and root is not None and root_of(key) == (root.epoch, root.root)

    # ------------------------------------------------------------------ what must hold

    def _key_of(self, tx: Attempt) -> str:
        for row in self.tables.rows.values():
            if any(a.hash == tx.hash for a in (*row.old, *row.intent.attempts)):
                return row.intent.key
        return ""

    def check_wanted(self, purpose: str) -> None:
        """What is to be vetoed is wrong on a chain that the role was told of in this round, and its
        veto is the only one on its way."""
        epoch, root = root_of(f"{purpose}:0")
        for row in self.tables.rows.values():
            if row.intent.key.startswith(f"{purpose}:") and is_open(row.intent.state):
                raise Violation("one answer", f"{purpose} beside {row.intent.key}")
        found = [(fork, self.standings(fork).get(EPOCHS + epoch)) for fork in self.seen]
        meant = [(f, one) for f, one in found if isinstance(one, Root) and one.root == root]
        if not any(self.is_wrong(fork, one) for fork, one in meant):
            raise Violation("honest", f"{purpose}: the root is right")

    def check_judged(self) -> None:
        """Of what a node leaves out only a batch, in this round, makes a judgement wrong: that a
        root is missing is seen."""
        if self.batch_left_out:
            return
        fork = self.seen[-1]
        root = self._newest(self.standings(fork))
        if self.role.is_right((root.epoch, root.root)) == self.is_wrong(fork, root):
            raise Violation("honest", f"epoch {root.epoch} is judged by a part of the roots")

    def check_withdrawn(self) -> None:
        """In a quiet world no veto lies in a pool that would hit another root than it means."""
        for tx in self._astray():
            if bumped(tx.fees, self.node._suggested(), CAP) is not None:
                raise Violation("grounds", f"{self._key_of(tx)} is not withdrawn")

    def check_sent(self, payload: bytes, tx: Attempt) -> None:
        """A veto is for the root that waited when the nodes were asked in this turn."""
        key = self._key_of(tx)
        if not payload or (self.lost_journal and not key):
            return
        if not any(self._means(key, self.waiting(fork)) for fork in self.looked):
            raise Violation("grounds", f"{key} is sent, and another root waits")
        if not self.is_late and self._known_right(key):
            raise Violation("grounds", f"{key} is sent, and its root is known to be right")
        waits = self.waiting(self.chain.now)
        if waits is None or not self._means(key, waits) or not self.is_wrong(self.chain.now, waits):
            # Of nodes that are behind together; or in the first round after a start.
            self.pardoned.add(tx.hash)

    def _known_right(self, key: str) -> bool:
        return key.startswith("veto:") and self._is_known_right(root_of(key))

    def check_grounds(self, payload: bytes, tx: Attempt) -> None:
        """Of what is in a block now."""
        fork = self.chain.now
        done = [one for _, _, one in self.told(fork).steps if one.by == tx.hash]
        for root in (one for one in done if isinstance(one, Root)):
            if tx.hash in self.pardoned or self.lost_journal:
                continue
            if not self._means(self._key_of(tx), root):
                raise Violation("grounds", f"epoch {root.epoch}: another root is vetoed than meant")
            if not self.is_wrong(fork, root):
                raise Violation("honest", f"epoch {root.epoch}: a right root is vetoed")


def _vetoed(root: Root, by: bytes) -> Root:
    return Root(root.since, root.due, root.value, VETO, by, root.epoch)
