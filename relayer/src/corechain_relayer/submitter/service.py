"""The submitter's loop: look, plan, act. What it acts on is in the journal first."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block
from corechain_relayer.errors import LaneHalted
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import (
    Action,
    ChainView,
    Confirm,
    Examine,
    Finalize,
    Intent,
    Policy,
    Receipt,
    Send,
    Sign,
    State,
    Unconfirm,
    plan,
)
from corechain_relayer.submitter.signer import Signer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Moot:
    """The intent is not needed any more, and why."""

    why: str


Settled = Callable[[Intent], Awaitable[Receipt | Moot | None]]
"""Finds the transaction by which an intent is done already, whoever sent it; None: it is not.
Raises LaneHalted when something else stands in its place."""


@dataclass(slots=True)
class Submitter:
    """One queue, one key. A new instance goes on from the journal."""

    journal: IntentJournal
    node: Node
    signer: Signer
    settled: Settled
    policy: Policy
    metrics: Metrics
    _head: Block | None = None
    _urgent: set[bytes] = field(default_factory=set)
    _not_before: dict[int, float] = field(default_factory=dict)

    async def run_forever(self, poll_s: float, wake: asyncio.Event) -> None:
        while True:
            if not await self.step():
                await _sleep(poll_s, wake)

    async def step(self) -> bool:
        """One round. True when it did something, so that another is worth it at once."""
        intents = await self.journal.open_intents()
        self.metrics.intents_open.set(len(intents))
        if not intents:
            return False
        view = await self._look(intents)
        nonce = await self.journal.next_nonce(self.signer.address)
        now = time.time()
        paused = {intent for intent, until in self._not_before.items() if until > now}
        actions = plan(intents, view, self.policy, now, nonce, self._urgent, paused)
        for action in actions:
            await self._do(action)
        return bool(actions)

    async def _look(self, intents: list[Intent]) -> ChainView:
        head = await self.node.rpc.head()
        earlier = self._head
        extended = earlier is not None and await self.node.descends(head, earlier)
        if not extended:
            log.debug("receipts of all open intents are read again", block=head.number)
        count = await self.node.count(self.signer.address)
        looked_at = [i for i in intents if not (extended and i.state is State.CONFIRMED)]
        receipts = await self.node.receipts(tx for item in looked_at for tx in item.hashes)
        suggested = await self.node.suggested(head)
        final = await self.node.final_block(head)
        self._head = head
        return ChainView(final, count, receipts, suggested, extended)

    async def _do(self, action: Action) -> None:
        match action:
            case Sign():
                await self._sign(action)
            case Send():
                await self._send(action)
            case Confirm(intent, receipt):
                await self._confirm(intent, receipt)
            case Unconfirm(intent):
                await self.journal.unconfirm(intent)
                self.metrics.transactions_unconfirmed.inc()
                log.warning("confirmation undone by a reorg", intent=intent.key)
            case Finalize(intent):
                await self.journal.finalize(intent)
            case Examine(intent, why):
                await self._examine(intent, why)

    async def _sign(self, action: Sign) -> None:
        """Estimate, sign, journal. Sending is the next round's first action."""
        intent = action.intent
        if not intent.attempts and await self._adopt(intent):
            return
        try:
            gas = await self.node.estimate(self.signer.address, intent)
        except NodeRefused as error:
            self._pause(intent, f"the call would revert: {error} {error.data or ''}")
            return
        attempt = self.signer.sign(intent, action.nonce, action.fees, gas, time.time())
        await self.journal.record(intent, self.signer.address, attempt)
        if intent.attempts:
            self._urgent.discard(intent.attempts[-1].hash)
            self.metrics.transactions_bumped.inc()
        log.info("transaction signed", intent=intent.key, nonce=action.nonce, tx=attempt.hash.hex())

    async def _send(self, action: Send) -> None:
        intent, attempt = action.intent, action.attempt
        if action.capped:
            self.metrics.fee_capped.inc()
            log.warning("the fee cap is reached", intent=intent.key, max_fee=attempt.fees.max_fee)
        try:
            await self.node.send(attempt.raw)
        except NodeRefused as error:
            await self._refused(action, error)
            return
        self.metrics.transactions_sent.labels("accepted").inc()
        await self.journal.mark_sent(attempt, time.time())

    async def _refused(self, action: Send, error: NodeRefused) -> None:
        intent, attempt = action.intent, action.attempt
        failure = classify_rpc_failure(error.message)
        self.metrics.transactions_sent.labels(failure.value).inc()
        if failure in (RpcFailure.ALREADY_KNOWN, RpcFailure.NONCE_TOO_LOW):
            # Known, or already in a block: the receipt will tell, and the next look finds it.
            await self.journal.mark_sent(attempt, time.time())
        elif failure is RpcFailure.FATAL:
            raise LaneHalted(intent.key, f"the node refuses its transaction: {error.message}")
        else:
            if failure is RpcFailure.UNDERPRICED:
                self._urgent.add(attempt.hash)
            self._pause(intent, f"not sent: {error.message}")

    async def _confirm(self, intent: Intent, receipt: Receipt) -> None:
        await self.journal.confirm(intent, receipt)
        self.metrics.confirmed_block.set(receipt.block_number)
        log.info(
            "intent confirmed",
            intent=intent.key,
            block=receipt.block_number,
            gas=receipt.gas_used,
            tx=receipt.hash.hex(),
        )

    async def _adopt(self, intent: Intent) -> bool:
        """Whether the intent was done already, by an earlier life or another sender, or is moot."""
        found = await self.settled(intent)
        if found is None:
            return False
        if isinstance(found, Moot):
            log.warning("intent is void", intent=intent.key, why=found.why)
            await self.journal.void(intent)
            return True
        log.info("intent found done on chain", intent=intent.key)
        await self._confirm(intent, found)
        return True

    async def _examine(self, intent: Intent, why: str) -> None:
        if not await self._adopt(intent):
            raise LaneHalted(intent.key, why)

    def _pause(self, intent: Intent, why: str) -> None:
        pause_s = self.policy.refused_pause_s
        self._not_before[intent.id] = time.time() + pause_s
        log.error("intent waits", intent=intent.key, why=why, retry_s=pause_s)


async def _sleep(seconds: float, wake: asyncio.Event) -> None:
    """Until woken, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
    wake.clear()
