"""Intents and views of the chain, and what the submitter's plan makes of them."""

from dataclasses import replace

from corechain_relayer.submitter.plan import (
    Action,
    Attempt,
    BlockId,
    ChainView,
    Fees,
    Intent,
    Policy,
    Receipt,
    State,
    plan,
)

POLICY = Policy(resend_after_s=5, bump_after_s=20, lost_after_s=3, max_fee=10_000)
WINDOW = replace(POLICY, in_flight=4)
TARGET = bytes(20)
TX = b"\1" * 32
HEAD = BlockId(20, b"\7" * 32)
MARK = BlockId(18, b"\6" * 32)


def pending(number: int = 1, nonce: int = 3, **changes: object) -> Intent:
    attempt = Attempt(TX, nonce, b"raw", Fees(100, 1), signed_at=0.0, sent_at=0.0)
    intent = Intent(number, f"batch:{number}", TARGET, b"", State.PENDING, nonce, (attempt,))
    return replace(intent, **changes)  # type: ignore[arg-type]


def queued(number: int = 1, **changes: object) -> Intent:
    return replace(Intent(number, f"batch:{number}", TARGET, b""), **changes)  # type: ignore[arg-type]


def look(count: int = 3, *receipts: Receipt, **changes: object) -> ChainView:
    view = ChainView(HEAD, 0, count, {r.hash: r for r in receipts}, Fees(100, 1))
    return replace(view, **changes)  # type: ignore[arg-type]


def receipt(number: int = 9, succeeded: bool = True) -> Receipt:
    return Receipt(TX, number, b"\2" * 32, succeeded, 1)


def planned(intents: list[Intent], view: ChainView, **changes: object) -> list[Action]:
    how = {"policy": POLICY, "now": 4.0, "free": [4, 5, 6]} | changes
    return plan(intents, view, **how)  # type: ignore[arg-type]
