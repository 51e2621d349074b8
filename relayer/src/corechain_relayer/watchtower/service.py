"""Watches challenges and wants an answer to each that is older than what we hold."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from corechain.service.rpc import Block
from corechain_relayer.following import Follower
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.watchtower.channels import ChannelsView, StaleClose, respond_call
from corechain_relayer.watchtower.fleet import Fleet
from corechain_relayer.watchtower.standing import intent_key
from corechain_relayer.watchtower.store import QUEUE, Answer, EvidenceStore

__all__ = ["QUEUE", "Watchtower"]

log = structlog.get_logger(__name__)

WANTED_AT_ONCE = 250
"""Answers that are recorded in one statement, so that the first are sent before the last are known:
about 100 kB of calldata."""
LATE_SHARE = 4
"""With less than a fourth of the period left, a stale close is a warning of `/ready`."""


@dataclass(slots=True)
class Watchtower:
    """Level-triggered: looks at every running challenge on every round, as chain and evidence are
    then. Evidence may come after the challenge, a restart or a reorg needs nothing of its own."""

    follower: Follower[ChannelsView]
    store: EvidenceStore
    fleet: Fleet
    contract: bytes
    metrics: Metrics
    work: asyncio.Event
    again_s: float = 5.0
    """So often the journal is told of an answer that it knows: it may have given it up."""
    pace: Pace = field(default_factory=Pace)
    """Of the challenges that are older than what we hold."""
    late: Sequence[StaleClose] = ()
    _told: dict[str, float] = field(default_factory=dict)
    """When the journal was told of an answer last (monotonic seconds), by key."""

    async def watch_forever(self, poll_s: float) -> None:
        while True:
            await self.follower.refresh_or_log()
            await self.round()
            await asyncio.sleep(poll_s)

    async def round(self) -> None:
        """One look at every running challenge, the most urgent first."""
        head = self.follower.seen
        if head is None:
            return
        running = [c for c in await self._stale() if c.channel.deadline > head.timestamp]
        self._measure(running, head)
        before, told = time.monotonic() - self.again_s, self._told
        self._told = {key: told[key] for key in map(_key, running) if key in told}
        known = [close for close in running if _key(close) in self._told]
        again = [close for close in known if self._told[_key(close)] <= before]
        # Whether others answer is asked before ours is recorded: from then on it stays so.
        unknown = [close for close in running if _key(close) not in self._told]
        await self._want(sorted([*again, *await self.fleet.ours(unknown, head)], key=_urgency))

    async def _stale(self) -> list[StaleClose]:
        challenged = self.follower.view.challenged
        if not challenged:
            return []
        versions = {id_: channel.challenged_version for id_, channel in challenged.items()}
        found = await self.store.newer_than(versions)
        closes = [
            StaleClose(evidence.state.channel_id, challenged[evidence.state.channel_id], evidence)
            for evidence in found
        ]
        return sorted(closes, key=_urgency)

    def _measure(self, running: Sequence[StaleClose], head: Block) -> None:
        paces = {c: Pace(c.channel.deadline - head.timestamp, _period_s(c)) for c in running}
        self.late = [c for c in running if paces[c].left_s * LATE_SHARE < _period_s(c)]
        self.pace = min(paces.values(), key=lambda pace: pace.left_s, default=Pace())
        self.metrics.watchtower_stale_closes.set(len(running))
        self.metrics.watchtower_deadline.set(self.pace.left_s)

    async def _want(self, closes: Sequence[StaleClose]) -> None:
        for start in range(0, len(closes), WANTED_AT_ONCE):
            part = closes[start : start + WANTED_AT_ONCE]
            new = await self.store.want(self.contract, [_answer(close) for close in part])
            self._told |= dict.fromkeys(map(_key, part), time.monotonic())
            for close in part:
                if _key(close) in new:
                    self._say(close)
            self.work.set()

    def _say(self, close: StaleClose) -> None:
        self.metrics.disputes_answered.inc()
        log.warning(
            "stale close will be answered",
            channel=close.channel_id.hex(),
            theirs=close.channel.challenged_version,
            ours=close.evidence.state.version,
            deadline=close.channel.deadline,
            stake=close.stake,
        )

    def warnings(self) -> list[str]:
        """For `/ready`: the state that must be on chain is not, and time runs out."""
        if not self.late:
            return []
        first, others = self.late[0], len(self.late) - 1
        more = f", and {others} more" if others else ""
        return [
            f"watchtower: version {first.evidence.state.version} of channel "
            f"0x{first.channel_id.hex()} is not on chain, {self.pace.left_s:g} s left{more}"
        ]


def _key(close: StaleClose) -> str:
    return intent_key(close.channel_id, close.evidence.state.version)


def _urgency(close: StaleClose) -> tuple[int, int]:
    return close.urgency


def _period_s(close: StaleClose) -> int:
    return close.channel.terms.challenge_period_s


def _answer(close: StaleClose) -> Answer:
    call = respond_call(close.channel.terms, close.evidence)
    return Answer(_key(close), call, close.channel.deadline)
