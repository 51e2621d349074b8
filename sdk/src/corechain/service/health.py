"""Readiness: each thing the process needs answers in time, and each of its loops does its work."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from corechain.protocol.errors import CoreChainError
from corechain.service.supervision import Loops, LoopState

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0
SPARED_TIMEOUT_S = 1.0
"""Shorter: who asks this process within `TIMEOUT_S`, as a supervisor does its workers, still gets
its answer while something hangs that is not needed."""
KEPT_S = 5.0
"""How old an answer may be that counts while the next one is late. A process under load that called
itself unready for one late answer would hand its load to the others, and so on until none is left.
Counted from the answer: who asks seldom hears at once of what hangs."""
Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class AllBut(Container[str]):
    """Every name but these."""

    names: Collection[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.names


async def no_facts() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Health:
    """Named probes and the process's loops. A probe that raises is failing; so is one that is late,
    but for one that answered in the last `KEPT_S`: of that there is a warning. `warnings`:
    sentences about what an operator has to do though this process does its work, hence no 503.
    `spared`: probes of what it works without; where one fails that is a warning. `spared_loops`:
    loops by name that may wait for such things, which is a warning; a halted or failed one counts
    all the same. `facts`: more members of the document, of work that goes on beside; it bounds its
    own time and raises nothing. `clock`: monotonic seconds. `timed`: hears how long each probe
    took; +Inf of one without an answer. A probe that answers again after it failed wakes the loops
    that wait."""

    probes: Mapping[str, Probe]
    loops: Loops = field(default_factory=Loops)
    warnings: Callable[[], Sequence[str]] = tuple
    spared: Mapping[str, Probe] = field(default_factory=dict)
    facts: Callable[[], Awaitable[Mapping[str, Any]]] = no_facts
    clock: Callable[[], float] = time.monotonic
    timed: Callable[[str, float], None] = lambda name, seconds: None
    spared_loops: Container[str] = ()
    itself: Mapping[str, Probe] = field(default_factory=dict)
    """Instead of a probe for which others may answer: whom `is_silent` asks."""
    _answered: dict[str, float] = field(default_factory=dict)
    """When each probe answered last, unless it refused since then."""
    _late: dict[str, str] = field(default_factory=dict)
    """Warnings of the probes whose answer is late while an older one counts."""
    _asking: set[asyncio.Future[object]] = field(default_factory=set)
    _away: set[str] = field(default_factory=set)
    """Probes without an answer the last time, late ones too, though they may count as slow."""

    def __post_init__(self) -> None:
        self.loops.waking.look = self._look

    async def _look(self) -> bool:
        """Asks everything, for loops that wait; whether all has answered."""
        needed, spared = self.probes, self.spared
        await asyncio.gather(
            self._lacking(needed, TIMEOUT_S), self._lacking(spared, SPARED_TIMEOUT_S)
        )
        return not self._away

    async def failing(self) -> dict[str, str]:
        """What the process lacks, by name, with the reason."""
        unwell = self.loops.unwell()
        needed = {name: why for name, why in unwell.items() if not self._is_spared(name)}
        return await self._lacking(self.probes, TIMEOUT_S) | needed

    def _waiting(self) -> Mapping[str, str]:
        """The reasons of the loops that wait and are spared, by name."""
        return {n: why for n, why in self.loops.unwell().items() if self._is_spared(n)}

    def _is_spared(self, loop: str) -> bool:
        report = self.loops.reports.get(loop)
        waits = report is not None and report.state is LoopState.WAITING
        return waits and loop in self.spared_loops

    async def _lacking(self, probes: Mapping[str, Probe], limit_s: float) -> dict[str, str]:
        asked = (self._reason(name, probe, limit_s) for name, probe in probes.items())
        reasons = await asyncio.gather(*asked)
        return {name: why for name, why in zip(probes, reasons, strict=True) if why}

    async def _reason(self, name: str, probe: Probe, limit_s: float) -> str:
        began = self.clock()
        reason = await self._judged(name, probe, limit_s)
        self.timed(name, math.inf if name in self._away else self.clock() - began)
        return reason

    async def _judged(self, name: str, probe: Probe, limit_s: float) -> str:
        self._late.pop(name, None)
        try:
            await self._asked(probe, limit_s)
        except TimeoutError:
            self._away.add(name)
            return self._late_reason(name, f"no answer within {limit_s:g} s")
        except CoreChainError as error:
            self._away.add(name)
            self._answered.pop(name, None)
            self.loops.hear(error)
            return str(error) or error.name
        except Exception as error:  # a probe must not make /ready itself fail
            log.error("probe failed", exc_info=error)
            self._away.add(name)
            self._answered.pop(name, None)
            return type(error).__name__
        self._answered[name] = self.clock()
        if name in self._away:
            self._away.discard(name)
            self.loops.waking.wake()
        return ""

    def _late_reason(self, name: str, reason: str) -> str:
        """Empty, and a warning instead, while the last answer counts."""
        if self.clock() - self._answered.get(name, -math.inf) >= KEPT_S:
            return reason
        self._late[name] = f"{name} is late ({reason}); its last answer counts for {KEPT_S:g} s"
        return ""

    async def is_silent(self, name: str, within_s: float) -> bool:
        """Whether that probe, if there is one, has no answer, not even a refusal, in that time."""
        if name not in self.probes:
            return False
        try:
            await self._asked(self.itself.get(name, self.probes[name]), within_s)
        except TimeoutError:
            return True
        except Exception:  # whoever asks the same hears it, too
            return False
        return False

    async def _asked(self, probe: Probe, within_s: float) -> None:
        """Raises TimeoutError, and what the probe raises."""
        task = asyncio.ensure_future(probe())
        self._asking.add(task)
        task.add_done_callback(self._ended)
        try:
            done, _ = await asyncio.wait({task}, timeout=within_s)
        finally:
            # Not awaited: to be cancelled may take a driver longer than the answer would.
            task.cancel()
        if not done:
            raise TimeoutError
        await task

    def _ended(self, task: asyncio.Future[object]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # of one that nobody waits for any more

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """(ready, the document of `/ready`): status, the loops' states, and what is failing."""
        failing, spared = await asyncio.gather(
            self.failing(), self._lacking(self.spared, SPARED_TIMEOUT_S)
        )
        document: dict[str, Any] = {"status": "unavailable" if failing else "ok"}
        if failing:
            document |= {"failing": list(failing), "reasons": failing}
        missed = (
            f"{name} is away, and this process works without it: {why}"
            for name, why in spared.items()
        )
        waiting = (
            f"{name} waits, and this process goes on without it: {why}"
            for name, why in self._waiting().items()
        )
        warnings = [*self.warnings(), *missed, *self._late.values(), *waiting]
        if warnings:
            document["warnings"] = warnings
        document |= await self.facts()
        return not failing, document | {"loops": dict(self.loops.states())}
