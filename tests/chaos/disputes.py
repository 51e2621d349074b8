"""What the challenger asks and keeps, as models: logs of all lanes, files, contract, journal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.chain import Fork
from chaos.duties import Standing, newer
from chaos.node import SENDER, Faults
from chaos.store import fenced
from chaos.world import Violation
from corechain.deployment import DeployedContract, Deployment
from corechain.protocol import suspects
from corechain.protocol.evidence import Demand, Evidence, Fraud
from corechain.protocol.inquiry import Wanted
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId
from corechain.protocol.suspects import Accusation, Slot
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Block, Call
from corechain_relayer.challenger.calls import Asker
from corechain_relayer.challenger.examining import Charge
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.lanes import Answer, Commit, LanesView
from corechain_relayer.challenger.spans import Key
from corechain_relayer.challenger.store import ChallengerStore, Sent
from corechain_relayer.registry.view import Device, RegistryView
from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from chaos.challenger import ChallengerStory

STRANGER = b"\x5e" * 20
HONEST, FRAUD, HIDDEN, HIDDEN_FRAUD, YOUNG, REVOKED = 1, 2, 3, 4, 5, 6
"""What a batch is; of HIDDEN_FRAUD, what is answered shows a fraud; YOUNG is one when its device is
not registered before it, REVOKED when that was revoked longer than the grace before it spoke."""
REGISTRY, REVOCATIONS = 50, 100
"""Above this, subjects are the devices of young batches, and the revocations of others."""
GRACE = 4
"""Blocks, which are the time of the model's registry."""
HIDES, GOOD = (HIDDEN, HIDDEN_FRAUD), (HONEST, HIDDEN)
CHALLENGE, DEMAND, EXPIRE, ANSWER, APPROVE = 1, 2, 3, 4, 5
"""What is done about it; the value of a payload."""
NOBODY = 0
"""Subject of what is about no batch."""
BONDED_SINCE = 1
FEE = 10
STAKE = 8 * FEE
PATIENCE_S = 12.0


@dataclass(frozen=True, slots=True)
class Suspect(Standing):
    """A batch under the bond of its lane. `value`: what it is; `answered`: the bond has fallen."""

    demanded: int = 0
    """Deadline of the open demand, 0 without one."""
    asker: bytes = b""
    """The transaction of that demand."""
    shown: bool = False
    """A demand was answered."""


def batch_of(subject: int) -> int:
    return subject << 32 | 1


def subject_of(batch: int) -> int:
    return batch >> 32


def commitment(subject: int, kind: int) -> bytes:
    return bytes([subject, kind]) * 13


def demand_of(subject: int, kind: int) -> bytes:
    return bytes([subject, kind]) * 16


class Act(NamedTuple):
    """What a call asks for. `kind`: of the batch that it means, as calls name a commitment."""

    subject: int
    step: int
    kind: int

    @classmethod
    def of(cls, payload: bytes) -> "Act":
        return cls(*map(int, payload.split(b":")))

    @property
    def payload(self) -> bytes:
        return b"%d:%d:%d" % self


def _payload(step: int, named: bytes) -> bytes:
    """`named`: a commitment, or the id of a demand."""
    return Act(named[0], step, named[1]).payload


