"""What a queue may still spend today. Pure; amounts in wei."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain_relayer.submitter.plan import Attempt, Intent
from corechain_relayer.submitter.rlp import gas_limit

FRAME_BYTES = 256
"""What a signed transaction has besides its call: numbers, addresses and a signature."""
BUDGET_REACHED = "BudgetReached"


@dataclass(frozen=True, slots=True)
class Spending:
    """`spent`: by the receipts of the last 24 hours. `l1_fee`: what one transaction pays to L1
    beside its gas, at most; no fee cap covers it."""

    spent: int = 0
    l1_fee: int = 0

    def most(self, attempt: Attempt) -> int:
        """What a signed transaction can cost: its gas is rarely used up, its cap rarely reached."""
        return gas_limit(attempt.raw) * attempt.fees.max_fee + self.l1_fee

    def at_stake(self, intent: Intent) -> int:
        """What an intent that is in no block yet can cost: one of its attempts can be mined."""
        return max(map(self.most, intent.attempts), default=0)

    def left(self, budget: int, intents: Sequence[Intent]) -> int:
        """Never less than 0: what may be signed for besides all that is under way."""
        return max(0, budget - self.spent - sum(map(self.at_stake, intents)))


@dataclass(slots=True)
class Purse:
    """What is left, while several transactions are signed at a time."""

    spending: Spending
    left: int

    def pays(self, intent: Intent, attempt: Attempt) -> bool:
        """Takes out what the intent can cost more with this attempt; False where it is too much."""
        more = max(0, self.spending.most(attempt) - self.spending.at_stake(intent))
        if more > self.left:
            return False
        self.left -= more
        return True
