"""Which topics reports come on, who speaks there, and where the answers go."""

import re
from dataclasses import dataclass

from corechain.protocol.reading import DeviceId
from corechain_relayer.mqtt.errors import WrongTopic
from corechain_relayer.mqtt.packets import Version

_DEVICE = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_GATEWAY = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_BELOW = re.compile(r"(?:/[ -\"$-*,-.0-~]{0,64}){0,8}", re.ASCII)
"""What a sender may add to its own topic: levels of plain characters, without wildcards. What a
broker passes on in a property it need not take as a topic: Mosquitto hangs up on 200 levels, others
on fewer, or on longer ones, and the message for which we tried would come again, for ever."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks on a topic. `device` is None on the topic of a gateway, which may bring the
    reports of any device: each is signed by its own. `answers` is the topic where it listens."""

    name: str
    device: DeviceId | None
    answers: str


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below `prefix`: `reports/<device>`, `gateways/<name>`, `answers/<either>`."""

    prefix: str

    def filters(self, version: Version, group: str) -> list[str]:
        """What to subscribe to. Wider than what is right: a message on a wrong topic is refused
        with a name, where the broker would drop it without a word."""
        shared = f"$share/{group}/" if version is Version.V5 and group else ""
        return [f"{shared}{self.prefix}/{kind}/#" for kind in ("reports", "gateways")]

    def sender(self, topic: str) -> Sender:
        """Who speaks on a topic. Raises WrongTopic."""
        kind, _, name = topic.removeprefix(f"{self.prefix}/").partition("/")
        if not topic.startswith(f"{self.prefix}/"):
            raise WrongTopic(topic)
        if kind == "reports" and _DEVICE.fullmatch(name):
            return Sender(name, DeviceId(bytes.fromhex(name[2:])), self._answers(name))
        # A gateway must not be called like a device, whose answers it could then read.
        if kind == "gateways" and _GATEWAY.fullmatch(name) and not _DEVICE.fullmatch(name):
            return Sender(name, None, self._answers(name))
        raise WrongTopic(topic)

    def _answers(self, name: str) -> str:
        return f"{self.prefix}/answers/{name}"

    @staticmethod
    def answer_topic(sender: Sender, wanted: str) -> str:
        """Where an answer goes: the response topic of the message, if it lies at or a little below
        the sender's own. We may publish where a device may not, and must not do it for one."""
        is_below = wanted.startswith(sender.answers)
        below = _BELOW.fullmatch(wanted, len(sender.answers)) if is_below else None
        return wanted if below else sender.answers
