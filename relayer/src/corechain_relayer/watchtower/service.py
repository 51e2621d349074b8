"""Watches challenges and wants an answer to each that is older than what we hold."""

import asyncio
from dataclasses import dataclass, field

import structlog

from corechain.deployment import Deployment
from corechain.service.errors import NodeUnavailable
from corechain_relayer.calldata import selector
from corechain_relayer.following import Follower
from corechain_relayer.journal.batches import NewIntent
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Moot
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.watchtower.channels import (
    VERSION_MAX,
    Channel,
    ChannelsView,
    Evidence,
    respond_call,
)
from corechain_relayer.watchtower.store import EvidenceStore

log = structlog.get_logger(__name__)

QUEUE = "watchtower"
CHANNEL_OF = selector("channelOf(bytes32)")


def intent_key(channel_id: bytes, version: int) -> str:
    return f"channel:{channel_id.hex()}:{version}"


def _parts(key: str) -> tuple[bytes, int]:
    _, channel_id, version = key.split(":")
    return bytes.fromhex(channel_id), int(version)


@dataclass(slots=True)
class Watchtower:
    """Looks at every challenge again on every round: evidence may come after the challenge."""

    follower: Follower[ChannelsView]
    store: EvidenceStore
    contract: bytes
    metrics: Metrics
    work: asyncio.Event
    pace: Pace = field(default_factory=Pace)
    """Of the challenges that are older than what we hold."""

    async def watch_forever(self, poll_s: float) -> None:
        while True:
            await self.follower.refresh_or_log()
            await self.round()
            await asyncio.sleep(poll_s)

    async def round(self) -> None:
        """One look at every running challenge, the most urgent first."""
        head, paces = self.follower.seen, []
        for channel_id, channel in self.follower.view.challenged():
            evidence = await self.store.newest(channel_id)
            if evidence is None or evidence.state.version <= channel.challenged_version:
                continue
            await self._answer(channel_id, channel, evidence)
            left_s = channel.deadline - head.timestamp if head else 0
            if left_s >= 0:
                paces.append(Pace(left_s, channel.terms.challenge_period_s))
        self.pace = min(paces, key=lambda pace: pace.left_s, default=Pace())
        self.metrics.watchtower_stale_closes.set(len(paces))
        self.metrics.watchtower_deadline.set(self.pace.left_s)

    async def _answer(self, channel_id: bytes, channel: Channel, evidence: Evidence) -> None:
        key = intent_key(channel_id, evidence.state.version)
        call = respond_call(channel.terms, evidence)
        if await self.store.want(NewIntent(QUEUE, key, self.contract, call)):
            self.metrics.disputes_answered.inc()
            log.warning(
                "stale close will be answered",
                channel=channel_id.hex(),
                theirs=channel.challenged_version,
                ours=evidence.state.version,
                deadline=channel.deadline,
            )
            self.work.set()


@dataclass(frozen=True, slots=True)
class AnsweredChallenges:
    """Whether a challenge needs our answer no more: answered as well or better, closed, or over.

    The contract knows that by itself: no logs are read, however old the contract is.
    """

    node: Node
    deployment: Deployment

    async def __call__(self, intent: Intent) -> Moot | None:
        channel_id, version = _parts(intent.key)
        contract = self.deployment.address("StateChannels")
        head = await self.node.rpc.head()
        words = await self.node.rpc.eth_call(contract, CHANNEL_OF + channel_id)
        if len(words) != 4 * 32:
            raise NodeUnavailable(f"channelOf: {len(words)} bytes are no channel")
        held, deadline = (int.from_bytes(words[n : n + 32], "big") for n in (64, 96))
        if held > VERSION_MAX:
            return Moot("the channel is closed")
        if held >= version:
            return Moot(f"version {held} stands on chain")
        return Moot("the deadline has passed") if deadline <= head.timestamp else None
