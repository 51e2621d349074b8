"""What keeps intents from the chain, and who learns of it: the plan, /ready and the metrics."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError
from corechain_relayer.errors import LaneHalted, NotLaneSubmitter
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Intent, State

log = structlog.get_logger(__name__)

COUNT_EVERY_S = 5.0
"""How often open intents are counted for the metric: the only question that grows with them."""
WAITS_FOR_FINALITY, NOT_LANE_SUBMITTER = "WaitsForFinality", "NotLaneSubmitter"

Entitled = Callable[[], Awaitable[None]]
"""Raises NotLaneSubmitter when the chain would take nothing from our key."""
Report = Callable[[CoreChainError | None], None]
"""Takes what keeps the queue from its work, None when nothing does; called every round."""


class Waits(CoreChainError):
    """The oldest intent was refused for now; it is tried again by itself."""


async def always() -> None:
    """A key that needs nobody's leave."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why an intent is left alone, and until when (monotonic seconds)."""

    reason: str
    why: str
    until: float


@dataclass(slots=True)
class Held:
    """Of one queue. Halts are in the journal; what cures itself is in memory only."""

    journal: IntentJournal
    metrics: Metrics
    pause_s: float
    entitled: Entitled = always
    report: Report = lambda problem: None
    not_ours: NotLaneSubmitter | None = None
    _pauses: dict[int, Pause] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)
    _shown: set[str] = field(default_factory=set)

    def pause(self, intent: Intent, reason: str, why: str, pause_s: float | None = None) -> None:
        """Leaves an intent alone for a while: `pause_s` seconds, else what the policy says."""
        retry_s = self.pause_s if pause_s is None else pause_s
        self._pauses[intent.id] = Pause(reason, why, time.monotonic() + retry_s)
        log.error("intent waits", intent=intent.key, reason=reason, why=why, retry_s=retry_s)

    def clear(self, intent: Intent) -> None:
        self._pauses.pop(intent.id, None)

    def paused(self) -> set[int]:
        """Ids of the intents to leave alone now."""
        now = time.monotonic()
        return {number for number, pause in self._pauses.items() if pause.until > now}

    def due(self, what: str, every_s: float) -> bool:
        """Whether it is time to ask again; True counts as asked."""
        now = time.monotonic()
        if now - self._asked_at.get(what, -every_s) < every_s:
            return False
        self._asked_at[what] = now
        return True

    async def halt(self, intent: Intent, halt: LaneHalted) -> None:
        """Keeps the halt where it outlives this process."""
        await self.journal.halt(intent, halt)
        self.clear(intent)
        self.due(intent.key, 0.0)
        log.critical("intent halted", intent=intent.key, kind=halt.kind, why=halt.reason)

    # ------------------------------------------------------------------ the key

    def doubt_key(self) -> None:
        """A call would revert: perhaps the key has lost its lane."""
        self._asked_at.pop(NOT_LANE_SUBMITTER, None)

    async def check_key(self) -> None:
        """Asked at start and after `doubt_key`, and then again until the key may commit."""
        if NOT_LANE_SUBMITTER in self._asked_at and self.not_ours is None:
            return
        if not self.due(NOT_LANE_SUBMITTER, self.pause_s):
            return
        before, self.not_ours = self.not_ours, None
        try:
            await self.entitled()
        except NotLaneSubmitter as error:
            self.not_ours = error
            if str(error) != str(before):  # once, not every few seconds
                log.error("not the lane's submitter: nothing is signed", error=str(error))
        else:
            if before is not None:
                log.info("the key may commit now", lane=before.lane)

    # ------------------------------------------------------------------ what operators see

    async def show(self, intents: Sequence[Intent]) -> None:
        """Tells /ready and the metrics how things stand."""
        halts = await self.journal.halts()
        self.report(self._problem(intents, halts))
        held = Counter(halt.kind for halt in halts)
        held.update(pause.reason for pause in self._pauses.values())
        held[WAITS_FOR_FINALITY] += sum(1 for intent in intents if intent.spent is not None)
        held[NOT_LANE_SUBMITTER] += self.not_ours is not None
        for reason in self._shown | held.keys():
            self.metrics.intents_held.labels(self.journal.queue, reason).set(held[reason])
        self._shown |= held.keys()
        if self.due("count", COUNT_EVERY_S):
            await self._count()

    async def _count(self) -> None:
        counts = await self.journal.counts()
        for state in (State.QUEUED, State.PENDING, State.CONFIRMED):
            gauge = self.metrics.intents_open.labels(self.journal.queue, state.value)
            gauge.set(counts.get(state, 0))

    def _problem(
        self, intents: Sequence[Intent], halts: Sequence[LaneHalted]
    ) -> CoreChainError | None:
        """The gravest: what only an operator cures, then what holds up the oldest intent."""
        if halts:
            return halts[0]
        if self.not_ours is not None:
            return self.not_ours
        for intent in intents:
            pause = self._pauses.get(intent.id)
            if pause is not None and pause.reason != WAITS_FOR_FINALITY:
                return Waits(f"{intent.key} waits ({pause.reason}): {pause.why}")
        return None
