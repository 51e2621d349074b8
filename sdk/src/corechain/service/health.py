"""Readiness: each thing the process needs answers in time, and each of its loops does its work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from corechain.protocol.errors import CoreChainError
from corechain.service.supervision import Loops

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0
Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Health:
    """Named probes and the process's loops. A probe that raises or hangs is failing. `warnings`:
    sentences about what an operator has to do though this process does its work, hence no 503."""

    probes: Mapping[str, Probe]
    loops: Loops = field(default_factory=Loops)
    warnings: Callable[[], Sequence[str]] = tuple

    async def failing(self) -> dict[str, str]:
        """What the process lacks, by name, with the reason."""
        reasons = await asyncio.gather(*(self._reason(probe) for probe in self.probes.values()))
        probed = {name: why for name, why in zip(self.probes, reasons, strict=True) if why}
        return probed | dict(self.loops.unwell())

    async def _reason(self, probe: Probe) -> str:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await probe()
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        except CoreChainError as error:
            return str(error) or error.name
        except Exception as error:  # a probe must not make /ready itself fail
            log.error("probe failed", exc_info=error)
            return type(error).__name__
        return ""

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """(ready, the document of `/ready`): status, the loops' states, and what is failing."""
        failing = await self.failing()
        document: dict[str, Any] = {"status": "unavailable" if failing else "ok"}
        if failing:
            document |= {"failing": list(failing), "reasons": failing}
        warnings = list(self.warnings())
        if warnings:
            document["warnings"] = warnings
        return not failing, document | {"loops": dict(self.loops.states())}
