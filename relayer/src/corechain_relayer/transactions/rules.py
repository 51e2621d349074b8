"""What an operator is told of transactions by webhook: the watch's conditions, as rules."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from corechain.service.alerting.alerts import Look
from corechain.service.alerting.sender import KEPT_S
from corechain.service.alerting.sessions import AlertSessions, Counts, Session
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import PREFIX as SETTINGS
from corechain_relayer.settings import Settings
from corechain_relayer.transactions.watch import (
    KINDS,
    NONCE_GAP,
    PREFIX,
    STUCK_HEAD,
    TransactionWatch,
)

EVERY_S, POLL_S = 10.0, 1.0
FLAPS_S = 30.0
"""A reorg makes an old intent young again, and a gap is mostly filled by itself."""


@dataclass(slots=True)
class TransactionRules:
    """Judges the queues of this process alone: those of others are watched by others."""

    watch: TransactionWatch
    clock: Callable[[], float] = time.time
    source: str = "transactions"
    prefix: str = PREFIX

    def after_s(self) -> Mapping[str, float]:
        patient = {STUCK_HEAD: FLAPS_S, NONCE_GAP: FLAPS_S}
        return {kind: patient.get(kind, 0.0) for kind in KINDS}

    async def look(self, known: Mapping[str, set[str]]) -> Look:
        keys = {f"{PREFIX}{queue}" for queue in self.watch.standing}
        found = [item for each in self.watch.standing.values() for item in each]
        return Look(found=found, judged=dict.fromkeys(KINDS, keys))


def watch_sessions(
    settings: Settings, chain_id: int, watch: TransactionWatch, metrics: Metrics
) -> dict[str, Session]:
    """Sessions by the name of their loop; none where nothing is watched. Raises InvalidSetting for
    receivers without a key to sign what they get."""
    if not watch.queues:
        return {}
    telling = alert_sessions(settings, chain_id, watch, metrics).by_name()
    named = {f"transactions-{name.replace(' ', '-')}": each for name, each in telling.items()}
    return {"transactions": watch.watch_forever, **named}


def alert_sessions(
    settings: Settings, chain_id: int, watch: TransactionWatch, metrics: Metrics
) -> AlertSessions:
    """Raises InvalidSetting."""
    queues = ",".join(sorted(watched.queue for watched in watch.queues))
    return AlertSessions(
        database_url=settings.session_url,
        owner=f"corechain transactions {queues}",
        chain_id=chain_id,
        receivers=settings.receivers(SETTINGS),
        rules=lambda: TransactionRules(watch),
        counts=Counts(
            lambda kind, what: metrics.alerts.labels(kind, what).inc(),
            lambda receiver, what: metrics.webhooks.labels(receiver, what).inc(),
        ),
        every_s=EVERY_S,
        poll_s=POLL_S,
        sender=f"transactions {queues}",
        older_s=KEPT_S,  # other watchers send to other receivers: theirs is not ours to drop
        changed=watch.changed,
    )
