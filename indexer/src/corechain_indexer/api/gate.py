"""How many queries are worked on at a time, and when one more is too many.

Beyond what the stores can do side by side, more work at once only makes every answer later: a query
that waits costs nothing, and one that would be answered too late is refused at once, so that under
twice the load half is answered in time, and not all of it too late.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from corechain.protocol.errors import Overloaded

WAIT_S = 1.0
"""Longer than any answer within capacity takes, shorter than clients' patience."""
WAITING = 4_000
"""At the most; each is a few kilobytes. Where nothing is answered at all, these wait for it."""


@dataclass(slots=True)
class Gate:
    """Lets `most` in at a time, the others in their order: `async with gate`.

    Raises Overloaded for who would be, or was, kept waiting for over `wait_s`.
    """

    most: int
    wait_s: float = WAIT_S
    waiting: int = WAITING
    clock: Callable[[], float] = time.monotonic
    inside: int = 0
    _queue: "deque[tuple[float, asyncio.Future[None]]]" = field(default_factory=deque)

    async def __aenter__(self) -> None:
        if self.inside < self.most and not self._queue:
            self.inside += 1
            return
        if self.is_hopeless():
            raise Overloaded("more queries than can be answered in time")
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((self.clock(), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # its turn came as it left
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def is_hopeless(self) -> bool:
        """Whether who comes now would come too late: the last one waits at least as long as the
        first of the queue has."""
        if self.inside < self.most:
            return False
        while self._queue and self._queue[0][1].done():
            self._queue.popleft()
        if len(self._queue) >= self.waiting:
            return True
        return bool(self._queue) and self.clock() - self._queue[0][0] > self.wait_s

    def _leave(self) -> None:
        """The place goes to the first who still waits, and has not waited for too long."""
        self.inside -= 1
        late = self.clock() - self.wait_s
        while self._queue and self.inside < self.most:
            since, turn = self._queue.popleft()
            if turn.done():
                continue
            if since < late:
                turn.set_exception(Overloaded("the query waited for too long"))
            else:
                self.inside += 1
                turn.set_result(None)


HEAVY = frozenset({"statistics", "proof"})
"""Handlers that hash in threads for milliseconds: they share one Python with all others."""
Parameters = TypeVar("Parameters")
Answered = TypeVar("Answered")


@dataclass(slots=True)
class Gates:
    """`most` queries at a time, a quarter of them heavy ones."""

    most: int = 64
    all: Gate = field(init=False)
    heavy: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.all, self.heavy = Gate(self.most), Gate(max(1, self.most // 4))

    def guarded(
        self, name: str, answer: Callable[[Parameters], Awaitable[Answered]]
    ) -> Callable[[Parameters], Awaitable[Answered]]:
        """The handler of that name, behind its gates."""

        async def light(parameters: Parameters) -> Answered:
            async with self.all:
                return await answer(parameters)

        async def heavy(parameters: Parameters) -> Answered:
            # In this order: those that wait for the narrow gate hold no place of the wide one.
            async with self.heavy, self.all:
                return await answer(parameters)

        return heavy if name in HEAVY else light
