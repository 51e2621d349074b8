"""One round of a queue: what is remembered and what is seen go in, a new memory and actions come
out. Pure, and level-triggered: it goes by how things are, whatever led to them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from corechain_relayer.errors import OTHER_COMMITMENT
from corechain_relayer.submitter.budget import Spending
from corechain_relayer.submitter.grounds import Weak, at_rest, is_harmless, misled, withdrawn
from corechain_relayer.submitter.memory import (
    WAITS_FOR_FINALITY,
    Full,
    Memory,
    NotNeeded,
    Pause,
    only,
    paused,
    without,
)
from corechain_relayer.submitter.plan import (
    Action,
    ChainView,
    Fill,
    Intent,
    Policy,
    Recheck,
    Send,
    Sign,
    State,
    Unbind,
    Void,
    age,
    plan,
)
from corechain_relayer.submitter.recall import others, recalled

MOST_IN_POOL = 256
UNKNOWN_BUMPS = 4
"""So many times the patience with a transaction of our own: it may be an operator's."""
CLOCK_SHARE = 4
"""A full window is looked at so many times in the shortest of its delays."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one round sees, all of it read in this round.

    `intents`: the queue's open ones, in order. `free`: nonces from `chain.count` on that were never
    signed for, lowest first, at least one more than there are strays. `policy`: the limits of the
    moment. `is_paused`: whether an operator has paused the queue. `spending`: of a policy with a
    budget.
    """

    intents: Sequence[Intent]
    chain: ChainView
    free: Sequence[int]
    policy: Policy
    is_paused: bool = False
    spending: Spending = field(default_factory=Spending)
    weak: Mapping[int, Weak] = field(default_factory=dict)
    """Those of the intents that must not come into a block now."""
    strays: Sequence[Intent] = ()
    """What was given up and may land, each with the nonce and the attempt."""

    @property
    def left(self) -> int | None:
        """Wei that may be signed for; None without a budget."""
        budget = self.policy.budget
        return None if budget is None else self.spending.left(budget, self.intents)


def decide(memory: Memory, look: Look, now: float) -> tuple[Memory, list[Action]]:
    """What to remember from now on, and what to do, in order. `now`: seconds since 1970."""
    policy, resting = look.policy, memory.paused(look.policy, now)
    look = _judged(memory, look, now)
    memory = replace(_tidied(memory, look, resting), weak=look.weak, over_budget=look.left == 0)
    memory, first = _of_memory(memory, look, now)
    # What memory has the say on stands still in this round, whatever the chain says of it.
    still = memory.paused(policy, now) | {action.intent.id for action in first}
    still |= at_rest(look.intents, look.weak)
    may_sign = memory.not_ours is None and not memory.over_budget
    urgent = memory.urgent | {wished for i in look.intents if (wished := i.wished) is not None}
    urgent |= _unplaced(memory, look, now)
    planned = plan(look.intents, look.chain, policy, now, look.free, urgent, still, may_sign)
    unknown = _unknown_nonce(memory, look)
    if unknown is not None:
        planned = _after_unknown(planned, unknown, memory, look, now, may_sign=may_sign)
    if may_sign:
        planned = [*planned, *recalled(look.strays, planned, look.chain.suggested, policy.max_fee)]
    allowed = _of_chain(planned, look, urgent, now)
    actions = [*first, *(_undearer(action, memory) for action in allowed)]
    actions = [action for action in actions if is_harmless(action, look.weak)]
    # What could not be filled a moment ago cannot be now: rounds without an end would ask for it.
    actions = [a for a in actions if not isinstance(a, Fill) or a.intent.id not in resting]
    if look.is_paused:
        actions = [action for action in actions if _is_allowed_in_pause(action)]
    idle = not actions and not still
    return replace(memory, full=_fullness(look, now) if idle else None), actions


def _judged(memory: Memory, look: Look, now: float) -> Look:
    """With all that is weak, what is signed for that as if it were cancelled, and no nonce that a
    stray may land under."""
    chained = misled(look.intents) if look.policy.ordered else {}
    weak = {**memory.done(look.policy, now), **look.weak, **chained}
    intents, free = withdrawn(look.intents, weak), others(look.free, look.strays)
    return replace(look, weak=weak, intents=intents, free=free)


def must_hear_pool(memory: Memory, lowest_free: int, policy: Policy, now: float) -> bool:
    """At the start, and while an unknown nonce is waited for: what had it may be in no pool any
    more, as after a reorg that a node did not bring its transactions back from."""
    pool = memory.pool
    if pool is None:
        return True
    return lowest_free < pool.end and age(pool.heard, now) >= policy.resend_after_s


def _unknown_nonce(memory: Memory, look: Look) -> int | None:
    """The lowest nonce of which a node had a transaction at the start that the journal does not
    have: of a journal that was lost, or of somebody who uses the key by hand."""
    # A pool holds so many of a sender at most: a node that says more is not believed.
    end = 0 if memory.pool is None else min(memory.pool.end, look.chain.count + MOST_IN_POOL)
    return look.free[0] if look.free[0] < end else None


def _after_unknown(
    planned: Sequence[Action],
    nonce: int,
    memory: Memory,
    look: Look,
    now: float,
    *,
    may_sign: bool,
) -> list[Action]:
    """Nothing new is signed while that transaction may land: it may be the very thing that would be
    signed, under another nonce. After some patience its nonce is spent on nothing."""
    assert memory.pool is not None
    kept = [a for a in planned if not isinstance(a, Sign | Fill) or a.intent.attempts]
    patience_s = UNKNOWN_BUMPS * look.policy.bump_after_s
    if may_sign and look.intents and age(memory.pool.since, now) >= patience_s:
        kept.append(Fill(look.intents[0], nonce, look.chain.suggested))
    return kept


