"""Reports through a broker: durable, then acknowledged; what is wrong is named to its sender.

given a device on its own topic
  when it sends one report or many
    each is in a batch, once, on every broker and version
    one that names its trace (MQTT 5) is followed to its batch, and no other
given the topic of a gateway
  when it sends reports of several devices
    each has its verdict, and the answers go to the gateway
"""

from collections import Counter
from pathlib import Path

import pytest
from support.traces import collecting

from corechain.devnet.servers import Server
from relayer.conftest import Start
from relayer.mqtt.conftest import AVAILABLE, subscribed
from relayer.mqtt.devices import CLIENT, FOLLOWED, Station, name_of
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
    with collecting() as collector:
        # Who seals no frames is believed no context on the bus.
        traced = {"RELAYER_TRACES_URL": collector.url, "RELAYER_FRAME_KEY": "11" * 32}
        subscribed(start(**mqtt_settings, **traced))
        single, first, second, followed = (sensor.report() for _ in range(4))
        with Station(broker.port, prefix, name_of(sensor), version) as station:
            station.send(single)
            station.send(first, second)
            station.send(followed, **(FOLLOWED if version == "5" else {}))
        wanted = Counter(map(key_of, (single, first, second, followed)))
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
        if version == "5":
            eventually(lambda: len(collector.of(CLIENT.trace)) == 3)
        own = {one.stage: one for one in collector.of(CLIENT.trace)}
    assert set(own) == ({"gateway", "bus", "aggregator"} if version == "5" else set())
    if version == "5":  # 3.1.1 has no room for a trace
        assert own["gateway"].parent == CLIENT.span
        assert own["bus"].parent == own["aggregator"].parent == own["gateway"].span


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
