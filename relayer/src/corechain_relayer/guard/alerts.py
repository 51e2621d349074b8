"""What an operator has to look at now, in log, metrics and `/ready`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

FUNDS, SENDING = "funds", "sending"
SHOWN = 5
"""Alerts that `/ready` spells out: somebody could make a thousand demands."""


@dataclass(slots=True)
class Alerts:
    """The newest reason by subject (a demand, the key's funds). A reason is logged when new."""

    metrics: Metrics
    standing: dict[str, str] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def demand(self, demand: OpenDemand, left_s: int, reason: str, detail: str) -> None:
        """A demand of which it is not sure that it will be answered in time."""
        fields = demand.fields() | {"left_s": left_s}
        text = f"batch {demand.batch_id}, {demand.kind_name}, {left_s} s left: {reason} ({detail})"
        if self._raise(demand.id.hex(), reason, text):
            self.metrics.guard_unanswerable.labels(demand.kind_name, reason).inc()
            log.error("demand is in danger", reason=reason, detail=detail, **fields)

    def funds(self, balance: int, needed: int, address: bytes) -> None:
        text = f"0x{address.hex()} has {balance} wei, answers may need {needed}"
        if self._raise(FUNDS, "not enough funds", text):
            fields = {"address": address.hex(), "balance": balance, "needed": needed}
            log.error("the guard's key needs funds", **fields)

    def sending(self, problem: CoreChainError | None) -> None:
        """What keeps the submitter of answers from its work, None when nothing does: the node
        refuses, no funds, a halt. No reason to call the whole process unready."""
        if problem is None:
            self.clear(SENDING)
        elif self._raise(SENDING, type(problem).__name__, f"answers are not sent: {problem}"):
            log.error("answers are not sent", kind=type(problem).__name__, error=str(problem))

    def keep(self, demands: Iterable[bytes]) -> None:
        """Drops the alerts of all other demands: they are closed, whoever saw it."""
        kept = {FUNDS, SENDING} | {demand_id.hex() for demand_id in demands}
        for subject in self.standing.keys() - kept:
            self.clear(subject)

    def clear(self, subject: str) -> None:
        self.standing.pop(subject, None)
        if self._reasons.pop(subject, None) is not None:
            log.info("alert is over", subject=subject)
        self.metrics.guard_alerts.set(len(self.standing))

    def _raise(self, subject: str, reason: str, text: str) -> bool:
        """Whether it is news."""
        news = self._reasons.get(subject) != reason
        self._reasons[subject], self.standing[subject] = reason, text
        self.metrics.guard_alerts.set(len(self.standing))
        return news

    def sentences(self) -> list[str]:
        """For the warnings of `/ready`."""
        texts = [f"guard: {text}" for text in self.standing.values()]
        more = [f"guard: and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
        return texts[:SHOWN] + more
