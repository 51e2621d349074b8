"""A gateway that judges as it is told, behind a connection without a broker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from corechain.protocol.eip712 import registry_domain
from corechain.protocol.frame import Columns
from corechain_relayer.errors import BusUnavailable
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.gateway.suspects import Suspects
from corechain_relayer.metrics import Metrics
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.subscriber import Subscriber
from corechain_relayer.mqtt.topics import Topics

DOMAIN = registry_domain(31337, bytes(20))
TOPICS = Topics("corechain/v1")


@dataclass
class FailingGateway:
    """Takes reports as told: `verdict` gets the columns of a frame and may raise anything."""

    verdict: Callable[[Columns], list[Fault]]
    domain: Any = DOMAIN
    metrics: Metrics = field(default_factory=Metrics)
    suspects: Suspects = field(default_factory=Suspects)
    dead: list[tuple[bytes, str]] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    bus_is_away: int = 0
    registry: Any = field(default_factory=lambda: SimpleNamespace(seen=None))
    """Not read yet, unless a test says otherwise."""

    async def take(self, columns: Columns, peer: Callable[[], str]) -> list[Fault]:
        self.peers.append(peer())
        return self.verdict(columns)

    @property
    def bus(self) -> Any:
        return SimpleNamespace(keep_dead_letter=self.keep_dead_letter)

    async def keep_dead_letter(self, lane: int, payload: bytes, reason: str) -> None:
        if self.bus_is_away:
            self.bus_is_away -= 1
            raise BusUnavailable("away")
        self.dead.append((payload, reason))


def subscriber_to(link: Link, gateway: FailingGateway, max_body_bytes: int = 1 << 20) -> Subscriber:
    return Subscriber(
        gateway,  # type: ignore[arg-type]
        lambda: (link.broker, link.opening),
        TOPICS,
        "group",
        max_body_bytes,
        1 << 20,
        report=lambda error: None,
    )