CALLS = {
    "challenge_call": lambda accused, one, revealed: _payload(CHALLENGE, one.commitment),
    "demand_call": lambda wanted, one: _payload(DEMAND, one.commitment),
    "expire_call": lambda number: _payload(EXPIRE, number),
    "approve_call": lambda spender, amount: _payload(APPROVE, bytes([NOBODY, 0])),
    "demand_id": lambda wanted, one: demand_of(one.commitment[0], one.commitment[1]),
}
"""In place of the calls' bytes, which have tests of their own."""
WANTED = Wanted(Demand.REPORT, Evidence([], []))
ACCUSED = Accusation(Fraud.BAD_SIGNATURE, Evidence([], []))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Of a batch that is what its commitment says."""

    fits: bool = True


@dataclass(frozen=True, slots=True)
class ModelInquiry:
    """`Inquiry` has tests of its own: here the first report is asked for, and shows all."""

    kind: int
    answers: Sequence[Answer]
    has_file: bool
    revealed: bytes = b"revealed"

    def accusations(self) -> Iterator[Accusation]:
        if self.kind == HIDDEN_FRAUD and self.answers:
            yield ACCUSED

    def wanted(self) -> list[Wanted]:
        return [] if self.has_file or self.answers else [WANTED]


@dataclass(slots=True)
class ModelFollower:
    """As the tower's, for all lanes."""

    story: "ChallengerStory"
    view: LanesView = field(default_factory=LanesView)
    seen: Block | None = None
    fork: Fork | None = None
    undone: int | None = None

    async def refresh_or_log(self) -> None:
        story = self.story
        fork = newer(story, self.seen)
        if fork is None:
            return  # as it does: the view stays as it was
        self._note(fork)
        self.seen, self.fork = story.node._block(fork, fork.head), fork
        self.view = story.lanes(fork)

    def _note(self, fork: Fork) -> None:
        before = self.fork
        if before is not None and before.hash(before.head) != fork.hash(before.head):
            left = min(before.parts_from(fork), before.head) - 1
            self.undone = left if self.undone is None else min(self.undone, left)

    def take_undone(self) -> int | None:
        found, self.undone = self.undone, None
        return found


@dataclass(slots=True)
class ModelExaminer:
    """What `find` and `Inquiry` would say."""

    story: "ChallengerStory"
    honest: set[Key] = field(default_factory=set)
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        self.facts = Facts(ModelDevices(self.story), Deployment(1, {"DeviceRegistry": NO_CONTRACT}))  # type: ignore[arg-type]

    def book(self, lane: int, since: int) -> Any:
        return Standing(since, 0, 0)

    def is_as_new_as(self, head: Block | None) -> bool:
        return True

    def drop(self, gone: set[Key]) -> None:
        self.honest -= gone

    def forget(self, gone: set[Key]) -> None:
        self.honest -= gone
        self.facts.forget()

    async def standing(self, commit: Commit) -> suspects.Standing | None:
        story, fork = self.story, self.story.node._reach()
        found = story.suspects(fork).get(subject_of(commit.batch_id))
        if found is None or commitment(subject_of(commit.batch_id), found.value) != (
            commit.commitment
        ):
            return None
        at = story.chain.timestamp(found.since)
        return suspects.Standing(commit.batch_id, commit.commitment, commit.place, at)

    async def standings(self, commits: Sequence[Commit]) -> dict[Commit, suspects.Standing]:
        found = {commit: await self.standing(commit) for commit in commits}
        return {commit: one for commit, one in found.items() if one is not None}

    async def file_of(self, one: suspects.Standing) -> ModelFile | None:
        if one.commitment[1] in HIDES:
            return None
        if subject_of(one.batch_id) in self.story.missing:
            self.story.world.fault(MISSING)
            return None
        return ModelFile()

    async def shown(self, one: suspects.Standing, asked: ModelInquiry, book: Any) -> list[Charge]:
        return [Charge(one, b"revealed", each) for each in asked.accusations()]  # type: ignore[arg-type]

    async def examine(
        self, one: suspects.Standing, file: Any, book: Any, view: LanesView
    ) -> list[Charge]:
        kind, subject = one.commitment[1], subject_of(one.batch_id)
        is_fraud = kind == FRAUD or self._is_misled()
        if kind in (YOUNG, REVOKED):
            slot = await self._slot(subject)
            since = self.story.suspects(self.story.role.follower.fork)[subject].since
            is_fraud |= self.story.is_wrong(kind, subject, since, slot)
        return [Charge(one, b"revealed", ACCUSED)] if is_fraud else []  # type: ignore[arg-type]

    def _is_misled(self) -> bool:
        """By a node that has not the state that its logs tell of, so that a batch looks wrong."""
        story = self.story
        if story.node.faults == Faults() or story.world.rng.random() > MISLED_SHARE:
            return False
        story.world.fault(MISLED)
        return True

    async def _slot(self, subject: int) -> Slot:
        """Of a batch's device. Raises NodeUnavailable; also of a node on another fork than the one
        that was followed: that nodes differ is for a quorum to see."""
        fork, seen = self.story.node._reach(), self.story.role.follower.seen
        if fork.head < seen.number or fork.hash(seen.number) != seen.hash:
            raise NodeUnavailable("the node is on another fork")
        slot, device = self.story.slot(fork, subject), device_of(subject)
        known = Device(DeviceIdentity(device, KeyType.SECP256K1), STRANGER, slot.revoked_at > 0)
        view = RegistryView({device: known} if slot.registered_at else {})
        await self.facts._learn([device], view)
        return self.facts._slots[device]

    async def inquiry(
        self, one: suspects.Standing, file: Any, view: LanesView, probes: Sequence[int]
    ) -> ModelInquiry:
        answers = [
            answer
            for answer in view.answers.get(one.batch_id, ())
            if answer.demand.commitment == one.commitment
        ]
        return ModelInquiry(one.commitment[1], answers, file is not None)