def _of_chain(
    planned: Sequence[Action], look: Look, urgent: Set[bytes], now: float
) -> list[Action]:
    """What the policy of the chain leaves of a plan."""
    policy = look.policy
    actions: list[Action] = []
    may_begin = not policy.nonce_at_send or all(_is_taken(intent) for intent in look.intents)
    for action in planned:
        if isinstance(action, Sign) and not action.intent.attempts:
            if may_begin:
                actions.append(action)
            may_begin = may_begin and not policy.nonce_at_send
        else:
            replaced = action if policy.replaces else _unreplaced(action, policy, urgent, now)
            actions += [] if replaced is None else [replaced]
    return actions


def _is_taken(intent: Intent) -> bool:
    """Whether a node took the newest of what is signed for it."""
    return not intent.attempts or intent.attempts[-1].sent_at is not None


def _unreplaced(action: Action, policy: Policy, urgent: Set[bytes], now: float) -> Action | None:
    """Where nothing waits in a pool, what a node took is only sent again; what it refused as too
    cheap is nowhere, and is signed anew."""
    if not isinstance(action, Sign):
        return action
    newest = action.intent.attempts[-1]
    if newest.sent_at is None or newest.hash in urgent:
        return action
    is_due = age(newest.sent_at, now) >= policy.resend_after_s
    return Send(action.intent, newest) if is_due else None


def _unplaced(memory: Memory, look: Look, now: float) -> set[bytes]:
    """What no node has taken for as long as a transaction in a pool is waited for."""
    newest = [intent.attempts[-1] for intent in look.intents if intent.attempts]
    known = [attempt for attempt in newest if attempt.hash in memory.unplaced]
    return {a.hash for a in known if age(a.signed_at, now) >= look.policy.bump_after_s}


def _undearer(action: Action, memory: Memory) -> Action:
    """What is dearer already than a node forwards is not replaced by what is dearer still: another
    node may take it, or the same one after its operator has raised its limit."""
    if not isinstance(action, Sign) or not action.intent.attempts or action.intent.wished:
        return action
    newest = action.intent.attempts[-1]
    if newest.hash not in memory.too_dear:
        return action
    return Send(action.intent, newest, capped=True)


def _is_allowed_in_pause(action: Action) -> bool:
    """What is on chain is followed in a paused queue too, and what is to be cancelled is."""
    if isinstance(action, Send):
        return action.attempt.cancels
    return not isinstance(action, Sign | Fill) or action.intent.cancel is not None


def _tidied(memory: Memory, look: Look, resting: Set[int]) -> Memory:
    """Without what concerns intents and attempts that are not open any more."""
    by_intent = memory.invalid or memory.overtaken or memory.halts_asked
    if not (by_intent or memory.urgent or memory.too_dear or memory.unplaced):
        return memory
    known = {intent.id for intent in look.intents} | resting
    hashes = {tx for intent in look.intents for tx in intent.hashes}
    return replace(
        memory,
        urgent=memory.urgent & hashes,
        too_dear=memory.too_dear & hashes,
        unplaced=memory.unplaced & hashes,
        invalid=only(memory.invalid, known),
        overtaken=only(memory.overtaken, known),
        halts_asked=only(memory.halts_asked, known),
    )


def _of_memory(memory: Memory, look: Look, now: float) -> tuple[Memory, list[Action]]:
    """Actions that follow from what was learned since the last round."""
    actions: list[Action] = []
    for intent in look.intents:
        memory, action = _of_one(memory, intent, look, now)
        if action is not None:
            actions.append(action)
    asked = next((i for i in look.intents if _asks_again(memory, i, look.policy, now)), None)
    if asked is not None:  # one a round: it is a question to the chain
        actions.append(Recheck(asked))
    return memory, actions


def _of_one(memory: Memory, intent: Intent, look: Look, now: float) -> tuple[Memory, Action | None]:
    number = intent.id
    if number in memory.invalid:
        why = memory.invalid[number]
        memory = replace(memory, invalid=without(memory.invalid, number))
        return memory, Unbind(intent, f"the node refuses its transaction: {why}")
    found = memory.not_needed.get(number)
    if found is not None and found.heard:
        return _of_needless(memory, intent, found, look.chain, now)
    return memory, None


def _of_needless(
    memory: Memory, intent: Intent, found: NotNeeded, chain: ChainView, now: float
) -> tuple[Memory, Action | None]:
    """That it is needed no more may be undone by a reorg: it is void only once that was so for as
    long as it takes a block to become final."""
    if found.at_once or found.since <= chain.final_block:
        return memory, Void(intent, found.why)
    waiting = {**memory.not_needed, intent.id: replace(found, heard=False)}
    memory = replace(memory, not_needed=waiting)
    return paused(memory, intent.id, Pause(WAITS_FOR_FINALITY, found.why, now)), None


def _asks_again(memory: Memory, intent: Intent, policy: Policy, now: float) -> bool:
    if intent.halt != OTHER_COMMITMENT:
        return False
    asked = memory.halts_asked.get(intent.id)
    return asked is None or age(asked, now) >= policy.refused_pause_s


def _fullness(look: Look, now: float) -> Full | None:
    """Of a round without anything to do."""
    policy = look.policy
    pending = sum(1 for intent in look.intents if intent.state is State.PENDING)
    if not policy.ordered or pending < policy.in_flight:
        return None
    delay_s = min(policy.resend_after_s, policy.bump_after_s)
    return Full(look.chain.head.hash, now, delay_s / CLOCK_SHARE)
