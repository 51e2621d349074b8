"""Of how many blocks logs are asked for together. Pure.

Nodes refuse by blocks, by logs or by time, and say so in as many words as there are providers.
"""

from dataclasses import dataclass

GROWS_AFTER = 32
"""Answers in a row. Where it is the number of blocks that a node limits, one question in 33 is
asked in vain; where it was one part of the chain that is dense, the rest is soon asked for in long
ranges again: a year of a fast chain is 126 million blocks."""


@dataclass(slots=True)
class LogRange:
    """Doubled until it is refused, then halved, and doubled again after some answers."""

    blocks: int
    most: int
    _was_refused: bool = False
    _answers: int = 0

    def answered(self) -> None:
        self._answers += 1
        if not self._was_refused or self._answers >= GROWS_AFTER:
            self.blocks, self._answers = min(2 * self.blocks, self.most), 0

    def refused(self, blocks: int) -> None:
        """A range of so many, which may have been a shorter one."""
        self.blocks, self._was_refused, self._answers = max(1, blocks // 2), True, 0
