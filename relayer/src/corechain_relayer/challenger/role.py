"""The challenger's loops: one finds what is wrong, one sends what shows it, one counts money."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.eip712 import registry_domain
from corechain.service.alerting.sender import KEPT_S
from corechain.service.alerting.sessions import AlertSessions, Counts
from corechain.service.database import writer
from corechain.service.files.fetch import FileSources
from corechain.service.rpc import Questions, Rpc
from corechain_relayer.challenger.alerts import NO_FUNDS, ChallengerAlerts, ChallengerRules
from corechain_relayer.challenger.calls import DisputesCalls, Terms
from corechain_relayer.challenger.examining import Examiner
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.following import LanesFollower
from corechain_relayer.challenger.lanes import LanesView
from corechain_relayer.challenger.limits import Limits
from corechain_relayer.challenger.opening import Shelf
from corechain_relayer.challenger.roots import RootWatch
from corechain_relayer.challenger.sending import PrivateNode, StillTaken
from corechain_relayer.challenger.service import Challenger
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.challenger.store import QUEUE, VETOES, ChallengerStore
from corechain_relayer.challenger.waiting import PendingRoots, Root, StillMeant
from corechain_relayer.guard.chain import first_block_since
from corechain_relayer.kept_views import kept_window
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.rewards.kept import KeptReading
from corechain_relayer.rewards.proven import Proven
from corechain_relayer.settings import PREFIX
from corechain_relayer.submitter.held import always
from corechain_relayer.submitter.in_time import STILL_S, run_in_time
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import one_by_one
from corechain_relayer.submitter.signer import Account
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.wiring import check_chain, node_of, policy_of

if TYPE_CHECKING:
    from corechain.service.database import Database

FUNDS_EVERY_S = 15.0
CHALLENGE_GAS = 1_000_000
"""The dearest challenge, with the buffer of an estimate."""
CALLS_IN_STOCK = 10
"""How many calls the key should be able to pay besides those that are to be sent now."""
MARGIN_S = 600
"""How much earlier than all windows the first block looked at is: reorgs."""
FETCH_TIMEOUT_S = 60.0
ARCHIVE = "rewards"
"""Folder of all data files since the first epoch, where there is a guardian's key."""
ROOTS_EVERY_S = 0.5
ALERTS_EVERY_S, ALERTS_POLL_S = 10.0, 1.0


