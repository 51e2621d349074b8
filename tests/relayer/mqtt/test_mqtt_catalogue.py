"""The catalogue of bad messages, through a broker that outlives it.

given a relayer behind a broker
  when the catalogue of bad messages is published
    each is counted under its name, told to its sender where there is one, and acknowledged
    the good reports behind them are accepted

Not on Aedes: a topic of 150 levels ends its process.
"""

from collections import Counter

import pytest

from corechain.devnet.servers import Server
from relayer.conftest import Start
from relayer.mqtt.conftest import held, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.support import RelayerProcess, Sensor, eventually, secp

REJECTED = "corechain_reports_rejected_total"
MAX_BODY = 8192


@pytest.fixture
def strict(start: Start, mqtt_settings: dict[str, str]) -> RelayerProcess:
    return subscribed(start("mqtt", **mqtt_settings, RELAYER_MAX_BODY_BYTES=str(MAX_BODY)))


def forged(sensor: Sensor) -> bytes:
    packed = bytearray(sensor.report().pack())
    packed[-40] ^= 1
    return bytes(packed)


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
    nobodys += [f"gateways/{name}", "gateways/a b", "reports/" + "/" * 150]
    with Station(broker.port, prefix, name, version) as station:
        for payload, _ in on_its_topic:
            station.post(payload, station.topic("reports"))
        for topic in nobodys:
            station.post(packed, f"{prefix}/{topic}")
        for qos in (0, 1, 2):
            station.post(sensor.report().pack(), station.topic("reports"), qos)
        station.answer(len(on_its_topic))
        # In any order: those that need no signature checked are decided first.
        wanted = Counter(error for _, error in on_its_topic)
        assert Counter(answer.error for answer in station.answers) == wanted
    wanted += Counter(WrongTopic=len(nobodys))
    eventually(lambda: held(strict) == 0 and accepted(strict) == 3)
    assert {error: strict.counter(REJECTED, error) for error in wanted} == wanted


def accepted(relayer: RelayerProcess) -> float:
    lines = relayer.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("corechain_reports_accepted_total "))
    return float(line.rpartition(" ")[2])
