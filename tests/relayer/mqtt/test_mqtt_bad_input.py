"""Whatever is published, it is accepted or refused by name, and never comes again.

given any bytes on any topic
  the message has verdicts for all its reports, or one error
given a broker's stream, mutated
  packets, or one reason why it is malformed; every message in it is acknowledged
given a message on which the gateway fails
  the others of its frame are accepted; it is tried again, then a dead letter
  where it fails before any verdict, the session ends, and says why
given a response topic: an answer goes there only if no broker can mind
"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode
from structlog.testing import capture_logs

from corechain.protocol.errors import InvalidSignature, Unavailable
from corechain.protocol.frame import Columns
from corechain.protocol.reading import DeviceId
from corechain.protocol.report_json import report_to_json
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.gateway.suspects import Suspects
from corechain_relayer.mqtt import subscriber as subscriber_module
from corechain_relayer.mqtt.errors import WrongTopic
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.letters import opened
from corechain_relayer.mqtt.packets import Message, Version, publish
from corechain_relayer.mqtt.singles import Singles
from corechain_relayer.mqtt.subscriber import MISTAKES
from relayer.mqtt.devices import name_of
from relayer.mqtt.fuzz_mqtt import VERSIONS, run
from relayer.mqtt.gateways import DOMAIN, TOPICS, FailingGateway, subscriber_to
from relayer.mqtt.links import link_to, opening, scripted
from relayer.support import Sensor, secp

# ---------------------------------------------------------------------- any bytes

DEVICE = "0x" + "7b" * 20
PLACES = st.sampled_from([f"reports/{DEVICE}", "gateways/a", "reports/0x", "answers/a", "", "\0"])


@given(PLACES | st.text(max_size=30), st.binary(max_size=300), st.sampled_from(["", "text/x"]))
def test_any_message_has_one_error_or_a_place_for_each_verdict(
    place: str, payload: bytes, content_type: str
) -> None:
    message = Message(f"corechain/v1/{place}", payload, 1, content_type=content_type)
    letter = opened(Held(message), TOPICS, DOMAIN, 250)
    if letter.error is None:
        assert letter.intake is not None
        assert len(letter.undecided) == len(letter.intake.columns)
    else:
        assert letter.refusals() == [letter.error]
        answer = letter.answer(TOPICS)
        assert (answer is None) is (letter.sender is None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_mutated_stream_is_taken_or_refused_by_name(version: str) -> None:
    """Whatever else happened would end the run. `make fuzz-mqtt` takes a million."""
    found = run(version, 1_000, seed=7)
    assert found["MalformedPacket"]
    assert found["accepted"]
    assert found["refused"]


@pytest.mark.parametrize("first", list(b"{[ \t\r\n"), ids=hex)
def test_packed_reports_may_begin_like_json(first: int) -> None:
    """Six of 256 devices have an id that does."""
    keys = (secp(number) for number in range(100_000))
    sensor = Sensor(next(key for key in keys if key.identity.device[0] == first), DOMAIN)
    payload = sensor.report().pack() + sensor.report().pack()
    letter = opened(Held(Message("corechain/v1/gateways/a", payload)), TOPICS, DOMAIN, 1 << 20)
    assert letter.refusals() == []
    assert len(letter.undecided) == 2


def test_json_is_known_by_what_it_is() -> None:
    sensor = Sensor(secp(1), DOMAIN)
    payload = b"\r\n " + encode([report_to_json(sensor.report()) for _ in range(3)])
    topic = f"corechain/v1/reports/{name_of(sensor)}"
    letter = opened(Held(Message(topic, payload)), TOPICS, DOMAIN, 1 << 20)
    assert (letter.refusals(), len(letter.undecided)) == ([], 3)


@pytest.mark.parametrize(
    "topic", ["corechain/v1x/reports/" + DEVICE, "corechain/v1/answers/" + DEVICE, "", "$SYS/a"]
)
def test_topics_outside_ours_are_nobodys(topic: str) -> None:
    with pytest.raises(WrongTopic):
        TOPICS.sender(topic)


# ---------------------------------------------------------------------- a gateway that fails


OWN, SHARED = "on their devices' topics", "on a gateway's topic"


def topic_of(payload: bytes, where: str) -> str:
    name = f"reports/0x{payload[:20].hex()}" if where == OWN else "gateways/a"
    return f"corechain/v1/{name}"


async def taken(gateway: FailingGateway, payloads: list[bytes], where: str = SHARED) -> int:
    """How many messages are held after all of them were taken."""
    link = link_to("mqtt://127.0.0.1", opening(), [])
    subscriber = subscriber_to(link, gateway)
    messages = [Message(topic_of(payload, where), payload, 1) for payload in payloads]
    await subscriber._take(link, [link.held.add(message) for message in messages])
    return len(link.held)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize(("where", "together"), [(SHARED, 1), (OWN, 2)])
async def test_a_message_on_which_we_fail_is_a_dead_letter_and_harms_no_other(
    where: str, together: int
) -> None:
    sensors = [Sensor(secp(n), DOMAIN) for n in (1, 2, 3)]
    payloads = [sensor.report().pack() for sensor in sensors]
    poison = sensors[1].key.identity.device
    tries: Counter[int] = Counter()

    def verdict(columns: Columns) -> list[Fault]:
        tries[len(columns)] += 1
        if poison in columns.device_ids():
            raise RuntimeError("nobody foresaw this")
        return [None] * len(columns)

    gateway = FailingGateway(verdict, bus_is_away=1)
    with capture_logs() as logs:
        assert await taken(gateway, payloads, where) == 0
    assert {line["topic"] for line in logs if "topic" in line} == {topic_of(payloads[1], where)}
    assert gateway.dead == [(payloads[1], "InternalError")]
    # The other two once each, apart from it; it alone until it is set aside.
    assert tries == {3: together, 1: 2 + MISTAKES + 1}


@pytest.mark.parametrize("where", [SHARED, OWN])
async def test_a_report_that_has_to_wait_holds_up_no_other_of_its_frame(where: str) -> None:
    """As that of a new device while the journal is away."""
    sensors = [Sensor(secp(n), DOMAIN) for n in (1, 2, 3)]
    newcomer = sensors[1].key.identity.device
    tries, accepted = Counter[str](), list[bytes]()

    def verdict(columns: Columns) -> list[Fault]:
        is_waiting = newcomer in columns.device_ids()
        tries["waiting"] += is_waiting
        if is_waiting and tries["waiting"] < 5:
            raise Unavailable("the journal")
        accepted.extend(columns.device_ids())
        return [None] * len(columns)

    gateway = FailingGateway(verdict)
    assert await taken(gateway, [sensor.report().pack() for sensor in sensors], where) == 0
    assert accepted[-1] == newcomer
    assert len(accepted) == len(set(accepted)) == 3


async def test_singles_are_asked_about_together_and_the_bad_ones_are_answered() -> None:
    sensors = [Sensor(secp(n), DOMAIN) for n in (1, 2, 3)]
    forger = sensors[1].key.identity.device
    sizes: list[int] = []

    def verdict(columns: Columns) -> list[Fault]:
        sizes.append(len(columns))
        bad = InvalidSignature(DeviceId(forger))
        return [bad if device == forger else None for device in columns.device_ids()]

    gateway = FailingGateway(verdict)
    for _ in range(2):
        assert await taken(gateway, [sensor.report().pack() for sensor in sensors], OWN) == 0
    exposed = gateway.metrics.exposition().decode()
    assert 'corechain_mqtt_messages_total{outcome="accepted"} 4.0' in exposed
    assert 'corechain_mqtt_messages_total{outcome="refused"} 2.0' in exposed
    assert 'corechain_reports_rejected_total{reason="InvalidSignature"} 2.0' in exposed
    assert 'corechain_mqtt_answers_total{outcome="sent"} 2.0' in exposed
    # Whoever has forged shares no frame with the others afterwards.
    assert sorted(sizes) == [1, 2, 3]
    assert f"mqtt:0x{forger.hex()}" in gateway.peers


SINGLE = Sensor(secp(1), DOMAIN).report().pack()
ITS_TOPIC = topic_of(SINGLE, OWN)


@pytest.mark.parametrize(
    "message",
    [
        Message("corechain/v1/gateways/a", SINGLE, 1),
        Message(ITS_TOPIC.replace("7", "8"), SINGLE, 1),
        Message(ITS_TOPIC.upper(), SINGLE, 1),
        Message(ITS_TOPIC, SINGLE + SINGLE, 1),
        Message(ITS_TOPIC, SINGLE[:-1], 1),
        Message(ITS_TOPIC, b"", 1),
        Message(ITS_TOPIC, SINGLE, 1, content_type="application/json"),
        Message(ITS_TOPIC, SINGLE, 1, response_topic="corechain/v1/answers/x"),
    ],
)
def test_what_is_no_single_is_opened(message: Message) -> None:
    singles = Singles("corechain/v1", len(SINGLE), Suspects())
    held, good = Held(message), Held(Message(ITS_TOPIC, SINGLE, 1))
    assert singles.part([good, held]) == ([good], [held])
    assert Singles("corechain/v1", len(SINGLE) - 1, Suspects()).part([good]) == ([], [good])


def test_an_answer_goes_nowhere_that_would_cost_us_the_connection() -> None:
    sender = TOPICS.sender(ITS_TOPIC)
    for below in ("", "/7", "/a/b c", "/"):
        assert TOPICS.answer_topic(sender, sender.answers + below) == sender.answers + below
    # Brokers hand on as a property what they take from nobody as a topic.
    for below in ("/a" * 300, "/" + "a" * 60_000, "/\N{REPLACEMENT CHARACTER}", "/\x01", "/#", "x"):
        assert TOPICS.answer_topic(sender, sender.answers + below) == sender.answers


async def test_what_fails_outside_of_any_verdict_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*parts: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(subscriber_module, "opened", opened)
    message = publish(Version.V5, 7, "corechain/v1/gateways/a", b"[]")
    answers = [b"\x20\x03\x00\x00\x00", b"\x90\x05\x00\x01\x00\x01\x01" + message]
    async with scripted(lambda number: answers[number] if number < 2 else b"") as url:
        link = link_to(url, opening(), [])
        with pytest.raises(RuntimeError, match="nobody foresaw"):
            await subscriber_to(link, FailingGateway(lambda columns: [])).session()


async def test_what_may_be_good_later_is_tried_again_and_counted_once() -> None:
    sensor = Sensor(secp(1), DOMAIN)
    outages = [Unavailable("the journal"), Unavailable("the journal")]

    def verdict(columns: Columns) -> list[Fault]:
        if len(outages) == 2:
            raise outages.pop()
        return [outages.pop()] if outages else [None]

    gateway = FailingGateway(verdict)
    assert await taken(gateway, [sensor.report().pack()]) == 0
    exposed = gateway.metrics.exposition().decode()
    assert 'corechain_mqtt_messages_total{outcome="accepted"} 1.0' in exposed
    assert "corechain_reports_rejected_total{" not in exposed
