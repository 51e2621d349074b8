"""What a queue's submitter knows besides journal and chain, as a value, and how it learns. Pure.

Nothing of it has to outlive the process: after a start it is empty and is learned again, at the
price of a question or a refusal. What must not be lost is in the journal. Times in seconds.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

from corechain.rpc_errors import ANEW, INVALID, RpcFailure
from corechain_relayer.errors import NotLaneSubmitter
from corechain_relayer.submitter.grounds import Weak
from corechain_relayer.submitter.plan import Intent, Policy, age

V = TypeVar("V")

WAITS_FOR_FINALITY, WOULD_REVERT = "WaitsForFinality", "WouldRevert"
NEXT_BLOCK_S = 1.0
"""Nodes that keep no transaction above a missing nonce are sequencers with fast blocks."""
SOON = (RpcFailure.NONCE_TOO_HIGH, RpcFailure.UNAVAILABLE)
"""The next block cures the one, the next node behind the same address the other."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why an intent is left alone, since when, and for at most how long if not as the policy says.

    The policy of the moment decides how long: a deadline that comes near shortens it.
    """

    reason: str
    why: str
    since: float
    most_s: float = float("inf")

    def holds(self, policy: Policy, now: float, times: int = 1) -> bool:
        """Also `times` as long as the intent is left alone."""
        return age(self.since, now) < times * min(policy.refused_pause_s, self.most_s)


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """An intent that nobody needs any more, and the head at which that was first so. `heard`: the
    contract has said so since the last decision. `at_once`: need not be final."""

    why: str
    since: int
    at_once: bool
    heard: bool = True


@dataclass(frozen=True, slots=True)
class Full:
    """The window is full and all in it is on its way: nothing can be done before another head than
    this one, or before so many seconds are over, when a clock may ask for it."""

    head: bytes
    since: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Pool:
    """The sender's nonces below `end` are in a block or in a node's pool, since when, and when the
    node said so last."""

    end: int
    since: float
    heard: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one queue, between two rounds; by the ids of intents.

    `urgent`: hashes of attempts whose fee the node called too low. `too_dear`: of those that cost
    more than the node forwards. `invalid`: the node's words on a transaction that no node ever
    took. `overtaken`: signed for, and done by another transaction, or not needed any more: what may
    still land is replaced by a transfer of nothing. Asked anew after a while: reorgs can undo it.
    `halts_asked`: when it was last asked whether a halt is over. `key_asked`: when it was last
    asked whether our key may do at all what the queue is about; None: it is in doubt.
    `pool`: what the nodes' pools held at the start, None before they were asked. `over_budget`: the
    day's budget was used up when it was looked at last.
    """

    pauses: Mapping[int, Pause] = field(default_factory=dict)
    urgent: frozenset[bytes] = frozenset()
    too_dear: frozenset[bytes] = frozenset()
    unplaced: frozenset[bytes] = frozenset()
    """Attempts that no pool had room for, or that were refused in words nobody knows: a higher fee
    may help, in time."""
    not_needed: Mapping[int, NotNeeded] = field(default_factory=dict)
    invalid: Mapping[int, str] = field(default_factory=dict)
    overtaken: Mapping[int, Pause] = field(default_factory=dict)
    halts_asked: Mapping[int, float] = field(default_factory=dict)
    key_asked: float | None = None
    not_ours: NotLaneSubmitter | None = None
    pool: Pool | None = None
    over_budget: bool = False
    full: Full | None = None
    weak: Mapping[int, Weak] = field(default_factory=dict)
    """Those of the last round that rested on something which is gone."""

    def paused(self, policy: Policy, now: float) -> set[int]:
        """Ids of the intents to leave alone now."""
        return {number for number, pause in self.pauses.items() if pause.holds(policy, now)}

    def done(self, policy: Policy, now: float) -> dict[int, Weak]:
        """Those overtaken, by id: nothing of them must come into a block as things stand."""
        held = {n: pause for n, pause in self.overtaken.items() if pause.holds(policy, now)}
        return {number: Weak(pause.reason, pause.why) for number, pause in held.items()}

    def asks_for_key(self, policy: Policy, now: float) -> bool:
        """At start and in doubt, and then again and again until the key may sign."""
        if self.key_asked is None:
            return True
        return self.not_ours is not None and age(self.key_asked, now) >= policy.refused_pause_s

    def is_full(self, head: bytes, now: float) -> bool:
        """Whether a round would find nothing to do."""
        full = self.full
        return full is not None and full.head == head and age(full.since, now) < full.for_s


# ---------------------------------------------------------------------- what a round brings


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed and in the journal. `replaced`: the hash of the attempt before it."""

    intent_id: int
    replaced: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A node has the transaction, or it is in a block. `attempt`: its hash."""

    intent_id: int
    attempt: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """A node did not take a transaction. `was_sent`: one of the intent's was taken before. `fills`:
    the intent only spends a nonce, which all above it waits for."""

    intent_id: int
    attempt: bytes
    failure: RpcFailure
    said: str
    was_sent: bool
    fills: bool = False


@dataclass(frozen=True, slots=True)
class NotSigned:
    """A node would not estimate it. `is_done`: another transaction has done it since it was signed,
    or nobody needs it."""

    intent_id: int
    reason: str
    why: str
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Needed:
    """The contract says that the intent is to be done."""

    intent_id: int


