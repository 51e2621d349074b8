"""The wire of MQTT: cut as it may, packets come out whole; what breaks the standard is named.

given bytes from a broker
  when they arrive in pieces of any size
    the packets are the same
  when a message is longer than the limit
    it comes out without its payload, and the next one whole
  when they are no packets
    MalformedPacket, and nothing else
given messages that are held
  when they are done in any order
    they are acknowledged in the order in which they came
"""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.mqtt import packets
from corechain_relayer.mqtt.decoder import Decoder
from corechain_relayer.mqtt.flow import (
    ANSWERS_BYTES,
    ANSWERS_IN_FLIGHT,
    Answer,
    HeldMessages,
    Outbox,
)
from corechain_relayer.mqtt.packets import (
    Connected,
    MalformedPacket,
    Message,
    Packet,
    Released,
    Version,
    varint,
)

LIMIT = 300
TOPICS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
VERSIONS = st.sampled_from(list(Version))
# CONNACK with a session, a receive maximum of 20 and a user property (MQTT 5).
CONNACK = bytes.fromhex("20 0f 01 00 0c 21 0014 26 0001 61 0003 626364".replace(" ", ""))


def read(data: bytes, version: Version, sizes: Sequence[int] = ()) -> list[Packet]:
    decoder, found = Decoder(version, LIMIT), []
    for size in sizes:
        found += decoder.feed(data[:size])
        data = data[size:]
    return found + list(decoder.feed(data))


def sent(version: Version, topic: str, payload: bytes, packet_id: int = 7) -> bytes:
    return packets.publish(version, packet_id, topic, payload, b"corr", "application/json")


@given(VERSIONS, st.lists(st.tuples(TOPICS, st.binary(max_size=400))), st.lists(st.integers(1, 50)))
def test_messages_come_out_whole_however_they_are_cut(
    version: Version, messages: list[tuple[str, bytes]], sizes: list[int]
) -> None:
    found = read(b"".join(sent(version, *one) for one in messages), version, sizes)
    assert len(found) == len(messages)
    for (topic, payload), message in zip(messages, found, strict=True):
        assert isinstance(message, Message)
        assert (message.topic, message.packet_id) == (topic, 7)
        is_long = len(sent(version, topic, payload)) - 3 > LIMIT
        assert message.payload == (b"" if is_long else payload)
        assert bool(message.too_long) is is_long
        if version is Version.V5 and not is_long:
            assert (message.correlation, message.content_type) == (b"corr", "application/json")


def test_of_many_user_properties_the_one_that_names_a_trace_is_read() -> None:
    def pair(name: bytes, value: bytes) -> bytes:
        sizes = len(name).to_bytes(2, "big"), len(value).to_bytes(2, "big")
        return b"\x26" + sizes[0] + name + sizes[1] + value

    named = pair(b"traceparent", b"00-aa-bb-01")
    for properties, wanted in (
        (pair(b"a", b"1") + named + pair(b"tracestate", b"x=y"), b"00-aa-bb-01"),
        (pair(b"traceparen", b"t=00"), b""),
        (b"", b""),
    ):
        body = b"\0\1t\0\7" + varint(len(properties)) + properties + b"payload"
        (message,) = read(bytes((0x32,)) + varint(len(body)) + body, Version.V5)
        assert isinstance(message, Message)
        assert (message.traceparent, message.payload) == (wanted, b"payload")


@given(VERSIONS, st.binary(max_size=200))
def test_bytes_that_are_no_packets_are_named_and_nothing_else_happens(
    version: Version, data: bytes
) -> None:
    with suppress(MalformedPacket):
        assert all(read(data, version))


def test_the_answer_to_connect_tells_of_the_session_and_of_the_brokers_limits() -> None:
    (connected,) = read(CONNACK, Version.V5)
    assert isinstance(connected, Connected)
    assert connected.session_present
    assert connected.properties[packets.RECEIVE_MAXIMUM] == 20


@pytest.mark.parametrize(
    "broken",
    [
        b"\xc0\x00",  # a broker sends no PINGREQ
        b"\x36\x05\x00\x01a\x00\x07",  # QoS 3
        b"\x32\x05\x00\x01a\x00\x00",  # QoS 1 with packet id 0
        b"\x32\x03\x00\x09a",  # a topic that is longer than its packet
        b"\x32\xff\xff\xff\xff\x01",  # five bytes of remaining length
        b"\x90\xff\xff\xff\x7f",  # a SUBACK of 256 MB
        b"\x20\x05\x00\x00\x02\x7e\x00",  # a property that does not exist
        b"\x20\x04\x00\x00\x05\x21",  # properties that end before their length
    ],
)
def test_what_breaks_the_standard_is_a_malformed_packet(broken: bytes) -> None:
    with pytest.raises(MalformedPacket):
        read(broken, Version.V5)


@given(st.lists(st.integers(1, 50)))
def test_a_message_of_qos_2_comes_out_and_its_release(sizes: list[int]) -> None:
    data = b"\x34\x06\x00\x01x\x00\x07y" + b"\x62\x02\x00\x07"
    message = Message("x", b"y", 7, exactly_once=True)
    assert read(data, Version.V3_1_1, sizes) == [message, Released(7)]


def test_a_topic_that_is_no_utf_8_comes_out_as_one_that_nobody_has() -> None:
    (message,) = read(b"\x30\x04\x00\x02\xff\xfe", Version.V3_1_1)
    assert isinstance(message, Message)
    assert message.topic == "\N{REPLACEMENT CHARACTER}" * 2


@given(st.integers(0, packets.MAX_REMAINING))
def test_a_variable_byte_integer_is_as_short_as_it_can_be(number: int) -> None:
    encoded = varint(number)
    assert len(encoded) == max(1, -(-number.bit_length() // 7))
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded)) == number


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_messages_are_acknowledged_in_the_order_in_which_they_came(
    order: list[int], without_id: set[int]
) -> None:
    held = HeldMessages()
    ids = [0 if place in without_id else place + 1 for place in range(8)]
    messages = [held.add(Message("t", b"x", packet_id)) for packet_id in ids]
    said: list[int] = []
    for count, place in enumerate(order, 1):
        said += [message.packet_id for message in held.done([messages[place]])]
        done = set(order[:count])
        first_open = next((p for p in range(8) if p not in done), 8)
        assert said == [packet_id for packet_id in ids[:first_open] if packet_id]
    assert (len(held), held.bytes_held) == (0, 0)


def test_only_so_many_answers_go_out_before_the_broker_has_taken_some() -> None:
    outbox, answer = Outbox(), Answer("t", b"", "")
    for _ in range(ANSWERS_IN_FLIGHT + 1):
        assert outbox.put(answer)
    first = [packet_id for packet_id, _ in outbox.to_send()]
    assert len(set(first)) == ANSWERS_IN_FLIGHT
    assert list(outbox.to_send()) == []
    outbox.taken(first[3])
    ((packet_id, _),) = outbox.to_send()
    assert packet_id not in first[:3] + first[4:]
    long = Answer("t", bytes(ANSWERS_BYTES), "")
    assert outbox.put(long)
    assert not outbox.put(answer), "few, but as long as many"
    outbox.taken(packet_id)
    assert [found for _, found in outbox.to_send()] == [long]
    assert outbox.put(answer)
