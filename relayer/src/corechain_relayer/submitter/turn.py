"""Whose turn it is to get a fresh nonce, within one round of a queue. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class Turn:
    """Who may sign for a fresh nonce in this round, and for which; asked in the queue's order."""

    ordered: bool
    in_flight: int
    """Pending intents of the queue at a time."""
    free: list[int]
    """Ascending."""
    open: bool
    pending: int
    """Of the whole queue: after a reorg or a renewal earlier intents wait behind later ones."""
    highest: int = -1
    """Nonce of the earlier intents."""

    def stood_still(self) -> None:
        """An earlier intent has trouble: in an ordered queue nobody overtakes it."""
        self.open &= not self.ordered

    def passed(self, nonce: int) -> None:
        """An earlier intent is pending."""
        self.highest = max(self.highest, nonce)

    def nonce(self) -> int | None:
        """The next one's nonce; None when it has to wait."""
        if not self.open or not self.free:
            return None
        # Above a gap nothing would be mined, and in the gap it would overtake.
        overtakes = self.ordered and self.free[0] < self.highest
        if self.pending >= self.in_flight or overtakes:
            self.open = False
            return None
        self.pending, self.highest = self.pending + 1, self.free[0]
        return self.free.pop(0)
