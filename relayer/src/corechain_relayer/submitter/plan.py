"""What to do next for a queue of intents. Pure: the journal and the chain go in, actions come out.

Life of an intent: queued → pending (a nonce is bound to it) → confirmed (in a block) → final.
A reorg takes a confirmed one back to pending; only final is for ever, and void (needed no more).
A pending one goes back to queued when its nonce is spent for good by a transaction that did not do
it: by a foreign one, or by one of ours that reverted. Times in seconds, fees in wei per gas.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum

from corechain_relayer.submitter.turn import Turn


class State(StrEnum):
    QUEUED = "queued"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    FINAL = "final"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Fees:
    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class BlockId:
    """One block of one fork."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed transaction. It is in the journal before it is on the network."""

    hash: bytes
    nonce: int
    raw: bytes = field(repr=False)
    fees: Fees
    signed_at: float
    sent_at: float | None = None
    cancels: bool = False
    """It spends the nonce on nothing, as an operator wants the intent cancelled."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that must happen on chain.

    `attempts`: under the present nonce, oldest first. `spent`: the block in which that was seen
    spent without a result. `failures`: nonces that reverted for good since the last release.
    `halt`: what keeps it until an operator releases it. `cancel`: why an operator gives it up.
    `bump`: the attempt that an operator wants replaced.
    """

    id: int
    key: str
    target: bytes
    calldata: bytes
    state: State = State.QUEUED
    nonce: int | None = None
    attempts: tuple[Attempt, ...] = ()
    spent: BlockId | None = None
    failures: int = 0
    halt: str | None = None
    cancel: str | None = None
    bump: bytes | None = None
    waits: str | None = None
    """Name of what it was refused for, as the journal tells operators."""

    @property
    def wished(self) -> bytes | None:
        """The newest attempt, where an operator wants another in its place."""
        newest = self.attempts[-1] if self.attempts else None
        if newest is None:
            return None
        # Also what was withdrawn, and may be done after all.
        is_another = newest.cancels != (self.cancel is not None)
        return newest.hash if is_another or newest.hash == self.bump else None

    def withdrew(self, transaction: bytes) -> bool:
        """Whether this attempt has spent the nonce on nothing."""
        return any(a.hash == transaction and a.cancels for a in self.attempts)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Every transaction of ours that may do it yet."""
        return tuple(attempt.hash for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class Receipt:
    hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    fee: int = 0
    """What it cost in wei, with what it paid to L1."""

    @property
    def block(self) -> BlockId:
        return BlockId(self.block_number, self.block_hash)


@dataclass(frozen=True, slots=True)
class ChainView:
    """One look at the chain, all of it as of `head`.

    `count` is the sender's nonce in the newest block, read *before* the receipts; `final_count` its
    nonce in the newest final block, None where that was not needed or the node cannot say.
    `standing`: whether a block is on this chain (True) or replaced (False); a block that the node
    could not speak of is in neither way there.
    """

    head: BlockId
    final_block: int
    count: int
    receipts: Mapping[bytes, Receipt]
    suggested: Fees
    final_count: int | None = None
    standing: Mapping[BlockId, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits. A replacement must raise both fees by an eighth (nodes ask for a tenth)."""

    resend_after_s: float
    bump_after_s: float
    lost_after_s: float
    """A spent nonce without a receipt means nothing before: nodes of an address may differ."""
    max_fee: int
    refused_pause_s: float = 5.0
    """After a refusal that only time or an operator can cure (no funds, the call reverts)."""
    ordered: bool = True
    """Nonces go in the order of the intents, and nothing new is signed while one stands still."""
    in_flight: int = 1
    """Pending intents of a queue at a time; an unordered one signs the most urgent first."""
    max_failures: int = 3
    """Reverted transactions of one intent, each under a nonce of its own, until it halts."""
    replaces: bool = True
    """Whether what waits is replaced in time; what a node found too cheap is signed anew always."""
    nonce_at_send: bool = False
    """Whether a nonce is given out only once the node took all before it, one at a time."""
    budget: int | None = None
    """Wei that the queue's transactions may cost in 24 hours."""
    l1_fee: bool = False
    """Whether transactions pay for their bytes on another chain, beside gas."""
    rewanted: bool = False
    """Whether what is void is wanted anew while it is needed: answers and challenges are."""
    recalls: bool = False  # what was given up must not land: vetoes (recall.py)


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign, journal, then send: a first attempt (nonce still free) or a replacement."""

    intent: Intent
    nonce: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Send:
    """Send these very bytes, for the first time or again. `capped`: the fee cap forbids more."""

    intent: Intent
    attempt: Attempt
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Confirm:
    intent: Intent
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Examine:
    """The nonce is spent as of `block`, without a result. Ask the contract whether it is done all
    the same; if not, remember the block and wait: a reorg may give it back."""

    intent: Intent
    block: BlockId
    why: str


@dataclass(frozen=True, slots=True)
class Renew:
    """The nonce is spent for good and none of our attempts did it: none of them ever can. Ask the
    contract once more; if it is not done, back to the queue, for a fresh nonce."""

    intent: Intent
    reverted: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It reverted for good so often that an operator has to look."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Fill:
    """Spend a nonce on nothing: it is nobody's (a foreign transaction had it until a reorg) and all
    above waits for it, or what was given up could land under it."""

    intent: Intent
    nonce: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Void:
    intent: Intent
    why: str


@dataclass(frozen=True, slots=True)
class Unbind:
    """No node takes its transaction, none ever had it: free the nonce, and halt the intent."""

    intent: Intent
    why: str


@dataclass(frozen=True, slots=True)
class Recheck:
    """Something stands in its place on chain: ask whether that is still so."""

    intent: Intent


Action = Sign | Send | Confirm | Examine | Renew | GiveUp | Fill | Void | Unbind | Recheck
FOREIGN = "its nonce was used by a transaction we did not sign"


def age(since: float, now: float) -> float:
    """Seconds between two readings of a clock. One that was set back makes what it wrote before
    old, not young: what waits must not wait until it is there again."""
    return abs(now - since)


def bumped(old: Fees, suggested: Fees, cap: int) -> Fees | None:
    """Fees of a replacement, None when the cap leaves no room for one."""
    lowest = Fees(old.max_fee * 9 // 8 + 1, old.priority_fee * 9 // 8 + 1)
    if lowest.max_fee > cap:
        return None
    max_fee = min(cap, max(lowest.max_fee, suggested.max_fee))
    priority = min(max_fee, max(lowest.priority_fee, suggested.priority_fee))
    return Fees(max_fee, priority) if priority >= lowest.priority_fee else None


def of_nothing(old: Fees, suggested: Fees, cap: int) -> Fees:
    """Of what takes the place of a call. At the cap, where that leaves no room for a replacement, a
    node takes it once its pool has dropped the call."""
    tip = max(old.priority_fee * 9 // 8 + 1, suggested.priority_fee)
    return bumped(old, suggested, cap) or Fees(cap, min(cap, tip))


def _receipt(intent: Intent, view: ChainView) -> Receipt | None:
    """Of the transaction that did it, else of one that failed, else None. A block above the head
    is of a node that is ahead of the one we asked before: the next look finds it."""
    found = [view.receipts[tx] for tx in intent.hashes if tx in view.receipts]
    seen = [receipt for receipt in found if receipt.block_number <= view.head.number]
    return max(seen, key=lambda receipt: receipt.succeeded, default=None)


def _foreign(intent: Intent, view: ChainView, policy: Policy, now: float) -> list[Action]:
    """A pending intent whose nonce the chain counts as spent, without a receipt of ours."""
    assert intent.nonce is not None
    if age(intent.attempts[-1].signed_at, now) < policy.lost_after_s:
        return []
    stands = None if intent.spent is None else view.standing.get(intent.spent)
    seen = stands and intent.spent is not None and intent.spent.number <= view.final_block
    counted = view.final_count is not None and view.final_count > intent.nonce
    if seen or counted:
        return [Renew(intent, reverted=False)]
    if intent.spent is None or stands is False:
        return [Examine(intent, view.head, FOREIGN)]
    return []


def _reverted(intent: Intent, receipt: Receipt, view: ChainView, policy: Policy) -> list[Action]:
    """A pending intent whose transaction is in a block and failed."""
    withdrew = intent.withdrew(receipt.hash)
    if receipt.block_number > view.final_block:
        did = "took its nonce" if withdrew else "reverted"
        why = f"transaction 0x{receipt.hash.hex()} {did}"
        return [] if intent.spent == receipt.block else [Examine(intent, receipt.block, why)]
    if intent.failures + 1 >= policy.max_failures and intent.cancel is None and not withdrew:
        return [GiveUp(intent)]
    return [Renew(intent, reverted=not withdrew)]


def _chase(
    intent: Intent, view: ChainView, policy: Policy, now: float, urgent: Set[bytes], may_sign: bool
) -> list[Action]:
    """A pending intent that is in no block, and whose nonce is free."""
    assert intent.nonce is not None
    newest = intent.attempts[-1]
    if intent.cancel is not None and not newest.cancels:
        # Never sent again, also where nothing may be signed: whoever cancels expects no less.
        nothing = of_nothing(newest.fees, view.suggested, policy.max_fee)
        return [Sign(intent, intent.nonce, nothing)] if may_sign else []
    if newest.sent_at is None and newest.hash not in urgent:
        return [Send(intent, newest)]
    capped = False
    if may_sign and (newest.hash in urgent or age(newest.signed_at, now) >= policy.bump_after_s):
        fees = bumped(newest.fees, view.suggested, policy.max_fee)
        if fees is not None:
            return [Sign(intent, intent.nonce, fees)]
        capped = True
    if newest.sent_at is None or age(newest.sent_at, now) >= policy.resend_after_s:
        return [Send(intent, newest, capped)]
    return []


def _behind_a_gap(
    intents: Sequence[Intent], policy: Policy, now: float, free_nonce: int
) -> Intent | None:
    """A pending intent that has waited for a lower nonce long enough to be sure it is nobody's."""
    above = (i for i in intents if i.nonce is not None and i.nonce > free_nonce)
    long = (i for i in above if age(i.attempts[0].signed_at, now) >= policy.bump_after_s)
    return next(long, None)


