"""Parts of the service that are made from its settings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.channel import payment_domain
from corechain.service.settings import InvalidSetting
from corechain_indexer.api import schemas
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.deposits import Depositor
from corechain_indexer.api.keys import key_ring
from corechain_indexer.api.payments import Paywall
from corechain_indexer.downsampling import Downsampling
from corechain_indexer.limits import Allowance
from corechain_indexer.metrics import Metrics
from corechain_indexer.series_export import SeriesSink
from corechain_indexer.settings import Settings
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.breaker import Breaker
from corechain_indexer.store.copied import sink_name
from corechain_indexer.store.opened import tiers_of
from corechain_indexer.store.quotas import Quotas

if TYPE_CHECKING:
    import httpx
    from redis.asyncio import Redis

    from corechain.service.database import Database
    from corechain_indexer.store.influx import InfluxSeries


def admission_of(
    settings: Settings, redis: "Redis", metrics: Metrics, breaker: Breaker, chain_id: int
) -> Admission:
    """Who may ask how much. Raises InvalidSetting for a file of keys that cannot be read."""
    per_second, per_day = settings.anonymous_per_second, settings.anonymous_per_day
    burst = max(1, per_second * settings.burst_s)
    anonymous = Allowance(per_second, burst, per_day) if per_second or per_day else None
    return Admission(
        Quotas(redis, chain_id),
        metrics,
        None if settings.api_keys_file is None else key_ring(settings.api_keys_file),
        anonymous,
        settings.burst_s,
        settings.api_workers,
        breaker=breaker,
    )


def network_of(settings: Settings, deployment: Deployment) -> schemas.Network:
    """What `/v1/network` tells."""
    places = {
        name: schemas.ContractPlace("0x" + contract.address.hex(), contract.block)
        for name, contract in deployment.contracts.items()
    }
    node = settings.public_rpc_url
    return schemas.Network(
        deployment.chain_id, places, None if node is None else node.get_secret_value()
    )


def series_sinks_of(
    settings: Settings, copies: "Sequence[InfluxSeries]", metrics: Metrics, archive: Archive
) -> list[SeriesSink]:
    """One a series database; without any, one that takes the rows out."""
    found = []
    for number, series in enumerate(copies):
        sink = SeriesSink(
            series, metrics, archive=archive, name=sink_name(number), total=len(copies)
        )
        if settings.influx_downsamples:
            sink.downsampling = Downsampling(tiers_of(series), sink.name, sink.number, metrics)
        found.append(sink)
    return found or [SeriesSink(None, metrics)]


def paywall_of(
    settings: Settings, deployment: Deployment, pool: "Database", http: "httpx.AsyncClient"
) -> Paywall | None:
    """None where queries are free. Raises InvalidSetting."""
    if settings.price_per_query == 0:
        return None
    if settings.payee_key is None:
        raise InvalidSetting("INDEXER_PAYEE_KEY is not set, but queries cost something")
    # On first use: it takes half a second and 10 MB, and most indexers sell nothing.
    from eth_account import Account

    payee = Account.from_key(settings.payee_key.get_secret_value()).address
    contract = deployment.address("PaymentChannels")
    url = settings.facilitator_url
    return Paywall(
        pool,
        settings.price_per_query,
        bytes.fromhex(payee[2:]),
        deployment.address("CoreToken"),
        payment_domain(deployment.chain_id, contract),
        None if url is None else Depositor(http, url.get_secret_value(), pool),
    )
