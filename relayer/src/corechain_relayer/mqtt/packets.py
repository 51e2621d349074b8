"""MQTT 3.1.1 and 5.0 on the wire: the packets that a subscriber sends and gets (OASIS, 2014, 2019).

Pure: bytes in, packets out. What a broker says is input: what breaks the standard is
MalformedPacket, and ends the connection.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from corechain.protocol.errors import TransportError


class MalformedPacket(TransportError):
    """The broker sent what is no packet of this protocol version."""


class Version(IntEnum):
    """The protocol level, as CONNECT names it."""

    V3_1_1 = 4
    V5 = 5


CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
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


@dataclass(slots=True)
class _Reader:
    """Reads a packet's body. Raises MalformedPacket beyond its end."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise MalformedPacket("a packet ends too early")
        part, self.at = self.data[self.at : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def prefixed(self) -> bytes:
        return self.take(self.number(2))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 28, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedPacket("a variable byte integer has more than four bytes")

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


# ------------------------------------------------------------------ properties of MQTT 5

CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION = 0x03, 0x08, 0x09
SESSION_EXPIRY, SERVER_KEEP_ALIVE, REASON = 0x11, 0x13, 0x1F
RECEIVE_MAXIMUM, MAXIMUM_PACKET = 0x21, 0x27
SHARED_AVAILABLE = 0x2A

Property = int | bytes
_Read = Callable[[_Reader], Property]


def _pair(reader: _Reader) -> bytes:
    return reader.prefixed() + b"=" + reader.prefixed()


def _sized(size: int) -> _Read:
    return lambda reader: reader.number(size)


# Section 2.2.2.2 of the standard, by the type of the value.
_KINDS: Sequence[tuple[_Read, Sequence[int]]] = (
    (_sized(1), (0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, SHARED_AVAILABLE)),
    (_sized(2), (SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, 0x22, 0x23)),
    (_sized(4), (0x02, SESSION_EXPIRY, 0x18, MAXIMUM_PACKET)),
    (_Reader.varint, (0x0B,)),
    (_Reader.prefixed, (CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, 0x12, 0x15, 0x16, 0x1A, 0x1C)),
    (_Reader.prefixed, (REASON,)),
    (_pair, (0x26,)),
)
_READ = {number: read for read, numbers in _KINDS for number in numbers}


def _properties(reader: _Reader) -> dict[int, Property]:
    """Of a packet; of a property that stands there several times, the last."""
    part = _Reader(reader.take(reader.varint()))
    found: dict[int, Property] = {}
    while part.at < len(part.data):
        number = part.number(1)
        if number not in _READ:
            raise MalformedPacket(f"there is no property {number}")
        found[number] = _READ[number](part)
    return found


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


def puback(packet_id: int) -> bytes:
    # The short form of MQTT 5 says "success", and is the one form of 3.1.1.
    return struct.pack(">BBH", PUBACK, 2, packet_id)


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
class Message:
    """PUBLISH. `packet_id` 0: of QoS 0, nothing to acknowledge. Topics that are no UTF-8 have
    replacement characters in them."""

    topic: str
    payload: bytes
    packet_id: int = 0
    retained: bool = False
    response_topic: str = ""
    correlation: bytes = b""
    content_type: str = ""
    too_long: int = 0
    """Bytes of a packet that was skipped because it is above our limit; 0 for all others."""


Packet = Connected | Subscribed | Acknowledged | Disconnected | Pong | Message


def _text(value: Property) -> str:
    assert isinstance(value, bytes)
    return value.decode("utf-8", "replace")


def _message(flags: int, reader: _Reader, version: Version) -> Message:
    qos = flags >> 1 & 3
    if qos > 1:
        raise MalformedPacket(f"a message of QoS {qos} on a subscription of QoS 1")
    topic = _text(reader.prefixed())
    packet_id = reader.number(2) if qos else 0
    if qos and not packet_id:
        raise MalformedPacket("a message of QoS 1 without a packet id")
    found = _properties(reader) if version is Version.V5 else {}
    payload, retained = reader.rest(), bool(flags & 1)
    if not found:
        return Message(topic, payload, packet_id, retained)
    correlation = found.get(CORRELATION, b"")
    assert isinstance(correlation, bytes)
    names = (_text(found.get(name, b"")) for name in (RESPONSE_TOPIC, CONTENT_TYPE))
    response_topic, content_type = names
    return Message(topic, payload, packet_id, retained, response_topic, correlation, content_type)


def _connected(reader: _Reader, version: Version) -> Connected:
    present, code = reader.number(1), reader.number(1)
    # A broker that knows only 3.1.1 refuses us in its own words, without properties.
    has_properties = version is Version.V5 and reader.at < len(reader.data)
    return Connected(code, bool(present & 1), _properties(reader) if has_properties else {})


def _subscribed(reader: _Reader, version: Version) -> Subscribed:
    packet_id = reader.number(2)
    if version is Version.V5:
        _properties(reader)
    return Subscribed(packet_id, reader.rest())


def _decoded(first: int, body: bytes, version: Version) -> Packet:
    kind, reader = first & 0xF0, _Reader(body)
    if kind == PUBLISH:
        return _message(first & 0x0F, reader, version)
    if kind == PUBACK:
        return Acknowledged(reader.number(2))
    if kind == PINGRESP:
        return Pong()
    if kind == CONNACK:
        return _connected(reader, version)
    if kind == SUBACK:
        return _subscribed(reader, version)
    if kind == DISCONNECT and version is Version.V5:
        return Disconnected(reader.number(1) if body else 0)
    raise MalformedPacket(f"a broker sends no packet of type {kind >> 4}")


@dataclass(slots=True)
class Decoder:
    """Cuts what arrives into packets. Raises MalformedPacket.

    A message longer than `max_packet` is skipped while it comes in, and handed out without its
    payload: whoever ended the connection for it would get it again, for ever.
    """

    version: Version
    max_packet: int
    _buffer: bytearray = field(default_factory=bytearray)
    _at: int = 0
    _too_long: Message | None = None
    _left: int = 0
    """Bytes of it that are still to come."""

    def feed(self, data: bytes) -> Iterator[Packet]:
        self._buffer += data
        while (packet := self._next()) is not None:
            yield packet
        # Once for all packets of a read: each removal moves what is behind it.
        del self._buffer[: self._at]
        self._at = 0

    def _next(self) -> Packet | None:
        """None while the rest of it is not there."""
        if self._too_long is not None:
            return self._skip()
        body_at, length = self._head()
        if length < 0:
            return None
        if length > self.max_packet:
            return self._begin_to_skip(body_at, length)
        if body_at + length > len(self._buffer):
            return None
        first, self._at = self._buffer[self._at], body_at + length
        return _decoded(first, bytes(self._buffer[body_at : self._at]), self.version)

    def _head(self) -> tuple[int, int]:
        """Where the body begins, and its length: -1 while that is not known."""
        length, at = 0, self._at + 1
        for shift in range(0, 28, 7):
            if at >= len(self._buffer):
                return at, -1
            byte = self._buffer[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return at, length
        raise MalformedPacket("a remaining length has more than four bytes")

    def _begin_to_skip(self, body_at: int, length: int) -> Packet | None:
        first = self._buffer[self._at]
        qos, topic_at = first >> 1 & 3, body_at + 2
        if first & 0xF0 != PUBLISH or qos > 1:
            raise MalformedPacket(f"a packet of {length} bytes: at most {self.max_packet}")
        id_at = topic_at + int.from_bytes(self._buffer[body_at:topic_at], "big")
        if len(self._buffer) < max(topic_at, id_at + 2):
            return None
        topic = self._buffer[topic_at:id_at].decode("utf-8", "replace")
        packet_id = int.from_bytes(self._buffer[id_at : id_at + 2], "big") if qos else 0
        self._too_long = Message(topic, b"", packet_id, bool(first & 1), too_long=length)
        self._left = body_at + length - self._at
        return self._skip()

    def _skip(self) -> Packet | None:
        step = min(self._left, len(self._buffer) - self._at)
        self._at, self._left = self._at + step, self._left - step
        if self._left:
            return None
        message, self._too_long = self._too_long, None
        return message
