"""What the reward guard asks and keeps, as models: logs, files, token, nodes that agree."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.chain import Fork
from chaos.disputes import ModelStore
from chaos.duties import Standing
from chaos.node import SENDER, ModelNode
from chaos.store import fenced
from corechain.deployment import DeployedContract, Deployment
from corechain.protocol.events import Event, RootProposed, RootVetoed
from corechain.service.errors import FileWithheld, NodeUnavailable
from corechain.service.rpc import Block
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.challenger.store import Sent
from corechain_relayer.rewards.epochs import RewardsNotReproducible
from corechain_relayer.rewards.history import standing
from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from chaos.rewards import RewardStory

DATA, PROPOSAL, VETO = 1, 2, 3
"""Subjects of what others do: a batch, the root of an epoch, its veto."""
EPOCHS, BATCHES = 10, 1000
"""Above these, subjects of the contract's state are epochs, and batches."""
THROUGH = 1 << 40
"""A proposal's value is its last block times this, and its root."""
LEFT_OUT = "38 a node leaves logs out"
LEFT_OUT_SHARE = 0.3
"""Of the questions for logs while nodes are in trouble."""
MISSING = "62 a data file of an epoch is missing"
DAMAGED = "61 a data file of an epoch is damaged"
TOKEN = DeployedContract("CoreToken", b"\xc0" * 20, 1)
DEPLOYMENT = Deployment(1, {"CoreToken": TOKEN})


@dataclass(frozen=True, slots=True)
class Root(Standing):
    """Of an epoch. `value`: as THROUGH has it; `answered`: it is vetoed."""

    epoch: int = 0

    @property
    def root(self) -> bytes:
        return (self.value % THROUGH).to_bytes(26, "big")

    @property
    def through(self) -> int:
        return self.value // THROUGH

    @property
    def event(self) -> RootProposed:
        word = int.from_bytes(self.root, "big") << 48 | self.due << 16 | self.epoch
        return RootProposed(word, self.through, 1)


def right_root(epoch: int, data: Sequence[int], before: bytes) -> int:
    """A number for what an epoch's data and the root before it make; 0 is none."""
    return zlib.crc32(repr((epoch, list(data), before)).encode()) or 1


def root_bytes(number: int) -> bytes:
    return number.to_bytes(26, "big")


@dataclass(frozen=True, slots=True)
class ModelLog:
    block_number: int
    block_hash: bytes
    event: Event


class StrictNode(ModelNode):
    """Several that must agree: they are away, or behind together, or differ."""

    def _reach(self) -> Fork:
        fork = super()._reach()
        if fork is self.chain.abandoned:
            raise NodeUnavailable("the nodes differ")
        return fork

    async def block(self, number: int) -> Block | None:
        fork = self._reach()
        return self._block(fork, number) if number <= fork.head else None


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """In place of `History`. Of nodes that have not seen `newest` nothing is taken."""

    rpc: Any
    deployment: Deployment
    range_blocks: int
    newest: int
    kept: object = None
    """What is kept of final blocks has tests of its own (test_old_chain.py)."""

    def _fork(self) -> Fork:
        fork = self.rpc._reach()
        if fork.head < self.newest:
            raise NodeUnavailable("the nodes are behind")
        found: Fork = fork.cut(self.newest) if fork.head > self.newest else fork
        self.rpc.story.seen.append(found)
        return found

    async def roots(self, first: int, head: int) -> list[ModelLog]:
        fork = self._fork()
        found = [
            ModelLog(block, fork.hash(block), RootVetoed(one.epoch) if one.answered else one.event)
            for block, _, one in self.rpc.story.told(fork).steps
            if isinstance(one, Root) and first <= block <= head
        ]
        if found and self.rpc.story.leaves_out():
            found.pop(self.rpc.world.rng.randrange(len(found)))
        return found

    async def batches(self, head: int) -> Mapping[int, Committed]:
        fork = self._fork()
        found = {n: Committed(root_bytes(n), block) for n, block in self.rpc.story.data(fork)}  # type: ignore[arg-type]
        if found and self.rpc.story.leaves_out_batch(fork):
            found.pop(max(found))
        return found

    async def owners(self, through: int) -> dict[Any, Any]:
        return {}

    async def reread_data(self, first: int, last: int) -> bool:
        """Each look reads all of it."""
        return False

    async def reread_owners(self, last: int) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class ModelLedger:
    """In place of `Ledger`, which has tests of its own: the same refusals."""

    batches: Mapping[int, Committed]
    story: Any
    owners_at: Any
    schedule: Any
    proven: Any

    def _root(self, epoch: int, after: int, through: int, before: bytes) -> bytes:
        data = [n for n, one in sorted(self.batches.items()) if after < one.block <= through]
        if not self.story.damaged.isdisjoint(data):
            raise RewardsNotReproducible("a data file has another commitment")
        return root_bytes(right_root(epoch, data, before))

    async def root_of(self, before: Sequence[RootProposed], newest: RootProposed) -> bytes | None:
        last, after = b"", 0
        for epoch in before:
            found = self._root(epoch.epoch, after, epoch.through_block, last)
            if found != epoch.root:
                raise RewardsNotReproducible("the root of an epoch is not the one of the data")
            last, after = found, epoch.through_block
        if newest.through_block < after:
            return None
        return self._root(newest.epoch, after, newest.through_block, last)