@dataclass(slots=True)
class ChallengerRole:
    """What the role needs of the process, and the challenger while a session runs."""

    settings: ChallengerSettings
    deployment: Deployment
    strict: Questions
    """For vetoes: enough nodes must agree."""
    rpc: Questions
    private: Rpc | None
    pool: "Database"
    registry: RegistryFollower
    metrics: Metrics
    alerts: ChallengerAlerts
    signer: Account
    guardian: Account | None = None
    """Who vetoes reward roots; None without a key of the guardian's."""
    work: asyncio.Event = field(default_factory=asyncio.Event)
    veto_work: asyncio.Event = field(default_factory=asyncio.Event)
    challenger: Challenger | None = None
    roots: RootWatch | None = None

    @property
    def calls(self) -> DisputesCalls:
        return DisputesCalls(self.rpc, self.deployment, self.signer.address)

    async def watch(self) -> None:
        """One session, from what chain, journal and files say to the next outage."""
        await check_chain(self.rpc, self.deployment.chain_id)
        sources = self._sources()
        try:
            self.challenger = await self._new(sources)
            await self.challenger.watch_forever(self.settings.poll_s)
        finally:
            await sources.close()

    def _sources(self) -> FileSources:
        settings = self.settings
        most = settings.challenger_max_file_bytes
        return FileSources(settings.data_templates, FETCH_TIMEOUT_S, most)

    async def _new(self, sources: FileSources) -> Challenger:
        settings, deployment, calls = self.settings, self.deployment, self.calls
        await self.registry.read_once()
        domain = registry_domain(deployment.chain_id, deployment.address("DeviceRegistry"))
        terms = await calls.terms()
        folder = settings.data_dir / QUEUE
        folder.mkdir(parents=True, exist_ok=True)
        facts, shelf = Facts(self.rpc, deployment), Shelf(sources, folder)
        return Challenger(
            await self._follower(terms),
            Examiner(calls, facts, self.registry, shelf, domain),
            ChallengerStore(self.pool),
            calls,
            terms,
            Limits(
                settings.challenger_patience_s,
                settings.challenger_stake,
                settings.challenger_demands,
                settings.refused_pause_s,
                settings.challenger_expire_others_after_s,
            ),
            self.alerts,
            self.metrics,
            self.work,
        )

    async def _follower(self, terms: Terms) -> LanesFollower:
        """From the first block whose commitments can still be challenged, or of which something
        that was demanded in the last moment has run out a while ago."""
        settings, contract = self.settings, self.deployment.contracts["DataBatches"]
        head = await self.rpc.head()
        over_s = terms.answer_s + settings.challenger_expire_others_after_s
        since = head.timestamp - terms.challenge_s - int(over_s) - MARGIN_S
        first = await first_block_since(self.rpc, since, head, contract.block)
        contract, chain_id = replace(contract, block=first), self.deployment.chain_id
        kept = kept_window(self.pool, chain_id, contract, "lanes", head.number, self.rpc)
        return LanesFollower(
            self.rpc,
            contract,
            LanesView,
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
            kept,
        )

    async def send(self) -> None:
        """One session of the submitter that signs with the challenger's key."""
        await check_chain(self.rpc, self.deployment.chain_id)
        settings = self.settings
        async with writer(settings.session_url, self.signer.lock, STILL_S) as held:
            fees = settings.max_fee_per_gas, settings.min_priority_fee
            node = PrivateNode(self.rpc, settings.confirmations, *fees)
            node.private, node.pace = self.private, self.pace
            journal, settled = IntentJournal(held, QUEUE), one_by_one(StillTaken(self.calls))
            asks = (always, self.alerts.sending)
            submitter = Submitter(
                journal, node, self.signer, settled, self.policy(), self.metrics, *asks
            )
            sending = run_in_time(submitter, self.policy, settings.poll_s, self.work)
            await held.hold(sending)

    async def watch_roots(self) -> None:
        """One session of what vetoes wrong reward roots."""
        await check_chain(self.strict, self.deployment.chain_id)
        guardian = self.guardian
        assert guardian is not None
        sources = self._sources()
        try:
            # In a thread: a tree of all owners.
            proven = await asyncio.to_thread(Proven.read, self.settings.data_dir / ARCHIVE)
            self.roots = watch = self._root_watch(sources, guardian, proven)
            await watch.watch_forever(max(self.settings.poll_s, ROOTS_EVERY_S))
        finally:
            await sources.close()

    def _root_watch(self, sources: FileSources, guardian: Account, proven: Proven) -> RootWatch:
        settings, folder = self.settings, self.settings.data_dir / ARCHIVE
        folder.mkdir(parents=True, exist_ok=True)
        asked = (self.strict, self.deployment, settings.log_range_blocks)
        return RootWatch(
            *asked,
            sources,
            folder,
            DisputesCalls(self.strict, self.deployment, guardian.address),
            ChallengerStore(self.pool, VETOES),
            self.alerts,
            self.veto_work,
            node_of(self.strict, settings),
            KeptReading(*asked, settings.confirmations, self.metrics, self.pool),
            proven,
        )

    async def send_vetoes(self) -> None:
        """One session of the submitter that signs with the guardian's key."""
        await check_chain(self.strict, self.deployment.chain_id)
        guardian, settings = self.guardian, self.settings
        assert guardian is not None
        calls = DisputesCalls(self.strict, self.deployment, guardian.address)
        async with writer(settings.session_url, guardian.lock, STILL_S) as held:
            journal, node = IntentJournal(held, VETOES), node_of(self.strict, settings)
            asks = (always, self.alerts.sending)
            roots = PendingRoots(calls, self.is_right)
            settled = one_by_one(StillMeant(StillTaken(calls), roots))
            submitter = Submitter(
                journal, node, guardian, settled, self.veto_policy(), self.metrics, *asks
            )
            submitter.grounds = roots.replaced
            policy, poll_s = self.veto_policy, settings.poll_s
            await held.hold(run_in_time(submitter, policy, poll_s, self.veto_work))

    def is_right(self, root: Root) -> bool:
        return self.roots is not None and self.roots.is_right(root)

    def pace(self) -> Pace:
        """Nothing waits for anything else; the nearest window sets the pace of all."""
        return self.challenger.pace if self.challenger else Pace()

    def policy(self) -> Policy:
        return self._paced(self.pace())

    def veto_policy(self) -> Policy:
        """By the window of the root that is to be vetoed."""
        return replace(self._paced(self.roots.pace if self.roots else Pace()), recalls=True)

    def _paced(self, pace: Pace) -> Policy:
        settings = self.settings
        calm = policy_of(settings, settings.challenger_budget_a_day)
        calm = replace(calm, ordered=False, rewanted=True)
        return pace.policy(calm, settings.urgent_max_fee_per_gas)

    async def watch_funds(self) -> None:
        """Says that the key runs dry before there is a fraud."""
        node = node_of(self.rpc, self.settings)
        while True:
            fee = (await node.suggested(await self.rpc.head())).max_fee
            stock = CALLS_IN_STOCK + (self.challenger.waiting if self.challenger else 0)
            self.judge_funds(await self.calls.balance(), stock * CHALLENGE_GAS * fee)
            await asyncio.sleep(FUNDS_EVERY_S)

    def judge_funds(self, balance: int, needed: int) -> None:
        self.metrics.challenger_balance.set(balance)
        if balance < needed:
            text = f"0x{self.signer.address.hex()} has {balance} wei, challenges may need {needed}"
            self.alerts.say(NO_FUNDS, "gas", text, balance=balance, needed=needed)
        else:
            self.alerts.end(NO_FUNDS, "gas")
        self.alerts.looked(NO_FUNDS)

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Sessions by the name of their loop. Raises InvalidSetting."""
        found = {
            "challenger": self.watch,
            "challenger-sends": self.send,
            "challenger-funds": self.watch_funds,
        }
        if self.guardian is not None:
            found |= {"reward-roots": self.watch_roots, "reward-vetoes": self.send_vetoes}
        telling = self._alert_sessions().by_name()
        return found | {f"challenger-{n.replace(' ', '-')}": loop for n, loop in telling.items()}

    def _alert_sessions(self) -> AlertSessions:
        metrics = self.metrics
        return AlertSessions(
            database_url=self.settings.session_url,
            owner="corechain challenger",
            chain_id=self.deployment.chain_id,
            receivers=self.settings.receivers(PREFIX),
            rules=lambda: ChallengerRules(self.alerts),
            counts=Counts(
                lambda kind, what: metrics.alerts.labels(kind, what).inc(),
                lambda receiver, what: metrics.webhooks.labels(receiver, what).inc(),
            ),
            every_s=ALERTS_EVERY_S,
            poll_s=ALERTS_POLL_S,
            sender=QUEUE,
            older_s=KEPT_S,
            changed=self.alerts.changed,
        )
