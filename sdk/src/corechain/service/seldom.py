"""What each request would say, said once a minute: neither outage nor stranger fills a disk."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

EVERY_S = 60.0
MOST = 256
"""Things that are remembered: of more, the one that was said first may be said again."""


@dataclass(slots=True)
class Seldom:
    """Counts how often something is so, and tells when it is time to say it. Of any thread."""

    every_s: float = EVERY_S
    most: int = MOST
    clock: Callable[[], float] = time.monotonic
    _said: dict[Hashable, tuple[float, int]] = field(default_factory=dict)
    """When it was said last, and how often it was so since."""
    _lock: Lock = field(default_factory=Lock)

    def say(self, tell: Callable[..., Any], event: str, about: Hashable, **facts: Any) -> None:
        """Tells a logger `event`, once a minute for each thing that it is `about`; `times` says how
        often it was so since it was told last."""
        times = self.times((event, about))
        if times:
            tell(event, **facts, times=times)

    def times(self, what: Hashable) -> int:
        """How often it was so since it was said last, this time included; 0: not to be said now."""
        with self._lock:
            now, known = self.clock(), self._said.get(what)
            if known is not None and now - known[0] < self.every_s:
                self._said[what] = known[0], known[1] + 1
                return 0
            self._said.pop(what, None)
            self._said[what] = now, 0
            if len(self._said) > self.most:
                del self._said[next(iter(self._said))]
            return 1 if known is None else known[1] + 1
