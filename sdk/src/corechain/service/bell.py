"""An event that many loops wake by."""

import asyncio
from collections.abc import Awaitable, Callable


class Bell(asyncio.Event):
    """An event for many loops, each of which has one of its own: a loop that clears the event it
    woke by must not take it from another one that is still at work."""

    def __init__(self) -> None:
        super().__init__()
        self._heard_by: dict[str, asyncio.Event] = {}

    def heard_by(self, loop: str) -> asyncio.Event:
        return self._heard_by.setdefault(loop, asyncio.Event())

    def set(self) -> None:
        super().set()
        for event in self._heard_by.values():
            event.set()


async def until_woken(
    step: Callable[[], Awaitable[bool]], wake: asyncio.Event, pause_s: float
) -> None:
    """Steps as long as there is anything to do; then when woken, and every now and then."""
    while True:
        wake.clear()
        if await step():
            continue
        try:
            async with asyncio.timeout(pause_s):
                await wake.wait()
        except TimeoutError:
            continue
