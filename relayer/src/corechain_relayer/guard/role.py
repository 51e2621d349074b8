"""The guard's two loops: one sees to it that there are answers, one carries them to the chain."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from corechain.service.database import writer
from corechain_relayer.guard.chain import DisputesContract
from corechain_relayer.guard.parts import Parts, new_guard
from corechain_relayer.guard.rules import alert_sessions
from corechain_relayer.guard.service import Guard
from corechain_relayer.guard.standing import OpenDemands
from corechain_relayer.guard.store import QUEUE
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.held import always
from corechain_relayer.submitter.in_time import STILL_S, run_in_time
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.signer import Account
from corechain_relayer.submitter.urgency import Pace
from corechain_relayer.wiring import answers_policy, check_chain, node_of

FUNDS_EVERY_S = 15.0
ANSWER_GAS = 1_000_000
"""The dearest answer, a report of 1,024 observations, with the buffer of an estimate."""
ANSWERS_IN_STOCK = 10
"""How many answers the key should be able to pay besides those that are to be sent now."""


@dataclass(slots=True)
class GuardRole:
    """What the role needs of the process, and the guard while a session runs."""

    parts: Parts
    signer: Account
    settings: Settings
    guard: Guard | None = None

    @property
    def contract(self) -> DisputesContract:
        return DisputesContract(self.parts.rpc, self.parts.deployment, self.signer.address)

    async def watch(self) -> None:
        """One session, from what chain, journal and files say to the next outage."""
        await check_chain(self.parts.rpc, self.parts.deployment.chain_id)
        self.guard = guard = await new_guard(
            self.parts, self.contract, self.settings.refused_pause_s
        )
        self.parts.alerts.ending = guard.ending
        await self.guard.watch_forever(self.settings.poll_s)

    async def answer(self) -> None:
        """One session of the submitter that signs with the guard's key."""
        await check_chain(self.parts.rpc, self.parts.deployment.chain_id)
        url = self.settings.session_url
        async with writer(url, self.signer.lock, STILL_S) as held:
            journal, node = IntentJournal(held, QUEUE), node_of(self.parts.rpc, self.settings)
            settled, policy = OpenDemands(self.contract), self.policy()
            asks = (always, self.parts.alerts.sending)
            submitter = Submitter(
                journal, node, self.signer, settled, policy, self.parts.metrics, *asks
            )
            work, poll_s = self.parts.work, self.settings.poll_s
            await held.hold(run_in_time(submitter, self.policy, poll_s, work))

    def policy(self) -> Policy:
        settings, pace = self.settings, self.guard.pace if self.guard else Pace()
        return answers_policy(settings, pace, settings.guard_budget_a_day)

    async def watch_funds(self) -> None:
        """Says that the key runs dry before somebody demands something."""
        node = node_of(self.parts.rpc, self.settings)
        while True:
            fee = (await node.suggested(await self.parts.rpc.head())).max_fee
            stock = ANSWERS_IN_STOCK + (self.guard.waiting if self.guard else 0)
            self.judge_funds(await self.contract.balance(), stock * ANSWER_GAS * fee)
            await asyncio.sleep(FUNDS_EVERY_S)

    def judge_funds(self, balance: int, needed: int) -> None:
        self.parts.metrics.guard_balance.set(balance)
        if balance < needed:
            self.parts.alerts.funds(balance, needed, self.signer.address)
        else:
            self.parts.alerts.enough_funds()

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Sessions by the name of their loop. Raises InvalidSetting."""
        found = {"guard": self.watch, "guard-answers": self.answer, "guard-funds": self.watch_funds}
        parts = self.parts
        chain_id = parts.deployment.chain_id
        telling = alert_sessions(self.settings, chain_id, parts.alerts, parts.metrics).by_name()
        return found | {f"guard-{name.replace(' ', '-')}": loop for name, loop in telling.items()}