class ModelWatch(RootWatch):
    """The real one; only files are fetched from the story, and each judgement is looked at."""

    async def _judge(self, *of: Any) -> bool:
        story: RewardStory = self.folder  # type: ignore[assignment]
        is_known = await super()._judge(*of)
        if is_known:
            story.check_judged()
        return is_known

    async def _fetch(
        self, batches: Mapping[int, Committed], through: int, is_good: Callable[[int, bytes], bool]
    ) -> int:
        story: RewardStory = self.folder  # type: ignore[assignment]
        needed = {n for n, one in batches.items() if one.block <= through}
        for number in sorted(story.missing & needed):
            story.world.fault(MISSING)
            raise FileWithheld(root_bytes(number), [])
        if is_good.__name__ != "_is_whole":
            return 0
        bad = story.damaged & needed
        if bad:
            story.world.fault(DAMAGED)
        story.damaged -= bad
        return len(bad)


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """CoreToken, of nodes that agree; its own Rpc."""

    story: "RewardStory"
    deployment: Deployment = DEPLOYMENT
    sender: bytes = SENDER

    @property
    def rpc(self) -> "ModelCalls":
        return self

    async def said_to(self, call: bytes, to: bytes | None = None) -> str:
        fork = self.story.node._reach()
        time = self.story.chain.timestamp(fork.head)
        return "" if self.story._takes(fork, fork.mined, call, time) else "NothingToVeto"

    async def eth_call(self, contract: bytes, data: bytes) -> bytes:
        """`pendingRoot()`."""
        fork = self.story.node._reach()
        self.story.looked.append(fork)
        found = self.story.waiting(fork)
        if found is None:
            return bytes(96)
        return b"".join(
            (found.epoch.to_bytes(32, "big"), found.root + bytes(6), found.due.to_bytes(32, "big"))
        )


class RootStore(ModelStore):
    """As `ModelStore`, of vetoes."""

    async def record(self, purpose: str, before: Sent, target: bytes, call: bytes) -> bool:
        story: RewardStory = self.pool  # type: ignore[assignment]
        if before.is_open or before.used_up:
            return False
        story.check_wanted(purpose)
        with fenced(story.world, "record a veto"):
            return story.tables.begin_fresh(f"{purpose}:{before.tries + 1}", call, target)


def is_open(state: State) -> bool:
    return state in (State.QUEUED, State.PENDING)


CALLS = {
    "History": ModelHistory,
    "Ledger": ModelLedger,
    "told": lambda logs: standing([entry.event for entry in logs]),
    "veto_call": lambda epoch: b"%d:%d" % (epoch, VETO),
}
