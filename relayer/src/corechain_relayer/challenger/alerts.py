"""What somebody who guards the bonds of others has to look at now."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from corechain.protocol.errors import CoreChainError
from corechain.service.alerting.alerts import Look, condition
from corechain.service.alerting.book import Condition
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

FRAUD, WITHHELD, UNPROVABLE = "fraud_found", "data_withheld", "fraud_unprovable"
NO_FUNDS, NOT_SENT, WRONG_ROOT = "challenger_funds", "not_sent", "reward_root"
GIVEN_UP = "given_up"
KINDS = (FRAUD, WITHHELD, UNPROVABLE, NO_FUNDS, NOT_SENT, WRONG_ROOT, GIVEN_UP)
"""Kinds of alerts, as receivers get them."""
SHOWN = 5
"""Alerts that `/ready` spells out."""


@dataclass(slots=True)
class ChallengerAlerts:
    """Standing conditions by kind and key. A reason is logged when it is new."""

    metrics: Metrics
    standing: dict[tuple[str, str], Condition] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)
    """Kinds that were looked at since the process began: of no other can it say that it is over."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, kind: str, key: str, text: str, **fields: object) -> None:
        said = condition(kind, key, text, **{name: str(one) for name, one in fields.items()})
        before = self.standing.get((kind, key))
        self.standing[kind, key] = said
        self._count()
        if before is None or before.summary != said.summary:
            log.error("challenger alert", alert=kind, key=key, text=text, **fields)
            self.changed.set()

    def end(self, kind: str, key: str) -> None:
        if self.standing.pop((kind, key), None) is not None:
            log.info("alert is over", alert=kind, key=key)
            self.changed.set()
            self._count()

    def keep(self, kind: str, keys: set[str]) -> None:
        """Ends all others of a kind, which was looked at."""
        for known, key in list(self.standing):
            if known == kind and key not in keys:
                self.end(kind, key)
        self.looked(kind)

    def looked(self, kind: str) -> None:
        if kind not in self.judged:
            self.judged.add(kind)
            self.changed.set()

    def sending(self, problem: CoreChainError | None) -> None:
        """What keeps the submitter from its work, None when nothing does."""
        if problem is None:
            self.end(NOT_SENT, "sending")
        else:
            self.say(NOT_SENT, "sending", f"challenges are not sent: {problem}")
        self.looked(NOT_SENT)

    def _count(self) -> None:
        for kind in KINDS:
            number = sum(known == kind for known, _ in self.standing)
            self.metrics.challenger_alerts.labels(kind).set(number)

    def sentences(self) -> list[str]:
        """For the warnings of `/ready`."""
        texts = [f"challenger: {found.summary}" for found in self.standing.values()]
        more = [f"challenger: and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
        return texts[:SHOWN] + more


@dataclass(slots=True)
class ChallengerRules:
    """The standing alerts, as rules of `corechain.service.alerting`."""

    alerts: ChallengerAlerts
    clock: Callable[[], float] = time.time
    source: str = "challenger"
    prefix: str = "challenger:"
    """Guards of lanes may share the tables."""

    def after_s(self) -> Mapping[str, float]:
        """At once: a fraud has a deadline."""
        return dict.fromkeys(KINDS, 0.0)

    async def look(self, known: Mapping[str, set[str]]) -> Look:
        look = Look(judged=dict.fromkeys(self.alerts.judged))
        standing = self.alerts.standing.values()
        judged = (found for found in standing if found.kind in look.judged)
        look.found = [replace(found, key=self.prefix + found.key) for found in judged]
        return look


def withheld(name: str, *, has_file: bool, answers: int) -> str:
    """Of a batch whose data are demanded."""
    what = "its file is not what it covers" if has_file else "no source has its data file"
    return f"batch {name}: {what}; data are demanded ({answers} answers so far)"
