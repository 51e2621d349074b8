"""Opens the bus that RELAYER_BUS_URL names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from corechain.service.settings import InvalidSetting
from corechain.sparing import import_without
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.kafka.address import SCHEME, parse_address, parse_options
from corechain_relayer.bus.room import Limits
from corechain_relayer.metrics import Metrics

if TYPE_CHECKING:
    from corechain_relayer.bus.kafka.bus import KafkaBus
    from corechain_relayer.settings import Settings

HEAD_BYTES = 1 << 16
"""What a frame may have beyond the largest request body, with room to spare."""


def open_bus(settings: "Settings", metrics: Metrics) -> Bus:
    """A client of the bus; nothing is connected to yet. Raises InvalidSetting."""
    if settings.bus_url.get_secret_value().startswith(SCHEME):
        return open_kafka(settings, metrics)
    return _valkey(settings, metrics)


def _limits(settings: "Settings") -> Limits:
    return Limits(settings.bus_max_frames, settings.bus_max_bytes, settings.bus_max_drain_s)


def _valkey(settings: "Settings", metrics: Metrics) -> Bus:
    # redis would load OpenTelemetry's metrics where they are installed: 60 modules, unused.
    import_without("redis.asyncio", "opentelemetry")
    from corechain_relayer.bus.connection import connect
    from corechain_relayer.bus.guard import Guard
    from corechain_relayer.bus.valkey import ValkeyBus

    guard = Guard(settings.bus_vouched)
    redis = connect(settings.named_url("bus_url"), guard)
    return ValkeyBus(redis, guard, settings.bus_stream, settings.lanes, _limits(settings), metrics)


def open_kafka(settings: "Settings", metrics: Metrics) -> "KafkaBus":
    """Raises InvalidSetting."""
    try:
        from corechain_relayer.bus.kafka.bus import KafkaBus
        from corechain_relayer.bus.kafka.clients import check_options
        from corechain_relayer.bus.kafka.link import Link
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("confluent_kafka"):
            raise
        raise InvalidSetting(
            "RELAYER_BUS_URL: kafka:// needs a package that is not there: "
            "pip install confluent-kafka"
        ) from None
    from corechain_relayer.bus.kafka.guard import Wanted

    address = parse_address(settings.bus_url.get_secret_value())

    def options_now() -> Mapping[str, str]:
        return parse_options(settings.read_again("kafka_options"))

    options = {} if settings.kafka_options is None else options_now()
    check_options(address, options)
    wanted = Wanted(settings.kafka_copies, settings.max_body_bytes + HEAD_BYTES)
    link = Link(address, options, options_now if settings.kafka_options else None)
    limits, vouched = _limits(settings), settings.bus_vouched
    return KafkaBus(link, settings.lanes, limits, wanted, vouched, metrics)
