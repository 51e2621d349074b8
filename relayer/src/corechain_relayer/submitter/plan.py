"""What to do next for a queue of intents. Pure: the journal and the chain go in, actions come out.

Life of an intent: queued → pending (a nonce is bound to it) → confirmed (in a block) → final.
A reorg takes a confirmed one back to pending; only final is for ever, and void (needed no more).
Times in seconds, fees in wei per gas.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum


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
class Attempt:
    """A signed transaction. It is in the journal before it is on the network."""

    hash: bytes
    nonce: int
    raw: bytes = field(repr=False)
    fees: Fees
    signed_at: float
    sent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that must happen on chain. `transaction` is the one that did it, ours or not."""

    id: int
    key: str
    target: bytes
    calldata: bytes
    state: State = State.QUEUED
    nonce: int | None = None
    attempts: tuple[Attempt, ...] = ()
    transaction: bytes | None = None
    block_number: int | None = None
    block_hash: bytes | None = None

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Every transaction that may have done it."""
        own = tuple(attempt.hash for attempt in self.attempts)
        foreign = self.transaction is not None and self.transaction not in own
        return (*own, self.transaction) if foreign and self.transaction else own


@dataclass(frozen=True, slots=True)
class Receipt:
    hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int


@dataclass(frozen=True, slots=True)
class ChainView:
    """One look at the chain. `count` is the sender's nonce in the newest block, read *before* the
    receipts. `extended`: the newest block descends from the one of the last look, so what was
    confirmed still is, and its receipts were not fetched again."""

    final_block: int
    count: int
    receipts: Mapping[bytes, Receipt]
    suggested: Fees
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits. A replacement must raise both fees by an eighth (nodes ask for a tenth)."""

    resend_after_s: float
    bump_after_s: float
    lost_after_s: float
    max_fee: int
    refused_pause_s: float = 5.0
    """After a refusal that only time or an operator can cure (no funds, the call reverts)."""
    ordered: bool = True
    """Whether an intent waits until all earlier ones are in a block."""


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
class Unconfirm:
    intent: Intent


@dataclass(frozen=True, slots=True)
class Finalize:
    intent: Intent


@dataclass(frozen=True, slots=True)
class Examine:
    """The nonce is spent, the intent not visibly done: ask the contract, and halt if it is not."""

    intent: Intent
    why: str


Action = Sign | Send | Confirm | Unconfirm | Finalize | Examine


def bumped(old: Fees, suggested: Fees, cap: int) -> Fees | None:
    """Fees of a replacement, None when the cap leaves no room for one."""
    lowest = Fees(old.max_fee * 9 // 8 + 1, old.priority_fee * 9 // 8 + 1)
    if lowest.max_fee > cap:
        return None
    max_fee = min(cap, max(lowest.max_fee, suggested.max_fee))
    priority = min(max_fee, max(lowest.priority_fee, suggested.priority_fee))
    return Fees(max_fee, priority) if priority >= lowest.priority_fee else None


def _receipt(intent: Intent, view: ChainView) -> Receipt | None:
    """Of the transaction that did it, else of one that failed, else None."""
    found = [view.receipts[tx] for tx in intent.hashes if tx in view.receipts]
    return max(found, key=lambda receipt: receipt.succeeded, default=None)


def _chase(
    intent: Intent, view: ChainView, policy: Policy, now: float, urgent: Set[bytes]
) -> list[Action]:
    """A pending intent that is in no block."""
    assert intent.nonce is not None
    newest = intent.attempts[-1]
    if view.count > intent.nonce and now - newest.signed_at >= policy.lost_after_s:
        return [Examine(intent, "its nonce was used by a transaction we did not sign")]
    if newest.sent_at is None and newest.hash not in urgent:
        return [Send(intent, newest)]
    capped = False
    if newest.hash in urgent or now - newest.signed_at >= policy.bump_after_s:
        fees = bumped(newest.fees, view.suggested, policy.max_fee)
        if fees is not None:
            return [Sign(intent, intent.nonce, fees)]
        capped = True
    if newest.sent_at is None or now - newest.sent_at >= policy.resend_after_s:
        return [Send(intent, newest, capped)]
    return []


def _settle(intent: Intent, receipt: Receipt, final_block: int) -> list[Action]:
    """An intent that is in a block."""
    if not receipt.succeeded:
        return [Examine(intent, f"transaction 0x{receipt.hash.hex()} reverted")]
    actions: list[Action] = []
    same = intent.block_hash == receipt.block_hash and intent.transaction == receipt.hash
    if intent.state is not State.CONFIRMED or not same:
        actions.append(Confirm(intent, receipt))
    if receipt.block_number <= final_block:
        actions.append(Finalize(intent))
    return actions


def plan(
    intents: Sequence[Intent],
    view: ChainView,
    policy: Policy,
    now: float,
    next_nonce: int,
    urgent: Set[bytes] = frozenset(),
    paused: Set[int] = frozenset(),
) -> list[Action]:
    """Actions for the unfinished intents of a queue, in order; at most one new nonce a round.

    In an ordered queue nothing is signed for an intent before all earlier ones are in a block.
    `urgent`: attempts whose fee the node called too low. `paused`: intents to leave alone for now.
    """
    actions: list[Action] = []
    waiting = False
    for intent in intents:
        if intent.state is State.CONFIRMED and view.extended:
            assert intent.block_number is not None
            if intent.block_number <= view.final_block:
                actions.append(Finalize(intent))
            continue
        receipt = _receipt(intent, view)
        if receipt is not None:
            actions += _settle(intent, receipt, view.final_block)
        elif intent.state is State.CONFIRMED:
            actions.append(Unconfirm(intent))
            waiting |= policy.ordered
        elif intent.state is State.PENDING:
            if intent.id not in paused:
                actions += _chase(intent, view, policy, now, urgent)
            waiting |= policy.ordered
        elif intent.id in paused:
            waiting |= policy.ordered
        elif not waiting:
            actions.append(Sign(intent, max(next_nonce, view.count), view.suggested))
            waiting = True
    return actions