def _of_pending(
    intent: Intent,
    receipt: Receipt | None,
    view: ChainView,
    policy: Policy,
    now: float,
    urgent: Set[bytes],
    may_sign: bool,
) -> tuple[list[Action], bool]:
    """What a pending intent needs, and whether it goes its way: sooner or later it is mined."""
    assert intent.nonce is not None
    if receipt is not None:
        return _reverted(intent, receipt, view, policy), False
    if view.count > intent.nonce:
        # A receipt above our head is of a block that came while we looked.
        mined = any(tx in view.receipts for tx in intent.hashes)
        return [] if mined else _foreign(intent, view, policy, now), False
    return _chase(intent, view, policy, now, urgent, may_sign), True


def _is_on_its_way(intent: Intent, receipt: Receipt | None) -> bool:
    """It holds a nonce, and a place in the window."""
    return intent.state is State.PENDING and not (receipt is not None and receipt.succeeded)


def plan(
    intents: Sequence[Intent],
    view: ChainView,
    policy: Policy,
    now: float,
    free: Sequence[int],
    urgent: Set[bytes] = frozenset(),
    paused: Set[int] = frozenset(),
    may_sign: bool = True,
) -> list[Action]:
    """Actions for queued and pending intents of a queue, in order.

    An ordered queue gives nonces in its order, and signs nothing new while one stands still (halt,
    pause, its nonce spent in vain); an unordered one comes pending first, then by urgency.
    `free`: nonces from `view.count` on that were never signed for, lowest first. `urgent`: attempts
    whose fee the node called too low. `paused`: intents to leave alone for now. `may_sign`: whether
    the key may do at all what the queue is about.
    """
    actions: list[Action] = []
    blocked = _behind_a_gap(intents, policy, now, free[0])
    if blocked is not None and may_sign:
        actions.append(Fill(blocked, free[0], view.suggested))
    receipts = [_receipt(intent, view) for intent in intents]
    pending = sum(map(_is_on_its_way, intents, receipts))
    turn = Turn(policy.ordered, policy.in_flight, list(free), may_sign and not actions, pending)
    for intent, receipt in zip(intents, receipts, strict=True):
        if receipt is not None and receipt.succeeded:
            actions.append(Confirm(intent, receipt))
        elif intent.halt is not None or intent.id in paused:
            turn.stood_still()
        elif intent.state is State.PENDING:
            more, moves = _of_pending(intent, receipt, view, policy, now, urgent, may_sign)
            actions += more
            if moves and intent.nonce is not None and intent.cancel is None:
                turn.passed(intent.nonce)
            else:
                turn.stood_still()
        elif (nonce := turn.nonce()) is not None:
            actions.append(Sign(intent, nonce, view.suggested))
    return actions
