"""The submitter's loop: look, plan, act. What it acts on is in the journal first."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused
from corechain_relayer.errors import (
    KEEPS_REVERTING,
    OTHER_COMMITMENT,
    TRANSACTION_REFUSED,
    LaneHalted,
)
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.held import WAITS_FOR_FINALITY, Entitled, Held, Report, always
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.look import Watch
from corechain_relayer.submitter.node import WOULD_REVERT, Node, refusal_of
from corechain_relayer.submitter.plan import (
    Action,
    ChainView,
    Confirm,
    Examine,
    Fill,
    GiveUp,
    Intent,
    Policy,
    Receipt,
    Renew,
    Send,
    Sign,
    plan,
)
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.submitter.words import revert_reason

log = structlog.get_logger(__name__)


NOTHING = "nothing:"
"""Keys of intents that spend a nonce and do nothing else begin like this."""


@dataclass(frozen=True, slots=True)
class Moot:
    """The intent is not needed any more, and why. `at_once`: whoever wanted it wants it anew when a
    reorg undoes that, so there is no need to wait until that is final."""

    why: str
    at_once: bool = False


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
    entitled: Entitled = always
    report: Report = lambda problem: None
    watch: Watch = field(init=False)
    held: Held = field(init=False)
    _urgent: set[bytes] = field(default_factory=set)
    _moot_since: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pause_s = self.policy.refused_pause_s
        self.held = Held(self.journal, self.metrics, pause_s, self.entitled, self.report)
        self.watch = Watch(self.journal, self.node, self.signer.address, self.metrics)

    async def step(self) -> bool:
        """One round. True when it did something, so that another is worth it at once."""
        self.held.pause_s = self.policy.refused_pause_s
        await self.held.check_key()
        paused = self.held.paused()
        intents = await self.journal.open_intents(self.policy.ordered, paused)
        await self.held.show(intents)
        if not intents and not await self.journal.newest_confirmed_blocks(1):
            return False
        head = await self.watch.head()
        if head is None:
            return False
        final = await self.node.final_block(head)
        if await self.watch.review(head, final):
            return True  # what a reorg took is open again
        view = await self.watch.view(intents, head, final) if intents else None
        if view is None:
            return False
        return await self._act(intents, view, paused)

    async def _act(self, intents: Sequence[Intent], view: ChainView, paused: set[int]) -> bool:
        nonce = await self.journal.free_nonce(self.signer.address, view.count)
        may_sign = self.held.not_ours is None
        planned = plan(
            intents, view, self.policy, time.time(), nonce, self._urgent, paused, may_sign
        )
        for action in planned:
            try:
                await self._do(action, view)
            except LaneHalted as halt:
                await self.held.halt(action.intent, halt)
        return await self._look_at_halts(intents) or bool(planned)

    async def _do(self, action: Action, view: ChainView) -> None:
        match action:
            case Sign():
                await self._sign(action, view)
            case Send():
                await self._send(action)
            case Confirm(intent, receipt):
                await self._confirm(intent, receipt)
            case Examine():
                await self._examine(action)
            case Renew(intent, reverted):
                await self._renew(intent, reverted)
            case GiveUp(intent):
                await self._give_up(intent)
            case Fill():
                await self._fill(action)

    # ------------------------------------------------------------------ sign and send

    async def _sign(self, action: Sign, view: ChainView) -> None:
        """Estimate, sign, journal. Sending is the next round's first action."""
        intent = action.intent
        if not intent.attempts and await self._done(intent, view):
            return
        try:
            gas = await self.node.estimate(self.signer.address, intent)
        except NodeRefused as error:
            await self._not_estimated(intent, error)
            return
        attempt = self.signer.sign(intent, action.nonce, action.fees, gas, time.time())
        await self.journal.record(intent, self.signer.address, attempt)
        if intent.attempts:
            self._urgent.discard(intent.attempts[-1].hash)
            self.metrics.transactions_bumped.inc()
        self.held.clear(intent)
        log.info("transaction signed", intent=intent.key, nonce=action.nonce, tx=attempt.hash.hex())

    async def _done(self, intent: Intent, view: ChainView) -> bool:
        """Whether nothing is to be signed: it is done already, or needed no more.

        That it is needed no more may be undone by a reorg: it is void only once that was so for as
        long as it takes a block to become final.
        """
        found = await self._found(intent)
        if found is None:
            self._moot_since.pop(intent.id, None)
            return False
        if isinstance(found, Receipt):
            await self._adopt(intent, found)
            return True
        since = self._moot_since.setdefault(intent.id, view.head.number)
        if since > view.final_block and not found.at_once:
            self.held.pause(intent, WAITS_FOR_FINALITY, found.why)
        else:
            await self._void(intent, found)
        return True

    async def _void(self, intent: Intent, moot: Moot) -> None:
        log.warning("intent is void", intent=intent.key, why=moot.why)
        await self.journal.void(intent)
        self._forget(intent)

    async def _not_estimated(self, intent: Intent, error: NodeRefused) -> None:
        reason = refusal_of(error)
        if reason != WOULD_REVERT:
            self.held.pause(intent, reason, error.message)
            return
        self.held.doubt_key()
        if intent.attempts and isinstance(await self._found(intent), Receipt):
            # Somebody did it. Its nonce must be spent all the same: what comes after waits for it.
            await self._send(Send(intent, intent.attempts[-1]))
        self.held.pause(intent, reason, f"the call would revert: {revert_reason(error)}")

    async def _fill(self, action: Fill) -> None:
        """A transfer of nothing to ourselves, journalled like any other attempt."""
        sender = self.signer.address
        nothing = Intent(0, NOTHING + f"{sender.hex()}:{action.nonce}", sender, b"")
        try:
            gas = await self.node.estimate(sender, nothing)
        except NodeRefused as error:
            self.held.pause(action.intent, refusal_of(error), error.message)
            return
        attempt = self.signer.sign(nothing, action.nonce, action.fees, gas, time.time())
        await self.journal.record_new(nothing, sender, attempt)
        log.warning("nonce of nobody filled", nonce=action.nonce, blocked=action.intent.key)

    async def _found(self, intent: Intent) -> Receipt | Moot | None:
        """Whether an intent is done or moot; one that only spends a nonce is when that is spent."""
        if intent.key.startswith(NOTHING):
            return Moot("somebody else has spent the nonce", at_once=True)
        return await self.settled(intent)

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
        self.held.clear(intent)

    async def _refused(self, action: Send, error: NodeRefused) -> None:
        intent, attempt = action.intent, action.attempt
        failure = classify_rpc_failure(error.message)
        self.metrics.transactions_sent.labels(failure.value).inc()
        if failure in (RpcFailure.ALREADY_KNOWN, RpcFailure.NONCE_TOO_LOW):
            # Known, or already in a block: the receipt will tell, and the next look finds it.
            await self.journal.mark_sent(attempt, time.time())
            self.held.clear(intent)
        elif failure is RpcFailure.FATAL and not any(a.sent_at for a in intent.attempts):
            # No node has it: another intent may have the nonce, or all of them would wait for it.
            await self.journal.unbind(intent)
            why = f"the node refuses its transaction: {error.message}"
            raise LaneHalted(intent.key, why, TRANSACTION_REFUSED)
        else:
            if failure is RpcFailure.UNDERPRICED:
                self._urgent.add(attempt.hash)
            self.held.pause(
                intent, failure.name.title().replace("_", ""), f"not sent: {error.message}"
            )

    # ------------------------------------------------------------------ in a block, or never

    async def _confirm(self, intent: Intent, receipt: Receipt) -> None:
        await self.journal.confirm(intent, receipt)
        self._forget(intent)
        self.metrics.confirmed_block.set(receipt.block_number)
        log.info(
            "intent confirmed",
            intent=intent.key,
            block=receipt.block_number,
            gas=receipt.gas_used,
            tx=receipt.hash.hex(),
        )

    async def _adopt(self, intent: Intent, receipt: Receipt) -> None:
        """Done by an earlier life, or by another sender."""
        log.info("intent found done on chain", intent=intent.key)
        await self._confirm(intent, receipt)

    async def _over(self, intent: Intent) -> bool:
        """Whether an intent with a spent nonce is done all the same, or not needed at once."""
        found = await self._found(intent)
        if isinstance(found, Receipt):
            await self._adopt(intent, found)
            return True
        if found is not None and found.at_once:
            await self._void(intent, found)
            return True
        return False

    async def _examine(self, action: Examine) -> None:
        intent, block = action.intent, action.block
        if await self._over(intent):
            return
        await self.journal.mark_spent(intent, block)
        self.metrics.nonces_spent.labels(self.journal.queue).inc()
        log.error(
            "nonce spent without a result: it is signed anew once that is final",
            intent=intent.key,
            nonce=intent.nonce,
            block=block.number,
            why=action.why,
        )

    async def _renew(self, intent: Intent, reverted: bool) -> None:
        if await self._over(intent):
            return
        await self.journal.renew(intent, failures=int(reverted))
        self._forget(intent)
        log.warning(
            "nonce spent for good: back to the queue",
            intent=intent.key,
            nonce=intent.nonce,
            reverted=reverted,
        )

    async def _give_up(self, intent: Intent) -> None:
        if await self._over(intent):
            return
        why = f"{intent.failures + 1} transactions reverted; {await self._why_it_reverts(intent)}"
        await self.journal.renew(intent, failures=1)
        raise LaneHalted(intent.key, why, KEEPS_REVERTING)

    async def _why_it_reverts(self, intent: Intent) -> str:
        try:
            await self.node.rehearse(self.signer.address, intent)
        except NodeRefused as error:
            return f"the call says now: {revert_reason(error)}"
        return "the call would succeed now"

    # ------------------------------------------------------------------ what stands still

    def _forget(self, intent: Intent) -> None:
        self.held.clear(intent)
        self._moot_since.pop(intent.id, None)

    async def _look_at_halts(self, intents: Sequence[Intent]) -> bool:
        """Releases what a reorg has cured: the other commitment is gone."""
        for intent in intents:
            if intent.halt != OTHER_COMMITMENT:
                continue
            if not self.held.due(intent.key, self.policy.refused_pause_s):
                continue
            try:
                found = await self._found(intent)
            except LaneHalted:
                continue
            log.warning("halt is over: nothing stands in its place now", intent=intent.key)
            if isinstance(found, Receipt):
                await self._adopt(intent, found)
            else:
                await self.journal.release(intent)
            return True
        return False
