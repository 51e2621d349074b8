"""Puts the subscriber together from the settings."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from corechain.service.settings import InvalidSetting
from corechain.service.supervision import Loops, Reporter
from corechain_relayer.gateway.service import Gateway
from corechain_relayer.roles import Role
from corechain_relayer.settings import Settings

if TYPE_CHECKING:
    from corechain_relayer.mqtt.subscriber import Subscriber

LOOP = "mqtt"
log = structlog.get_logger(__name__)


def subscriber_of(settings: Settings, gateway: Gateway, loops: Loops) -> "Subscriber":
    """For a process with RELAYER_MQTT_URL."""
    # Here: the protocol is for no other process.
    from corechain_relayer.mqtt.subscriber import Subscriber
    from corechain_relayer.mqtt.topics import Topics

    topics, limits = (
        Topics(settings.mqtt_prefix),
        (settings.max_body_bytes, settings.max_bodies_bytes),
    )
    return Subscriber(
        gateway,
        lambda: (settings.broker, settings.opening),
        topics,
        settings.mqtt_group,
        *limits,
        Reporter(loops, LOOP),
    )


def mqtt_sessions(
    settings: Settings, gateway: Gateway, roles: Sequence[Role], loops: Loops
) -> dict[str, Callable[[], Awaitable[None]]]:
    """The role's loop, none where it has no broker. Raises InvalidSetting where nothing else is
    asked for."""
    if Role.MQTT not in roles:
        return {}
    if settings.mqtt_url is not None:
        return {LOOP: subscriber_of(settings, gateway, loops).session}
    if list(roles) == [Role.MQTT]:
        raise InvalidSetting("RELAYER_MQTT_URL is not set")
    log.info("no mqtt: RELAYER_MQTT_URL is not set")
    return {}
