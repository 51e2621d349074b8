"""From bytes to packets: what a broker says, however it is cut (OASIS MQTT 3.1.1 and 5.0). Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from corechain_relayer.mqtt.packets import (
    CONNACK,
    CONTENT_TYPE,
    CORRELATION,
    DISCONNECT,
    MAXIMUM_PACKET,
    PINGRESP,
    PUBACK,
    PUBLISH,
    PUBREL,
    REASON,
    RECEIVE_MAXIMUM,
    RESPONSE_TOPIC,
    SERVER_KEEP_ALIVE,
    SESSION_EXPIRY,
    SHARED_AVAILABLE,
    SUBACK,
    USER_PROPERTY,
    Acknowledged,
    Connected,
    Disconnected,
    MalformedPacket,
    Message,
    Packet,
    Pong,
    Property,
    Released,
    Subscribed,
    Version,
)

_UNKNOWN = -1
"""Of a packet's end, while the bytes that tell it are not there."""


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

_Read = Callable[[_Reader], Property]


TRACEPARENT = b"traceparent="
"""How the user property that we read begins, as `_pair` joins it."""


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
    (_pair, (USER_PROPERTY,)),
)
_READ = {number: read for read, numbers in _KINDS for number in numbers}


def _properties(reader: _Reader) -> dict[int, Property]:
    """Of a packet; of a property that stands there several times, the last. Of user properties the
    one that names a trace: they may be many, and nothing else of them is ours."""
    part = _Reader(reader.take(reader.varint()))
    found: dict[int, Property] = {}
    while part.at < len(part.data):
        number = part.number(1)
        if number not in _READ:
            raise MalformedPacket(f"there is no property {number}")
        value = _READ[number](part)
        if number != USER_PROPERTY or _names_trace(value):
            found[number] = value
    return found


def _names_trace(pair: Property) -> bool:
    return isinstance(pair, bytes) and pair.startswith(TRACEPARENT)


# ------------------------------------------------------------------ packets


def _message(flags: int, data: bytes, at: int, end: int, version: Version) -> Message:
    """PUBLISH whose body is data[at:end]. By offsets, not by a reader: this is done for every
    message, everything else once a connection."""
    qos = _qos(flags)
    id_at = at + 2 + int.from_bytes(data[at : at + 2], "big")
    payload_at = id_at + 2 if qos else id_at
    if payload_at > end:
        raise MalformedPacket("a packet ends too early")
    topic = str(data[at + 2 : id_at], "utf-8", "replace")
    packet_id = data[id_at] << 8 | data[id_at + 1] if qos else 0
    if qos and not packet_id:
        raise MalformedPacket(f"a message of QoS {qos} without a packet id")
    retained, exactly_once = bool(flags & 1), qos == 2
    if version is Version.V5:
        if payload_at == end or data[payload_at]:
            body = _Reader(data[payload_at:end])
            return _with_properties(topic, packet_id, retained, exactly_once, body)
        payload_at += 1
    return Message(topic, data[payload_at:end], packet_id, retained, exactly_once)


def _qos(flags: int) -> int:
    qos = flags >> 1 & 3
    if qos > 2:
        raise MalformedPacket("there is no QoS 3")
    return qos


def _with_properties(
    topic: str, packet_id: int, retained: bool, exactly_once: bool, body: _Reader
) -> Message:
    found = _properties(body)
    correlation = found.get(CORRELATION, b"")
    assert isinstance(correlation, bytes)
    return Message(
        topic,
        body.rest(),
        packet_id,
        retained,
        exactly_once,
        _text(found.get(RESPONSE_TOPIC, b"")),
        correlation,
        _text(found.get(CONTENT_TYPE, b"")),
        _trace(found.get(USER_PROPERTY, b"")),
    )


def _trace(value: Property) -> bytes:
    assert isinstance(value, bytes)
    return value.removeprefix(TRACEPARENT)


