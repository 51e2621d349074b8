"""What a broker may say, and what becomes of the connection then.

given a broker that answers
  with a refusal: the setting to change, where there is one, else an outage
  with what is no MQTT, with silence, or not at all: an outage
given a message of QoS 2, which nobody has asked for
  it is acknowledged as QoS 2 is, and the broker's release is answered, known or not
given a broker of MQTT 5 that says how much it takes
  no more answers go to it at a time, and none that is longer
given more messages than may be held
  reading stops, and goes on when they are acknowledged
"""

import asyncio
from collections.abc import Callable

import pytest
from support.processes import eventually

from corechain_relayer.mqtt import packets
from corechain_relayer.mqtt.errors import BrokerRefused, BrokerUnavailable
from corechain_relayer.mqtt.flow import Answer, Held
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.packets import Version
from relayer.mqtt.links import link_to, linked, opening, scripted

CONNACK, SUBACK = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01"
SERVER_KEEPS_ALIVE_1 = b"\x20\x06\x00\x00\x03\x13\x00\x01"


def says(*answers: bytes | None) -> Callable[[int], bytes | None]:
    """One answer a packet, then nothing more."""
    return lambda number: answers[number] if number < len(answers) else b""


async def test_a_broker_that_is_not_there_is_an_outage(unused_tcp_port: int) -> None:
    url = f"mqtt://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(BrokerUnavailable, match=r"^the broker: .*: Connection refused$"):
        async with linked(url, opening(), ["x"]):
            pass


async def whole_life(link: Link) -> None:
    try:
        await link.open(["x"])
        await link.until_ended()
    finally:
        await link.close()


async def until(true: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(eventually, true)


@pytest.mark.parametrize(
    ("answers", "setting"),
    [
        ((b"\x20\x03\x00\x86\x00",), "RELAYER_MQTT_PASSWORD"),
        ((b"\x20\x03\x00\x84\x00",), "RELAYER_MQTT_VERSION"),
        ((b"\x20\x02\x00\x01",), "RELAYER_MQTT_VERSION"),  # a broker of 3.1.1 alone
        ((b"\x20\x03\x00\x85\x00",), "RELAYER_MQTT_CLIENT_ID"),
        ((CONNACK, b"\x90\x04\x00\x01\x00\x87"), "RELAYER_MQTT_PREFIX"),
        ((CONNACK, SUBACK + b"\xe0\x02\x8e\x00"), "RELAYER_MQTT_CLIENT_ID"),  # taken over
    ],
)
async def test_a_refusal_names_the_setting_to_change(
    answers: tuple[bytes, ...], setting: str
) -> None:
    async with scripted(says(*answers)) as url:
        link = link_to(url, opening(), [])
        with pytest.raises(BrokerRefused, match=setting):
            await whole_life(link)


@pytest.mark.parametrize(
    "answers",
    [
        (None,),  # hangs up
        (b"\x20\x03\x00\x88\x00",),  # "server unavailable"
        (b"\xff\x00",),
        (CONNACK, SUBACK + b"\x00\x00"),
        (CONNACK, SUBACK + b"\xe0\x00"),  # DISCONNECT without a reason
        (CONNACK, SUBACK + b"\x32\x00"),  # a message without a topic
        (SERVER_KEEPS_ALIVE_1, SUBACK),  # and then silence
    ],
)
async def test_whatever_else_a_broker_does_is_an_outage(answers: tuple[bytes | None, ...]) -> None:
    async with scripted(says(*answers)) as url:
        link = link_to(url, opening(), [])
        with pytest.raises(BrokerUnavailable, match=r"^the broker: "):
            await whole_life(link)


async def test_a_message_of_qos_2_is_taken_and_acknowledged_as_such() -> None:
    two = b"\x34\x06\x00\x01x\x00\x07y" + b"\x32\x06\x00\x01x\x00\x08z"
    acknowledged = b"\x50\x02\x00\x07" + b"\x40\x02\x00\x08"
    release, completed = b"\x62\x02\x00\x07", b"\x70\x02\x00\x07"
    heard = bytearray()
    script = says(b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01" + two, release)
    async with scripted(script, heard) as url:
        found: list[Held] = []
        link = link_to(url, opening(Version.V3_1_1), found)
        await link.open(["x"])
        await until(lambda: len(found) == 2)
        assert acknowledged[:1] not in heard
        link.finish(found)
        await until(lambda: heard.endswith(acknowledged + completed))
        await link.close()


async def test_no_more_answers_go_out_and_no_longer_ones_than_the_broker_says() -> None:
    two_of_60_bytes = b"\x20\x0b\x00\x00\x08\x21\x00\x02\x27\x00\x00\x00\x3c"
    heard = bytearray()
    async with scripted(says(two_of_60_bytes, SUBACK), heard) as url:
        link = link_to(url, opening(), [])
        await link.open(["x"])
        assert not link.publish(Answer("x", bytes(60), ""))
        assert all(link.publish(Answer("x", b"answer %d" % n, "")) for n in (1, 2, 3))
        link.publish(Answer("x", b"", ""))
        await until(lambda: b"answer 2" in heard)
        assert b"answer 3" not in heard
        link.data_received(b"\x40\x02\x00\x02")  # it has the first: the subscription was 1
        await until(lambda: b"answer 3" in heard)
        await link.close()


@pytest.mark.parametrize("version", list(Version))
async def test_reading_stops_while_too_much_is_held_and_goes_on_afterwards(
    version: Version,
) -> None:
    message = packets.publish(version, 1, "x", bytes(10_000))
    subscribed = SUBACK if version is Version.V5 else b"\x90\x03\x00\x01\x01"
    connected = CONNACK if version is Version.V5 else b"\x20\x02\x00\x00"
    # Ten times what may be held, from a broker that keeps to no maximum.
    async with scripted(says(connected, subscribed + message * 200)) as url:
        found: list[Held] = []
        link = link_to(url, opening(version), found)
        await link.open(["x"])
        await until(lambda: len(found) >= link.max_held)
        acknowledged = 0
        while acknowledged < 200:
            count = len(found)
            for _ in range(100):  # there is more to read, and time to read it
                await asyncio.sleep(0)
            assert len(found) == count
            fresh, acknowledged = found[acknowledged:], count
            link.finish(fresh)
            wanted = min(200, count + link.max_held)
            await until(lambda wanted=wanted: len(found) >= wanted)  # type: ignore[misc]
        await link.close()
