"""The submitter's loop: look, plan, act. What it acts on is in the journal first."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from corechain.service.errors import NodeRefused
from corechain_relayer.behind import Moments
from corechain_relayer.errors import KEEPS_REVERTING, TRANSACTION_REFUSED, LaneHalted
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.budget import FRAME_BYTES, Purse, Spending
from corechain_relayer.submitter.decide import Look, decide, must_hear_pool
from corechain_relayer.submitter.grounds import NOTHING, Grounds, solid
from corechain_relayer.submitter.held import Entitled, Held, Report, always, ask_key, say_waits
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.look import Watch
from corechain_relayer.submitter.memory import (
    WOULD_REVERT,
    Ended,
    Halted,
    KeyHeard,
    Memory,
    Needed,
    Needless,
    NotSigned,
    Outcome,
    PoolHeard,
    awake,
    learn,
)
from corechain_relayer.submitter.moving_up import going_on
from corechain_relayer.submitter.node import Node, refusal_of
from corechain_relayer.submitter.outgoing import Outgoing
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
    Recheck,
    Renew,
    Send,
    Sign,
    Unbind,
    Void,
    age,
)
from corechain_relayer.submitter.settled import Found, Moot, Settled
from corechain_relayer.submitter.signer import Account
from corechain_relayer.submitter.traced import trace_commit
from corechain_relayer.submitter.words import revert_reason

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Submitter:
    """One queue, one key. A new instance goes on from the journal."""

    journal: IntentJournal
    node: Node
    signer: Account
    settled: Settled
    policy: Policy
    metrics: Metrics
    entitled: Entitled = always
    report: Report = lambda problem: None
    clock: Callable[[], float] = time.time
    memory: Memory = field(default_factory=Memory)
    grounds: Grounds = solid
    moments: Moments = field(default_factory=Moments)
    watch: Watch = field(init=False)
    held: Held = field(init=False)
    outgoing: Outgoing = field(init=False)

    def __post_init__(self) -> None:
        sender = self.signer.address
        self.node.chain_id = self.signer.chain_id
        self.held = Held(self.journal, self.metrics, self.report, sender)
        self.watch = Watch(self.journal, self.node, sender, self.metrics)
        parts = self.journal, self.node, self.signer, self.metrics
        self.outgoing = Outgoing(*parts, self._learn, self.clock)

    async def step(self) -> bool:
        """One round. True when it did something, so that another is worth it at once. What the next
        look may cure ends no session: NodeBehind is raised only where it lasts."""
        return await self.moments.borne(self._round(), False)

    async def _round(self) -> bool:
        if await self._is_still_full():
            return False
        await self._check_key()
        policy, paused = self.policy, self.memory.paused(self.policy, self.clock())
        intents = await self.journal.open_intents(policy.ordered, paused, policy.in_flight)
        self.memory = awake(self.memory, intents, policy, self.clock())
        await self.held.show(intents, self.memory, policy)
        is_idle = not intents and not await self.journal.newest_confirmed_blocks(1)
        if is_idle and not await self._strays(0):
            return False
        if (look := await self.watch.look()) is None:
            return False
        reviewed = await self.watch.review(look)
        if reviewed.taken:
            return True  # what a reorg took is open again
        if reviewed.doubtful:
            # A block confirmed now would vouch for older ones that no node has spoken of yet.
            return reviewed.final
        strays = await self._strays(look.count)
        chain = await self.watch.view(intents, look) if intents or strays else None
        if chain is None:
            return reviewed.final
        return await self._act(intents, chain, strays) or reviewed.final

    async def _strays(self, count: int) -> list[Intent]:
        if not self.policy.recalls:
            return []
        return await self.journal.strays(self.signer.address, count, self.clock())

    async def _act(
        self, intents: Sequence[Intent], chain: ChainView, strays: Sequence[Intent]
    ) -> bool:
        # One more than are given out: the lowest may be a gap. And those of strays are not.
        number = self.policy.in_flight + 1 + len(strays)
        free = await self.journal.free_nonces(self.signer.address, chain.count, number)
        if chain.receipts:
            await self.journal.note_costs(chain.receipts.values())
        spending = await self._spending(intents)
        if must_hear_pool(self.memory, free[0], self.policy, self.clock()):
            self._learn(PoolHeard(await self.node.pool_count(self.signer.address)))
        weak = await self.grounds(intents)
        look = Look(intents, chain, free, self.policy, self.held.is_paused, spending, weak, strays)
        self.memory, actions = decide(self.memory, look, self.clock())
        await self._confirm([(a.intent, a.receipt) for a in actions if isinstance(a, Confirm)])
        # What fills a nonce is paid from it first, as all else waits behind that.
        purse = None if look.left is None else Purse(look.spending, look.left)
        for action in actions:
            try:
                await self._do(action, purse)
            except LaneHalted as halt:
                await self._halt(action.intent, halt)
        signed = await self._sign([a for a in actions if isinstance(a, Sign)], chain, purse)
        sends = [*(a for a in actions if isinstance(a, Send)), *signed]
        for intent, error in await self.outgoing.send(sends) if sends else ():
            await self._not_estimated(intent, error)
        return bool(actions)

    async def _spending(self, intents: Sequence[Intent]) -> Spending:
        """Asked for only where there is a budget."""
        if self.policy.budget is None:
            return Spending()
        spent = await self.journal.spent_in_a_day()
        if not self.policy.l1_fee:
            return Spending(spent)
        longest = max((len(intent.calldata) for intent in intents), default=0)
        return Spending(spent, await self.node.l1_fee(FRAME_BYTES + longest))

    async def _is_still_full(self) -> bool:
        """One question instead of a whole round: blocks are far apart where windows are full."""
        full, now = self.memory.full, self.clock()
        if full is None or not self.memory.is_full(full.head, now):
            return False
        if (await self.journal.standing()).orders != self.held.standing.orders:
            return False  # an operator wants something that fits into a full window
        return self.memory.is_full((await self.node.rpc.head()).hash, now)

    async def _check_key(self) -> None:
        if self.memory.asks_for_key(self.policy, self.clock()):
            self._learn(KeyHeard(await ask_key(self.entitled, self.memory.not_ours)))

    def _learn(self, outcome: Outcome) -> None:
        self.memory = learn(self.memory, outcome, self.clock())

    async def _do(self, action: Action, purse: Purse | None = None) -> None:
        """What concerns one intent alone. Raises LaneHalted."""
        match action:
            case Examine():
                await self._examine(action)
            case Renew(intent, reverted):
                await self._renew(intent, reverted)
            case GiveUp(intent):
                await self._give_up(intent)
            case Fill():
                await self.outgoing.fill(action, purse)
            case Void(intent, why):
                await self._void(intent, why)
            case Unbind(intent, why):
                await self._unbind(intent, why)
            case Recheck(intent):
                await self._recheck(intent)

    # ------------------------------------------------------------------ before the block

    async def _sign(
        self, actions: Sequence[Sign], view: ChainView, purse: Purse | None
    ) -> list[Send]:
        """What was signed, and is to be sent now."""
        again = [action for action in actions if action.intent.attempts]
        fresh = [action for action in actions if not action.intent.attempts]
        ready = again + (await self._undone(fresh, view) if fresh else [])
        if not ready:
            return []
        signed, refused = await self.outgoing.sign(ready, purse, self.policy.ordered)
        for intent, error in refused:
            await self._not_estimated(intent, error)
        return signed

    async def _undone(self, actions: Sequence[Sign], view: ChainView) -> list[Sign]:
        """Those that are still to be done: neither done already, nor needed no more, nor halted."""
        found = await self._found([action.intent for action in actions])
        for action, what in zip(actions, found, strict=True):
            await self._resolve(action.intent, what, view)
        return going_on(actions, [what is None for what in found], self.policy.ordered)

    async def _resolve(self, intent: Intent, found: Found, view: ChainView) -> None:
        match found:
            case None:
                self._learn(Needed(intent.id))
            case Receipt():
                await self._adopt(intent, found)
            case LaneHalted():
                await self._halt(intent, found)
            case Moot(why, at_once):
                self._learn(Needless(intent.id, why, view.head.number, at_once))

    async def _void(self, intent: Intent, why: str) -> None:
        log.warning("intent is void", intent=intent.key, why=why)
        await self.journal.void(intent, why)
        self._learn(Ended(intent.id))

    async def _unbind(self, intent: Intent, why: str) -> None:
        """Another intent may have the nonce, or all of them would wait for it; unless a node has
        one of its transactions all the same: that it was taken is not written where the answer was
        lost, or the process lost its journal before it could write."""
        known = await self.node.seen(intent.hashes)
        if known:
            on_their_way = [attempt for attempt in intent.attempts if attempt.hash in known]
            await self.journal.mark_sent(on_their_way, self.clock())
            return
        halt = LaneHalted(intent.key, why, TRANSACTION_REFUSED)
        await self.journal.unbind(intent, halt)
        self._stands_still(intent, halt)

    async def _not_estimated(self, intent: Intent, error: NodeRefused) -> None:
        reason = refusal_of(error)
        if reason != WOULD_REVERT:
            say_waits(intent, reason, error.message)
            self._learn(NotSigned(intent.id, reason, error.message))
            return
        found: Found = None
        if intent.attempts:
            # Not whether what was signed came to nothing: it may land yet.
            (found,) = await self._found([replace(intent, attempts=())])
        if isinstance(found, LaneHalted):  # what is in a pool can only revert while that stands
            await self._halt(intent, found)
            return
        if isinstance(found, Moot) and found.at_once:
            # At its fee it may wait for ever, and all after it: its nonce is for others.
            self._learn(Needless(intent.id, found.why, 0, at_once=True))
            return
        if found is None and self._holds_others_up(intent):
            why = "its call would revert, and others wait for its nonce: it is wanted anew"
            self._learn(Needless(intent.id, why, 0, at_once=True))
            return
        # Done by another transaction, or too late. Its nonce must be spent all the same, on
        # nothing: at its fee it may wait for ever, and what comes after with it.
        by_itself = isinstance(found, Receipt) and found.hash in intent.hashes
        done = isinstance(found, Receipt | Moot) and not by_itself
        why = f"the call would revert: {revert_reason(error)}"
        say_waits(intent, reason, why)
        self._learn(NotSigned(intent.id, reason, why, done))

    def _holds_others_up(self, intent: Intent) -> bool:
        """What has waited for two replacements, and can have none, may be in no pool any more, and
        nothing after it is ever mined. Only where it is wanted anew once it can be done."""
        if not self.policy.rewanted or not intent.attempts:
            return False
        waited_s = age(intent.attempts[-1].signed_at, self.clock())
        return waited_s >= 2 * self.policy.bump_after_s

    async def _found(self, intents: Sequence[Intent]) -> list[Found]:
        """Whether intents are done or moot; one that only spends a nonce is when that is spent."""
        asked = [intent for intent in intents if not intent.key.startswith(NOTHING)]
        found = dict(zip(asked, await self.settled(asked), strict=True)) if asked else {}
        await self.watch.require([what for what in found.values() if isinstance(what, Receipt)])
        spent = Moot("somebody else has spent the nonce", at_once=True)
        return [found.get(intent, spent) for intent in intents]

    # ------------------------------------------------------------------ in a block, or never

    async def _confirm(self, done: Sequence[tuple[Intent, Receipt]]) -> None:
        if not done:
            return
        await self.journal.confirm(done)
        for intent, receipt in done:
            self._learn(Ended(intent.id))
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
            case Moot(why, at_once=True):
                await self._void(intent, why)
            case _:
                return False
        return True

    async def _examine(self, action: Examine) -> None:
        intent, block = action.intent, action.block
        if await self._over(intent):
            return
        await self.journal.mark_spent(intent, block)
        if intent.cancel is not None:
            log.info("nonce spent on nothing", intent=intent.key, why=action.why)
            return
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
        self._learn(Ended(intent.id))
        if intent.cancel is not None and intent.id not in self.memory.weak:
            log.warning("intent cancelled", intent=intent.key, why=intent.cancel)
            return
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
        halt = LaneHalted(intent.key, why, KEEPS_REVERTING)
        await self.journal.give_up(intent, halt)
        self._stands_still(intent, halt)

    async def _why_it_reverts(self, intent: Intent) -> str:
        try:
            await self.node.rehearse(self.signer.address, intent)
        except NodeRefused as error:
            return f"the call says now: {revert_reason(error)}"
        return "the call would succeed now"

    # ------------------------------------------------------------------ what stands still

    async def _halt(self, intent: Intent, halt: LaneHalted) -> None:
        """Keeps the halt where it outlives this process."""
        await self.journal.halt(intent, halt)
        self._stands_still(intent, halt)

    def _stands_still(self, intent: Intent, halt: LaneHalted) -> None:
        self._learn(Halted(intent.id))
        log.critical("intent halted", intent=intent.key, kind=halt.kind, why=halt.reason)

    async def _recheck(self, intent: Intent) -> None:
        """Releases what a reorg has cured: the other commitment is gone."""
        self._learn(Halted(intent.id))
        (found,) = await self._found([intent])
        if isinstance(found, LaneHalted):
            return
        log.warning("halt is over: nothing stands in its place now", intent=intent.key)
        if isinstance(found, Receipt):
            await self._adopt(intent, found)
        else:
            await self.journal.release(intent)
