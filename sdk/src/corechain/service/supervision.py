"""Loops that outlive an outage. Anything else that goes wrong stops the process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from corechain.protocol.errors import TransportError

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
CALM_AFTER_S = 60.0
"""A session that lasted so long has recovered: the next outage starts with a short pause."""
CANCEL_AGAIN_S = 0.5
T = TypeVar("T")


class Pause:
    """Doubles from outage to outage, up to a limit."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_S

    def next(self, lasted_s: float) -> float:
        if lasted_s >= CALM_AFTER_S:
            self._seconds = FIRST_PAUSE_S
        pause, self._seconds = self._seconds, min(LONGEST_PAUSE_S, self._seconds * 2)
        return pause


async def sessions(
    name: str, session: Callable[[], Awaitable[None]], restarted: Callable[[], None]
) -> None:
    """Runs a session again and again. A session starts from what is durable, so that going on after
    an outage is the same as going on after a crash; only TransportError is taken for an outage.
    `restarted` counts them."""
    pause = Pause()
    while True:
        started = time.monotonic()
        try:
            await session()
        except TransportError as error:
            seconds = pause.next(time.monotonic() - started)
            restarted()
            log.warning("session ended by an outage", loop=name, error=str(error), retry_s=seconds)
            await asyncio.sleep(seconds)


async def available(name: str, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, as soon as there is one: at start the others may not be up yet."""
    pause = Pause()
    while True:
        try:
            return await ask()
        except TransportError as error:
            seconds = pause.next(0.0)
            log.warning("waiting", what=name, error=str(error), retry_s=seconds)
            await asyncio.sleep(seconds)


async def stop_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels tasks in reverse order, again until they end: on Python 3.11 a cancellation is lost
    when it meets the end of what was waited for (asyncio.wait_for, and asyncpg's own)."""
    running = set(tasks)
    while running:
        for task in reversed(tasks):
            task.cancel()
        _, running = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