@dataclass(frozen=True, slots=True)
class Needless:
    """The contract says that nobody needs it, as of a head's number."""

    intent_id: int
    why: str
    head: int
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Halted:
    """It stands still until an operator releases it; or it was asked whether it still has to."""

    intent_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Confirmed, void or back in the queue: what was known of it counts no more."""

    intent_id: int


@dataclass(frozen=True, slots=True)
class KeyHeard:
    """What the chain says of our key; None: it may sign."""

    not_ours: NotLaneSubmitter | None


@dataclass(frozen=True, slots=True)
class PoolHeard:
    """Up to which nonce of the sender, exclusive, the nodes have transactions."""

    end: int


Outcome = (
    PoolHeard | Signed | Taken | Refused | NotSigned | Needed | Needless | Halted | Ended | KeyHeard
)


def learn(memory: Memory, outcome: Outcome, now: float) -> Memory:
    """The memory after what came of an action."""
    match outcome:
        case Signed(number, replaced):
            urgent = memory.urgent - {replaced} if replaced else memory.urgent
            return replace(_unpaused(memory, number), urgent=urgent)
        case Taken(number, attempt):
            # Some node forwards so much after all: it may be replaced when fees rise above it.
            memory = replace(memory, unplaced=memory.unplaced - {attempt})
            return replace(_unpaused(memory, number), too_dear=memory.too_dear - {attempt})
        case Refused():
            return _refused(memory, outcome, now)
        case NotSigned():
            return _not_signed(memory, outcome, now)
        case Needed(number):
            return replace(memory, not_needed=without(memory.not_needed, number))
        case Needless(number, why, head, at_once):
            first = memory.not_needed.get(number)
            since = head if first is None else first.since
            found = NotNeeded(why, since, at_once)
            return replace(memory, not_needed={**memory.not_needed, number: found})
        case Halted(number):
            asked = {**memory.halts_asked, number: now}
            return replace(_unpaused(memory, number), halts_asked=asked)
        case Ended(number):
            return _forgotten(memory, number)
        case PoolHeard(end):
            known = memory.pool if memory.pool is not None and memory.pool.end == end else None
            return replace(memory, pool=Pool(end, now if known is None else known.since, now))
        case KeyHeard(not_ours):
            return replace(memory, key_asked=now, not_ours=not_ours)


def awake(memory: Memory, intents: Sequence[Intent], policy: Policy, now: float) -> Memory:
    """Without what has rested twice as long as it had to and is not among `intents`, the open ones
    of a round: it ended elsewhere (an operator cancelled it, a nonce was spent), and would be shown
    as held for ever. Once as long, and what is refused again and again would not be shown."""
    known = {intent.id for intent in intents}
    held = {n: p for n, p in memory.pauses.items() if n in known or p.holds(policy, now, 2)}
    return memory if len(held) == len(memory.pauses) else replace(memory, pauses=held)


def _refused(memory: Memory, refused: Refused, now: float) -> Memory:
    number, attempt, failure = refused.intent_id, frozenset({refused.attempt}), refused.failure
    if failure in INVALID and not refused.was_sent and not refused.fills:
        return replace(memory, invalid={**memory.invalid, number: refused.said})
    # What fills a nonce is never given up, as the same would be signed in its place.
    if failure in ANEW or (failure in INVALID and refused.fills):
        # The newest word counts: else what one node finds too dear and another too cheap would wait
        # for ever.
        too_dear = memory.too_dear - attempt
        memory = replace(memory, urgent=memory.urgent | attempt, too_dear=too_dear)
    elif failure is RpcFailure.POOL_FULL:  # of what this node would forward
        too_dear, unplaced = memory.too_dear - attempt, memory.unplaced | attempt
        memory = replace(memory, too_dear=too_dear, unplaced=unplaced)
    elif failure is RpcFailure.UNKNOWN:
        memory = replace(memory, unplaced=memory.unplaced | attempt)
    elif failure is RpcFailure.FEE_CAP_EXCEEDED:
        memory = replace(memory, too_dear=memory.too_dear | attempt)
    elif failure is RpcFailure.REVERTED:
        memory = replace(memory, key_asked=None)  # perhaps the key has lost its lane
    name = failure.name.title().replace("_", "")
    most_s = NEXT_BLOCK_S if failure in SOON else float("inf")
    return paused(memory, number, Pause(name, f"not sent: {refused.said}", now, most_s))


def _not_signed(memory: Memory, found: NotSigned, now: float) -> Memory:
    if found.reason == WOULD_REVERT:
        memory = replace(memory, key_asked=None)  # perhaps the key has lost its lane
    pause = Pause(found.reason, found.why, now)
    if found.is_done:  # not left alone: its nonce is to be spent
        overtaken = {**memory.overtaken, found.intent_id: pause}
        return replace(_unpaused(memory, found.intent_id), overtaken=overtaken)
    return paused(memory, found.intent_id, pause)


def paused(memory: Memory, number: int, pause: Pause) -> Memory:
    """An intent is left alone for a while."""
    return replace(memory, pauses={**memory.pauses, number: pause})


def _unpaused(memory: Memory, number: int) -> Memory:
    return replace(memory, pauses=without(memory.pauses, number))


def _forgotten(memory: Memory, number: int) -> Memory:
    return replace(
        memory,
        pauses=without(memory.pauses, number),
        not_needed=without(memory.not_needed, number),
        invalid=without(memory.invalid, number),
        overtaken=without(memory.overtaken, number),
        halts_asked=without(memory.halts_asked, number),
        weak=without(memory.weak, number),
    )


def without(found: Mapping[int, V], number: int) -> Mapping[int, V]:
    """All entries but that of one intent."""
    return {key: value for key, value in found.items() if key != number}


def only(found: Mapping[int, V], ids: Set[int]) -> Mapping[int, V]:
    """Entries of some intents alone."""
    return {key: value for key, value in found.items() if key in ids}
