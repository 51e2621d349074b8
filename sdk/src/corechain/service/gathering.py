"""One question for all who ask at about the same time.

While one is under way, the next gathers, so that a question is never older than who asked it, and
under load each answers many.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Gathering(Generic[K, V]):
    """`ask` answers some keys together, all of them; what it raises, all who asked get.

    `most`: keys of a question; an answer waits for the whole of its own. `pause_s`: between the
    beginnings of two questions at least, for those who come while one is under way, or after one
    that several shared. Who asks alone, one question after the other, waits for nobody.
    """

    ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
    most: int = 128
    pause_s: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _waiting: "dict[K, list[asyncio.Future[V]]]" = field(default_factory=dict)
    _asking: "asyncio.Task[None] | None" = None
    _began: float = float("-inf")
    _askers: int = 0
    """Of the group that gathers."""
    _pauses: bool = False
    _loop: "asyncio.AbstractEventLoop | None" = None
    """Where all who ask run: before Python 3.12 each question which loop runs is a system call."""

    async def get(self, key: K) -> V:
        """The answer to a question that has not begun yet."""
        self._askers += 1
        loop = self._loop = self._loop or asyncio.get_running_loop()
        # One for each asker: who leaves takes the answer from nobody. A shared one in a shield is
        # two futures and two callbacks.
        mine: asyncio.Future[V] = loop.create_future()
        self._waiting.setdefault(key, []).append(mine)
        if self._asking is None:
            self._asking = loop.create_task(self._work())
        return await mine

    async def _work(self) -> None:
        try:
            while self._waiting:
                pause = self._began + self.pause_s - time.monotonic()
                if pause > 0 and self._pauses:
                    await self.sleep(pause)
                # One who was alone, with nobody behind, says that no crowd would gather.
                is_shared, self._askers = self._askers > 1, 0
                await self._ask_some()
                self._pauses = is_shared or bool(self._waiting)
        finally:
            self._asking = None

    async def _ask_some(self) -> None:
        keys = list(self._waiting)[: self.most]
        group = {key: self._waiting.pop(key) for key in keys}
        self._began = time.monotonic()
        try:
            found = await self.ask(keys)
            for key, askers in group.items():
                _answer(askers, found[key])
        except Exception as error:
            for one in chain.from_iterable(group.values()):
                if not one.done():
                    one.set_exception(error)
                    one.exception()  # seen: it may leave before it looks
        finally:
            # Cancelled, at the end of the process: nobody is to wait for ever.
            for one in chain.from_iterable(group.values()):
                one.cancel()


def _answer(askers: "Sequence[asyncio.Future[V]]", answer: V) -> None:
    for one in askers:
        if not one.done():  # else it has left
            one.set_result(answer)