MISSING = "62 a challenged data file is missing for a while"
NO_CONTRACT = DeployedContract("DeviceRegistry", bytes(20), 1)


def device_of(subject: int) -> DeviceId:
    return DeviceId(bytes([subject]) * 20)


@dataclass(frozen=True, slots=True)
class ModelDevices:
    """`deviceOf` of the node that is on the fork which was followed."""

    story: "ChallengerStory"

    async def call_all(self, calls: Sequence[Call]) -> list[str]:
        fork = self.story.role.follower.fork
        slots = [self.story.slot(fork, int(call.params[0]["data"][-2:], 16)) for call in calls]
        return ["0x" + "".join(f"{word:064x}" for word in (1, *slot)) for slot in slots]


MISLED = "38 a node has misled a judge"
MISLED_SHARE = 0.3
"""Of the examinations while nodes are in trouble."""
MOVED = "31 a reorg moves a revocation"
REJUDGED = "31 a commit comes again without its registration"
CHEATS = "84 a batch that is wrong, or hidden"


@dataclass(slots=True)
class ModelCalls:
    """DataBatches and its token, of whatever node answers."""

    story: "ChallengerStory"
    rpc: None = None
    address: bytes = b"\xdb" * 20
    sender: bytes = SENDER

    async def bonds_since(self, lanes: Sequence[int]) -> dict[int, int]:
        found = self.story.suspects(self.story.node._reach())
        return {lane: BONDED_SINCE for lane in lanes if lane in found and not found[lane].answered}

    async def said_to(self, call: bytes, to: bytes | None = None) -> str:
        fork = self.story.node._reach()
        now = self.story.chain.timestamp(fork.head)
        return self.story.said_to(self.story.standings(fork), call, now)

    async def asker(self, number: bytes) -> Asker | None:
        found = self.story.suspects(self.story.node._reach()).get(number[0])
        if found is None or not found.demanded or found.value != number[1]:
            return None
        return Asker(STRANGER if found.asker == b"others" else SENDER, BONDED_SINCE)

    async def token_balance(self, token: bytes) -> int:
        self.story.node._reach()
        return STAKE * 100

    async def allowance(self, token: bytes) -> int:
        return STAKE if NOBODY in self.story.standings(self.story.node._reach()) else 0


class ModelStore(ChallengerStore):
    """Intents in the journal, as `intents_of` and `begin_fresh_intent` have them."""

    def __init__(self, story: "ChallengerStory") -> None:
        object.__setattr__(self, "pool", story)

    async def sent(self) -> dict[str, Sent]:
        story: ChallengerStory = self.pool  # type: ignore[assignment]
        found: dict[str, list[State]] = {}
        fresh: dict[str, bool] = {}
        for row in story.tables.rows.values():
            if not row.intent.key.startswith("nothing:"):
                purpose = row.intent.key.rpartition(":")[0]
                found.setdefault(purpose, []).append(row.intent.state)
                fresh[purpose] = row.is_fresh
        return {purpose: Sent(states, fresh[purpose]) for purpose, states in found.items()}

    async def give_up(self, purpose: str, before: Sent) -> None:
        """Words for operators alone."""

    async def record(self, purpose: str, before: Sent, target: bytes, call: bytes) -> bool:
        story: ChallengerStory = self.pool  # type: ignore[assignment]
        if before.is_open or before.used_up:
            return False
        if Act.of(call).step == CHALLENGE and bytes.fromhex(purpose.split(".")[1][:4])[1] in GOOD:
            raise Violation("honest", f"{purpose}: nothing that can be seen of it is wrong")
        with fenced(story.world, "record an accusation"):
            return story.tables.begin_fresh(f"{purpose}:{before.tries + 1}", call, target)