def _text(value: Property) -> str:
    assert isinstance(value, bytes)
    return value.decode("utf-8", "replace")


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


def _other(first: int, body: bytes, version: Version) -> Packet:
    """Every packet but PUBLISH."""
    kind, reader = first & 0xF0, _Reader(body)
    if kind == PUBACK:
        return Acknowledged(reader.number(2))
    if kind == PUBREL & 0xF0:
        return Released(reader.number(2))
    if kind == PINGRESP:
        return Pong()
    if kind == CONNACK:
        return _connected(reader, version)
    if kind == SUBACK:
        return _subscribed(reader, version)
    if kind == DISCONNECT and version is Version.V5:
        return Disconnected(reader.number(1) if body else 0)
    raise MalformedPacket(f"a broker sends no packet of type {kind >> 4}")


def _span(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Where the body of the packet at `at` begins and ends. Raises MalformedPacket."""
    length = 0
    for place in range(4):
        at += 1
        if at >= len(data):
            return at, _UNKNOWN
        byte = data[at]
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return at + 1, at + 1 + length
    raise MalformedPacket("a remaining length has more than four bytes")


@dataclass(slots=True)
class Decoder:
    """Cuts what arrives into packets. Raises MalformedPacket.

    A message longer than `max_packet` is skipped while it comes in, and handed out without its
    payload: whoever ended the connection for it would get it again, for ever.
    """

    version: Version
    max_packet: int
    _rest: bytearray = field(default_factory=bytearray)
    """The beginning of a packet that is not whole yet."""
    _wanted: int = 0
    """So long `_rest` has to be before it is worth a look: a long packet comes in many pieces."""
    _too_long: Message | None = None
    _left: int = 0
    """Bytes of it that are still to come."""

    def feed(self, data: bytes) -> Iterator[Packet]:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at = 0
        while at < len(data):
            if self._too_long is None:
                packet, end = self._next(data, at)
            else:
                packet, end = self._skip(data, at)
            if packet is not None:
                yield packet
            elif end == at:  # the rest of it is not there
                self._rest += data[at:]
                return
            at = end

    def _next(self, data: bytes, at: int) -> tuple[Packet | None, int]:
        """The packet at `at`, and where it ends; None and `at` while not enough of it is there."""
        body_at, end = _span(data, at)
        if end - body_at > self.max_packet:
            return self._begin_to_skip(data, at, body_at, end)
        if end > len(data) or end == _UNKNOWN:
            self._wanted = max(end, len(data) + 1) - at
            return None, at
        first = data[at]
        if first & 0xF0 == PUBLISH:
            return _message(first & 0x0F, data, body_at, end, self.version), end
        return _other(first, data[body_at:end], self.version), end

    def _begin_to_skip(
        self, data: bytes, at: int, body_at: int, end: int
    ) -> tuple[Packet | None, int]:
        first = data[at]
        if first & 0xF0 != PUBLISH:
            raise MalformedPacket(f"a packet of {end - body_at} bytes: at most {self.max_packet}")
        qos, topic_at = _qos(first), body_at + 2
        id_at = topic_at + int.from_bytes(data[body_at:topic_at], "big")
        if id_at + 2 > end:
            raise MalformedPacket("a packet ends too early")
        if len(data) < max(topic_at, id_at + 2):
            self._wanted = max(topic_at, id_at + 2) - at
            return None, at
        topic = str(data[topic_at:id_at], "utf-8", "replace")
        packet_id = int.from_bytes(data[id_at : id_at + 2], "big") if qos else 0
        flags = bool(first & 1), qos == 2
        self._too_long = Message(topic, b"", packet_id, *flags, too_long=end - body_at)
        self._left = end - at
        return self._skip(data, at)

    def _skip(self, data: bytes, at: int) -> tuple[Packet | None, int]:
        end = min(at + self._left, len(data))
        self._left -= end - at
        if self._left:
            return None, end
        message, self._too_long = self._too_long, None
        return message, end
