"""Ends the pauses of loops that wait for an outage to end, as soon as it has ended.

A pause that doubles spares what is away, and is too long the moment it is back. So while a loop
waits, the process looks each second at what it needs, whether or not anybody asks `/ready`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

FLOOR_S = 1.0
"""No loop is woken sooner than this: what flaps would otherwise be asked by all at each flap."""
LOOK_EVERY_S = 1.0
STEADY_PAUSE_S = 4.0
"""The longest pause while everything answers: then what ended the session is nothing that a probe
sees (a node that answers and lies), or was over before the first look."""
Look = Callable[[], Awaitable[bool]]
"""Asks all that the process needs; whether all of it answers. Raises nothing."""


@dataclass(slots=True, eq=False)
class Waking:
    """The loops of a process that rest now. `look` is set by the process's health."""

    look: Look | None = None
    _resting: dict[asyncio.Event, float] = field(default_factory=dict)
    """What wakes each, and since when it rests (monotonic seconds)."""
    _looking: asyncio.Task[None] | None = None

    async def rest(self, seconds: float) -> None:
        """Until so many seconds have passed or `wake` is called, but at least FLOOR_S of them."""
        woken = asyncio.Event()
        self._resting[woken] = time.monotonic()
        if self.look is not None and self._looking is None:
            self._looking = asyncio.create_task(self._look_on(self.look))
        try:
            # A recovery seen meanwhile is not lost: the event stays set.
            await asyncio.sleep(min(FLOOR_S, seconds))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds - FLOOR_S)):
                    await woken.wait()
        finally:
            del self._resting[woken]
            self._look_no_more()

    def wake(self, rested_s: float = 0.0) -> None:
        """What failed answers again: ends the pauses of all that have rested so long."""
        now = time.monotonic()
        for woken, since in self._resting.items():
            if now - since >= rested_s:
                woken.set()

    async def _look_on(self, look: Look) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if await look():
                self.wake(STEADY_PAUSE_S)

    def _look_no_more(self) -> None:
        if self._looking is not None and not self._resting:
            self._looking.cancel()
            self._looking = None
