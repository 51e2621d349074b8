"""The stores that an operator names in the settings."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from corechain.service.database import create_pool
from corechain.service.hosts import hosts_of
from corechain.service.readers import Readers, require_answer
from corechain_indexer.settings import Settings
from corechain_indexer.store.replica import REPLICA, Replica, ReplicaReads
from corechain_indexer.store.shards.databases import Shards
from corechain_indexer.store.shards.routing import Routed

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.influx import InfluxSeries
    from corechain_indexer.store.influx_tiers import InfluxTiers


T = TypeVar("T")


def shards_of(settings: Settings) -> Shards | None:
    """None where nothing is divided. They connect when they are first used."""
    return Shards.at(settings.shards) if settings.shards else None


def routed(database: T, shards: Shards | None) -> T:
    """What has the questions of a database, those about devices put to the shards."""
    return database if shards is None else cast(T, Routed(database, shards))


def pool_of(settings: Settings) -> "Database":
    """The primary, directly or through its pooler."""
    pooled = settings.database_direct_url is not None
    return create_pool(settings.named_url("database_url"), pooled=pooled)


def readers_of(settings: Settings) -> Readers:
    """Who asks the primary for the API, directly or through its pooler."""
    pooled = settings.database_direct_url is not None
    return Readers(settings.named_url("database_url"), pooled)


def ping_of(settings: Settings) -> Callable[[], Awaitable[None]]:
    """Asks the primary on a connection of its own. Raises StoreUnavailable."""
    pooled = settings.database_direct_url is not None
    return partial(require_answer, settings.named_url("database_url"), pooled=pooled)


def influxes_of(settings: Settings) -> "list[InfluxSeries]":
    """One a URL, in order. Needs a running event loop; they connect when they are first used."""
    if settings.influx_url is None:
        return []
    # Its client takes a second of the start: only who has an InfluxDB waits for it.
    from corechain_indexer.store.influx import open_series

    found = []
    for number, url in enumerate(settings.influx_urls):
        token, place = settings.influx_tokens[number], (settings.influx_org, settings.influx_bucket)
        now = partial(settings.influx_token_now, number)
        found.append(open_series(url, token, *place, again=now))
    return found


def tiers_of(series: "InfluxSeries") -> "InfluxTiers":
    """Its downsampled buckets."""
    from corechain_indexer.store.influx_tiers import InfluxTiers

    return InfluxTiers(series)


def replica_of(
    settings: Settings,
    primary: "Database",
    bypassed: Callable[[str], None],
    shards: Shards | None = None,
) -> ReplicaReads | None:
    """Each host of the URL for itself. Connects when it is first used."""
    if settings.replica_url is None:
        return None
    # Who pools the one pools the other.
    pooled = settings.database_direct_url is not None
    urls = hosts_of(settings.named_url("replica_url"))
    names = [f"{REPLICA} {number}" for number in range(1, len(urls) + 1)] if urls[1:] else [REPLICA]
    pools = [routed(cast("Database", Readers(url, pooled)), shards) for url in urls]
    replicas = [Replica(name, pool) for name, pool in zip(names, pools, strict=True)]
    # Each process asks one of them for as long as that is well: by chance another one than others.
    random.shuffle(replicas)
    limits = settings.replica_max_lag_s, bypassed, settings.replica_alone_s
    return ReplicaReads(primary, replicas, *limits)
