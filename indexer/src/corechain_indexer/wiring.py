"""Parts of the service that are made from its settings."""

from typing import TYPE_CHECKING

from corechain_indexer.api.admission import Admission
from corechain_indexer.api.keys import key_ring
from corechain_indexer.limits import Allowance
from corechain_indexer.metrics import Metrics
from corechain_indexer.settings import Settings
from corechain_indexer.store.quotas import Quotas

if TYPE_CHECKING:
    from redis.asyncio import Redis


def admission_of(settings: Settings, redis: "Redis", metrics: Metrics) -> Admission:
    """Who may ask how much. Raises InvalidSetting for a file of keys that cannot be read."""
    per_second, per_day = settings.anonymous_per_second, settings.anonymous_per_day
    burst = max(1, per_second * settings.burst_s)
    anonymous = Allowance(per_second, burst, per_day) if per_second or per_day else None
    return Admission(
        Quotas(redis),
        metrics,
        None if settings.api_keys_file is None else key_ring(settings.api_keys_file),
        anonymous,
        settings.burst_s,
        settings.api_workers,
    )
