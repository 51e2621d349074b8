"""Reports through a broker: durable, then acknowledged; what is wrong is named to its sender.

given a device on its own topic
  when it sends one report or many
    each is in a batch, once, on every broker and version
given the topic of a gateway
  when it sends reports of several devices
    each has its verdict, and the answers go to the gateway
"""

from collections import Counter
from pathlib import Path

import pytest

from corechain.devnet.servers import Server
from relayer.conftest import Start
from relayer.mqtt.conftest import AVAILABLE, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp
from relayer.test_crash import committed_reports, key_of


@pytest.mark.parametrize("choice", AVAILABLE, ids="-".join)
def test_reports_of_a_device_reach_the_chain_through_the_broker(
    start: Start,
    broker: Server,
    version: str,
    mqtt_settings: dict[str, str],
    prefix: str,
    sensor: Sensor,
    chain: Chain,
    tmp_path: Path,
) -> None:
    subscribed(start(**mqtt_settings))
    single, first, second = (sensor.report() for _ in range(3))
    with Station(broker.port, prefix, name_of(sensor), version) as station:
        station.send(single)
        station.send(first, second)
    wanted = Counter(map(key_of, (single, first, second)))
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


def test_a_gateway_brings_reports_of_any_device_and_hears_what_http_would_say(
    taking: RelayerProcess,
    broker: Server,
    version: str,
    prefix: str,
    sensor: Sensor,
    secure_sensor: Sensor,
) -> None:
    good, other = sensor.report(), secure_sensor.report()
    stranger = Sensor(secp(77), sensor.domain).report()
    with Station(broker.port, prefix, "roof-3", version) as station:
        station.send(good, stranger, other, kind="gateways")
        answer = station.answer()
        assert answer.topic == station.topic("answers")
        assert answer.document["accepted"] == 2
        assert answer.errors == ["", "UnknownDevice", ""]
        # A repetition is delivered: there is an answer because of the other report.
        station.send(good, kind="gateways")
        station.send(good, stranger, kind="gateways")
        assert station.answer(2).errors == ["ReplayedSequence", "UnknownDevice"]
    eventually(lambda: taking.counter("corechain_reports_rejected_total", "UnknownDevice") == 2)
