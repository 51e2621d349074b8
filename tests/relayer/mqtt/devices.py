"""What speaks to the broker in these tests: devices with Eclipse's client, not with ours."""

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.processes import PATIENCE_S, eventually

from corechain.protocol.reading import SignedReport
from corechain.service.tracing import Context, traceparent_of
from relayer.support import Sensor

CLIENT = Context(bytes(range(1, 17)), bytes(range(1, 9)))
FOLLOWED = {"UserProperty": [("a", "b"), ("traceparent", traceparent_of(CLIENT).decode())]}
"""What a client adds, with MQTT 5, whose messages are to be followed."""
VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv5}


@dataclass
class Said:
    """An answer: its document, and what MQTT 5 says of it."""

    topic: str
    document: dict[str, Any]
    content_type: str = ""
    correlation: bytes = b""

    @property
    def error(self) -> str:
        """The name of the error of the message as a whole."""
        return str(self.document.get("type", "")).removeprefix("urn:corechain:error:")

    @property
    def errors(self) -> list[str]:
        """Of each report, empty for one that was accepted."""
        return [result.get("error", "") for result in self.document["results"]]


def said(message: MQTTMessage) -> Said:
    properties = message.properties
    return Said(
        message.topic,
        json.loads(message.payload),
        getattr(properties, "ContentType", ""),
        getattr(properties, "CorrelationData", b""),
    )


@dataclass
class Station:
    """A client of the broker that listens to the answers for `name`."""

    port: int
    prefix: str
    name: str
    version: str = "5"
    will: tuple[str, bytes] | None = None
    """Topic and payload that the broker publishes if this client breaks off."""
    answers: list[Said] = field(default_factory=list)
    was_cut_off: threading.Event = field(default_factory=threading.Event)
    """Set once the connection has ended, and not by our good-bye."""
    client: Client = field(init=False)
    _subscribed: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        protocol = VERSIONS[self.version]
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self.client.on_message = lambda client, data, message: self.answers.append(said(message))
        self.client.on_connect = lambda client, *_: client.subscribe(
            f"{self.topic('answers')}/#", 1
        )
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_disconnect = self._disconnected
        if self.will is not None:
            self.client.will_set(*self.will, 1)
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        assert self._subscribed.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _disconnected(self, client: Client, data: Any, flags: Any, code: Any, _: Any) -> None:
        if code != 0:
            self.was_cut_off.set()

    def break_off(self) -> None:
        """Ends the connection without a word, and stays away."""
        sock = self.client.socket()
        assert isinstance(sock, socket.socket)
        self.client.loop_stop()
        sock.shutdown(socket.SHUT_RDWR)

    def topic(self, kind: str) -> str:
        return f"{self.prefix}/{kind}/{self.name}"

    def send(self, *reports: SignedReport, kind: str = "reports", **properties: Any) -> None:
        self.post(b"".join(report.pack() for report in reports), self.topic(kind), **properties)

    def post(self, payload: bytes, topic: str, qos: int = 1, **properties: Any) -> None:
        """Returns when the broker has it. `properties`: of MQTT 5, by paho's names."""
        found = _publish_properties(properties) if properties else None
        sent = self.client.publish(topic, payload, qos, properties=found)
        sent.wait_for_publish(PATIENCE_S)
        assert sent.is_published()

    def answer(self, count: int = 1) -> Said:
        """The last one, when there are so many."""
        assert eventually(lambda: len(self.answers) >= count)
        return self.answers[count - 1]


def _publish_properties(values: Mapping[str, Any]) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def name_of(sensor: Sensor) -> str:
    """As topics name its device."""
    return "0x" + sensor.key.identity.device.hex()
