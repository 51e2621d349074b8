"""Stores beside the primary Postgres that an operator may name in the settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from corechain.service.database import create_pool
from corechain_indexer.settings import Settings
from corechain_indexer.store.replica import ReplicaReads

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.influx import InfluxSeries


def influx_of(settings: Settings) -> "InfluxSeries | None":
    """Needs a running event loop; connects when it is first used."""
    if settings.influx_url is None:
        return None
    # Its client takes a second of the start: only who has an InfluxDB waits for it.
    from corechain_indexer.store.influx import open_series

    return open_series(
        settings.influx_url.get_secret_value(),
        settings.influx_token.get_secret_value(),
        settings.influx_org,
        settings.influx_bucket,
    )


def replica_of(
    settings: Settings, primary: "Database", bypassed: Callable[[str], None]
) -> ReplicaReads | None:
    """Connects when it is first used, once its pool has been awaited."""
    if settings.replica_url is None:
        return None
    pool = create_pool(settings.replica_url.get_secret_value())
    return ReplicaReads(primary, pool, settings.replica_max_lag_s, bypassed)
