"""The catalogue of bad messages, through every broker that is there.

given a relayer behind a broker
  when the catalogue of bad messages is published
    each is counted under its name, told to its sender where there is one, and acknowledged
    the good reports among them and behind them are accepted
  when a topic has more levels than the broker takes
    it ends the connection of its sender, and nobody else's
"""

from collections import Counter

import pytest
from support.processes import PATIENCE_S

from corechain.devnet.servers import Server
from relayer.conftest import Start
from relayer.mqtt.conftest import AVAILABLE, held, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.support import RelayerProcess, Sensor, eventually, secp

REJECTED = "corechain_reports_rejected_total"
REPLAYED = "ReplayedSequence"
MAX_BODY = 8192
LEVELS = {"aedes": (100, 101), "mosquitto": (200, 210)}
"""Of a topic that a broker takes and of one that it does not. Aedes: the limit of our script;
Mosquitto: around its TOPIC_HIERARCHY_LIMIT, which is for slashes or levels, by its version."""


@pytest.fixture
def strict(start: Start, mqtt_settings: dict[str, str]) -> RelayerProcess:
    return subscribed(start("mqtt", **mqtt_settings, RELAYER_MAX_BODY_BYTES=str(MAX_BODY)))


def forged(sensor: Sensor) -> bytes:
    packed = bytearray(sensor.report().pack())
    packed[-40] ^= 1
    return bytes(packed)


def with_levels(topic: str, levels: int) -> str:
    """The same with empty levels behind it."""
    return topic + "/" * (levels - 1 - topic.count("/"))


@pytest.mark.parametrize("choice", AVAILABLE, ids="-".join)
def test_the_catalogue_of_bad_messages_is_refused_by_name_and_never_comes_again(
    strict: RelayerProcess, broker: Server, version: str, prefix: str, sensor: Sensor
) -> None:
    name, packed = name_of(sensor), sensor.report().pack()
    other = Sensor(secp(5), sensor.domain).report().pack()
    on_its_topic = [
        (b"", "MalformedReport"),
        (b"{", "MalformedReport"),
        (b"[NaN]", "ValueOutOfRange"),
        (b'{"device":"\xff"}', "MalformedReport"),
        (packed[:-1], "MalformedReport"),
        (packed + b"\0", "MalformedReport"),
        (other, "ForeignDevice"),
        (forged(sensor), "InvalidSignature"),
        (bytes(MAX_BODY + 1), "BodyTooLarge"),
        (bytes(1 << 18), "BodyTooLarge"),  # skipped, and never in memory
    ]
    nobodys = ["reports", f"reports/{name}/x", "reports//", f"reports/{name[:-1]}", "gateways/a/b"]
    nobodys += [f"gateways/{name}", "gateways/a b"]
    topics = [f"{prefix}/{topic}" for topic in nobodys]
    topics.append(with_levels(f"{prefix}/reports", LEVELS[broker.name][0]))
    with Station(broker.port, prefix, name, version) as station:
        for payload, _ in on_its_topic:
            station.post(payload, station.topic("reports"))
        for topic in topics:
            station.post(packed, topic)
        # Aedes hands on what came in QoS 2 in QoS 2, whatever we have subscribed to.
        for qos in (0, 1, 2):
            station.post(sensor.report().pack(), station.topic("reports"), qos)
        leave_a_will(broker, version, station.topic("reports"))
        station.answer(len(on_its_topic) + 1)
        # In any order: those that need no signature checked are decided first.
        wanted = Counter(error for _, error in on_its_topic) + Counter(MalformedReport=1)
        assert Counter(answer.error for answer in station.answers) == wanted
        eventually(lambda: taken(strict) == 3)
        # Known already: delivered, so nobody is told.
        station.post(packed, station.topic("reports"))
        # Not beside it: of two in flight the gateway takes both, and the aggregator counts one.
        eventually(lambda: taken(strict) == 4)
        station.post(packed, station.topic("reports"), 2)
        wanted += Counter(WrongTopic=len(topics))
        eventually(lambda: held(strict) == 0 and taken(strict) == 5)
        assert strict.counter(REJECTED, REPLAYED) >= 1
        eventually(lambda: {error: strict.counter(REJECTED, error) for error in wanted} == wanted)


def leave_a_will(broker: Server, version: str, topic: str) -> None:
    """A client that breaks off: the broker says its last words."""
    with Station(broker.port, "unheard", "of", version, will=(topic, b"a will")) as station:
        station.break_off()


@pytest.mark.parametrize("choice", AVAILABLE, ids="-".join)
def test_a_topic_with_too_many_levels_ends_the_connection_of_its_sender_alone(
    broker: Server, version: str, prefix: str
) -> None:
    with (
        Station(broker.port, prefix, "deep", version) as deep,
        Station(broker.port, prefix, "flat", version) as flat,
    ):
        topic = with_levels(f"{prefix}/reports", LEVELS[broker.name][1])
        deep.client.publish(topic, b"x", 1)
        assert deep.was_cut_off.wait(PATIENCE_S)
        flat.post(b"{}", flat.topic("answers"))
        assert flat.answer().document == {}
        assert not flat.was_cut_off.is_set()
    assert broker.running


def taken(relayer: RelayerProcess) -> float:
    """Good reports: accepted, or known by then. A bus too busy to answer in time leaves it open
    whether it has a report: that comes again, and is counted as known."""
    return accepted(relayer) + relayer.counter(REJECTED, REPLAYED)


def accepted(relayer: RelayerProcess) -> float:
    lines = relayer.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("corechain_reports_accepted_total "))
    return float(line.rpartition(" ")[2])
