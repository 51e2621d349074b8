"""Readiness: each thing the process needs answers in time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from corechain.protocol.errors import TransportError

TIMEOUT_S = 2.0
Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Health:
    """Named probes; a probe that raises TransportError or hangs is failing."""

    probes: Mapping[str, Probe]

    async def failing(self) -> list[str]:
        answers = await asyncio.gather(*(self._fails(probe) for probe in self.probes.values()))
        return [name for name, fails in zip(self.probes, answers, strict=True) if fails]

    async def _fails(self, probe: Probe) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await probe()
        except (TransportError, TimeoutError):
            return True
        return False
