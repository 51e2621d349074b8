"""The newest block of the node, for all who ask at about the same time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from corechain.protocol.errors import TransportError
from corechain.service.rpc import Questions

MAX_AGE_S = 1.0
"""A question costs the API a millisecond and waits for the node, which may stand still for half a
second; the heads of the chains that we are on come every 0.25 to 12 s."""


LONGEST_WAIT_S = 1.0
"""Who asks holds one of the places for queries, and the mirror's answer is whole without the node:
a node that hangs must not take the API with it."""


@dataclass(slots=True)
class NodeHead:
    """Asks the node once a second at most, whoever asks us. A failure is kept as long as a number,
    and from then on one asker at a time waits for the node."""

    rpc: Questions
    max_age_s: float = MAX_AGE_S
    longest_wait_s: float = LONGEST_WAIT_S
    clock: Callable[[], float] = time.monotonic
    _number: int | None = 0
    _asked_at: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def number(self, at_least: int = 0) -> int | None:
        """A block that was the newest a second ago, or `at_least`; None where the node does not
        answer."""
        if self._number is not None or not self._asking.locked():
            async with self._asking:
                if self.clock() - self._asked_at >= self.max_age_s:
                    self._number = await self._ask()
                    # After the answer: who waited meanwhile shares it, also one that took long.
                    self._asked_at = self.clock()
        return None if self._number is None else max(self._number, at_least)

    async def _ask(self) -> int | None:
        try:
            async with asyncio.timeout(self.longest_wait_s):
                return (await self.rpc.head()).number
        except (TransportError, TimeoutError):
            return None
