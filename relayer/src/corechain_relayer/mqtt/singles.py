"""Messages that are one packed report on its own device's topic: as most of them are, most cheaply.

They need no object and no step of their own as long as nothing is wrong: their payloads, joined,
are a frame's reports. What is wrong with one is told by the letter that is opened for it then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.frame import Columns, columns_of
from corechain_relayer.gateway.intake import PACKED, is_one_report
from corechain_relayer.gateway.suspects import Suspects
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.letters import peer_name
from corechain_relayer.mqtt.packets import Message


@dataclass(frozen=True, slots=True)
class Singles:
    """Knows them. `suspects` are told apart: their reports share no frame with others'."""

    prefix: str
    max_bytes: int
    suspects: Suspects

    def part(self, messages: Sequence[Held]) -> tuple[list[Held], list[Held]]:
        """The singles, and all other messages."""
        singles: list[Held] = []
        others: list[Held] = []
        for held in messages:
            is_single = held.sampled is None and self._is_single(held.message)
            (singles if is_single else others).append(held)
        return singles, others

    def _is_single(self, message: Message) -> bool:
        """Of what is not followed; a span is a message's own."""
        payload = message.payload
        if not is_one_report(payload) or len(payload) > self.max_bytes:
            return False
        name = f"0x{payload[:20].hex()}"
        return (
            # Topics in capitals are right, too. They are just not so quick.
            message.topic == f"{self.prefix}/reports/{name}"
            and not message.response_topic
            and message.content_type in ("", PACKED)
            and not self.suspects.has(lambda: peer_name(name))
        )


def joined(singles: Sequence[Held]) -> Columns:
    """Their reports, one a message."""
    return columns_of(b"".join([held.message.payload for held in singles]))
