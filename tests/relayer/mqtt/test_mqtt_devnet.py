"""`corechain up --mqtt`: a broker beside the other servers, and a gateway that takes from it.

given a network with MQTT
  its broker speaks it, and the gateway's process has the role and the address
  `corechain status` has a row for the broker
given a machine without Mosquitto
  the broker from npm is taken, in its version
"""

import shutil
from pathlib import Path

import pytest

from corechain.devnet.aedes import AedesServer, mqtt_broker
from corechain.devnet.errors import MissingProgram
from corechain.devnet.mosquitto import MOSQUITTO_VARIABLE, find_mosquitto
from corechain.devnet.network import Network
from corechain.devnet.settings import Ports
from corechain.servers_asked import ask
from corechain.status import find_places
from relayer.mqtt.devices import Station


def test_a_network_with_mqtt_has_a_broker_and_a_gateway_with_its_address(
    deployed_home: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(deployed_home, tmp_path / "network"))
    with Network(home, ports=Ports.free(), services=(), mqtt=True) as network:
        broker = network.mqtt
        assert broker.server.name in [name for name, _, _ in network.rows()]
        settings = network.environment("relayer")
        assert settings["RELAYER_MQTT_URL"] == f"mqtt://127.0.0.1:{network.ports.mqtt}"
        assert settings["RELAYER_MQTT_VERSION"] == broker.version
        with Station(network.ports.mqtt, "corechain/v1", "roof", broker.version) as station:
            station.post(b"{}", station.topic("answers"))
            assert station.answer().document == {}
        servers = find_places(network.home, {}).servers
        assert servers[broker.server.name] == ("mqtt", network.ports.mqtt)
        assert ask(*servers[broker.server.name]).detail == "takes connections"
    assert "mqtt" in network.parts["gateway"]


def test_without_mosquitto_the_broker_from_npm_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MOSQUITTO_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MissingProgram, match=MOSQUITTO_VARIABLE):
        find_mosquitto()
    broker = mqtt_broker(tmp_path)
    assert isinstance(broker.server, AedesServer)
    assert broker.version == "3.1.1"
