"""The roles of a relayer's processes, and what several of them have in common."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from corechain.service.health import Health, Probe
from corechain.service.supervision import Loops

WITHOUT_NODE = ("journal", "registry", "receipts")
"""Loops that wait while database or node are away."""


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


def traced_name(roles: Sequence[Role]) -> str:
    """What traces call a process."""
    return f"corechain-{'+'.join(roles)}" if len(roles) < 3 else "corechain-relayer"


def health_of(
    roles: Sequence[Role],
    needed: Mapping[str, Probe],
    others: Mapping[str, Probe],
    loops: Loops,
    warnings: Callable[[], Sequence[str]],
    timed: Callable[[str, float], None],
) -> Health:
    """Readiness of a process. One that only takes reports does so without `others`: a balancer that
    took all gateways out for the outage of a node would make it one of the whole intake. Its first
    start waits for the tables all the same: a new version must not replace an old one without."""
    if {Role.GATEWAY, Role.MQTT}.issuperset(roles):
        return Health(needed, loops, warnings, others, spared_loops=WITHOUT_NODE, timed=timed)
    return Health({**others, **needed}, loops, warnings, timed=timed)
