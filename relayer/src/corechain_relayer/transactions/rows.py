"""Rows of the journal as values, and as the JSON that operators get."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from corechain_relayer.submitter.plan import State

if TYPE_CHECKING:
    from asyncpg import Record


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"0x{value.hex()}"


def _time(value: datetime | float | None) -> str | None:
    if isinstance(value, float):
        value = datetime.fromtimestamp(value, UTC)  # as Postgres has the others
    return None if value is None else value.isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is as it is: a name where there is one, a sentence, and since when."""

    kind: str
    why: str
    since: datetime

    def document(self) -> dict[str, Any]:
        return {"kind": self.kind, "reason": self.why, "since": _time(self.since)}


@dataclass(frozen=True, slots=True)
class Transaction:
    """An intent with all that keeps it, and all that operators want of it."""

    id: int
    key: str
    queue: str
    state: State
    sender: bytes | None
    nonce: int | None
    transaction: bytes | None
    block: int | None
    gas_used: int | None
    created_at: datetime
    halt: Reason | None
    wait: Reason | None
    pause: Reason | None
    cancel: Reason | None
    bump: bytes | None
    bump_since: datetime | None
    spent_block: int | None
    failures: int
    ended_because: str | None
    attempts: int
    bump_reason: str | None = None

    def now(self, state: str) -> "Transaction":
        """The same, in the state that it has by now."""
        return replace(self, state=State(state))

    @property
    def is_open(self) -> bool:
        """In no block, and to be in one."""
        return self.state in (State.QUEUED, State.PENDING)

    @property
    def reason(self) -> str:
        """In a word or a sentence why it is in its state; `explain` says more."""
        if self.state is State.VOID:
            return self.ended_because or "not needed any more"
        if not self.is_open:
            return f"in block {self.block}"
        for held in (self.halt, self.pause, self.cancel, self.wait):
            if held is not None:
                return f"{held.kind}: {held.why}"
        if self.spent_block is not None:
            return f"its nonce was spent in block {self.spent_block}: that has to become final"
        return "sent or to be sent" if self.state is State.PENDING else "waits for its turn"

    def document(self) -> dict[str, Any]:
        """JSON values; bytes as hexadecimal digits, times as ISO 8601."""
        held = {"halted": self.halt, "waits": self.wait, "paused": self.pause}
        held["cancelling"] = self.cancel
        bump = {"replaces": _hex(self.bump), "reason": self.bump_reason}
        return {
            "id": self.id,
            "key": self.key,
            "queue": self.queue,
            "state": self.state.value,
            "reason": self.reason,
            "sender": _hex(self.sender),
            "nonce": self.nonce,
            "transaction": _hex(self.transaction),
            "block": self.block,
            "gas_used": self.gas_used,
            "created_at": _time(self.created_at),
            "attempts": self.attempts,
            "failures": self.failures,
            **{name: why.document() if why else None for name, why in held.items()},
            "bump": None if self.bump is None else bump | {"since": _time(self.bump_since)},
        }


def transaction_of(row: "Record") -> Transaction:
    return Transaction(
        id=row["id"],
        key=row["key"],
        queue=row["queue"],
        state=State(row["state"]),
        sender=row["sender"],
        nonce=row["nonce"],
        transaction=row["transaction"],
        block=row["block_number"],
        gas_used=row["gas_used"],
        created_at=row["created_at"],
        halt=_reason(row["halt_kind"], row["halt_reason"], row["halted_at"]),
        wait=_reason(row["wait_kind"], row["wait_reason"], row["waiting_since"]),
        pause=_named("QueuePaused", row["paused"], row["paused_since"]),
        cancel=_named("Cancelling", row["cancel"], row["cancel_since"]),
        bump=row["bump"],
        bump_since=row["bump_since"],
        spent_block=row["spent_block"],
        failures=row["failures"],
        ended_because=row["ended_because"],
        attempts=row["attempts"],
        bump_reason=row["bump_reason"],
    )


def _reason(kind: str | None, why: str | None, since: datetime) -> Reason | None:
    return None if kind is None else Reason(kind, why or "", since)


def _named(kind: str, why: str | None, since: datetime) -> Reason | None:
    return None if why is None else Reason(kind, why, since)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A signed transaction. Fees in wei per gas, times in seconds since 1970."""

    hash: bytes
    sender: bytes
    nonce: int
    max_fee: int
    priority_fee: int
    signed_at: float
    sent_at: float | None
    refused: bool
    cancels: bool

    def document(self) -> dict[str, Any]:
        return {
            "transaction": _hex(self.hash),
            "nonce": self.nonce,
            "max_fee_per_gas": self.max_fee,
            "max_priority_fee_per_gas": self.priority_fee,
            "signed_at": _time(self.signed_at),
            "sent_at": _time(self.sent_at),
            "refused": self.refused,
            "cancels": self.cancels,
        }


def attempt_of(row: "Record") -> AttemptRow:
    return AttemptRow(**dict(row))


@dataclass(frozen=True, slots=True)
class Ahead:
    """The open intents before one: how many, and the first of them."""

    number: int
    key: str
    state: str


@dataclass(frozen=True, slots=True)
class Health:
    """The oldest intent of a queue that is in no block and its age; the lowest nonce that waits for
    a block; why the queue is paused; what that oldest intent waits for: a name, a sentence."""

    key: str | None = None
    age_s: float = 0.0
    nonce: int | None = None
    pause: str | None = None
    wait: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class QueueLook:
    """What a submitter said of its queue when it last looked, `age_s` seconds ago."""

    sender: bytes
    max_fee: int
    in_flight: int
    ordered: bool
    problem: str | None
    age_s: float


def look_of(row: "Record") -> QueueLook:
    return QueueLook(**dict(row))
