"""What was given up, and would land where a reorg gives its nonce back. Pure.

A veto that came too late is void as soon as it has reverted: another one may be needed at once,
under a new nonce. When a reorg takes that block, nodes bring its transaction back to their pools,
and there it would hit whatever root waits under its epoch by then.
"""

from collections.abc import Sequence

from corechain_relayer.submitter.plan import (
    Action,
    Attempt,
    Fees,
    Fill,
    Intent,
    Sign,
    State,
    of_nothing,
)

STRAY_S = 86_400
"""What was signed before has left pools and reorgs behind: the deepest reorg is of 21 minutes."""


def stray(number: int, key: str, target: bytes, calldata: bytes, attempt: Attempt) -> Intent:
    """An intent that was given up, with a transaction of it that may land."""
    held = attempt.nonce, (attempt,)
    return Intent(number, key, target, calldata, State.VOID, *held, cancel="it was given up")


def others(free: Sequence[int], strays: Sequence[Intent]) -> list[int]:
    """The free nonces that no stray may land under. What is signed for the first time is not: its
    fee may be below the stray's, and until it was dearer no node would take it."""
    theirs = {attempt.nonce for one in strays for attempt in one.attempts}
    return [nonce for nonce in free if nonce not in theirs]


def recalled(
    strays: Sequence[Intent], planned: Sequence[Action], suggested: Fees, cap: int
) -> list[Fill]:
    """Nothing in the place of strays."""
    taken = {action.nonce for action in planned if isinstance(action, Sign | Fill)}
    return [
        Fill(one, attempt.nonce, of_nothing(attempt.fees, suggested, cap))
        for one in strays
        for attempt in one.attempts
        if attempt.nonce not in taken
    ]
