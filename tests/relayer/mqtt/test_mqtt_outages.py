"""Whoever dies, what the broker was told is durable is durable, and counts once.

given a bus that is away
  when devices go on sending
    at most the receive maximum waits in memory, the connection stays, nothing is acknowledged
  when the relayer is killed before the bus is back
    all of it comes again, and is in a batch once
"""

from collections import Counter
from pathlib import Path

import pytest

from corechain.devnet.servers import Server, ValkeyServer
from relayer.conftest import Start
from relayer.mqtt.conftest import held, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.support import Chain, Sensor, eventually
from relayer.test_crash import committed_reports, key_of

RECEIVE_MAXIMUM = 5


@pytest.fixture
def quick(mqtt_settings: dict[str, str]) -> dict[str, str]:
    return mqtt_settings | {"RELAYER_MQTT_RECEIVE_MAXIMUM": str(RECEIVE_MAXIMUM)}


def test_what_came_while_the_bus_was_away_survives_a_kill_of_the_relayer(
    start: Start,
    broker: Server,
    version: str,
    quick: dict[str, str],
    prefix: str,
    sensor: Sensor,
    chain: Chain,
    tmp_path: Path,
) -> None:
    sent = [sensor.report() for _ in range(20)]
    with ValkeyServer(tmp_path / "valkey") as bus:
        relayer = subscribed(start(**quick, RELAYER_BUS_URL=bus.url))
        with Station(broker.port, prefix, name_of(sensor), version) as station:
            station.send(sent[0])
            eventually(lambda: committed_reports(chain, tmp_path / "data"))
            bus.kill()
            for report in sent[1:]:
                station.send(report)
            eventually(lambda: held(relayer) >= RECEIVE_MAXIMUM)
            # Brokers of 3.1.1 know no maximum: there we stop reading, a read's length later.
            assert held(relayer) < len(sent) or version == "3.1.1"
            subscribed(relayer)
            relayer.kill()
            bus.start()
            relayer.start()
            wanted = Counter(map(key_of, sent))
            eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
            assert not station.answers, "nothing was refused"
