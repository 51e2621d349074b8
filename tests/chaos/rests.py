"""What commits rest on in the world of the lane: registrations, which reorgs take back."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.chain import Fork
from chaos.store import fenced
from chaos.world import Violation
from corechain.protocol.reading import DeviceId
from corechain.service.errors import NodeUnavailable
from corechain_relayer.journal.rests import Rests, RestsStore
from corechain_relayer.submitter.footing import BatchFooting
from corechain_relayer.submitter.plan import Attempt, State, bumped

if TYPE_CHECKING:
    from chaos.lane import LaneStory

DEVICES = 3
RESTING_SHARE = 0.3
"""Of the batches: those with a device that was registered a moment ago."""
ROUNDS = 3
"""So many of a quiet world are enough to withdraw what rests on nothing."""
TAKEN = "31 a reorg takes a registration back"
IN_POOL = "31 a commit is in a pool when its registration goes"


def batch_of(payload: bytes) -> int:
    """As `committed_id`."""
    return int(payload[1:]) if payload[:1] == b"b" else 0


def name_of(device: int) -> DeviceId:
    return DeviceId(bytes([device]) * 20)


def registered_in(fork: Fork, device: int) -> int:
    """The block; 0 when it is not registered there."""
    return max((entry.block for entry in fork.others if entry.subject == device), default=0)


class ModelRests(RestsStore):
    """The journal's table."""

    def __init__(self, story: "LaneStory") -> None:
        object.__setattr__(self, "pool", story)

    async def of(self, batches: Sequence[int]) -> dict[int, Rests]:
        story: LaneStory = self.pool  # type: ignore[assignment]
        return {n: dict(story.tables.rests[n]) for n in batches if n in story.tables.rests}

    async def drop(self, batches: Collection[int]) -> None:
        story: LaneStory = self.pool  # type: ignore[assignment]
        with fenced(story.world, "drop rests"):
            for number in batches:
                story.tables.rests.pop(number, None)


@dataclass(slots=True)
class ModelRegistry:
    """A process's view of the registry, of whatever node answers."""

    story: "LaneStory"
    fork: Fork | None = None

    async def refresh_since(self, moment: float) -> None:
        fork = self.story.node._reach()
        if self.fork is not None and fork.head < self.fork.head:
            raise NodeUnavailable("the node is behind")  # as the follower has it
        self.fork = fork
        self.story.looked.append(fork)

    def missing(self, wanted: Mapping[DeviceId, int]) -> list[DeviceId]:
        """A node on another fork is believed: its commit is withdrawn, while what is in a pool
        behind it goes on alone. The contract takes batches in any order."""
        assert self.fork is not None
        gone = [device for device in wanted if not registered_in(self.fork, device[0])]
        self.story.meddled |= bool(gone)
        return gone

    def unsettled(self, devices: Collection[DeviceId]) -> set[DeviceId]:
        assert self.fork is not None
        final = min(self.story.chain.final, self.fork.head)
        blocks = {device: registered_in(self.fork, device[0]) for device in devices}
        return {device for device, block in blocks.items() if not 0 < block <= final}


class Resting:
    """Mixed into `LaneStory`."""

    def footing(self: "LaneStory") -> BatchFooting:
        return BatchFooting(ModelRests(self), ModelRegistry(self))  # type: ignore[arg-type]

    def rest(self: "LaneStory", batch: int) -> None:
        """Some of what is sealed has reports of a young device."""
        if self.world.rng.random() >= RESTING_SHARE or self.chain.stalled:
            return
        device = self.world.rng.randint(1, DEVICES)
        if not registered_in(self.chain.now, device):
            self.chain.include_other(device, 1, 0)
        self.devices[batch] = device
        self.keep_rests(batch)

    def keep_rests(self: "LaneStory", batch: int) -> None:
        """As the aggregator, when it journals the batch."""
        device = self.devices.get(batch)
        if device is not None and not self._is_settled(device):
            self.tables.rests[batch] = {name_of(device): 0}

    def _is_settled(self: "LaneStory", device: int) -> bool:
        return 0 < registered_in(self.chain.now, device) <= self.chain.final

    def _has_lost(self: "LaneStory", batch: int) -> bool:
        """Whether it rests on what is not on the chain."""
        device = self.devices.get(batch)
        return device is not None and not registered_in(self.chain.now, device)

    def grounds_shift(self: "LaneStory") -> None:
        """After a reorg. A commit that is in a pool now may be in the next block: that is the one
        thing which nobody can help (docs/reliability.md)."""
        if any(map(self._has_lost, self.devices)):
            self.meddled = True
            self.world.fault(TAKEN)
        pooled = [
            tx for tx, payload in self.chain.pool.values() if self._has_lost(batch_of(payload))
        ]
        if pooled:
            self.world.fault(IN_POOL)
        self.excused.update(tx.hash for tx in pooled)

    def owner_registers_again(self: "LaneStory") -> None:
        """Or the nodes bring the registration back by themselves."""
        lost = sorted({self.devices[batch] for batch in self.devices if self._has_lost(batch)})
        for device in [] if self.chain.stalled else lost:
            self.chain.include_other(device, 1, 0)

    # ------------------------------------------------------------------ what must hold

    def check_sent(self: "LaneStory", payload: bytes, tx: Attempt) -> None:
        """Nothing is sent that rests on a registration which the node, asked in this round, has
        not. What a node says that is on another fork is all that we know."""
        device = self.devices.get(batch_of(payload))
        if device is None or self._is_settled(device):
            return
        if not any(registered_in(fork, device) for fork in self.looked):
            raise Violation("grounds", f"{payload.decode()} is sent, its device is not registered")
        if self._has_lost(batch_of(payload)):
            self.excused.add(tx.hash)

    def check_grounds(self: "LaneStory", payload: bytes, tx: Attempt) -> None:
        """Of what is in a block now."""
        if self._has_lost(batch_of(payload)) and tx.hash not in self.excused:
            raise Violation("grounds", f"{payload.decode()} is on chain without its registration")

    def check_withdrawn(self: "LaneStory") -> None:
        """In a quiet world without blocks, what rests on nothing is replaced by nothing."""
        if not any(map(self._has_lost, self.devices)):
            return
        for _ in range(ROUNDS):
            self.world.now += 6
            self.looked.clear()
            self._release()
            self.work()
        for row in self.tables.rows.values():
            intent = row.intent
            if intent.state is not State.PENDING or not self._has_lost(batch_of(intent.calldata)):
                continue
            newest = intent.attempts[-1]
            is_free = intent.nonce is not None and intent.nonce >= len(self.chain.now.mined)
            if is_free and not newest.cancels and self._may_replace(newest):
                raise Violation("grounds", f"{intent.key} is not withdrawn")

    def _may_replace(self: "LaneStory", newest: Attempt) -> bool:
        return bumped(newest.fees, self.node._suggested(), self.policy.max_fee) is not None
