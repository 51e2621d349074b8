"""Topics on which the network servers of LoRaWAN publish uplinks: whose they are. Pure.

The Things Stack: `v3/{application}@{tenant}/devices/{device id}/up`
(thethingsindustries.com/docs/integrations/other-integrations/mqtt). ChirpStack v4:
`application/{application id}/device/{DevEUI}/event/up` (chirpstack.io/docs/chirpstack/integrations/
mqtt.html). Both may be set up with a prefix of one's own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from corechain_relayer.bridge.errors import ForeignTopic, UnknownTopic
from corechain_relayer.bridge.formats import chirpstack, ttn
from corechain_relayer.bridge.formats.registry import FORMATS, Format
from corechain_relayer.bridge.formats.upload import Message


@dataclass(frozen=True, slots=True)
class Network:
    """`device_in`: how a message names the device that its topic names."""

    format: Format
    topic: re.Pattern[str]
    device_in: Callable[[Message], str]


NETWORKS = (
    Network(
        FORMATS["ttn"],
        re.compile(r"(?:.*/)?v3/[^/]+/devices/([^/]+)/up"),
        ttn.device_id,
    ),
    Network(
        FORMATS["chirpstack"],
        re.compile(r"(?:.*/)?application/[^/]+/device/([^/]+)/event/up"),
        chirpstack.identity,
    ),
)


@dataclass(frozen=True, slots=True)
class Uplink:
    """A message of a broker: of which network, and of which device by its topic."""

    network: Network
    device: str
    message: Message

    @property
    def format(self) -> Format:
        return self.network.format

    def check(self) -> None:
        """The device of the message is that of the topic: brokers let clients publish by topic, so
        it is the topic that tells who has spoken. Raises ForeignTopic, MalformedUpload."""
        if self.network.device_in(self.message).lower() != self.device.lower():
            raise ForeignTopic


def uplink_of(topic: str, body: bytes, trace: bytes | None = None) -> Uplink:
    """Raises UnknownTopic."""
    for network in NETWORKS:
        match = network.topic.fullmatch(topic)
        if match is not None:
            return Uplink(network, match[1], Message(body, trace=trace))
    raise UnknownTopic
