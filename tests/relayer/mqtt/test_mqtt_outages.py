"""Whoever dies, what the broker was told is durable is durable, and counts once.

given a bus that is away
  when devices go on sending
    at most the receive maximum waits in memory, the connection stays, nothing is acknowledged
  when the relayer is killed before the bus is back
    all of it comes again, and is in a batch once
given a node that is away
  when a device that was registered just before sends
    it hears that it cannot be looked up now, and holds up no other
"""

from collections import Counter
from pathlib import Path

import pytest
from support.liar import away, liar

from corechain.devnet.servers import Server, ValkeyServer
from relayer.conftest import Start
from relayer.mqtt.conftest import held, subscribed
from relayer.mqtt.devices import Station, name_of
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp
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


def test_who_cannot_be_looked_up_now_hears_so_and_holds_up_no_other(
    start: Start,
    broker: Server,
    version: str,
    quick: dict[str, str],
    prefix: str,
    sensor: Sensor,
    chain: Chain,
) -> None:
    late = Sensor(secp(78), chain.domain)
    with liar(chain.url) as node:
        relayer = subscribed(start("mqtt", **quick, RELAYER_RPC_URL=node.url))
        with Station(broker.port, prefix, name_of(late), version) as newcomer:
            with (
                away(node, "answers errors"),
                Station(broker.port, prefix, name_of(sensor), version) as known,
            ):
                chain.register(late.key)
                reports = [late.report() for _ in range(2 * RECEIVE_MAXIMUM)]
                for report in reports:
                    newcomer.send(report)
                known.send(sensor.report())
                eventually(lambda: len(newcomer.answers) >= len(reports))
                assert {said.error for said in newcomer.answers} == {"Unavailable"}
                eventually(lambda: accepted(relayer) == 1)

            def is_taken() -> bool:
                """the late device's report is taken: it sends it again until it is"""
                newcomer.send(reports[0])
                return accepted(relayer) == 2

            eventually(is_taken, pause_s=0.5)


def accepted(relayer: RelayerProcess) -> float:
    lines = relayer.get("/metrics").text.splitlines()
    name = "corechain_reports_accepted_total "
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))
