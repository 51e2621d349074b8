"""What the guard has an operator told by webhook: its standing alerts, as rules."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from corechain.service.alerting.alerts import Look
from corechain.service.alerting.sender import KEPT_S
from corechain.service.alerting.sessions import AlertSessions, Counts
from corechain_relayer.guard.alerts import DEMANDS, LOST, NO_FUNDS, NOT_SENT, Alerts
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import PREFIX, Settings

EVERY_S = 10.0
"""Between two looks while nothing changes: alerts that found no room among the open ones wait."""
POLL_S = 1.0
"""Between two looks for a message that is to be sent again; a new one is sent at once."""


@dataclass(slots=True)
class GuardRules:
    """Keys begin with the lane: the guards of several lanes share the journal's tables, and none
    may take the alerts of another for over."""

    alerts: Alerts
    lane: int
    clock: Callable[[], float] = time.time
    source: str = "guard"

    @property
    def prefix(self) -> str:
        return f"{self.lane}:"

    def after_s(self) -> Mapping[str, float]:
        """At once: what is in danger has a deadline."""
        return dict.fromkeys((*DEMANDS, NO_FUNDS, NOT_SENT), 0.0)

    async def look(self, known: Mapping[str, set[str]]) -> Look:
        look = Look(judged=dict.fromkeys(self.alerts.judged))
        found = [item for item in self.alerts.standing.values() if item.kind in look.judged]
        look.found = [replace(item, key=self.prefix + item.key) for item in found]
        lost = {item.key for item in look.found if item.kind == LOST}
        for kind in DEMANDS:
            for key in known.get(kind, ()):
                look.outcomes[kind, key] = "too late" if key in lost else self._ending(key)
        return look

    def _ending(self, key: str) -> str:
        return self.alerts.ending(bytes.fromhex(key.removeprefix(f"{self.prefix}0x")))


def alert_sessions(
    settings: Settings, chain_id: int, alerts: Alerts, metrics: Metrics
) -> AlertSessions:
    """Raises InvalidSetting for receivers without a key to sign what they get."""
    lane = settings.lane
    return AlertSessions(
        database_url=settings.session_url,
        owner=f"corechain guard {lane}",
        chain_id=chain_id,
        receivers=settings.receivers(PREFIX),
        rules=lambda: GuardRules(alerts, lane),
        counts=Counts(
            lambda kind, what: metrics.alerts.labels(kind, what).inc(),
            lambda receiver, what: metrics.webhooks.labels(receiver, what).inc(),
        ),
        every_s=EVERY_S,
        poll_s=POLL_S,
        sender=f"lane {lane}",
        # The guard of another lane may send to other receivers: what is theirs is not ours to drop
        # before they would give it up themselves.
        older_s=KEPT_S,
        changed=alerts.changed,
    )
