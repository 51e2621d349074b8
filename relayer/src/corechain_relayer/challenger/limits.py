"""What a challenger stakes, and for how long it waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a challenger stakes. Seconds; base units of the bond's token.

    `patience_s`: so long a data file may take to appear before it is demanded. `stake`: most that
    all demands under way may cost. `demands`: most of one batch. `others_after_s`: so long after
    its deadline somebody else's demand is expired for them; 0: never.
    """

    patience_s: float
    stake: int
    demands: int
    retry_s: float
    others_after_s: float = 0.0
