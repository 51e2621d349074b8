"""How many queries are worked on at a time, and when one more is too many.

Beyond what the stores can do side by side, more work at once only makes every answer later: a query
that waits costs nothing, and one that would be answered too late is refused at once, so that under
twice the load half is answered in time, and not all of it too late.

A burst and an overload look alike at first: a queue. What came in a burst is answered if that takes
`WAIT_S`. A queue that does not empty is an overload: whoever waits in it only makes those behind
wait as long, so it is kept short, and the surplus refused, until it is over ("Controlling Queue
Delay", Nichols and Jacobson 2012, is the same thought for routers).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from corechain.protocol.errors import Overloaded

WAIT_S = 1.0
"""In a burst. Longer than any answer within capacity takes, shorter than clients' patience."""
SHORT_WAIT_S = 0.15
"""In an overload: what is answered is answered within the 200 ms that are promised. Less would
refuse clients who ask again as soon as they are answered, 200 of them a process, whose queue never
empties although nobody in it waits for long."""
STANDING_S = 1.0
"""A queue that was not empty for so long is no burst. Less would take a checkpoint of Postgres, or
a busy neighbour on the machine, for an overload."""
CALM_S = 1.0
"""Without a refusal for so long an overload is over. A short queue is empty now and then."""
WAITING = 4_000
"""At the most; each is a few kilobytes. Where nothing is answered at all, these wait for it."""
SMOOTHING = 0.05
"""Of the time between two that leave: about the last twenty."""

NEVER = float("-inf")


class _Turn(NamedTuple):
    until: float
    """It waits no longer."""
    comes: "asyncio.Future[None]"


@dataclass(slots=True)
class Gate:
    """Lets `most` in at a time, the others in their order: `async with gate`.

    Raises Overloaded for who would be, or was, kept waiting for too long: `wait_s` in a burst,
    `short_wait_s` in an overload.
    """

    most: int
    wait_s: float = WAIT_S
    short_wait_s: float = SHORT_WAIT_S
    waiting: int = WAITING
    clock: Callable[[], float] = time.monotonic
    inside: int = 0
    _queue: deque[_Turn] = field(default_factory=deque)
    _standing_since: float = 0.0
    """When the queue was empty last."""
    _overloaded_until: float = NEVER
    _left_at: float = NEVER
    """When the last one left a gate with a queue."""
    _between_s: float = 0.0
    """From one that leaves to the next, while there is a queue; smoothed."""

    async def __aenter__(self) -> None:
        if self.inside < self.most and not self._queue:
            self.inside += 1
            return
        if self.is_hopeless():
            raise Overloaded("more queries than can be answered in time")
        turn, now = asyncio.get_running_loop().create_future(), self.clock()
        if not self._queue:
            self._standing_since = now
            self._left_at = NEVER
        self._queue.append(_Turn(now + self._patience_s(now), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # its turn came as it left
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def is_hopeless(self, coming: int = 0) -> bool:
        """Whether who comes now would come too late, behind all that wait and some that are on
        their way here. Says at the same time that somebody came."""
        if self.inside < self.most:
            return False
        while self._queue and self._queue[0].comes.done():
            self._queue.popleft()
        ahead = len(self._queue) + coming
        if ahead >= self.waiting:
            return True
        if not self._queue:
            return False
        now = self.clock()
        if ahead * self._between_s <= self._patience_s(now) and now <= self._queue[0].until:
            return False
        self._overloaded_until = now + CALM_S
        return True

    def _patience_s(self, now: float) -> float:
        """How long who comes now would wait."""
        if now < self._overloaded_until:
            return self.short_wait_s
        if self._queue and now - self._standing_since > STANDING_S:
            self._overloaded_until = now + CALM_S
            return self.short_wait_s
        return self.wait_s

    def _leave(self) -> None:
        """The place goes to the first who still waits, and has not waited for too long."""
        self.inside -= 1
        if not self._queue:
            return
        now = self.clock()
        self._note(now)
        while self._queue and self.inside < self.most:
            until, turn = self._queue.popleft()
            if turn.done():
                continue
            if until < now:
                self._overloaded_until = now + CALM_S
                turn.set_exception(Overloaded("the query waited for too long"))
            else:
                self.inside += 1
                turn.set_result(None)

    def _note(self, now: float) -> None:
        if self._left_at > NEVER:
            self._between_s += SMOOTHING * (now - self._left_at - self._between_s)
        self._left_at = now


HEAVY = frozenset({"statistics", "proof", "history"})
"""Handlers that hash in threads for milliseconds: they share one Python with all others."""
Parameters = TypeVar("Parameters")
Answered = TypeVar("Answered")


@dataclass(slots=True)
class Gates:
    """`most` queries at a time, a quarter of them heavy ones."""

    most: int = 32
    all: Gate = field(init=False)
    heavy: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.all = Gate(self.most)
        self.heavy = Gate(max(1, self.most // 4))

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
