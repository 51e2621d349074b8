"""What an operator has to look at now, in log, metrics and `/ready`."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError
from corechain.service.alerting.alerts import condition
from corechain.service.alerting.book import Condition
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

FUNDS, SENDING = "funds", "sending"
TOO_LATE = "too late"
IN_DANGER, LOST, NO_FUNDS, NOT_SENT = "demand_in_danger", "demand_lost", "guard_funds", "not_sent"
"""Kinds of alerts, as receivers get them."""
DEMANDS = (IN_DANGER, LOST)
SHOWN = 5
"""Alerts that `/ready` spells out: somebody could make a thousand demands."""


def _nobody_knows(demand_id: bytes) -> str:
    return ""


@dataclass(slots=True)
class Alerts:
    """The newest condition by subject (a demand, the key's funds). A reason is logged when new."""

    metrics: Metrics
    standing: dict[str, Condition] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)
    """Kinds that were looked at since the process began: of no other can it say that it is over."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an alert begins, ends or gets another reason, and when a kind is judged first."""
    ending: Callable[[bytes], str] = _nobody_knows
    """How a demand ended that was in danger."""
    _reasons: dict[str, str] = field(default_factory=dict)

    def demand(self, demand: OpenDemand, left_s: int, reason: str, detail: str) -> None:
        """A demand of which it is not sure that it will be answered in time."""
        fields = demand.fields() | {"left_s": left_s}
        text = f"{demand.what}, {demand.kind_name}, {left_s} s left: {reason} ({detail})"
        kind = LOST if reason == TOO_LATE else IN_DANGER
        key = f"0x{demand.id.hex()}"
        said = fields | {"demand": key, "reason": reason, "detail": detail}
        found = condition(kind, key, text, **said)
        if self._raise(demand.id.hex(), reason, found):
            self.metrics.guard_unanswerable.labels(demand.kind_name, reason).inc()
            log.error("demand is in danger", reason=reason, detail=detail, **fields)

    def funds(self, balance: int, needed: int, address: bytes) -> None:
        text = f"0x{address.hex()} has {balance} wei, answers may need {needed}"
        # As text: a reader of JSON may take numbers for floats, and these are large.
        amounts = {"balance": str(balance), "needed": str(needed)}
        found = condition(NO_FUNDS, FUNDS, text, address=f"0x{address.hex()}", **amounts)
        if self._raise(FUNDS, "not enough funds", found):
            fields = {"address": address.hex(), "balance": balance, "needed": needed}
            log.error("the guard's key needs funds", **fields)
        self._judge(NO_FUNDS)

    def enough_funds(self) -> None:
        self.clear(FUNDS)
        self._judge(NO_FUNDS)

    def sending(self, problem: CoreChainError | None) -> None:
        """What keeps the submitter of answers from its work, None when nothing does: the node
        refuses, no funds, a halt. No reason to call the whole process unready."""
        if problem is None:
            self.clear(SENDING)
        else:
            reason, text = type(problem).__name__, f"answers are not sent: {problem}"
            if self._raise(SENDING, reason, condition(NOT_SENT, SENDING, text, reason=reason)):
                log.error("answers are not sent", kind=reason, error=str(problem))
        self._judge(NOT_SENT)

    def keep(self, demands: Iterable[bytes]) -> None:
        """Drops the alerts of all other demands: they are closed, whoever saw it."""
        kept = {FUNDS, SENDING} | {demand_id.hex() for demand_id in demands}
        for subject in self.standing.keys() - kept:
            self.clear(subject)

    def looked(self) -> None:
        """Every open demand was looked at."""
        for kind in DEMANDS:
            self._judge(kind)

    def clear(self, subject: str) -> None:
        self.standing.pop(subject, None)
        if self._reasons.pop(subject, None) is not None:
            log.info("alert is over", subject=subject)
            self.changed.set()
        self.metrics.guard_alerts.set(len(self.standing))

    def _judge(self, kind: str) -> None:
        if kind not in self.judged:
            self.judged.add(kind)
            self.changed.set()

    def _raise(self, subject: str, reason: str, found: Condition) -> bool:
        """Whether it is news."""
        news = self._reasons.get(subject) != reason
        self._reasons[subject], self.standing[subject] = reason, found
        self.metrics.guard_alerts.set(len(self.standing))
        if news:
            self.changed.set()
        return news

    def sentences(self) -> list[str]:
        """For the warnings of `/ready`."""
        texts = [f"guard: {found.summary}" for found in self.standing.values()]
        more = [f"guard: and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
        return texts[:SHOWN] + more
