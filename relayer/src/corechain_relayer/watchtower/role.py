"""What a watchtower is made of: channels, evidence, the tower, its route, how it sends answers."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from corechain.deployment import Deployment
from corechain.protocol.channel import state_domain
from corechain.service.rpc import Questions
from corechain_relayer.following import Follower
from corechain_relayer.kept_views import kept_logs
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.signer import Account
from corechain_relayer.watchtower.channels import ChannelsView
from corechain_relayer.watchtower.fleet import Fleet
from corechain_relayer.watchtower.http import EvidenceEndpoint
from corechain_relayer.watchtower.service import Watchtower
from corechain_relayer.watchtower.standing import AnsweredChallenges
from corechain_relayer.watchtower.store import EvidenceStore
from corechain_relayer.wiring import answers_policy, node_of

if TYPE_CHECKING:
    from corechain.service.database import Database


@dataclass(slots=True)
class WatchtowerRole:
    """`work` is set when there is an answer to send, which `signer` signs."""

    settings: Settings
    deployment: Deployment
    rpc: Questions
    pool: "Database"
    metrics: Metrics
    work: asyncio.Event
    signer: Account
    tower: Watchtower = field(init=False)

    def __post_init__(self) -> None:
        settings, contract = self.settings, self.deployment.address("StateChannels")
        fleet = Fleet(self.rpc, contract, self.signer.address, settings.watchtower_stagger_s)
        shared = (contract, self.metrics, self.work, settings.refused_pause_s)
        self.tower = Watchtower(self._follower(), EvidenceStore(self.pool), fleet, *shared)

    def _follower(self) -> Follower[ChannelsView]:
        settings, contract = self.settings, self.deployment.contracts["StateChannels"]
        new_view = partial(ChannelsView, self.deployment.chain_id, contract.address)
        kept = kept_logs(self.pool, self.deployment, contract.name, self.rpc)
        kept.subject_of = new_view().subject_of
        return Follower(
            self.rpc,
            contract,
            new_view,
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
            kept,
        )

    async def watch(self) -> None:
        """One session, to the next outage."""
        await self.tower.watch_forever(self.settings.poll_s)

    @property
    def settled(self) -> AnsweredChallenges:
        return AnsweredChallenges(node_of(self.rpc, self.settings), self.deployment)

    def policy(self) -> Policy:
        budget = self.settings.watchtower_budget_a_day
        return answers_policy(self.settings, self.tower.pace, budget)

    def routes(self) -> list[Route]:
        domain = state_domain(self.deployment.chain_id, self.tower.contract)
        return EvidenceEndpoint(self.tower.follower, self.tower.store, domain).routes()
