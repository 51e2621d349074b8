"""The roles of a relayer's processes, and what several of them have in common."""

from collections.abc import Sequence
from enum import StrEnum


class Role(StrEnum):
    """As `corechain relayer run --role` names them."""

    GATEWAY = "gateway"
    MQTT = "mqtt"
    AGGREGATOR = "aggregator"
    SUBMITTER = "submitter"
    WATCHTOWER = "watchtower"
    GUARD = "guard"


def takes_reports(roles: Sequence[Role]) -> bool:
    return not {Role.GATEWAY, Role.MQTT}.isdisjoint(roles)


def uses_bus(roles: Sequence[Role]) -> bool:
    return takes_reports(roles) or Role.AGGREGATOR in roles
