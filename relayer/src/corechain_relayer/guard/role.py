"""The guard's two loops: one sees to it that there are answers, one carries them to the chain."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.service.database import writer
from corechain.service.rpc import Rpc
from corechain_relayer.guard.alerts import FUNDS, Alerts
from corechain_relayer.guard.chain import DisputesContract, first_block_since
from corechain_relayer.guard.demands import DemandsView
from corechain_relayer.guard.library import Library
from corechain_relayer.guard.service import NO_DEADLINE, DemandsFollower, Guard, OpenDemands
from corechain_relayer.guard.store import QUEUE, AnswerStore
from corechain_relayer.guard.urgency import hurried
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.wiring import check_chain, node_of, policy_of

if TYPE_CHECKING:
    from corechain.service.database import Database

REORG_MARGIN_S = 600
"""How much earlier than the answer window the first block looked at is."""
FUNDS_EVERY_S = 15.0
ANSWER_GAS = 400_000
"""More than any answer took in our measurements (relayer/…/guard/README.md)."""
ANSWERS_IN_STOCK = 10
"""How many answers the key should be able to pay besides those that are to be sent now."""


@dataclass(slots=True)
class GuardRole:
    """What the role needs of the process, and the guard while a session runs."""

    settings: Settings
    deployment: Deployment
    rpc: Rpc
    pool: "Database"
    registry: RegistryFollower
    metrics: Metrics
    signer: Signer
    alerts: Alerts
    work: asyncio.Event = field(default_factory=asyncio.Event)
    guard: Guard | None = None

    @property
    def contract(self) -> DisputesContract:
        return DisputesContract(self.rpc, self.deployment, self.signer.address)

    async def watch(self) -> None:
        """One session, from what chain, journal and files say to the next outage."""
        self.guard = await self.new_guard()
        await self.guard.watch_forever(self.settings.poll_s)

    async def new_guard(self) -> Guard:
        settings, window_s = self.settings, await self.contract.answer_window()
        return Guard(
            await self._follower(window_s),
            self.registry,
            Library(settings.data_dir),
            AnswerStore(self.pool),
            self.contract,
            self.alerts,
            self.metrics,
            self.work,
            window_s,
            settings.refused_pause_s,
        )

    async def _follower(self, window_s: int) -> DemandsFollower:
        """From the first block in which a demand that is open now can have been made: a year of
        older ones need not be read at every start."""
        settings, contract = self.settings, self.deployment.contracts["DataBatches"]
        head = await self.rpc.head()
        since = head.timestamp - window_s - REORG_MARGIN_S
        first = await first_block_since(self.rpc, since, head, contract.block)
        return DemandsFollower(
            self.rpc,
            replace(contract, block=first),
            lambda: DemandsView(settings.lane),
            settings.poll_s,
            settings.log_range_blocks,
            self.metrics,
            settings.confirmations,
        )

    async def answer(self) -> None:
        """One session of the submitter that signs with the guard's key."""
        await check_chain(self.rpc, self.deployment.chain_id)
        async with writer(self.settings.database_url.get_secret_value(), self.signer.lock) as held:
            journal, node = IntentJournal(held, QUEUE), node_of(self.rpc, self.settings)
            settled, policy = OpenDemands(self.contract), self.policy()
            submitter = Submitter(journal, node, self.signer, settled, policy, self.metrics)
            while True:
                submitter.policy = self.policy()
                node.max_fee = submitter.policy.max_fee
                if not await submitter.step():
                    await self._wait()

    def policy(self) -> Policy:
        """Answers do not wait for each other; the nearest deadline sets the pace of all."""
        calm = replace(policy_of(self.settings), ordered=False)
        guard = self.guard
        if guard is None or guard.left_s == NO_DEADLINE:
            return calm
        return hurried(calm, guard.left_s, guard.window_s, self.settings.guard_max_fee_per_gas)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self.settings.poll_s):
                await self.work.wait()
        except TimeoutError:
            return
        self.work.clear()

    async def watch_funds(self) -> None:
        """Says that the key runs dry before somebody demands something."""
        node = node_of(self.rpc, self.settings)
        while True:
            fee = (await node.suggested(await self.rpc.head())).max_fee
            stock = ANSWERS_IN_STOCK + (self.guard.waiting if self.guard else 0)
            self.judge_funds(await self.contract.balance(), stock * ANSWER_GAS * fee)
            await asyncio.sleep(FUNDS_EVERY_S)

    def judge_funds(self, balance: int, needed: int) -> None:
        self.metrics.guard_balance.set(balance)
        if balance < needed:
            self.alerts.funds(balance, needed, self.signer.address)
        else:
            self.alerts.clear(FUNDS)

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Sessions by the name of their loop."""
        return {"guard": self.watch, "guard-answers": self.answer, "guard-funds": self.watch_funds}
