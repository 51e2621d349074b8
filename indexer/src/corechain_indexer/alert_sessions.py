"""The alerts of the index, wired: its rules, their limits, its metrics."""

from functools import partial
from typing import TYPE_CHECKING

from corechain.service.alerting.sessions import AlertSessions, Counts
from corechain.service.settings import listed
from corechain_indexer.alerts import Head, Limits, Rules
from corechain_indexer.maintenance import WRITER
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import PREFIX, Settings

if TYPE_CHECKING:
    from corechain.service.database import Database


def limits_of(settings: Settings) -> Limits:
    parties = listed(settings.alert_parties)
    return Limits(
        silent_s=settings.alert_silent_s,
        unverified_s=settings.alert_unverified_s,
        lag_blocks=settings.alert_lag_blocks,
        node_away_s=settings.alert_node_away_s,
        reorg_blocks=settings.alert_reorg_blocks,
        deadline_s=settings.alert_deadline_s,
        parties=[bytes.fromhex(text[2:]) for text in parties],
    )


def counts_of(metrics: Metrics) -> Counts:
    return Counts(
        lambda kind, what: metrics.alerts.labels(kind, what).inc(),
        lambda receiver, what: metrics.webhooks.labels(receiver, what).inc(),
    )


def alert_sessions(
    settings: Settings,
    chain_id: int,
    pool: "Database",
    node: Head,
    metrics: Metrics,
) -> AlertSessions:
    """Raises InvalidSetting for receivers without a key to sign what they get."""
    return AlertSessions(
        database_url=settings.session_url,
        owner=WRITER,
        chain_id=chain_id,
        receivers=settings.receivers(PREFIX),
        rules=partial(Rules, pool, node, limits_of(settings)),
        counts=counts_of(metrics),
        every_s=settings.alert_every_s,
        poll_s=settings.poll_s,
    )
