"""`corechain up --bridge`: a bridge beside the others, as the page for operators has it.

given a network with a bridge
  a station is added by command, without a setting
  what it uploads is at the gateway
given an environment that says something of a bridge
  nothing is taken from the network of this folder
"""

import json
import shutil
import stat
from pathlib import Path

import httpx
import pytest
from support.command import corechain
from support.processes import PATIENCE_S, eventually

from corechain.devnet.network import Network
from corechain.devnet.settings import Ports
from corechain.service.settings import InvalidSetting
from corechain.status import find_places
from corechain_relayer.bridge.settings import local_settings


def test_three_commands_and_an_upload_is_at_the_gateway(
    deployed_home: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(deployed_home, tmp_path / "network"))
    place = {"CORECHAIN_HOME": str(home)}
    with Network(home, ports=Ports.free(), services=("relayer",), bridge=True) as network:
        url = network.server("bridge").url
        assert find_places(home, {}).parts["bridge"] == url
        words = ("bridge", "station", "add", "roof", "--format", "ecowitt")
        degrees = ("--latitude", "40.71", "--longitude", "-74.01")
        added = corechain(*words, *degrees, changes=place)
        assert added.returncode == 0, added.stderr
        path = json.loads(added.stdout)["path"]
        taken = httpx.post(url + path, data={"tempf": "50"}, timeout=PATIENCE_S)
        assert taken.text == "success\n"
        assert eventually(
            lambda: "corechain_bridge_reports_sent_total 1.0" in httpx.get(f"{url}/metrics").text
        )
        shown = corechain("bridge", "station", "list", changes=place)
        (station,) = json.loads(shown.stdout)
        assert station["newest_observation"].endswith(" UTC")
        assert station["waiting_reports"] == 0
        assert stat.S_IMODE(network.stations.stat().st_mode) == 0o700
    assert local_settings(place) == place, "the network is gone"


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A folder in which a network with a bridge seems to run."""
    document = {"bridge": {"BRIDGE_GATEWAY_URL": "http://127.0.0.1:9"}}
    (tmp_path / "endpoints.json").write_text(json.dumps(document))
    return tmp_path


def test_an_environment_that_names_a_bridge_is_left_alone(running: Path) -> None:
    home = {"CORECHAIN_HOME": str(running)}
    assert local_settings(home)["BRIDGE_GATEWAY_URL"] == "http://127.0.0.1:9"
    for own in ({"BRIDGE_LOG_LEVEL": "info"}, {"bridge_data_dir": "x"}):
        assert local_settings(home | own) == home | own


def test_a_network_that_was_killed_has_no_bridge_to_speak_of(running: Path) -> None:
    (running / "lock").touch()
    with pytest.raises(InvalidSetting, match="was killed"):
        local_settings({"CORECHAIN_HOME": str(running)})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"bridge": 1}', '{"bridge": null}'])
def test_a_network_without_a_bridge_gives_no_settings(running: Path, content: str) -> None:
    (running / "endpoints.json").write_text(content)
    home = {"CORECHAIN_HOME": str(running)}
    assert local_settings(home) == home
