"""How a deadline changes the fees one is ready to pay. Pure."""

from dataclasses import dataclass, replace

from corechain_relayer.submitter.plan import Policy

NO_DEADLINE = float("inf")
CALM_SHARE = 2
"""With more than half of the window left an answer is as patient as a batch."""
BUMPS_LEFT = 16
"""A replacement each sixteenth of the time that is left: an eighth more each time, the fee grows
past a hundredfold long before the deadline."""
FASTEST_BUMP_S = 2.0
"""A block on most chains; a replacement before it only costs signatures."""


def hurried(policy: Policy, left_s: float, window_s: float, cap: int) -> Policy:
    """The policy of a queue whose nearest deadline is `left_s` seconds away of `window_s`. In the
    second half of the window the fee cap is `cap`, if that is higher: what is at stake then is half
    a bond, not the price of a transaction."""
    bump_s = min(policy.bump_after_s, max(FASTEST_BUMP_S, left_s / BUMPS_LEFT))
    late = left_s * CALM_SHARE < window_s
    max_fee = max(policy.max_fee, cap) if late else policy.max_fee
    resend_s = min(policy.resend_after_s, bump_s)
    pause_s = min(policy.refused_pause_s, bump_s)
    return replace(
        policy,
        bump_after_s=bump_s,
        resend_after_s=resend_s,
        refused_pause_s=pause_s,
        max_fee=max_fee,
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """The nearest deadline of a queue: seconds left of its window, by the chain's time."""

    left_s: float = NO_DEADLINE
    window_s: float = NO_DEADLINE

    def policy(self, calm: Policy, cap: int) -> Policy:
        """What the queue is ready to pay now."""
        return (
            calm if self.left_s == NO_DEADLINE else hurried(calm, self.left_s, self.window_s, cap)
        )


AT_ONCE = Pace(0.0, 1.0)
"""Of what should be in a block by now."""
