"""A row of the journal in memory: an intent with what the tables keep beside it."""

from dataclasses import dataclass, field

from corechain_relayer.submitter.plan import Attempt, BlockId, Intent, State


@dataclass(slots=True)
class Row:
    """An intent with what the journal keeps beside it. `old`: attempts under nonces of before."""

    intent: Intent
    old: list[Attempt] = field(default_factory=list)
    confirmed: BlockId | None = None
    transaction: bytes = b""
    why: str = ""
    cancelled: bool = False
    """An operator wanted it cancelled: it may end as void."""
    due: int = 0
    """Seconds of chain time; the most urgent is signed first."""

    def may_count(self, nonce: int) -> bool:
        """Whether what is signed for it under a nonce may still do it, or has done it."""
        if self.intent.state not in (State.CONFIRMED, State.FINAL):
            return True
        signed = (*self.old, *self.intent.attempts)
        return any(a.hash == self.transaction and a.nonce == nonce for a in signed)

    @property
    def is_fresh(self) -> bool:
        """Void, and neither signed for nor cancelled by an operator."""
        tried = self.old or self.intent.attempts or self.cancelled
        return self.intent.state is State.VOID and not tried
