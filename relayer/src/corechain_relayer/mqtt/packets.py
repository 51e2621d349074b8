"""MQTT 3.1.1 and 5.0 on the wire: the packets that a subscriber sends and gets (OASIS, 2014, 2019).

Pure. What a broker says is input: what breaks the standard is MalformedPacket, and ends the
connection.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from corechain.protocol.errors import TransportError


class MalformedPacket(TransportError):
    """The broker sent what is no packet of this protocol version."""


class Version(IntEnum):
    """The protocol level, as CONNECT names it."""

    V3_1_1 = 4
    V5 = 5


CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
PUBREC, PUBREL, PUBCOMP = 0x50, 0x62, 0x70
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x82, 0x90, 0xC0, 0xD0, 0xE0
PING = bytes((PINGREQ, 0))
MAX_REMAINING = 268_435_455
"""Four bytes of seven bits: the largest remaining length that there is."""

RETAIN_IF_NEW = 1 << 4
"""Retained messages are sent when the subscription is new, not at every return (MQTT 5 only)."""


# ------------------------------------------------------------------ small parts


def varint(number: int) -> bytes:
    """A variable byte integer: 1 to 4 bytes."""
    encoded = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        if not number:
            encoded.append(low)
            return bytes(encoded)
        encoded.append(low | 0x80)


def _prefixed(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError("a string of MQTT has at most 65,535 bytes")
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((kind,)) + varint(len(body)) + body


# ------------------------------------------------------------------ properties of MQTT 5

CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION = 0x03, 0x08, 0x09
SESSION_EXPIRY, SERVER_KEEP_ALIVE, REASON = 0x11, 0x13, 0x1F
RECEIVE_MAXIMUM, MAXIMUM_PACKET = 0x21, 0x27
USER_PROPERTY, SHARED_AVAILABLE = 0x26, 0x2A

Property = int | bytes


def _wrapped(properties: bytes, version: Version) -> bytes:
    """Properties with their length; 3.1.1 has none."""
    return varint(len(properties)) + properties if version is Version.V5 else b""


# ------------------------------------------------------------------ what we send


@dataclass(frozen=True, slots=True)
class Opening:
    """What CONNECT says. Of MQTT 5 only: `session_s`, how long the broker keeps our session when we
    are away, and `receive_maximum`, the messages that it may have sent us and not seen
    acknowledged. No maximum packet size: a broker drops what is above it without a word."""

    version: Version
    client_id: str
    keep_alive_s: int
    session_s: int
    receive_maximum: int
    user: str = ""
    password: str = field(default="", repr=False)


def connect(opening: Opening) -> bytes:
    """CONNECT that goes on with the session that the broker has of us."""
    # No clean start: what came while we were away is ours all the same.
    flags = (0x80 if opening.user else 0) | (0x40 if opening.password else 0)
    head = struct.pack(">BBH", opening.version, flags, opening.keep_alive_s)
    properties = struct.pack(">BI", SESSION_EXPIRY, opening.session_s)
    properties += struct.pack(">BH", RECEIVE_MAXIMUM, opening.receive_maximum)
    texts = [opening.client_id, *(text for text in (opening.user, opening.password) if text)]
    strings = (_prefixed(text.encode()) for text in texts)
    return _packet(
        CONNECT, _prefixed(b"MQTT"), head, _wrapped(properties, opening.version), *strings
    )


def subscribe(version: Version, packet_id: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE at QoS 1."""
    options = bytes((1 | RETAIN_IF_NEW if version is Version.V5 else 1,))
    topics = (_prefixed(name.encode()) + options for name in filters)
    return _packet(SUBSCRIBE, struct.pack(">H", packet_id), _wrapped(b"", version), *topics)


_SHORT = struct.Struct(">BBH")
"""Kind, length, packet id: the short form of MQTT 5, "success"; in 3.1.1 the only one."""


def acknowledgement(message: "Message") -> bytes:
    """PUBACK, or PUBREC for QoS 2."""
    kind = PUBREC if message.exactly_once else PUBACK
    return _SHORT.pack(kind, 2, message.packet_id)


def completed(packet_id: int) -> bytes:
    """PUBCOMP: the last word of QoS 2, whether we know of the message or not."""
    return _SHORT.pack(PUBCOMP, 2, packet_id)


def publish(
    version: Version,
    packet_id: int,
    topic: str,
    payload: bytes,
    correlation: bytes = b"",
    content_type: str = "",
) -> bytes:
    """PUBLISH at QoS 1."""
    properties = b""
    if content_type:
        properties += bytes((CONTENT_TYPE,)) + _prefixed(content_type.encode())
    if correlation:
        properties += bytes((CORRELATION,)) + _prefixed(correlation)
    head = _prefixed(topic.encode()) + struct.pack(">H", packet_id)
    return _packet(PUBLISH | 0x02, head, _wrapped(properties, version), payload)


def disconnect() -> bytes:
    return bytes((DISCONNECT, 0))


# ------------------------------------------------------------------ what we get


@dataclass(frozen=True, slots=True)
class Connected:
    """CONNACK. `code` 0 is success; others mean something else in each version."""

    code: int
    session_present: bool
    properties: dict[int, Property]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK. A code from 128 on is a refusal."""

    packet_id: int
    codes: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK of what we published."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """DISCONNECT of MQTT 5: the broker says why."""

    code: int


@dataclass(frozen=True, slots=True)
class Pong:
    """PINGRESP."""


@dataclass(frozen=True, slots=True)
class Released:
    """PUBREL: the broker has our PUBREC, and forgets the message when it has our PUBCOMP."""

    packet_id: int


# Made for every message, in a fifth of the time that a dataclass takes.
class Message(msgspec.Struct, frozen=True, gc=False):
    """PUBLISH. `packet_id` 0: of QoS 0, nothing to acknowledge. Topics that are no UTF-8 have
    replacement characters in them. `exactly_once`: of QoS 2, which no broker may send on a
    subscription of QoS 1, and Aedes does: who ended the connection for it would get it again."""

    topic: str
    payload: bytes
    packet_id: int = 0
    retained: bool = False
    exactly_once: bool = False
    response_topic: str = ""
    correlation: bytes = b""
    content_type: str = ""
    traceparent: bytes = b""
    """Of the user property of that name (W3C Trace Context for MQTT); only MQTT 5 has any."""
    too_long: int = 0
    """Bytes of a packet that was skipped because it is above our limit; 0 for all others."""


Packet = Connected | Subscribed | Acknowledged | Released | Disconnected | Pong | Message
