"""What keeps intents from the chain, and who learns of it: the plan, /ready and the metrics."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError
from corechain_relayer.errors import LaneHalted, NotLaneSubmitter
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.budget import BUDGET_REACHED
from corechain_relayer.submitter.journal import IntentJournal, Standing
from corechain_relayer.submitter.memory import WAITS_FOR_FINALITY, Memory
from corechain_relayer.submitter.plan import Intent, Policy, State

log = structlog.get_logger(__name__)

NOBODY = bytes(20)
COUNT_EVERY_S = 5.0
"""How often open intents are counted for the metric: the only question that grows with them."""
NOT_LANE_SUBMITTER = "NotLaneSubmitter"

Entitled = Callable[[], Awaitable[None]]
"""Raises NotLaneSubmitter when the chain would take nothing from our key."""
Report = Callable[[CoreChainError | None], None]
"""Takes what keeps the queue from its work, None when nothing does; called every round."""


class Waits(CoreChainError):
    """The oldest intent was refused for now; it is tried again by itself."""


async def always() -> None:
    """A key that needs nobody's leave."""


async def ask_key(entitled: Entitled, before: NotLaneSubmitter | None) -> NotLaneSubmitter | None:
    """What is in our key's way now; `before`: what was when it was asked last."""
    try:
        await entitled()
    except NotLaneSubmitter as error:
        if str(error) != str(before):  # once, not every few seconds
            log.error("not the lane's submitter: nothing is signed", error=str(error))
        return error
    if before is not None:
        log.info("the key may commit now", lane=before.lane)
    return None


def say_waits(intent: Intent, reason: str, why: str) -> None:
    """Logs that an intent was refused for now."""
    log.error("intent waits", intent=intent.key, reason=reason, why=why)


@dataclass(slots=True)
class Held:
    """Of one queue: shows what stands still. Halts are in the journal; what cures itself is in the
    submitter's memory only."""

    journal: IntentJournal
    metrics: Metrics
    report: Report = lambda problem: None
    sender: bytes = NOBODY
    """Whose transactions they are: the journal shows it to operators."""
    standing: Standing = field(default_factory=Standing)
    """As of the last round."""
    _counted_at: float = float("-inf")
    _shown: dict[str, int] = field(default_factory=dict)
    """By reason, how many intents the metric says are held."""
    _noted: dict[int, tuple[str, str]] = field(default_factory=dict)
    """What this process has told the journal that intents wait for."""

    @property
    def is_paused(self) -> bool:
        """Whether an operator has paused the queue, as of the last round."""
        return self.standing.pause is not None

    async def show(self, intents: Sequence[Intent], memory: Memory, policy: Policy) -> None:
        """Tells /ready, the metrics and the journal how things stand."""
        self.standing = await self.journal.standing()
        halts = self.standing.halts
        problem = _problem(intents, halts, memory)
        self.report(problem)
        await self._note_waits(intents, memory)
        self._show_held(_held(intents, halts, memory))
        now = time.monotonic()
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = now
            await self._count(policy, None if problem is None else str(problem))

    def _show_held(self, held: dict[str, int]) -> None:
        """Only what is new: most rounds are like the one before."""
        if held == self._shown:
            return
        for reason in self._shown.keys() | held.keys():
            gauge = self.metrics.intents_held.labels(self.journal.queue, reason)
            gauge.set(held.get(reason, 0))
        self._shown = held

    async def _note_waits(self, intents: Sequence[Intent], memory: Memory) -> None:
        """Whoever asks why an intent waits asks the journal, from another process."""
        waits = {number: (pause.reason, pause.why) for number, pause in memory.pauses.items()}
        waits |= {number: (weak.reason, weak.why) for number, weak in memory.weak.items()}
        # Also those of an earlier life, which may be over since.
        said = self._noted.keys() | {i.id for i in intents if i.waits is not None}
        over = said - waits.keys()
        news = {n: wait for n, wait in waits.items() if self._noted.get(n) != wait}
        if over:
            await self.journal.forget_waits(sorted(over))
        if news:
            await self.journal.note_waits(news)
        self._noted = waits

    async def _count(self, policy: Policy, problem: str | None) -> None:
        counts = await self.journal.note_look(self.sender, policy, problem)
        for state in (State.QUEUED, State.PENDING, State.CONFIRMED):
            gauge = self.metrics.intents_open.labels(self.journal.queue, state.value)
            gauge.set(counts.get(state, 0))


def _held(intents: Sequence[Intent], halts: Sequence[LaneHalted], memory: Memory) -> dict[str, int]:
    """How many are held, by reason."""
    # A nonce that is spent because an operator wanted it so is nothing to wake anybody for.
    lost = [i for i in intents if i.spent is not None and i.cancel is None]
    held = {
        WAITS_FOR_FINALITY: len(lost),
        BUDGET_REACHED: int(memory.over_budget),
        NOT_LANE_SUBMITTER: int(memory.not_ours is not None),
    }
    reasons = [halt.kind for halt in halts]
    reasons += [pause.reason for pause in memory.pauses.values()]
    reasons += [weak.reason for weak in memory.weak.values()]
    for reason in reasons:
        held[reason] = held.get(reason, 0) + 1
    return held


def _problem(
    intents: Sequence[Intent], halts: Sequence[LaneHalted], memory: Memory
) -> CoreChainError | None:
    """The gravest: what only an operator cures, then what holds up the oldest intent."""
    if halts:
        return halts[0]
    if memory.not_ours is not None:
        return memory.not_ours
    if memory.over_budget and intents:
        return Waits("the budget of 24 hours is used up: nothing more is signed for now")
    for intent in intents:
        weak = memory.weak.get(intent.id)
        if weak is not None:
            return Waits(f"{intent.key} waits ({weak.reason}): {weak.why}")
        pause = memory.pauses.get(intent.id)
        if pause is not None and pause.reason != WAITS_FOR_FINALITY:
            return Waits(f"{intent.key} waits ({pause.reason}): {pause.why}")
    return None
