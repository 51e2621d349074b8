"""The newest block of the node, for all who ask at about the same time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from corechain.service.rpc import Questions

MAX_AGE_S = 1.0
"""A question costs the API a millisecond and waits for the node, which may stand still for half a
second; the heads of the chains that we are on come every 0.25 to 12 s."""


@dataclass(slots=True)
class NodeHead:
    """Asks the node once a second at most, whoever asks us."""

    rpc: Questions
    max_age_s: float = MAX_AGE_S
    clock: Callable[[], float] = time.monotonic
    _number: int = 0
    _asked_at: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def number(self, at_least: int = 0) -> int:
        """A block that was the newest a second ago, or `at_least`. Raises NodeUnavailable."""
        async with self._asking:
            asked_at = self.clock()
            if asked_at - self._asked_at >= self.max_age_s:
                self._number = (await self.rpc.head()).number
                self._asked_at = asked_at
        return max(self._number, at_least)
