"""The watchtower in the world: stale closes, states that parties leave, other towers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.chain import FOREIGN, Fork, Mined
from chaos.duties import SUBJECTS, DutyStory, Standing, Work, newer
from chaos.lane import run
from chaos.node import SENDER
from chaos.store import fenced
from chaos.world import Counted, Died, Violation, World
from corechain.protocol.channel import ChannelState, StateChannel
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Call
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Found
from corechain_relayer.watchtower import standing as rules
from corechain_relayer.watchtower.channels import Channel, ChannelsView, Evidence
from corechain_relayer.watchtower.fleet import Fleet
from corechain_relayer.watchtower.service import Watchtower
from corechain_relayer.watchtower.standing import parts_of
from corechain_relayer.watchtower.store import Answer, EvidenceStore

CONTRACT = b"\xcc" * 20
DEPOSIT = 1_000
SIGNATURE = b"\x01" * 64
CLOSES = "75 a stale close"


def channel_id(subject: int) -> bytes:
    return bytes([subject]) * 32


@dataclass(slots=True)
class ModelFollower:
    """The view is made anew from what the node shows: `following.py` has tests of its own."""

    story: "TowerStory"
    view: ChannelsView = field(default_factory=lambda: ChannelsView(1, CONTRACT))
    seen: Block | None = None

    async def refresh_or_log(self) -> None:
        story = self.story
        fork = newer(story, self.seen)
        if fork is None:
            return  # as it does: the view stays as it was
        self.seen = story.node._block(fork, fork.head)
        self.view = ChannelsView(1, CONTRACT)
        for subject, standing in story.standings(fork).items():
            channel = story.channel(subject, standing)
            self.view.channels[channel_id(subject)] = channel
            self.view.challenged[channel_id(subject)] = channel


@dataclass(slots=True)
class ModelPool:
    """What the fleet asks: channels as they stand once the pool is mined."""

    story: "TowerStory"

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        story = self.story
        fork = story.node._reach()
        if not story.chain.profile.pools:
            return [NodeRefused("eth_call", -32000, "no pending state")] * len(calls)
        mined, time = list(fork.mined), story.chain.timestamp(fork.head + 1)
        while (found := story.chain.pool.get(len(mined))) is not None:
            tx, payload = found
            good = payload in (b"", FOREIGN) or story._takes(fork, mined, payload, time)
            mined.append(Mined(tx, payload, good, fork.head + 1))
        standings = story._fold(fork, mined)
        return [story.words(standings, bytes.fromhex(c.params[0]["data"][10:])) for c in calls]


class ModelEvidence(EvidenceStore):
    """Newest states, as `store_channel_state` keeps them."""

    def __init__(self, story: "TowerStory") -> None:
        object.__setattr__(self, "pool", story)

    async def keep(self, evidence: Evidence) -> bool:
        story: TowerStory = self.pool  # type: ignore[assignment]
        with fenced(story.world, "keep"):
            held = story.kept.get(evidence.state.channel_id)
            if held is not None and held.state.version >= evidence.state.version:
                return False
            story.kept[evidence.state.channel_id] = evidence
        return True

    async def newer_than(self, versions: Mapping[bytes, int]) -> list[Evidence]:
        story: TowerStory = self.pool  # type: ignore[assignment]
        kept = [story.kept[c] for c in versions if c in story.kept]
        return [e for e in kept if e.state.version > versions[e.state.channel_id]]

    async def want(self, target: bytes, answers: Sequence[Answer]) -> set[str]:
        story: TowerStory = self.pool  # type: ignore[assignment]
        with fenced(story.world, "want"):
            return {answer.key for answer in answers if story.want(answer)}


class TowerStory(DutyStory):
    """Subjects are channels; a value is a version."""

    def __init__(self, world: World) -> None:
        self.kept: dict[bytes, Evidence] = {}
        self.acknowledged: dict[int, int] = {}
        """The newest version of each channel that a party was told is kept."""
        super().__init__(world)
        for subject in range(1, SUBJECTS + 1):
            self.leave(subject, world.rng.randint(2, 6))

    def new_role(self) -> Watchtower:
        fleet = Fleet(ModelPool(self), CONTRACT, SENDER, self.world.rng.choice((0.0, 30.0)))  # type: ignore[arg-type]
        parts: Any = (ModelFollower(self), ModelEvidence(self), fleet, CONTRACT)
        return Watchtower(*parts, Counted(self.world), Work())  # type: ignore[arg-type]

    async def look(self) -> None:
        """As `watch_forever`."""
        await self.role.follower.refresh_or_log()
        await self.role.round()

    # ------------------------------------------------------------------ the contract

    def would_take(self, standing: Standing, value: int) -> bool:
        return value > max(standing.value, standing.answered)

    def owed(self, fork: Fork) -> dict[int, Standing]:
        return {
            subject: standing
            for subject, standing in self.standings(fork).items()
            if self.acknowledged.get(subject, 0) > max(standing.value, standing.answered)
        }

    def channel(self, subject: int, standing: Standing) -> Channel:
        parties = (b"\x0a" * 20, b"\x0b" * 20, bytes(20))
        terms = StateChannel(*parties, self.window_s, 1 << 39, bytes([0, 0, 0, 0, subject]))
        version = max(standing.value, standing.answered)
        return Channel(terms, DEPOSIT, version % DEPOSIT, version, standing.due)

    def words(self, standings: Mapping[int, Standing], channel: bytes) -> str:
        standing = standings.get(channel[0])
        found = (DEPOSIT, 0, 0, 0)
        if standing is not None:
            found = (DEPOSIT, 0, max(standing.value, standing.answered), standing.due)
        return "0x" + b"".join(word.to_bytes(32, "big") for word in found).hex()

    def want(self, answer: Answer) -> bool:
        channel, version = parts_of(answer.key)
        held = self.kept[channel].state.version
        if version != held:
            raise Violation("I14", f"version {version} is to be sent, {held} is held")
        return self.tables.want_in_time(
            answer.key, self.payload(channel[0], version), answer.due_at
        )

    async def settled(self, intents: Sequence[Intent]) -> list[Found]:
        """As `AnsweredChallenges`, of whatever node answers."""
        fork = self.node._reach()
        now, standings = self.chain.timestamp(fork.head), self.standings(fork)
        found: list[Found] = []
        for intent in intents:
            channel, _ = parts_of(intent.key)
            standing = standings.get(channel[0], Standing(0, 0, 0))
            held = max(standing.value, standing.answered)
            found.append(rules.moot(intent, (DEPOSIT, 0, held, standing.due), now))
        return found

    # ------------------------------------------------------------------ what happens

    def somebody_acts(self) -> None:
        """A channel is closed with an old state, or with one that is as new as ours."""
        rng = self.world.rng
        free = [n for n in range(1, SUBJECTS + 1) if n not in self.standings(self.chain.now)]
        if not free or self.chain.stalled:
            return
        subject = rng.choice(free)
        version = rng.randint(1, self.acknowledged.get(subject, 1) + 1)
        due = self.chain.timestamp(self.chain.now.head + 1) + self.window_s
        self.chain.include_other(subject, version, due)
        if version < self.acknowledged.get(subject, 0):
            self.world.fault(CLOSES)

    seal = somebody_acts

    def something_is_left(self) -> None:
        """A party leaves a state, newer or older than what is held, in time for an answer."""
        rng = self.world.rng
        standings = self.standings(self.chain.now)
        late = {n for n, s in standings.items() if self.left_s(s, self.chain.now) < self.reserve_s}
        open_ = [n for n in range(1, SUBJECTS + 1) if n not in late]
        if not open_ or self.down:
            return
        subject = rng.choice(open_)
        version = max(1, self.acknowledged.get(subject, 0) + rng.choice((-2, 0, 1, 3)))
        self.leave(subject, version)

    def leave(self, subject: int, version: int) -> None:
        state = ChannelState(channel_id(subject), version, version % DEPOSIT)
        before = self.kept.get(channel_id(subject))
        try:
            run(ModelEvidence(self).keep(Evidence(state, SIGNATURE, SIGNATURE)))
        except Died:
            self.down = True
        except self.OUTAGES:
            pass  # the party was told so
        else:
            known = max(version, self.acknowledged.get(subject, 0))
            self.acknowledged[subject] = known
        held = self.kept.get(channel_id(subject))
        if before is not None and (held is None or held.state.version < before.state.version):
            raise Violation("I14", f"channel {subject}: an older state is held than before")
        if subject in self.standings(self.chain.now):
            self.world.fault("76 a state comes after the close")

    def somebody_else_answers(self) -> None:
        """Another tower, with a state as new as ours or older."""
        owed = self.owed(self.chain.now)
        if not owed or self.chain.stalled:
            return
        subject = self.world.rng.choice(sorted(owed))
        newest = self.acknowledged[subject]
        version = self.world.rng.randint(owed[subject].value + 1, newest)
        if self.would_take(owed[subject], version):
            self.chain.include_other(subject, version, 0)
            self.world.fault("78 another one answers")
