"""The submitter's loop: look, plan, act. What it acts on is in the journal first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from corechain.service.errors import NodeRefused
from corechain_relayer.errors import KEEPS_REVERTING, OTHER_COMMITMENT, LaneHalted
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.held import WAITS_FOR_FINALITY, Entitled, Held, Report, always
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.look import Watch
from corechain_relayer.submitter.node import WOULD_REVERT, Node, refusal_of
from corechain_relayer.submitter.outgoing import NOTHING, Outgoing
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
    State,
    plan,
)
from corechain_relayer.submitter.settled import Found, Moot, Settled
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.submitter.traced import trace_commit
from corechain_relayer.submitter.words import revert_reason

log = structlog.get_logger(__name__)

CLOCK_SHARE = 4
"""A full window is looked at so many times in the shortest of its delays."""


@dataclass(frozen=True, slots=True)
class Full:
    """The window is full and all in it is on its way: nothing can be done before another head than
    this one, or before `until` (monotonic seconds), when a clock may ask for it."""

    head: bytes
    until: float


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
    outgoing: Outgoing = field(init=False)
    _moot_since: dict[int, int] = field(default_factory=dict)
    _full: Full | None = None

    def __post_init__(self) -> None:
        pause_s = self.policy.refused_pause_s
        self.held = Held(self.journal, self.metrics, pause_s, self.entitled, self.report)
        self.watch = Watch(self.journal, self.node, self.signer.address, self.metrics)
        self.outgoing = Outgoing(self.journal, self.node, self.signer, self.metrics, self.held)

    async def step(self) -> bool:
        """One round. True when it did something, so that another is worth it at once."""
        if await self._is_still_full():
            return False
        self.held.pause_s = self.policy.refused_pause_s
        await self.held.check_key()
        paused, policy = self.held.paused(), self.policy
        intents = await self.journal.open_intents(policy.ordered, paused, policy.in_flight)
        await self.held.show(intents)
        if not intents and not await self.journal.newest_confirmed_blocks(1):
            return False
        look = await self.watch.look()
        if look is None:
            return False
        reviewed = await self.watch.review(look)
        if reviewed.taken:
            return True  # what a reorg took is open again
        view = await self.watch.view(intents, look) if intents else None
        if view is None:
            return reviewed.final
        return await self._act(intents, view, paused) or reviewed.final

    async def _act(self, intents: Sequence[Intent], view: ChainView, paused: set[int]) -> bool:
        # One more than are given out: the lowest may be a gap.
        number = self.policy.in_flight + 1
        free = await self.journal.free_nonces(self.signer.address, view.count, number)
        may_sign, urgent = self.held.not_ours is None, self.outgoing.urgent
        planned = plan(intents, view, self.policy, time.time(), free, urgent, paused, may_sign)
        await self._confirm([(a.intent, a.receipt) for a in planned if isinstance(a, Confirm)])
        for action in planned:
            try:
                await self._do(action)
            except LaneHalted as halt:
                await self.held.halt(action.intent, halt)
        signed = await self._sign([a for a in planned if isinstance(a, Sign)], view)
        sends = [*(a for a in planned if isinstance(a, Send)), *signed]
        if sends:
            await self.outgoing.send(sends)
        self._full = None if planned or paused else self._fullness(intents, view)
        return await self._look_at_halts(intents) or bool(planned)

    def _fullness(self, intents: Sequence[Intent], view: ChainView) -> Full | None:
        """Of a round without anything to do."""
        policy = self.policy
        pending = sum(1 for intent in intents if intent.state is State.PENDING)
        if not policy.ordered or pending < policy.in_flight:
            return None
        delay_s = min(policy.resend_after_s, policy.bump_after_s)
        return Full(view.head.hash, time.monotonic() + delay_s / CLOCK_SHARE)

    async def _is_still_full(self) -> bool:
        """One question instead of a whole round: blocks are far apart where windows are full."""
        if self._full is None or time.monotonic() >= self._full.until:
            return False
        return (await self.node.rpc.head()).hash == self._full.head

    async def _do(self, action: Action) -> None:
        """What concerns one intent alone. Raises LaneHalted."""
        match action:
            case Examine():
                await self._examine(action)
            case Renew(intent, reverted):
                await self._renew(intent, reverted)
            case GiveUp(intent):
                await self._give_up(intent)
            case Fill():
                await self.outgoing.fill(action)

    # ------------------------------------------------------------------ before the block

    async def _sign(self, actions: Sequence[Sign], view: ChainView) -> list[Send]:
        """What was signed, and is to be sent now."""
        again = [action for action in actions if action.intent.attempts]
        fresh = [action for action in actions if not action.intent.attempts]
        ready = again + (await self._undone(fresh, view) if fresh else [])
        if not ready:
            return []
        signed, refused = await self.outgoing.sign(ready)
        for intent, error in refused:
            await self._not_estimated(intent, error)
        return signed

    async def _undone(self, actions: Sequence[Sign], view: ChainView) -> list[Sign]:
        """Those before the first one that is done already, needed no more or halted: what comes
        behind it would get a nonce above one that nobody uses."""
        found = await self._found([action.intent for action in actions])
        for action, what in zip(actions, found, strict=True):
            await self._resolve(action.intent, what, view)
        first = next((n for n, what in enumerate(found) if what is not None), len(found))
        return list(actions[:first])

    async def _resolve(self, intent: Intent, found: Found, view: ChainView) -> None:
        match found:
            case None:
                self._moot_since.pop(intent.id, None)
            case Receipt():
                await self._adopt(intent, found)
            case LaneHalted():
                await self.held.halt(intent, found)
            case Moot():
                await self._moot(intent, found, view)

    async def _moot(self, intent: Intent, found: Moot, view: ChainView) -> None:
        """That it is needed no more may be undone by a reorg: it is void only once that was so for
        as long as it takes a block to become final."""
        since = self._moot_since.setdefault(intent.id, view.head.number)
        if since > view.final_block and not found.at_once:
            self.held.pause(intent, WAITS_FOR_FINALITY, found.why)
        else:
            await self._void(intent, found)

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
        if intent.attempts and isinstance((await self._found([intent]))[0], Receipt):
            # Somebody did it. Its nonce must be spent all the same: what comes after waits for it.
            await self.outgoing.send([Send(intent, intent.attempts[-1])])
        self.held.pause(intent, reason, f"the call would revert: {revert_reason(error)}")

    async def _found(self, intents: Sequence[Intent]) -> list[Found]:
        """Whether intents are done or moot; one that only spends a nonce is when that is spent."""
        asked = [intent for intent in intents if not intent.key.startswith(NOTHING)]
        found = dict(zip(asked, await self.settled(asked), strict=True)) if asked else {}
        spent = Moot("somebody else has spent the nonce", at_once=True)
        return [found.get(intent, spent) for intent in intents]

    # ------------------------------------------------------------------ in a block, or never

    async def _confirm(self, done: Sequence[tuple[Intent, Receipt]]) -> None:
        if not done:
            return
        await self.journal.confirm(done)
        for intent, receipt in done:
            self._forget(intent)
            trace_commit(self.metrics.traces, intent, receipt)
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
        await self._confirm([(intent, receipt)])

    async def _over(self, intent: Intent) -> bool:
        """Whether an intent with a spent nonce is done all the same, or not needed at once.
        Raises LaneHalted."""
        (found,) = await self._found([intent])
        match found:
            case Receipt():
                await self._adopt(intent, found)
            case LaneHalted():
                raise found
            case Moot(at_once=True):
                await self._void(intent, found)
            case _:
                return False
        return True

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
            (found,) = await self._found([intent])
            if isinstance(found, LaneHalted):
                continue
            log.warning("halt is over: nothing stands in its place now", intent=intent.key)
            if isinstance(found, Receipt):
                await self._adopt(intent, found)
            else:
                await self.journal.release(intent)
            return True
        return False
