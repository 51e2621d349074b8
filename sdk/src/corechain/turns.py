"""Turns: one at a time, first come first served, for threads and event loops alike.

A lock of `threading` would block the loops, one of `asyncio` knows a single loop. A waiter here
is a future, so nobody occupies a thread while it waits.
"""

import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

    Turn = Future[None]
    _Waiter = tuple[Turn, AbstractEventLoop | None]


class Turns:
    """Use `with turns.taken():` or `async with turns.awaited():`. A fork starts anew."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._busy = False
        self._pid = os.getpid()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Blocks the thread until it is this one's turn."""
        turn = self._ask(None)
        try:
            turn.result()
        except BaseException:
            self._leave(turn)
            raise
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Waits in this event loop until it is this task's turn."""
        import asyncio  # here: a program without loops never loads it

        turn = self._ask(asyncio.get_running_loop())
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            self._leave(turn)
            raise
        try:
            yield
        finally:
            self._pass_on()

    def _ask(self, loop: "AbstractEventLoop | None") -> "Turn":
        from concurrent.futures import Future  # here: a client that pays nothing never loads it

        # A child process has inherited a lock and waiters whose owners do not exist there.
        if os.getpid() != self._pid:
            self._reset()
        turn: Turn = Future()
        with self._lock:
            if self._busy:
                self._waiting.append((turn, loop))
                return turn
            self._busy = True
        turn.set_result(None)
        return turn

    def _leave(self, turn: "Turn") -> None:
        """Of a waiter that was interrupted: its turn may have come in the same moment."""
        if not turn.cancel():
            self._pass_on()

    def _pass_on(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            following = self._next()
            self._busy = following is not None
        if following is not None:
            following.set_result(None)

    def _next(self) -> "Turn | None":
        while self._waiting:
            turn, loop = self._waiting.popleft()
            # A loop that was closed under its tasks never takes its turn.
            if loop is not None and loop.is_closed():
                continue
            if turn.set_running_or_notify_cancel():
                return turn
        return None
